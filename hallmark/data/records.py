"""Files of records as arrow tables with the text that is in them: CSV, Parquet, JSON lines; compressed, and in partitions."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from hallmark.data.reading import BESIDE, ReadingOptions
from hallmark.errors import ContractBroken, HallmarkError, NotFound

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
_OTHER = (
    ".xlsx",
    ".xls",
    ".ods",
    ".zip",
    ".7z",
    ".rar",
    ".xz",
    ".json",
    ".avro",
    ".orc",
    ".feather",
    ".arrow",
    ".txt",
    ".pq",
)
_READ = "a .parquet, .csv, .tsv or .jsonl file (text also as .gz, .bz2, .zst, .lz4), or a folder of them"
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_SHOWN = 3


@dataclass(frozen=True)
class RecordFile:
    """A file of records: as people know it, and the columns that its folders' names (`dt=2026-09-01`) add."""

    path: Path
    shown: str
    partitions: tuple[tuple[str, str | None], ...] = ()

    @property
    def suffix(self) -> str:
        """The suffix of its form, without that of a compression."""
        name = self.path.name
        return Path(name[: -len(self.path.suffix)] if self.path.suffix in COMPRESSED else name).suffix

    def table(self, options: ReadingOptions, *, rows: int | None = None) -> pa.Table:
        """Its columns as they are written, of a CSV as text; or only the first `rows`."""
        if self.suffix in (".csv", ".tsv"):
            table = _csv(self, options, rows)
        else:
            table = _parquet(self, rows) if self.suffix == ".parquet" else _lines(self, rows)
        names = table.column_names
        for name in names:
            if names.count(name) > 1:
                raise _twice(self, name, names)
        for name, value in self.partitions:
            if name in names:
                raise ContractBroken(
                    f"{self.shown}: column {name} is in the file and in its folder's name",
                    expected="a partition's column in one of them",
                    got=f"{name}={value}",
                )
            table = table.append_column(name, pa.repeat(pa.scalar(value, pa.large_string()), len(table)))
        return table

    def place(self, row: int, options: ReadingOptions, rows: int) -> str:
        """Where row `row` of `rows`, from 0, is written."""
        if self.suffix == ".parquet":
            return f"{self.shown}, row {row + 1}"
        if self.suffix in (".jsonl", ".ndjson"):
            return f"{self.shown}:{_nth_line(self, row)}"
        with _bytes(self) as stream:
            breaks = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
        if breaks in (rows, rows + 1):
            return f"{self.shown}:{row + 2}"
        found = next(itertools.islice(_rows(self, options), row + 1, None), None)
        return f"{self.shown}:{found[0]}" if found else f"{self.shown}, row {row + 1}"


def files(source: Path) -> list[RecordFile]:
    """The files at `source`, in order of their names; what is not read there is refused by name where it may be data."""
    if source.is_file():
        found = [RecordFile(source, source.name)]
    elif source.is_dir():
        found = list(_inside(source, "", ()))
    else:
        raise NotFound(
            f"there is no data at {source}",
            expected="a Parquet, CSV or JSON lines file, or a folder of them",
            got="nothing at that path",
            fix="check the path that was given",
        )
    text = source.suffix in COMPRESSED and found[0].suffix == ".parquet" if source.is_file() else False
    if not found or text or found[0].suffix not in SUFFIXES:
        raise HallmarkError(
            f"{source.name} holds no records that can be read",
            expected=_READ,
            got=("an empty folder" if source.is_dir() else source.suffix) or "no suffix",
            fix="convert it, or check the path that was given",
        )
    if len({tuple(name for name, _ in file.partitions) for file in found}) > 1:
        raise ContractBroken(
            f"the folders of {source.name} are partitioned in several ways",
            expected="the same key=value levels for every file",
            got="; ".join(sorted({str(Path(file.shown).parent) for file in found})[:_SHOWN]),
        )
    return found


