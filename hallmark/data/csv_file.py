"""A CSV as an arrow table of text, or the lines that keep it from being one."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hallmark.data.reading import BESIDE, ReadingOptions
from hallmark.errors import ContractBroken, HallmarkError

if TYPE_CHECKING:
    from hallmark.data.records import RecordFile

COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
_SHOWN = 3
_LONGEST = 1 << 24
"""Bytes that a row may have."""


def rows(file: RecordFile, options: ReadingOptions, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line and values of each row of a CSV that is not empty, the header first; slow, so only to name places.

    strict: a quoted value that goes on after its quote is a `csv.Error`.
    """
    csv.field_size_limit(_LONGEST)
    with (
        file.stream() as stream,
        io.TextIOWrapper(
            stream, "utf-8-sig" if options.encoding == "utf-8" else options.encoding, "replace", newline=""
        ) as text,
    ):
        reader, line = csv.reader(text, delimiter=_separator(file, options), strict=strict), 1
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1


def _separator(file: RecordFile, options: ReadingOptions) -> str:
    return options.separator or ("\t" if file.suffix == ".tsv" else ",")


def read(file: RecordFile, options: ReadingOptions, most: int | None) -> pa.Table:
    """The columns as text, or the first `most` rows; `HallmarkError` names the first three lines that are no rows or no text."""
    from pyarrow import csv as reader

    separator = _separator(file, options)
    try:
        head = list(itertools.islice(rows(file, options), 2))
    except (csv.Error, pa.ArrowInvalid, UnicodeError, OSError) as error:
        raise (_undecodable(file, options) or _unreadable(file, str(error))) from error
    if not head:
        raise _unreadable(file, "nothing")
    names = head[0][1]
    for name in names:
        if names.count(name) > 1:
            raise twice(file, name, names)
    skipped = head[0][0] + sum(name.count("\n") for name in names)
    given = {
        "read_options": reader.ReadOptions(
            column_names=names, skip_rows=skipped, encoding=options.encoding, block_size=_LONGEST
        ),
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
        with file.stream() as stream:
            watched = _Watched(stream, separator)
            source = pa.PythonFile(watched, mode="r")
            table = reader.read_csv(source, **given) if most is None else _first(reader.open_csv(source, **given), most)
    except (pa.ArrowInvalid, UnicodeError, OSError) as error:
        ragged = "Expected" in str(error) and "columns" in str(error)
        raise (
            _undecodable(file, options) or (_ragged(file, options, names) if ragged else _unreadable(file, str(error)))
        ) from error
    if watched.odd:
        _quoted_whole(file, options)
    if len(table) and most is None:
        _closed(file, table, options)
    return table


class _Watched:
    """A stream that notices a quote within a value, which is neither at its edge nor beside another quote, as it is read."""

    def __init__(self, stream: io.BufferedReader, separator: str) -> None:
        inner = rb'[^\r\n"' + re.escape(separator.encode()) + b"]"
        self._within = re.compile(b'"(?<=' + inner + b'")(?=' + inner + b")")
        self._stream, self._kept = stream, b"\n"
        self.odd, self.closed = False, False

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        if not self.odd and (b'"' in block or b'"' in self._kept):
            self.odd = self._within.search(self._kept + block) is not None
        self._kept = (self._kept + block)[-2:]
        return block

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def _quoted_whole(file: RecordFile, options: ReadingOptions) -> None:
    """Refuse a quoted value that goes on after its quote: readers make different texts of it, and none says so."""
    after = 0
    try:
        for line, row in rows(file, options, strict=True):
            after = line + sum(value.count("\n") for value in row)
    except csv.Error as error:
        if "expected after" not in str(error):
            raise _unreadable(file, str(error)) from error
        with file.stream() as stream:
            lines = ((number, line.strip()) for number, line in enumerate(stream, start=1) if number > after)
            number, raw = next((each for each in lines if each[1]), (after + 1, b""))
        raise ContractBroken(
            f"{file.shown} cannot be read as a CSV: a value goes on after the quote that ends it",
            expected='each quote within a quoted value written twice, as in "5"" heel"',
            got=f"{file.shown}:{number}: {_cut(raw.decode(options.encoding, 'replace'))}",
            fix="write such quotes twice: in Spark .option('escape', '\"'), in pandas without escapechar; or write Parquet",
        ) from error


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
    with file.stream() as stream:
        if file.path.suffix not in COMPRESSED:
            stream.seek(max(0, file.path.stat().st_size - len(tail) - 1))
        kept = b""
        for block in iter(lambda: stream.read(1 << 20), b""):
            kept = (kept + block)[-len(tail) - 1 :]
    if kept.endswith((_separator(file, options).encode(options.encoding) + tail, b"\n" + tail)):
        raise _unreadable(file, "a quote that is opened in the last row and never closed")


def _ragged(file: RecordFile, options: ReadingOptions, names: Sequence[str]) -> ContractBroken:
    odd = ((line, row) for line, row in rows(file, options) if len(row) != len(names))
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
    # Where the file ends before its end, as half a .gz does, that is what is said, and not this.
    with contextlib.suppress(OSError, pa.ArrowInvalid), file.stream() as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode(options.encoding)
            except UnicodeError:
                odd.append(f"{file.shown}:{number}: {_cut(line.decode('latin-1').strip())}")
                if len(odd) == _SHOWN:
                    break
    if not odd:
        return None
    return ContractBroken(
        f"{file.shown} cannot be read as a CSV: it is not text in {options.encoding}",
        expected=f"text in {options.encoding}",
        got="\n        ".join(odd),
        fix=f"name its encoding in {BESIDE} beside it: `encoding: cp1252` for Windows, utf-16 for some spreadsheets",
    )


def _unreadable(file: RecordFile, got: str) -> HallmarkError:
    return ContractBroken(
        f"{file.shown} cannot be read as a CSV",
        expected="text: a line of column names, then one line a record, all with as many values",
        got=(got.splitlines() or [""])[0][:200],
    )


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def twice(file: RecordFile, name: str, names: Sequence[str]) -> ContractBroken:
    """The refusal of a file that has two columns of one name."""
    return ContractBroken(
        f"column {name} of {file.shown} is there more than once", expected="every column once", got=", ".join(names)
    )
