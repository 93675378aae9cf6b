"""Files of records as arrow tables with the text that is in them: CSV, Parquet, JSON lines; compressed, and in partitions."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from hallmark.data import csv_file
from hallmark.data.reading import BESIDE, ReadingOptions
from hallmark.errors import ContractBroken, HallmarkError, NotFound

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
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
_TABLES = {"Delta": "_delta_log", "Hudi": ".hoodie", "Iceberg": "metadata/*.metadata.json"}
"""Tables whose log says which of the files beside it count: what it is called."""
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
        return Path(name[: -len(self.path.suffix)] if self.path.suffix in csv_file.COMPRESSED else name).suffix

    def stream(self) -> io.BufferedReader:
        """Its bytes, decompressed."""
        return io.BufferedReader(pa.input_stream(str(self.path), compression="detect"))

    def table(self, options: ReadingOptions, *, rows: int | None = None) -> pa.Table:
        """Its columns as they are written, of a CSV as text; or only the first `rows`."""
        if self.suffix in (".csv", ".tsv"):
            table = csv_file.read(self, options, rows)
        else:
            table = _parquet(self, rows) if self.suffix == ".parquet" else _lines(self, rows)
        names = table.column_names
        for name in names:
            if names.count(name) > 1:
                raise csv_file.twice(self, name, names)
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
        with self.stream() as stream:
            breaks = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
        if breaks in (rows, rows + 1):
            return f"{self.shown}:{row + 2}"
        found = next(itertools.islice(csv_file.rows(self, options), row + 1, None), None)
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
    text = source.suffix in csv_file.COMPRESSED and found[0].suffix == ".parquet" if source.is_file() else False
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
    for kind, mark in _TABLES.items():
        if any(folder.glob(mark)):
            raise ContractBroken(
                f"{shown or folder.name} is a {kind} table, and its files are not its rows: those that were deleted or replaced lie there too",
                expected="files whose rows all count",
                got=mark,
                fix="write what the table holds now to Parquet, and read that",
            )
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
        elif path.suffix in (*_OTHER, *csv_file.COMPRESSED):
            raise HallmarkError(
                f"{name} lies among the data and is not read",
                expected=_READ,
                got=path.suffix,
                fix="convert or remove it",
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
        raise ContractBroken(
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
    with file.stream() as stream:
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
    return ContractBroken(
        f"{file.shown} cannot be read", expected="a JSON object a line", got=f"line {line}: {got[:200]}"
    )


def _nth_line(file: RecordFile, row: int) -> int:
    with file.stream() as stream:
        filled = (number for number, line in enumerate(stream, start=1) if line.strip())
        return next(itertools.islice(filled, row, None), row + 1)
