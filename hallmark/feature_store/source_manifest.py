"""What a source's offline store holds, wherever it lies: segments of Parquet, the manifest that names them, and how a batch becomes one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark import files
from hallmark.errors import Conflict, ContractBroken, HallmarkError
from hallmark.section import Frozen

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MANIFEST = "manifest.json"
SUFFIX = ".parquet"
KEPT = timedelta(days=1)
"""For how long segments stay that another took the place of: whoever read the manifest before still reads them."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Segment(Frozen):
    """A batch of rows. times: earliest and latest value of each column of times. was: its digests before rows of it were erased."""

    batch: str
    file: str
    digest: str
    rows: int
    times: Mapping[str, tuple[datetime, datetime]]
    was: tuple[str, ...] = ()

    @property
    def draft(self) -> str:
        """The name of the file before it is one of the source's."""
        return f".{self.file}"


class Replaced(Frozen):
    """A segment that another took the place of, and when."""

    file: str
    digest: str
    at: datetime


class Manifest(Frozen):
    """What a source holds. columns: the type of each column, as Arrow writes it. replaced: what lies there still, for who reads it now."""

    source: str
    columns: Mapping[str, str]
    segments: tuple[Segment, ...]
    replaced: tuple[Replaced, ...] = ()

    @classmethod
    def parsed(cls, text: str | bytes, shown: str) -> Manifest:
        """The manifest that was written so; `HallmarkError` names `shown` where it is none."""
        try:
            return cls.model_validate_json(text)
        except ValueError as error:
            raise HallmarkError(
                f"{shown} cannot be read", expected="a source's manifest", got=str(error).splitlines()[0]
            ) from error

    def text(self) -> str:
        """The manifest as it is written."""
        return self.model_dump_json(indent=1)

    def holds(self, segment: Segment) -> bool:
        """Is this batch in it? `Conflict` where other rows are under its name."""
        before = next((each for each in self.segments if each.batch == segment.batch), None)
        if before is not None and segment.digest not in (before.digest, *before.was):
            raise Conflict(
                f"batch {segment.batch} of {self.source} is there with other rows",
                expected=f"{before.rows} rows, {before.digest}",
                got=f"{segment.rows} rows, {segment.digest}",
                fix="give these rows a batch id of their own: rows of one event id correct each other",
            )
        return before is not None

    def readable(self) -> tuple[Segment | Replaced, ...]:
        """What lies there for a reader of this manifest, or of one of the last day."""
        since = datetime.now(UTC) - KEPT
        return (*self.segments, *(each for each in self.replaced if each.at > since))

    def unreadable(self) -> tuple[Replaced, ...]:
        """What was replaced, and nobody may read any more."""
        since = datetime.now(UTC) - KEPT
        return tuple(each for each in self.replaced if each.at <= since)

    def merged(self, parts: Sequence[Segment], made: Segment) -> Manifest:
        """With one segment in the place of the last of several."""
        last, gone = parts[-1], {each.batch for each in parts[:-1]}
        segments = tuple(made if each == last else each for each in self.segments if each.batch not in gone)
        now = datetime.now(UTC)
        left = [each for each in self.readable() if isinstance(each, Replaced)]
        left += [Replaced(file=each.file, digest=each.digest, at=now) for each in parts]
        return self.model_copy(update={"segments": segments, "replaced": tuple(left)})

    def erased(self, segments: tuple[Segment, ...]) -> Manifest:
        """With these segments in the place of its own; what was replaced may hold rows that are erased, and goes."""
        if segments == self.segments:
            return self
        gone = tuple(each.model_copy(update={"at": _LONG_AGO}) for each in self.replaced)
        return self.model_copy(update={"segments": segments, "replaced": gone})


@dataclass(frozen=True)
class Snapshot:
    """A source as it stood at one moment; what is appended later is not in it."""

    folder: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of every row's bytes, by those of the segments."""
        return list(digests(self.manifest))[-1]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(segment.rows for segment in self.manifest.segments)

    def files(self, *, column: str = "", since: datetime | None = None, before: datetime | None = None) -> list[Path]:
        """The Parquet files, without those in which no time in `column` is from `since` on and `before`."""
        found = []
        for segment in self.manifest.segments:
            earliest, latest = segment.times.get(column, (None, None))
            late = before is not None and earliest is not None and earliest >= before
            early = since is not None and latest is not None and latest < since
            if not (late or early):
                found.append(segment)
        return self.at_hand(found)

    def at_hand(self, segments: list[Segment]) -> list[Path]:
        """The files of these segments."""
        return [self.folder / segment.file for segment in segments]

    def verify(self) -> None:
        """Read every byte; `ContractBroken` names the segment that is not what was appended."""
        for segment, path in zip(self.manifest.segments, self.files(), strict=True):
            got = files.digest_file(path) if path.is_file() else "no file"
            if got != segment.digest:
                raise ContractBroken(
                    f"{self.manifest.source}: batch {segment.batch} is not what was appended",
                    expected=segment.digest,
                    got=got,
                    fix=f"bring {path} back from a copy",
                )

    def span(self, column: str) -> tuple[datetime, datetime] | None:
        """The earliest and the latest time in a column; none where it has no value."""
        ends = [segment.times[column] for segment in self.manifest.segments if column in segment.times]
        return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


