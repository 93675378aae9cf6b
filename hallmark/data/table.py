"""A team's own records: files or a folder of them, in the declared kinds exactly, or refused with the rows and the option that would read them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hallmark.data import reading, records
from hallmark.data.exact import RULES, STAMP, TIME, UTC, exact, plain
from hallmark.data.reading import ReadingOptions
from hallmark.data.records import RecordFile
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError
from hallmark.section import EXACT

__all__ = ["TIME", "UTC", "conformed", "head", "located", "read"]

_SHOWN = 3
_TRIED = 10_000
_NULLS = ("NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", r"\N", "-", "?")
_WORDS = (
    (["yes", "Yes", "YES", "y", "Y"], ["no", "No", "NO", "n", "N"]),
    (["t", "T"], ["f", "F"]),
    (["on", "On", "ON"], ["off", "Off", "OFF"]),
    (["ja", "Ja"], ["nein", "Nein"]),
    (["oui", "Oui"], ["non", "Non"]),
)
_FORMATS = (
    *("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y%m%d"),
    *("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y", "%m/%d/%Y"),
)


@dataclass
class _Misfit:
    """Values of a column that are not of its kind: how many, the first of them with their places, and some to try options on."""

    kind: str
    count: int = 0
    shown: list[str] = field(default_factory=list)
    tried: pa.Array | None = None


def read(source: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The records at `source`, written as data.yaml beside them says; `kinds` names the kind of each column that is declared.

    A declared column comes in its kind and exactly (docs/data.md), all others as they are written. `ContractBroken` names
    every column that holds what is not of its kind, its first three rows with file and line, and the key of data.yaml that
    would read them; a declared column that is not there is left to the contract.
    """
    return located(source, kinds)[0]


def located(source: Path, kinds: Mapping[str, str]) -> tuple[pd.DataFrame, Callable[[int], str]]:
    """The records that `read` gives, and a function that tells the file and line of a row of them, from 0."""
    options = reading.options(source)
    ends: list[tuple[int, RecordFile, int]] = []
    misfits: dict[str, _Misfit] = {}
    parts: dict[str, list[pa.Array]] = {}
    first: RecordFile | None = None
    rows = 0
    for file in records.files(source):
        table = _named(file, file.table(options), options, kinds)
        if first is None:
            first, parts = file, {name: [] for name in table.column_names}
        _alike(file, table.column_names, first, parts)
        rows += len(table)
        ends.append((rows, file, len(table)))
        for name, values in parts.items():
            made = table.column(name)
            if name in kinds:
                made = _of_kind(file, name, made, kinds[name], options, misfits)
            values.append(made if isinstance(made, pa.Array) else plain(made))
    if misfits:
        raise _refused(source, options, misfits, rows)
    frame = pd.DataFrame({name: _series(_joined(name, values), kinds.get(name)) for name, values in parts.items()})

    def place(row: int) -> str:
        end, file, size = next(each for each in ends if row < each[0])
        return file.place(row - (end - size), options, size)

    return frame, place


def conformed(values: pd.Series, kind: str) -> pd.Series:
    """`values` as `kind` (BOOL, INT64, FP64, BYTES, TIME or UTC) where every one of them is so written; as they came where not."""
    try:
        given = pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return values
    made = exact(given, kind, ReadingOptions(), declared=False)
    if made.bad is not None:
        return values
    found = _series(made.values, kind).set_axis(values.index)
    found.name = values.name
    return found


def head(file: Path, *, rows: int, leave: Sequence[str] = ()) -> pd.DataFrame:
    """The first `rows` records of one file, as they are written: of a CSV as text, but for what its data.yaml tells how to read.

    `ContractBroken` where numbers have a point and data.yaml says that a comma is their mark, but for columns to leave.
    """
    if file.is_dir():
        raise HallmarkError(
            f"{file} is a folder", expected="one .parquet or .csv file", got="a folder", fix="name one of its files"
        )
    (found,) = records.files(file)
    options = reading.options(file)
    table = _named(found, found.table(options, rows=rows), options, {})
    columns = {name: plain(table.column(name)) for name in table.column_names}
    for name, values in columns.items():
        if options.decimal == "," and name not in leave and pa.types.is_large_string(values.type):
            _marked(found, name, values, options)
    return pd.DataFrame({name: _told(values, options) for name, values in columns.items()})


