"""What streams read of a source's log, in its offline store too: Parquet parts, each named by the records that it has read.

A part is in the manifest whole, with the offsets in its name, or not at all. So whoever goes on after a kill reads on from where the
manifest says, nothing is missing, and of two that do it at once one takes each record. Rows that the offline store has already, since
whoever sent them ingested them too, are left out. Small parts become one (docs/decisions/0060).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark import files
from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.source import Source
from hallmark.feature_store import sources
from hallmark.feature_store.log import FileLog, Log, Record
from hallmark.feature_store.plan import quoted, text
from hallmark.feature_store.tiles import Unreadable, value_of

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 1_000_000
"""Records of a part at most."""
TOGETHER = 16
"""Parts of about one size that become one: a source has at most so many of each size, and each row is written again at most five times."""
_READ_AT_ONCE = 10_000
_MARK = "log "
"""Begins the name of a part."""
_INGESTED = "ingested.jsonl"
Span = tuple[int, int]
"""Offsets of records: the first, and the one after the last."""


class Archived(NamedTuple):
    """What was brought. rows: new ones.   repeated: that the offline store had, or that came twice.   refused: records that are no rows of the contract's types."""

    rows: int
    repeated: int
    refused: int


class Archive:
    """Brings a source's log into its offline store, as far as it has come; again and again for one that goes on.

    name: of the log, the same wherever it is read from.
    """

    def __init__(self, contract: Source, place: sources.Place, log: Log, *, name: str, ingested: Path | None) -> None:
        self._contract, self._place, self._log = contract, place, log
        self._name, self._ingested = name, ingested
        self._seen: dict[str, int] = {}

    def run(self, *, least: int = 1) -> Archived:
        """Bring all that is there now, and put small parts together; where fewer than `least` rows are new, they wait for the next time."""
        found = self._brought(least)
        while sources.merge(self._place, lambda manifest: mergeable(manifest, self._name)):
            pass
        return found

    def _brought(self, least: int) -> Archived:
        found = Archived(0, 0, 0)
        while True:
            held = sources.there(self._place)
            done = offsets(held.manifest, self._name) if held else {}
            at = {each: max(done.get(each, -1), self._seen.get(each, -1)) for each in {*done, *self._seen}}
            records, ends = self._read(at)
            if ends == at:
                return found
            table, refused = rows(self._contract, records)
            new = _lacking(table, held, self._contract)
            there = table.num_rows - new.num_rows
            if not new.num_rows:
                self._seen |= ends  # told by the next part, or found again by who starts anew
                found = Archived(found.rows, found.repeated + there, found.refused + refused)
                continue
            if new.num_rows < least and len(records) < ROWS:
                return found
            spans = {each: (done.get(each, 0), end) for each, end in ends.items()}
            taken = sources.append(
                self._place,
                new,
                source=self._contract.reference,
                batch=_named(self._name, spans),
                still=lambda manifest, done=done: (offsets(manifest, self._name) if manifest else {}) == done,  # type: ignore[misc]
            )
            if taken:  # else another was there first
                self._seen |= ends
                found = Archived(found.rows + new.num_rows, found.repeated + there, found.refused + refused)

    def _read(self, at: Mapping[str, int]) -> tuple[list[Record], dict[str, int]]:
        """Records from these offsets on, less those that `ingest` wrote, and where they end."""
        found: list[Record] = []
        ends = dict(at)
        skipped = sorted(_spans(self._ingested)) if self._ingested else []
        for partition in self._log.partitions():
            offset = at.get(partition, -1)
            offset = self._log.begin(partition) if offset < 0 else offset
            while len(found) < ROWS:
                past = next((end for begin, end in skipped if begin <= offset < end), None)
                if past is not None:
                    offset = past
                    continue
                following = min((begin for begin, _ in skipped if begin > offset), default=offset + _READ_AT_ONCE)
                batch = self._log.read(partition, offset, min(_READ_AT_ONCE, following - offset))
                if not batch:
                    break
                found += [each for each in batch if not each.erased]
                offset = batch[-1].offset + 1
            if offset > at.get(partition, -1):
                ends[partition] = offset
        return found, ends


def offsets(manifest: sources.Manifest, name: str) -> dict[str, int]:
    """How far parts have read a log: by partition the offset after the last."""
    found: dict[str, int] = {}
    for each in manifest.segments:
        if each.batch.startswith(f"{_MARK}{name} "):
            spans: dict[str, list[int]] = json.loads(each.batch.removeprefix(f"{_MARK}{name} "))
            found |= {partition: max(end, found.get(partition, end)) for partition, (_, end) in spans.items()}
    return found