def digests(manifest: Manifest) -> Iterator[str]:
    """The digest of a source without a batch, and after each of its batches, in their order: those of all its snapshots so far."""
    head = manifest.model_copy(update={"segments": ()}).model_dump_json(exclude={"replaced"}).removesuffix("]}")
    sha = hashlib.sha256(head.encode())
    for place in range(len(manifest.segments) + 1):
        whole = sha.copy()
        whole.update(b"]}")
        yield f"sha256:{whole.hexdigest()}"
        if place < len(manifest.segments):
            sha.update((("," if place else "") + manifest.segments[place].model_dump_json()).encode())


def renamed(before: Manifest, after: Manifest) -> dict[str, str]:
    """The new digest of each snapshot that is called otherwise after an erasure, by its old one."""
    pairs = zip(digests(before), digests(after), strict=True)
    return {old: new for old, new in pairs if old != new}


def extended(held: Manifest | None, segment: Segment, source: str, table: pa.Table) -> Manifest:
    """The manifest with one batch more; `ContractBroken` where its columns, or its source, are others."""
    columns = {field.name: str(field.type) for field in table.schema}
    if held is None:
        return Manifest(source=source, columns=columns, segments=(segment,))
    if held.source != source or dict(held.columns) != columns:
        raise ContractBroken(
            f"the batch does not fit {held.source}",
            expected=f"{held.source}: {dict(held.columns)}",
            got=f"{source}: {columns}",
            fix="write another version of the contract to a folder of its own",
        )
    return held.model_copy(update={"segments": (*held.segments, segment)})


Merge = Callable[[Manifest], tuple[str, tuple[Segment, ...]] | None]
"""What of a source is to become one segment, and the name of that batch; none where nothing is."""


def joined(paths: Sequence[Path]) -> pa.Table:
    """The rows of several segments, in their order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.concat_tables([pq.read_table(path) for path in paths])


def whole(frame: pd.DataFrame | pa.Table) -> pa.Table:
    """A table with its times in microseconds of UTC; naive ones, and finer ones, are refused."""
    import pyarrow as pa

    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    fields = []
    for field in table.schema:
        if pa.types.is_timestamp(field.type):
            if field.type.tz is None:
                raise ContractBroken(
                    f"{field.name} says no time zone",
                    expected="times with their zone",
                    got=str(field.type),
                    fix=f"say which zone it is, such as frame[{field.name!r}].dt.tz_localize('UTC')",
                )
            field = pa.field(field.name, pa.timestamp("us", "UTC"))
        elif pa.types.is_dictionary(field.type):
            field = pa.field(field.name, field.type.value_type)
        fields.append(pa.field(field.name, field.type))
    try:
        return table.cast(pa.schema(fields))
    except pa.ArrowInvalid as error:
        raise ContractBroken(
            "a time is finer than a microsecond", expected="whole microseconds", got=str(error)
        ) from error


def written(folder: Path, table: pa.Table, batch: str, *, after: Segment | None = None) -> Segment:
    """Write a batch's draft, and say what it is. The same rows give the same bytes. after: the segment that it replaces."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    name = hashlib.sha256((batch + (after.digest if after else "")).encode()).hexdigest()[:32] + SUFFIX
    draft = folder / f".{name}"
    with draft.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd", compression_level=3, version="2.6", row_group_size=1 << 17)
        stream.flush()
        os.fsync(stream.fileno())
    times = {}
    for field in table.schema:
        if pa.types.is_timestamp(field.type):
            ends = pc.min_max(table.column(field.name)).as_py()
            if ends["min"] is not None:
                times[field.name] = (ends["min"], ends["max"])
    was = (*after.was, after.digest) if after else ()
    return Segment(batch=batch, file=name, digest=files.digest_file(draft), rows=table.num_rows, times=times, was=was)
