"""The offline store of a source: Parquet segments and a manifest of them, so that a batch is in it whole, once, or not at all.

It lies in a folder or in a bucket (hallmark/feature_store/source_bucket.py). Segments are never changed. A batch's rows are there from
the moment when the manifest names its segment: a process that is killed before leaves a file that nobody reads. Rows that come twice in
two batches are harmless: one event id is one event. Rows that are erased leave with their segment, in whose place another one stands (`erase`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark import files
from hallmark.errors import Conflict, NotFound
from hallmark.feature_store.bucket import Bucket
from hallmark.feature_store.source_bucket import SourceBucket
from hallmark.feature_store.source_manifest import (
    MANIFEST,
    SUFFIX,
    Manifest,
    Merge,
    Segment,
    Snapshot,
    digests,
    extended,
    joined,
    renamed,
    whole,
    written,
)
from hallmark.settings import ADDRESS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from hallmark.settings import Settings

Place = Path | SourceBucket
"""Where a source's offline store lies."""
_LOCK = ".lock"
_PATIENCE = 60.0


def place(settings: Settings, reference: str) -> Place:
    """Where a source's offline store lies: `HALLMARK_FEATURE_OFFLINE`, or the state folder; what a bucket gives is kept in the state folder.

    `DeclarationError` where the address is none, `Unavailable` where a library for it is not installed. Nothing is asked yet.
    """
    where = root(settings)
    if isinstance(where, Bucket):
        return SourceBucket(where, reference, settings.state / "features" / "cached" / reference)
    return where / reference


def references(settings: Settings) -> list[str]:
    """The sources, name@version, that have an offline store, sorted."""
    where = root(settings)
    if isinstance(where, Bucket):
        return [each for each in where.folders() if "@" in each]
    return sorted(path.name for path in where.glob("*@*"))


def root(settings: Settings) -> Path | Bucket:
    """Where all sources' offline stores lie."""
    if ADDRESS.match(settings.feature_offline):
        return Bucket.at(settings.feature_offline)
    return Path(settings.feature_offline) if settings.feature_offline else settings.state / "features" / "offline"


def there(place: Place) -> Snapshot | None:
    """The source as it stands now; none before its first batch."""
    if isinstance(place, SourceBucket):
        return place.there()
    path = place / MANIFEST
    if not path.is_file():
        return None
    return Snapshot(place, Manifest.parsed(path.read_text(encoding="utf-8"), str(path)))


def snapshot(place: Place) -> Snapshot:
    """The source as it stands now; `NotFound` before its first batch."""
    found = there(place)
    if found is None:
        raise NotFound("there is no source", expected=f"a folder with {MANIFEST}", got=str(place))
    return found


def append(
    place: Place,
    frame: pd.DataFrame | pa.Table,
    *,
    source: str,
    batch: str,
    check: Callable[[pa.Table], pa.Table] | None = None,
    still: Callable[[Manifest | None], bool] = lambda _: True,
    patience: float = _PATIENCE,
) -> bool:
    """Append a batch of rows to a source, which is made; False where the batch is in it already, or the source is no longer what it was.

    batch: names the batch; the same rows under the same name are appended once, other rows under it are refused (`Conflict`).
    check: the contract, which gives the rows back or raises.   still: asked of what is there in the moment of the append.
    """
    table = whole(frame)
    if check is not None:
        table = whole(check(table))
    if isinstance(place, SourceBucket):
        return place.append(table, source=source, batch=batch, still=still)
    return _append(place, table, source=source, batch=batch, still=still, patience=patience)


def erase(
    place: Place,
    kept: Callable[[pa.Table], pa.Table],
    *,
    noted: Callable[[Mapping[str, str]], None],
    patience: float = _PATIENCE,
) -> int:
    """Erase rows of a source; how many. Killed anywhere, all of them are there or none, and doing it again ends it.

    kept:  the rows of a segment that stay, in their order.
    noted: is told the new digest of each snapshot that had one of the rows, by its old digest, before any of them changes; told again, the
           last word counts.
    """
    if isinstance(place, SourceBucket):
        return place.erase(kept, noted=noted)
    return _erase(place, kept, noted=noted, patience=patience)


def merge(place: Place, chosen: Merge, *, patience: float = _PATIENCE) -> bool:
    """Have one segment in the place of those that `chosen` names; False where it names none. Killed anywhere, all of them are there or the one.

    Their files stay for a day, for who reads a snapshot of before.
    """
    if isinstance(place, SourceBucket):
        return place.merge(chosen)
    if (found := there(place)) is None or chosen(found.manifest) is None:
        return False
    with _alone(place, patience):
        held = snapshot(place).manifest
        _sweep(place, held)
        if (named := chosen(held)) is None:
            return False
        batch, parts = named
        made = written(place, joined([place / each.file for each in parts]), batch)
        (place / made.draft).replace(place / made.file)
        _settle(place)
        files.replace(place / MANIFEST, held.merged(parts, made).text())
        _settle(place)
    return True


def _append(
    folder: Path,
    table: pa.Table,
    *,
    source: str,
    batch: str,
    still: Callable[[Manifest | None], bool],
    patience: float,
) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, patience):
        found = there(folder)
        held = found.manifest if found else None
        _sweep(folder, held)
        segment = written(folder, table, batch)
        try:
            if (held is not None and held.holds(segment)) or not still(held):
                return False
            manifest = extended(held, segment, source, table)
            (folder / segment.draft).replace(folder / segment.file)
            _settle(folder)
            files.replace(folder / MANIFEST, manifest.text())
            _settle(folder)
        finally:
            (folder / segment.draft).unlink(missing_ok=True)
    return True


def _erase(
    folder: Path,
    kept: Callable[[pa.Table], pa.Table],
    *,
    noted: Callable[[Mapping[str, str]], None],
    patience: float,
) -> int:
    with _alone(folder, patience):
        held = snapshot(folder).manifest
        _sweep(folder, held)
        after = held.erased(tuple(_without(folder, each, kept) for each in held.segments))
        if after != held:
            noted(renamed(held, after))
            _settle(folder)
            files.replace(folder / MANIFEST, after.text())
            _settle(folder)
            _sweep(folder, after)
    return sum(each.rows for each in held.segments) - sum(each.rows for each in after.segments)


def _without(folder: Path, segment: Segment, kept: Callable[[pa.Table], pa.Table]) -> Segment:
    """The segment in the place of one that has rows which do not stay; it has another file, and remains its batch though it were empty."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / segment.file)
    left = kept(table)
    if left.num_rows == table.num_rows:
        return segment
    made = written(folder, left, segment.batch, after=segment)
    (folder / made.draft).replace(folder / made.file)
    return made


@contextlib.contextmanager
def _alone(folder: Path, patience: float) -> Any:
    try:
        with files.locked(folder / _LOCK, patience=patience):
            yield
    except TimeoutError as error:
        raise Conflict(
            f"{folder.name}: another process appends", expected=f"its end within {patience:g} s", got=str(error)
        ) from error


def _sweep(folder: Path, held: Manifest | None) -> None:
    """Remove what an append left that was killed, and what was replaced longer ago than anybody reads."""
    known = {each.file for each in held.readable()} if held else set()
    for path in folder.iterdir():
        if path.name.endswith(SUFFIX) and path.name not in known:
            path.unlink()


def _settle(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = [
    "MANIFEST",
    "Manifest",
    "Place",
    "Segment",
    "Snapshot",
    "append",
    "digests",
    "erase",
    "merge",
    "place",
    "references",
    "root",
    "snapshot",
    "there",
]
