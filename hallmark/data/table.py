"""A team's own records: Parquet, CSV or JSON lines, one file or a folder of them, brought to the declared types where nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hallmark.data import dataset
from hallmark.errors import ContractBroken, HallmarkError, NotFound

SUFFIXES = (".parquet", ".csv", ".jsonl")
TIME = "TIME"
"""Beside the datatypes of `hallmark.features.fields`: an ISO 8601 time with a zone."""
UTC = "UTC"
"""The same, where a time without a zone, or a day, is one in UTC."""

TRUTH = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
"""Texts that count as true or false where everything is text."""
_ZONED = r".*\d(?:Z|[+-]\d\d:?\d\d)"


def read(source: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The records at `source`; `kinds` names the datatype of each column that is read as more than text.

    A value that is not of its kind leaves its column as it came, for the contract to name.
    """
    frames = {file: _file(file) for file in _files(source)}
    first, *others = frames.items()
    for file, frame in others:
        if set(frame.columns) != set(first[1].columns):
            differs = sorted(set(map(str, frame.columns)) ^ set(map(str, first[1].columns)))
            raise ContractBroken(
                f"{file.name} has other columns than {first[0].name}",
                expected="the same columns in every file",
                got="only in one of them: " + ", ".join(differs),
            )
    frame = pd.concat([frame[list(first[1].columns)] for frame in frames.values()], ignore_index=True)
    for name, kind in kinds.items():
        if name in frame.columns:
            frame[name] = conformed(frame[name], kind)
    return frame


def conformed(values: pd.Series, kind: str) -> pd.Series:
    """`values` as `kind` (BOOL, INT64, FP64, BYTES, TIME or UTC) where every one of them is of it; as they came where not."""
    if kind in (TIME, UTC):
        return _times(_in_utc(values) if kind == UTC else values)
    if kind == "BYTES":
        return values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype) else values
    if kind == "BOOL":
        return _truths(values)
    target = {"INT64": "int64", "INT32": "int32", "FP64": "float64", "FP32": "float32"}[kind]
    if _is_written(values):
        numbers = pd.to_numeric(values, errors="coerce")
        if (numbers.isna() & values.notna()).any():
            return values
        values = numbers
    if values.dtype.kind not in "iuf" or (target.startswith("int") and values.dtype.kind == "f"):
        return values
    if pd.api.types.is_extension_array_dtype(values.dtype) and values.isna().any():
        return values.astype("float64")
    converted: pd.Series = values.astype(np.dtype(target))
    return converted if (converted == values).all() or target.startswith("float") else values


def head(file: Path, *, rows: int) -> pd.DataFrame:
    """The first `rows` records of one Parquet or CSV file, as they come: of a CSV as text."""
    if file.is_dir():
        raise HallmarkError(
            f"{file} is a folder", expected="one .parquet or .csv file", got="a folder", fix="name one of its files"
        )
    (found,) = _files(file)
    return dataset.read(found, rows=rows) if found.suffix == ".parquet" else _csv(found, rows=rows)


def _in_utc(values: pd.Series) -> pd.Series:
    """Times without a zone as times in UTC; what is no time stays."""
    if values.isna().all() or isinstance(values.dtype, pd.DatetimeTZDtype):
        return values
    if values.dtype.kind in "iuf":
        return values
    parsed = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    return values if (parsed.isna() & values.notna()).any() else parsed


def _times(values: pd.Series) -> pd.Series:
    if values.isna().all():  # a column in which nothing is filled has no type of its own
        return pd.Series(pd.NaT, index=values.index, name=values.name, dtype=pd.DatetimeTZDtype("us", "UTC"))
    if _is_written(values) and values.dropna().str.fullmatch(_ZONED).all():
        parsed = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
        values = values if (parsed.isna() & values.notna()).any() else parsed
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        zoned: pd.Series = values.dt.tz_convert("UTC").dt.as_unit("us")
        return zoned
    return values


def _truths(values: pd.Series) -> pd.Series:
    """True and false; where some are missing, as objects with None for those."""
    if _is_written(values) and values.dropna().isin(list(TRUTH)).all():
        truths = values.map(TRUTH)
        return truths.astype(object).where(truths.notna(), None) if values.isna().any() else truths.astype(bool)
    return values.astype(bool) if str(values.dtype) == "boolean" and not values.isna().any() else values


def _is_written(values: pd.Series) -> bool:
    """True if these values came as text, as everything in a CSV does."""
    return values.dtype == object and bool(values.dropna().map(lambda value: isinstance(value, str)).all())


def _files(source: Path) -> list[Path]:
    if source.is_file():
        files = [source]
    elif source.is_dir():
        files = sorted(file for file in source.iterdir() if file.suffix in SUFFIXES and file.is_file())
    else:
        raise NotFound(
            f"there is no data at {source}",
            expected="a Parquet, CSV or JSON lines file, or a folder of them",
            got="nothing at that path",
            fix="check the path that was given",
        )
    if not files or files[0].suffix not in SUFFIXES:
        raise HallmarkError(
            f"{source.name} holds no records that can be read",
            expected="a .parquet, .csv or .jsonl file, or a folder of them",
            got=source.suffix or ("an empty folder" if source.is_dir() else "no suffix"),
            fix="convert it, or check the path that was given",
        )
    return files


def _file(path: Path) -> pd.DataFrame:
    return {".parquet": dataset.read, ".csv": _csv, ".jsonl": _lines}[path.suffix](path)


def _lines(path: Path) -> pd.DataFrame:
    try:
        return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    except ValueError as error:
        raise HallmarkError(
            f"{path.name} cannot be read", expected="a JSON object a line", got=str(error)[:200]
        ) from error


def _csv(path: Path, *, rows: int | None = None) -> pd.DataFrame:
    """A CSV as text; only what is empty is missing, so that a brand called NA stays one."""
    try:
        # The header is read as a row: pandas would rename the second of two columns with one name.
        head = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        body = pd.read_csv(
            path,
            header=None,
            skiprows=1,
            nrows=rows,
            names=list(range(head.shape[1])),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
            on_bad_lines="error",
        )
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise HallmarkError(
            f"{path.name} cannot be read as a CSV",
            expected="UTF-8 text: a line of column names, then one line a record, all with as many values",
            got=str(error).splitlines()[0][:200] or type(error).__name__,
        ) from error
    names = head.iloc[0].tolist()
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ContractBroken(
            f"column {repeated[0]} of {path.name} is there more than once",
            expected="every column once",
            got=", ".join(names),
        )
    return body.set_axis(names, axis=1)