def _marked(file: RecordFile, name: str, values: pa.Array, options: ReadingOptions) -> None:
    """Is 1.500 fifteen hundred, or one and a half? Refused, as reading the whole file would."""
    point = options.model_copy(update={"decimal": "."})
    if exact(values, "FP64", point, declared=False).bad is None:
        made = exact(values, "FP64", options, declared=False)
        if made.bad is not None:
            raise ContractBroken(
                f"column {name} of {file.shown} has a point where data.yaml says a comma",
                expected="numbers such as 1500 or 23,45, since data.yaml says decimal: ','",
                got=repr(values.filter(pc.fill_null(made.bad, False))[0].as_py()),
                fix=f"write {name} as the others, take decimal out of data.yaml, or leave {name} out",
            )


def _told(values: pa.Array, options: ReadingOptions) -> pd.Series:
    """A column in the kind that data.yaml makes of it, where it is none without; else as it is written."""
    if options.told and pa.types.is_large_string(values.type):
        for kind in ("BOOL", "INT64", "FP64", UTC):
            if exact(values, kind, ReadingOptions(), declared=False).bad is None:
                break
            made = exact(values, kind, options, declared=False)
            if made.bad is None:
                return _series(made.values, kind)
        values = exact(values, "BYTES", options, declared=False).values
    return _series(values, None)


def _named(file: RecordFile, table: pa.Table, options: ReadingOptions, kinds: Mapping[str, str]) -> pa.Table:
    """The table under the declared names."""
    there = table.column_names
    if len(there) == 1 and kinds and not set(there) & {*kinds, *options.names}:
        marks = [mark for mark in (";", "\t", "|", ",") if mark in there[0]]
        if marks:
            raise ContractBroken(
                f"{file.shown} has one column, whose name holds a separator",
                expected="the columns " + ", ".join(kinds),
                got=there[0],
                fix=f"name it in {reading.BESIDE} beside it: separator: {marks[0]!r}",
            )
    for theirs, ours in options.names.items():
        if theirs not in there or (ours in there and ours not in options.names):
            near = difflib.get_close_matches(theirs, there, n=1)
            raise DeclarationError(
                f"{reading.BESIDE}: names.{theirs}",
                expected=f"a column of {file.shown}, to be called {ours}: " + ", ".join(there),
                got=f"{ours} is a column of its own" if theirs in there else theirs,
                fix=f"write {near[0]}: {ours}" if near and theirs not in there else "",
            )
    return table.rename_columns([options.names.get(name, name) for name in there])


def _alike(file: RecordFile, names: Sequence[str], first: RecordFile, parts: Mapping[str, Any]) -> None:
    if set(names) != set(parts):
        raise ContractBroken(
            f"{file.shown} has other columns than {first.shown}",
            expected="the same columns in every file",
            got="only in one of them: " + ", ".join(sorted(set(names) ^ set(parts))),
        )


def _of_kind(
    file: RecordFile, name: str, values: Any, kind: str, options: ReadingOptions, misfits: dict[str, _Misfit]
) -> pa.Array:
    values = plain(values)
    made, bad = exact(values, kind, options)
    if bad is None and kind in ("INT32", "INT64") and made.null_count:
        bad = _far(made)  # beside a missing value it will be a float64
    if bad is None:
        return made
    found = misfits.setdefault(name, _Misfit(kind))
    odd = values.filter(pc.fill_null(bad, False))
    if len(found.shown) < _SHOWN:
        for row in pc.indices_nonzero(bad)[: _SHOWN - len(found.shown)].to_pylist():
            value = values[row].as_py()
            text = repr(value) if isinstance(value, str) else str(value)
            found.shown.append(f"{text[:40]} ({file.place(row, options, len(values))})")
        found.tried = pa.concat_arrays([odd.slice(0, _TRIED), values.slice(0, _TRIED)])
    found.count += len(odd)
    return made


def _far(values: pa.Array) -> pa.Array | None:
    """Mask of the whole numbers that a float64 may not hold; none where it holds all."""
    wide = values.cast(pa.decimal128(20, 0))
    far = pc.fill_null(pc.or_(pc.greater(wide, pa.scalar(EXACT)), pc.less(wide, pa.scalar(-EXACT))), False)
    return far if pc.any(far).as_py() else None


