"""The offline store of a source: Parquet segments in a folder and a manifest of them, so that a batch is in it whole, once, or not at all.

Segments are never changed. A batch's rows are there from the moment when the manifest names its segment: a process that is killed
before leaves a file that nobody reads, and the next append removes it. Rows that come twice in two batches are harmless: one event id
is one event.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark import files
from hallmark.errors import Conflict, ContractBroken, HallmarkError, NotFound
from hallmark.section import Frozen

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from hallmark.settings import Settings

MANIFEST = "manifest.json"
_LOCK = ".lock"
_SUFFIX = ".parquet"
_PATIENCE = 60.0


class Segment(Frozen):
    """A batch of rows. times: earliest and latest value of each column of times."""

    batch: str
    file: str
    digest: str
    rows: int
    times: Mapping[str, tuple[datetime, datetime]]


class Manifest(Frozen):
    """What a source holds. columns: the type of each column, as Arrow writes it."""

    source: str
    columns: Mapping[str, str]
    segments: tuple[Segment, ...]


class Snapshot(Frozen):
    """A source as it stood at one moment; what is appended later is not in it."""

    folder: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of every row's bytes, by those of the segments."""
        return f"sha256:{hashlib.sha256(self.manifest.model_dump_json().encode()).hexdigest()}"

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
                found.append(self.folder / segment.file)
        return found

    def verify(self) -> None:
        """Read every byte; `ContractBroken` names the segment that is not what was appended."""
        for segment in self.manifest.segments:
            path = self.folder / segment.file
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


def place(settings: Settings, reference: str) -> Path:
    """The folder of a source's offline store on this machine."""
    return settings.state / "features" / "offline" / reference


def there(folder: Path) -> Snapshot | None:
    """The source in a folder as it stands now; none before its first batch."""
    return snapshot(folder) if (folder / MANIFEST).is_file() else None


def snapshot(folder: Path) -> Snapshot:
    """The source in a folder as it stands now."""
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound("there is no source", expected=f"a folder with {MANIFEST}", got=str(folder))
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HallmarkError(
            f"{path} cannot be read", expected="a source's manifest", got=str(error).splitlines()[0]
        ) from error
    return Snapshot(folder=folder, manifest=manifest)


def append(
    folder: Path,
    frame: pd.DataFrame | pa.Table,
    *,
    source: str,
    batch: str,
    check: Callable[[pa.Table], pa.Table] | None = None,
    patience: float = _PATIENCE,
) -> bool:
    """Append a batch of rows to the source in `folder`, which is made; False where the batch is in it already.

    batch: names the batch; the same rows under the same name are appended once, other rows under it are refused (`Conflict`).
    check: the contract, which gives the rows back or raises.
    """
    table = _whole(frame)
    if check is not None:
        table = _whole(check(table))
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, patience):
        held = snapshot(folder).manifest if (folder / MANIFEST).is_file() else None
        _sweep(folder, held)
        segment = _segment(folder, table, batch)
        try:
            if held is not None and (known := _known(held, segment, folder)) is not None:
                return known
            manifest = _with(held, segment, source, {field.name: str(field.type) for field in table.schema})
            (folder / _draft(segment)).replace(folder / segment.file)
            _settle(folder)
            files.replace(folder / MANIFEST, manifest.model_dump_json(indent=1))
            _settle(folder)
        finally:
            (folder / _draft(segment)).unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def _alone(folder: Path, patience: float) -> Any:
    try:
        with files.locked(folder / _LOCK, patience=patience):
            yield
    except TimeoutError as error:
        raise Conflict(
            f"{folder.name}: another process appends", expected=f"its end within {patience:g} s", got=str(error)
        ) from error


def _whole(frame: pd.DataFrame | pa.Table) -> pa.Table:
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


def _segment(folder: Path, table: pa.Table, batch: str) -> Segment:
    """Write a batch's draft, and say what it is. The same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    name = hashlib.sha256(batch.encode()).hexdigest()[:32] + _SUFFIX
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
    return Segment(batch=batch, file=name, digest=files.digest_file(draft), rows=table.num_rows, times=times)


def _draft(segment: Segment) -> str:
    return f".{segment.file}"


def _known(held: Manifest, segment: Segment, folder: Path) -> bool | None:
    """False where the batch is held already; None where it is not."""
    before = next((each for each in held.segments if each.batch == segment.batch), None)
    if before is None:
        return None
    if before.digest != segment.digest:
        raise Conflict(
            f"batch {segment.batch} of {folder.name} is there with other rows",
            expected=f"{before.rows} rows, {before.digest}",
            got=f"{segment.rows} rows, {segment.digest}",
            fix="give these rows a batch id of their own: rows of one event id correct each other",
        )
    return False


def _with(held: Manifest | None, segment: Segment, source: str, columns: Mapping[str, str]) -> Manifest:
    if held is None:
        return Manifest(source=source, columns=columns, segments=(segment,))
    if held.source != source or dict(held.columns) != dict(columns):
        raise ContractBroken(
            f"the batch does not fit {held.source}",
            expected=f"{held.source}: {dict(held.columns)}",
            got=f"{source}: {dict(columns)}",
            fix="write another version of the contract to a folder of its own",
        )
    return Manifest(source=source, columns=held.columns, segments=(*held.segments, segment))


def _sweep(folder: Path, held: Manifest | None) -> None:
    """Remove what an append left that was killed."""
    known = {segment.file for segment in held.segments} if held else set()
    for path in folder.iterdir():
        if path.name.endswith(_SUFFIX) and path.name not in known:
            path.unlink()


def _settle(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
