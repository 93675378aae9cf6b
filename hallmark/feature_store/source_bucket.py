"""A source's offline store in a bucket: its segments by digest, and a manifest that is replaced only where nobody else replaced it since.

So two that append at once both have their batch in it, and one that is killed leaves an object that no manifest names, which the same
batch takes up again and an erasure removes (docs/decisions/0039).
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.errors import Conflict
from hallmark.feature_store.source_manifest import (
    MANIFEST,
    SUFFIX,
    Manifest,
    Merge,
    Segment,
    Snapshot,
    extended,
    joined,
    renamed,
    written,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.feature_store.bucket import Bucket

_AT_ONCE = 4
"""Segments that are brought here side by side."""
_TRIES = 50
_PAUSE = 0.05
_FRESH, _LEFT = 3600.0, 86_400.0
"""Seconds for which an upload that was killed is taken up again, and after which what no manifest names is nobody's any more."""


class SourceBucket:
    """The offline store of one source, below a bucket's prefix. cache: a folder here, for segments that were brought here, by digest."""

    def __init__(self, bucket: Bucket, reference: str, cache: Path) -> None:
        self.name = reference
        self.cache = cache
        self._bucket = bucket.below(reference)

    def __str__(self) -> str:
        return str(self._bucket)

    def there(self) -> Snapshot | None:
        """The source as it stands now; none before its first batch. What the cache has of erased rows goes."""
        held, _ = self._held()
        self._sweep(held)
        return None if held is None else BucketSnapshot(self.cache, held, self._bucket)

    def append(
        self,
        table: pa.Table,
        *,
        source: str,
        batch: str,
        still: Callable[[Manifest | None], bool] = lambda _: True,
    ) -> bool:
        """Append a batch; False where it is in it already, or `still` is false of what is there. Whoever appends at the same time has theirs in it too."""
        with tempfile.TemporaryDirectory(prefix="hallmark_batch_") as folder:
            segment = written(Path(folder), table, batch)
            for turn in range(_TRIES):
                held, tag = self._held()
                if (held is not None and held.holds(segment)) or not still(held):
                    return False
                manifest = extended(held, segment, source, table)
                if not turn:
                    self._put(Path(folder) / segment.draft, segment)
                if self._bucket.write(MANIFEST, manifest.text().encode(), tag=tag):
                    return True
                _wait(turn)
        raise self._contended()

    def merge(self, chosen: Merge) -> bool:
        """Have one segment in the place of several, as `sources.merge` says; whoever appends at the same time has theirs in it too."""
        done: tuple[tuple[Segment, ...], Segment] | None = None
        with tempfile.TemporaryDirectory(prefix="hallmark_merge_") as folder:
            for turn in range(_TRIES):
                held, tag = self._held()
                if held is None or (named := chosen(held)) is None:
                    return False
                batch, parts = named
                if done is None or done[0] != parts:
                    made = written(Path(folder), joined(bring(self._bucket, self.cache, parts)), batch)
                    self._put(Path(folder) / made.draft, made)
                    done = parts, made
                after = held.merged(parts, done[1])
                if self._bucket.write(MANIFEST, after.text().encode(), tag=tag):
                    if held.unreadable():
                        self._purge(after, {key(each.digest) for each in held.unreadable()})
                    return True
                _wait(turn)
        raise self._contended()

    def erase(self, kept: Callable[[pa.Table], pa.Table], *, noted: Callable[[Mapping[str, str]], None]) -> int:
        """Erase rows, as `sources.erase` says: the objects that had them go with all their versions, and what killed appends left."""
        done: dict[str, Segment] = {}
        with tempfile.TemporaryDirectory(prefix="hallmark_erase_") as folder:
            for turn in range(_TRIES):
                held, tag = self._held()
                if held is None:
                    return 0
                segments = tuple(self._without(each, kept, Path(folder), done) for each in held.segments)
                after = held.erased(segments)
                if after != held:
                    noted(renamed(held, after))
                    if not self._bucket.write(MANIFEST, after.text().encode(), tag=tag):
                        _wait(turn)
                        continue
                self._purge(after)
                self._sweep(after)
                return sum(each.rows for each in held.segments) - sum(each.rows for each in segments)
        raise self._contended()

    def _held(self) -> tuple[Manifest | None, str | None]:
        found = self._bucket.read(MANIFEST)
        if found is None:
            return None, None
        return Manifest.parsed(found[0], f"{self}/{MANIFEST}"), found[1]

    def _put(self, path: Path, segment: Segment) -> None:
        age = self._bucket.age(key(segment.digest))
        if age is None or age > _FRESH:
            self._bucket.upload(path, key(segment.digest))

    def _without(
        self, segment: Segment, kept: Callable[[pa.Table], pa.Table], folder: Path, done: dict[str, Segment]
    ) -> Segment:
        """The segment in the place of one that has rows which do not stay; `done` are those of an earlier try, by the old digest."""
        import pyarrow.parquet as pq

        if segment.digest not in done:
            (path,) = bring(self._bucket, self.cache, [segment])
            table = pq.read_table(path)
            left = kept(table)
            made = segment
            if left.num_rows != table.num_rows:
                made = written(folder, left, segment.batch, after=segment)
                self._bucket.upload(folder / made.draft, key(made.digest))
            done[segment.digest] = made
        return done[segment.digest]

    def _purge(self, held: Manifest, replaced: Collection[str] = ()) -> None:
        """Remove every version of what had rows that are erased, of what was replaced, and of what lies about since some append was killed."""
        named = {key(each.digest) for each in held.readable()}
        gone = {key(was) for each in held.segments for was in each.was} | {
            key(each.digest) for each in held.unreadable()
        }
        gone = (gone | {*replaced}) - named
        self._bucket.purge(
            lambda name, age: name in gone or (name.endswith(SUFFIX) and name not in named and age > _LEFT)
        )

    def _sweep(self, held: Manifest | None) -> None:
        named = {key(each.digest) for each in held.readable()} if held else set()
        for path in self.cache.glob(f"*{SUFFIX}*"):
            if path.name.partition(SUFFIX)[0] + SUFFIX not in named:
                path.unlink(missing_ok=True)

    def _contended(self) -> Conflict:
        return Conflict(
            f"{self}: others append all the time",
            expected=f"one moment in {_TRIES} tries",
            got="another manifest each time",
            fix="run it again, or let fewer append at once",
        )


@dataclass(frozen=True)
class BucketSnapshot(Snapshot):
    """A source in a bucket as it stood at one moment, whose segments are brought here when they are asked for; every byte is checked then."""

    bucket: Bucket

    def at_hand(self, segments: list[Segment]) -> list[Path]:
        """The files of these segments, brought here where they are not."""
        return bring(self.bucket, self.folder, segments)


def key(digest: str) -> str:
    """The key of a segment."""
    return digest.partition(":")[2] + SUFFIX


def bring(bucket: Bucket, cache: Path, segments: Iterable[Segment]) -> list[Path]:
    """Files of segments, in their order; each is downloaded once, and what a killed download left is taken up."""

    def one(segment: Segment) -> Path:
        path = cache / key(segment.digest)
        if not path.is_file():
            bucket.download(key(segment.digest), path, segment.digest)
        return path

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, segments))


def _wait(turn: int) -> None:
    time.sleep(_PAUSE * min(turn + 1, 10) * random.uniform(0.5, 1.5))  # noqa: S311