def _inside(folder: Path, shown: str, partitions: tuple[tuple[str, str | None], ...]) -> Iterator[RecordFile]:
    for path in sorted(folder.iterdir()):
        name = f"{shown}{path.name}"
        if path.name.startswith((".", "_")) or path.name == BESIDE:
            continue
        if path.is_dir():
            key, equals, value = path.name.partition("=")
            part = (key, None if value == _NO_PARTITION else unquote(value))
            within = list(_inside(path, f"{name}/", (*partitions, part) if equals else partitions))
            if within and not equals:
                raise ContractBroken(
                    f"{name} holds data and is no partition",
                    expected="files side by side, or folders named key=value such as dt=2026-09-01",
                    got=f"{within[0].shown}",
                    fix="name one of the folders, or move what is no data of this set",
                )
            yield from within
            continue
        file = RecordFile(path, name, partitions)
        if file.suffix in SUFFIXES:
            yield file
        elif path.suffix in (*_OTHER, *COMPRESSED):
            raise HallmarkError(
                f"{name} lies among the data and is not read",
                expected=_READ,
                got=path.suffix,
                fix="convert or remove it",
            )


def _bytes(file: RecordFile) -> io.BufferedReader:
    """The bytes of a file, decompressed."""
    return io.BufferedReader(pa.input_stream(str(file.path), compression="detect"))


def _rows(file: RecordFile, options: ReadingOptions) -> Iterator[tuple[int, list[str]]]:
    """Line and values of each row of a CSV that is not empty, the header first; slow, so only to name places."""
    with (
        _bytes(file) as stream,
        io.TextIOWrapper(
            stream, "utf-8-sig" if options.encoding == "utf-8" else options.encoding, "replace", newline=""
        ) as text,
    ):
        reader, line = csv.reader(text, delimiter=_separator(file, options)), 1
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1


def _separator(file: RecordFile, options: ReadingOptions) -> str:
    return options.separator or ("\t" if file.suffix == ".tsv" else ",")


def _csv(file: RecordFile, options: ReadingOptions, rows: int | None) -> pa.Table:
    from pyarrow import csv as reader

    separator = _separator(file, options)
    try:
        head = list(itertools.islice(_rows(file, options), 2))
    except (csv.Error, pa.ArrowInvalid, OSError) as error:
        raise _unreadable(file, str(error)) from error
    if not head:
        raise _unreadable(file, "nothing")
    names = head[0][1]
    for name in names:
        if names.count(name) > 1:
            raise _twice(file, name, names)
    skipped = head[0][0] + sum(name.count("\n") for name in names)
    given = {
        "read_options": reader.ReadOptions(column_names=names, skip_rows=skipped, encoding=options.encoding),
        "parse_options": reader.ParseOptions(
            delimiter=separator, newlines_in_values=True, ignore_empty_lines=len(names) > 1
        ),
        "convert_options": reader.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()),
            null_values=[""] if options.nulls is None else list(options.nulls),
            strings_can_be_null=True,
        ),
    }
    if len(head) == 1:
        return pa.table({name: pa.array([], pa.large_string()) for name in names})
    try:
        with _bytes(file) as stream:
            table = reader.read_csv(stream, **given) if rows is None else _first(reader.open_csv(stream, **given), rows)
    except (pa.ArrowInvalid, UnicodeError, OSError) as error:
        ragged = "Expected" in str(error) and "columns" in str(error)
        raise (
            _undecodable(file, options) or (_ragged(file, options, names) if ragged else _unreadable(file, str(error)))
        ) from error
    if len(table) and rows is None:
        _closed(file, table, options)
    return table


def _first(batches: Any, rows: int) -> pa.Table:
    found: list[Any] = []
    while sum(map(len, found)) < rows:
        try:
            found.append(batches.read_next_batch())
        except StopIteration:
            break
    return pa.Table.from_batches(found, batches.schema).slice(0, rows)


def _closed(file: RecordFile, table: pa.Table, options: ReadingOptions) -> None:
    """Refuse a last value whose quote is never closed: it has swallowed what came after it."""
    last = table.column(table.num_columns - 1)[-1].as_py() or ""
    tail = ('"' + last.replace('"', '""')).encode(options.encoding)
    with _bytes(file) as stream:
        if file.path.suffix not in COMPRESSED:
            stream.seek(max(0, file.path.stat().st_size - len(tail) - 1))
        kept = b""
        for block in iter(lambda: stream.read(1 << 20), b""):
            kept = (kept + block)[-len(tail) - 1 :]
    if kept.endswith((_separator(file, options).encode(options.encoding) + tail, b"\n" + tail)):
        raise _unreadable(file, "a quote that is opened in the last row and never closed")