def mergeable(manifest: sources.Manifest, name: str) -> tuple[str, tuple[sources.Segment, ...]] | None:
    """Parts of a log that are of one size and enough to become one, the oldest first, with the name of that; none where there are not so many.

    One that has a `TOGETHER`th of `ROWS` is left as it is, so that none has more than `ROWS`.
    """
    sizes: dict[int, list[sources.Segment]] = {}
    for each in manifest.segments:
        if each.batch.startswith(f"{_MARK}{name} ") and each.rows * TOGETHER < ROWS:
            size = 0
            while each.rows >= TOGETHER ** (size + 1):
                size += 1
            sizes.setdefault(size, []).append(each)
    for _, parts in sorted(sizes.items()):
        if len(parts) >= TOGETHER:
            chosen = tuple(parts[:TOGETHER])
            spans: dict[str, Span] = {}
            for each in chosen:
                for partition, (begin, end) in json.loads(each.batch.removeprefix(f"{_MARK}{name} ")).items():
                    first, last = spans.get(partition, (begin, end))
                    spans[partition] = min(first, begin), max(last, end)
            return _named(name, spans), chosen
    return None


def _named(log: str, spans: Mapping[str, Span]) -> str:
    """The batch of a part: the log, and by partition which of its records it has read."""
    return f"{_MARK}{log} {json.dumps(spans, sort_keys=True)}"


def named(folder: Path) -> str:
    """The name of a log of files, which no other log has; it is made where there is none."""
    path = folder / "name"
    if not path.is_file():
        draft = folder / f".name.{uuid.uuid4().hex}"
        files.replace(draft, f"file-{uuid.uuid4().hex[:16]}")
        with contextlib.suppress(FileExistsError):  # another named it meanwhile, and its name holds
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text(encoding="utf-8")


def elsewhere(address: str, source: str) -> str:
    """The name of a log that an address names, without what says who asks."""
    where = f"{address.partition('?')[0]} {source}"
    return f"{address.partition('://')[0]}-{hashlib.sha256(where.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def ingesting(log: FileLog, folder: Path) -> Iterator[None]:
    """What is appended meanwhile comes into the offline store by itself, once this ends well."""
    from hallmark.feature_store.log import FIRST

    begin = log.append(FIRST, [])
    yield
    if (end := log.append(FIRST, [])) > begin:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _INGESTED).open("a", encoding="utf-8") as stream:
            stream.write(f"{json.dumps([begin, end])}\n")


def _spans(folder: Path) -> list[Span]:
    """Which records of the first partition `ingest` wrote; a line that a kill cut says nothing."""
    path = folder / _INGESTED
    found: list[Span] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            begin, end = json.loads(line)
            found.append((begin, end))
    return found


def rows(contract: Source, records: Sequence[Record]) -> tuple[pa.Table, int]:
    """Rows of the contract's types, each once, by the rules of the stream, and how many records are none; `docs/features.md` has the fates."""
    import msgspec
    import pyarrow as pa

    taken: list[dict[str, Any]] = []
    refused = 0
    kinds = {name: COLUMN_TYPES[each.datatype] for name, each in contract.columns.items()}
    needed = {name for name, each in contract.columns.items() if each.required}
    for record in records:
        try:
            told = msgspec.json.decode(record.value)
            if not isinstance(told, dict):
                raise Unreadable("no JSON object")
            row = {name: value_of(told.get(name), kind.stream) for name, kind in kinds.items()}
            if any(row[name] is None for name in needed):
                raise Unreadable("a value that is never null")
            taken.append(row)
        except (msgspec.DecodeError, Unreadable):
            refused += 1
    arrays = {name: pa.array([row[name] for row in taken], _plain(kind.arrow)) for name, kind in kinds.items()}
    fields = pa.schema([(name, kind.arrow) for name, kind in kinds.items()])
    return pa.table(arrays).cast(fields), refused


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _lacking(table: pa.Table, held: sources.Snapshot | None, contract: Source) -> pa.Table:
    """The rows that the offline store has not, each once, in an order that does not depend on how they came."""
    import duckdb
    import pyarrow.compute as pc

    if not table.num_rows:
        return table
    there: list[str] = []
    times = [name for name, each in contract.columns.items() if each.datatype == "TIME" and each.required]
    if held is not None and times:
        ends = pc.min_max(table.column(times[0])).as_py()
        paths = held.files(column=times[0], since=ends["min"])
        there = [str(path) for path in paths]
    elif held is not None:
        there = [str(path) for path in held.files()]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("arrived", table)
        columns = ", ".join(map(quoted, table.column_names))
        less = f"EXCEPT SELECT {columns} FROM read_parquet([{', '.join(map(text, there))}])" if there else ""  # noqa: S608  names are quoted
        query = f"SELECT DISTINCT {columns} FROM arrived {less} ORDER BY ALL"  # noqa: S608
        return connection.sql(query).to_arrow_table().cast(table.schema)