def _refused(source: Path, options: ReadingOptions, misfits: Mapping[str, _Misfit], rows: int) -> ContractBroken:
    from hallmark.data import contract

    found = [
        contract.Breach(column=name, rule=RULES[each.kind], rows=each.count, example=", ".join(each.shown))
        for name, each in misfits.items()
    ]
    told: dict[str, list[str]] = {}
    for name, each in misfits.items():
        for keys in _suggested(each, options):
            told.setdefault(yaml.safe_dump(keys, default_flow_style=True, width=200).strip("{}\n"), []).append(name)
    fix = "; ".join(f"`{keys}` ({', '.join(names)})" for keys, names in told.items())
    where = reading.beside(source)
    changed = [name for name, each in misfits.items() if _between_clocks(each, options)]
    advice = f"mend the data; docs/data.md has the keys of {where}"
    if changed:
        advice = (
            f"{', '.join(changed)}: the clock of {options.timezone} skips or repeats that hour, so write it with its offset,"
            " such as 2026-10-25T02:30:00+02:00"
        )
    return contract.breach_error(
        found,
        shown=str(source),
        rows=rows,
        fix=f"where they are written so, say it in {where}: {fix}" if told else advice,
    )


def _between_clocks(misfit: _Misfit, options: ReadingOptions) -> bool:
    """Are these times, but for the hours in which the named zone's clock is put forward or back?"""
    if misfit.kind not in (TIME, UTC) or options.timezone is None:
        return False
    return exact(misfit.tried, misfit.kind, options.model_copy(update={"timezone": "UTC"})).bad is None


def _suggested(misfit: _Misfit, options: ReadingOptions) -> list[dict[str, Any]]:
    """The keys of data.yaml that would read these values; the first that do, or two that nobody can tell apart."""
    found: list[dict[str, Any]] = []
    for keys in _candidates(misfit, options):
        try:
            changed = ReadingOptions.model_validate({**options.told, **keys})
        except ValueError:
            continue
        if exact(misfit.tried, misfit.kind, changed).bad is None:
            found.append(keys)
            if "time_format" not in keys or len(found) == 2:
                break
    return found


def _candidates(misfit: _Misfit, options: ReadingOptions) -> Iterator[dict[str, Any]]:
    values: Any = misfit.tried
    text = pa.types.is_large_string(values.type)
    words = set(pc.unique(values).to_pylist()) if text else set()
    nulls = [word for word in _NULLS if word in words]
    base: list[dict[str, Any]] = [{}]
    if misfit.kind in (TIME, UTC):
        zone = {} if options.timezone or misfit.kind == UTC else {"timezone": "UTC"}
        base += [zone, *({"time_format": form, **zone} for form in _FORMATS if text)]
    elif misfit.kind == "BOOL":
        pairs = [
            (yes, no)
            for yes, no in _WORDS
            if words <= {*yes, *no, *nulls, *options.true_words, *options.false_words, None}
        ]
        base += [
            {
                "true_words": [*options.true_words, *(word for word in yes if word in words)],
                "false_words": [*options.false_words, *(word for word in no if word in words)],
            }
            for yes, no in pairs
        ]
    elif misfit.kind != "BYTES":
        base += [{"decimal": "." if options.decimal == "," else ","}]
    for keys in base:
        if keys:
            yield keys
        if nulls:
            yield keys | {"nulls": list(dict.fromkeys([*(options.nulls or [""]), *nulls]))}


def _joined(name: str, values: Sequence[pa.Array]) -> pa.Array:
    """The values of all files; refused where they are of several types, of which one would have to be changed."""
    types = {each.type for each in values if not pa.types.is_null(each.type)}
    if len(types) > 1:
        raise ContractBroken(
            f"column {name} is of another type from file to file",
            expected="one type",
            got=", ".join(sorted(map(str, types))),
            fix="declare its kind, or write the files alike",
        )
    type_ = types.pop() if types else pa.null()
    return pa.concat_arrays([each.cast(type_) for each in values])


def _series(values: pa.Array, kind: str | None) -> pd.Series:
    """As pandas has it: in numpy's types, missing numbers as NaN of float64 where that holds the others, missing truths and texts as None."""
    whole = pa.types.is_integer(values.type) and values.null_count > 0
    if (kind == "BOOL" and values.null_count) or (whole and _far(values) is not None):
        return pd.Series(values.to_pylist(), dtype=object)
    if pa.types.is_timestamp(values.type) and values.type == STAMP:
        return pd.Series(values.to_pandas(), dtype=pd.DatetimeTZDtype("us", "UTC"))
    made: pd.Series = values.to_pandas(date_as_object=True)
    return made