def _ragged(file: RecordFile, options: ReadingOptions, names: Sequence[str]) -> ContractBroken:
    odd = ((line, row) for line, row in _rows(file, options) if len(row) != len(names))
    shown = [
        f"{file.shown}:{line} has {len(row)}: {_cut(','.join(row))}" for line, row in itertools.islice(odd, _SHOWN)
    ]
    separator = _separator(file, options)
    other = max((mark for mark in ";\t|," if mark != separator), key=names[0].count)
    named = f"name the separator in {BESIDE} beside it: separator: {other!r}"
    return ContractBroken(
        f"{file.shown} cannot be read as a CSV: a row has more or fewer values than the header",
        expected=f"{len(names)} values in every row, as the header has",
        got="\n        ".join(shown) or "another number",
        fix=named if other in names[0] else f"put values that hold a {separator!r} in quotes",
    )


def _undecodable(file: RecordFile, options: ReadingOptions) -> HallmarkError | None:
    """The first lines that are not text in this encoding; none where all are."""
    odd = []
    with _bytes(file) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode(options.encoding)
            except UnicodeError:
                odd.append(f"{file.shown}:{number}: {_cut(line.decode('latin-1').strip())}")
                if len(odd) == _SHOWN:
                    break
    if not odd:
        return None
    return HallmarkError(
        f"{file.shown} cannot be read as a CSV: it is not text in {options.encoding}",
        expected=f"text in {options.encoding}",
        got="\n        ".join(odd),
        fix=f"name its encoding in {BESIDE} beside it: `encoding: cp1252` for Windows, utf-16 for some spreadsheets",
    )


def _parquet(file: RecordFile, rows: int | None) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file.path) as parquet:
            if rows is None:
                table = parquet.read()
            else:
                batches = itertools.islice(parquet.iter_batches(batch_size=rows), 1)
                table = pa.Table.from_batches(batches, parquet.schema_arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise HallmarkError(
            f"{file.shown} cannot be read", expected="a whole Parquet file", got=str(error).splitlines()[0][:200]
        ) from error
    pandas = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    for index in pandas.get("index_columns", ()):
        if isinstance(index, str) and index.startswith("__index_level_"):
            table = table.drop_columns([index])  # the numbers of the rows, without a name
        elif isinstance(index, dict) and index.get("name"):
            numbers = range(index["start"], index["stop"], index["step"])
            table = table.append_column(str(index["name"]), pa.array(numbers[: len(table)], pa.int64()))
    return table.replace_schema_metadata(None)


def _lines(file: RecordFile, rows: int | None) -> pa.Table:
    columns: dict[str, list[Any]] = {}
    count = 0
    with _bytes(file) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            if rows is not None and count == rows:
                break
            try:
                found = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                raise _no_object(file, number, str(error)) from error
            if not isinstance(found, dict):
                raise _no_object(file, number, type(found).__name__)
            for name, value in found.items():
                columns.setdefault(name, []).extend([None] * (count - len(columns[name])))
                columns[name].append(value)
            count += 1
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values + [None] * (count - len(values)))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            kinds = sorted({type(value).__name__ for value in values})
            raise ContractBroken(
                f"{file.shown}: column {name} holds several kinds of values, or one too large",
                expected="one kind in one column",
                got=f"{', '.join(kinds)}: {str(error)[:100]}",
            ) from error
    return pa.table(arrays)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _no_object(file: RecordFile, line: int, got: str) -> HallmarkError:
    return HallmarkError(
        f"{file.shown} cannot be read", expected="a JSON object a line", got=f"line {line}: {got[:200]}"
    )


def _nth_line(file: RecordFile, row: int) -> int:
    with _bytes(file) as stream:
        filled = (number for number, line in enumerate(stream, start=1) if line.strip())
        return next(itertools.islice(filled, row, None), row + 1)


def _unreadable(file: RecordFile, got: str) -> HallmarkError:
    return HallmarkError(
        f"{file.shown} cannot be read as a CSV",
        expected="text: a line of column names, then one line a record, all with as many values",
        got=(got.splitlines() or [""])[0][:200],
    )


def _twice(file: RecordFile, name: str, names: Sequence[str]) -> ContractBroken:
    return ContractBroken(
        f"column {name} of {file.shown} is there more than once", expected="every column once", got=", ".join(names)
    )


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
