"""Contract of a data set, checked before training: a pandera schema, and one error that lists everything wrong."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors
from pydantic import BaseModel, ConfigDict

from hallmark.errors import ContractBroken
from hallmark.features import arrays, image
from hallmark.features.fields import Field
from hallmark.libraries import unwarned

if TYPE_CHECKING:
    from datetime import datetime, timedelta

_DTYPES: dict[str, Any] = {
    "BOOL": "bool",
    "INT32": "int32",
    "INT64": "int64",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
_KINDS = {
    "bool": "true or false",
    "boolean": "true or false",
    "int64": "a whole number (int64)",
    "int32": "a whole number (int32)",
    "float64": "a number (float64)",
    "float32": "a number (float32)",
}
_SHOWN = 12
_PLACED = 3


_THERE = "there"
"""The rule of a column that is missing."""


class Breach(BaseModel):
    """One way in which a data set breaks its contract: `rows` of the column `column` are not what `rule` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    rule: str
    rows: int
    example: str = ""

    @property
    def expected(self) -> str:
        """The form that was expected, in words."""
        there = self.rule.partition(";")[0] == _THERE
        return f"a column {self.column}{self.rule.removeprefix(_THERE)}" if there else f"{self.column}: {self.rule}"

    def __str__(self) -> str:
        shown = f", such as {self.example}" if self.example else ""
        return f"column {self.column}: not {self.rule}, in {self.rows} {'row' if self.rows == 1 else 'rows'}{shown}"


def check(schema: pa.DataFrameSchema, frame: pd.DataFrame, shown: str) -> None:
    """`ContractBroken` with every breach of `schema` in `frame`, which people know as `shown`; nothing when it is kept."""
    found = breaches(schema, frame)
    if found:
        broken(found, shown=shown, rows=len(frame))


def broken(found: Sequence[Breach], *, shown: str, rows: int) -> None:
    """Raise `ContractBroken` for what was found."""
    raise breach_error(found, shown=shown, rows=rows)


def breach_error(found: Sequence[Breach], *, shown: str, rows: int, fix: str = "") -> ContractBroken:
    """`ContractBroken` for what was found, with its fix where one is known."""
    first, more = found[0], len(found) - 1
    lines = [str(each) for each in found[:_SHOWN]] + (
        [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    )
    return ContractBroken(
        f"{shown} breaks its contract: {first}" + (f", and {more} more" if more else ""),
        expected=first.expected,
        got="\n        ".join([f"{rows} rows", *lines]),
        fix=fix
        or ("" if first.rule != "filled" else "declare the field with optional=True where it may be missing; else ")
        + "mend the data, or the domain's FIELDS and data.py where the contract is what is wrong",
    )


def breaches(
    schema: pa.DataFrameSchema, frame: pd.DataFrame, *, place: Callable[[int], str] | None = None
) -> tuple[Breach, ...]:
    """Everything in `frame` that `schema` does not allow, in the order of its columns.

    place: where a row of the frame, from 0, is written; then the first rows of each breach are named by it.
    """
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        return tuple(
            Breach(column=str(name), rule="one column of that name", rows=len(frame)) for name in set(repeated)
        )
    if frame.empty:
        return (Breach(column=str(next(iter(schema.columns), "")), rule="filled: the data set has no rows", rows=0),)
    try:
        with unwarned("pandera"):
            schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        return _breaches(schema, frame, errors.schema_errors, place)
    return ()


def frame_schema(
    fields: Sequence[Field],
    *,
    extra: Mapping[str, pa.Column] | None = None,
    checks: Sequence[pa.Check] = (),
    name: str = "",
) -> pa.DataFrameSchema:
    """The contract of a domain: its declared request fields, the `extra` columns beside them, `checks` over whole rows.

    Columns that nobody declared may be there: nothing reads them.
    """
    columns = {field.name: column(field) for field in fields} | dict(extra or {})
    return pa.DataFrameSchema(columns, checks=list(checks), name=name or None)


def column(field: Field) -> pa.Column:
    """A request field as a column: its type, its range or its closed set of values, and nulls only where it is optional.

    A field with a shape is a column of lists, or lists of lists: in Parquet, and in a frame as lists or arrays.
    """
    if field.shape or (field.optional and field.datatype in ("BOOL", "INT32", "INT64")):
        return pa.Column(None, [_formed(field)], nullable=field.optional)
    checks: list[pa.Check] = []
    low, high = field.minimum, field.maximum
    if field.media == "image":
        checks.append(_each(_is_photo, "a JPEG, PNG or WebP photo that can be decoded"))
    elif field.datatype == "BYTES":
        checks.append(text())
        if field.categories is not None:
            checks.append(one_of((*field.categories, "") if field.optional else field.categories))
        if field.longest is not None:
            checks.append(no_longer(field.longest))
    elif field.datatype.startswith("FP"):
        checks.append(finite())
    if low is not None or high is not None:
        checks.append(between(low, high))
    return pa.Column(_DTYPES[field.datatype], checks, nullable=field.optional)


def no_longer(most: int) -> pa.Check:
    """Text of at most so many characters."""
    return pa.Check(
        lambda values: values.str.len() <= most,
        name="no_longer",
        error=f"at most {most} characters",
        statistics={"longest": most},
    )


def between(low: float | None, high: float | None) -> pa.Check:
    """From `low` to `high`, both included."""
    rule = f"from {low:g} to {high:g}" if low is not None and high is not None else ""
    rule = rule or (f"at least {low:g}" if low is not None else f"at most {high:g}")

    def inside(values: pd.Series) -> pd.Series:
        above = values >= (float("-inf") if low is None else low)
        return above & (values <= (float("inf") if high is None else high))

    return pa.Check(inside, name="between", error=rule, statistics={"low": low, "high": high})


def one_of(values: Sequence[Any]) -> pa.Check:
    """From a closed set."""
    allowed = list(values)
    rule = "one of " + ", ".join(map(str, allowed))
    return pa.Check(lambda found: found.isin(allowed), name="one_of", error=rule, statistics={"values": allowed})


def text() -> pa.Check:
    """Text."""
    return _each(_is_text, "text")


def finite() -> pa.Check:
    """A number that is not infinite."""

    def finite(values: pd.Series) -> pd.Series:
        return values.abs() < float("inf")

    return pa.Check(finite, name="finite", error="a finite number")


def identity(*, unique: bool = False, nullable: bool = False) -> pa.Column:
    """A column that names something: text that is not empty; once each where `unique`, with gaps where `nullable`."""
    return pa.Column("object", _each(_is_name, "text that is not empty"), unique=unique, nullable=nullable)


def time(*, nullable: bool = False) -> pa.Column:
    """A column of times in UTC, to the microsecond."""
    return pa.Column(pd.DatetimeTZDtype("us", "UTC"), nullable=nullable)


def later(column: str, *, than: str, within: timedelta) -> pa.Check:
    """Check that a time in `column`, where there is one, is after `than` and `within` of it."""

    def in_order(frame: pd.DataFrame) -> pd.Series:
        if not all(isinstance(frame[each].dtype, pd.DatetimeTZDtype) for each in (column, than)):
            raise TypeError("no times: the rule about that column says so")
        late = frame[column] - frame[than]
        return late.isna() | ((late >= pd.Timedelta(0)) & (late <= pd.Timedelta(within)))

    return pa.Check(in_order, name=column, error=f"after {than} and within {within.days} days of it", ignore_na=False)


def present(column: str, *, where: str) -> pa.Check:
    """`column` is there for the rows where `where` is 1, and for no others."""

    def agrees(frame: pd.DataFrame) -> pd.Series:
        return frame[column].notna() == (frame[where] == 1)

    return pa.Check(agrees, name=column, error=f"there where {where} is 1 and nowhere else", ignore_na=False)


def past(frame: pd.DataFrame, column: str, *, now: datetime) -> tuple[Breach, ...]:
    """Rows of a team's own data that say they happened after `now`."""
    if column not in frame.columns or not isinstance(frame[column].dtype, pd.DatetimeTZDtype):
        return ()
    future = frame[column] > now
    if not future.any():
        return ()
    example = frame.loc[future, column].iloc[0].isoformat()
    return (
        Breach(column=column, rule=f"in the past (now is {now:%Y-%m-%d})", rows=int(future.sum()), example=example),
    )


def digest(schema: pa.DataFrameSchema) -> str:
    """`sha256:` and the digest of what the contract says: columns, types, rules."""
    said = {
        "columns": {
            name: [str(each.dtype), each.nullable, each.unique, each.required, [_said(rule) for rule in each.checks]]
            for name, each in schema.columns.items()
        },
        "checks": [_said(rule) for rule in schema.checks],
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _said(rule: pa.Check) -> list[Any]:
    return [rule.name, rule.error, rule.statistics]


def _each(accepts: Callable[[Any], bool], rule: str) -> pa.Check:
    return pa.Check(lambda values: values.map(accepts).astype(bool), name=accepts.__name__, error=rule)


def _formed(field: Field) -> pa.Check:
    """One record's values, looked at together: their number, type, range, set and length."""
    sides = ", ".join(f"up to {field.at_most}" if side is None else str(side) for side in field.shape)
    rule = f"{field.datatype} of shape [{sides}]" if field.shape else f"{field.datatype}"
    rule += {"image": ", photos", "text": ", text"}.get(field.media or "", "")
    low, high = field.minimum, field.maximum
    rule += "" if low is None else f", at least {low:g}"
    rule += "" if high is None else f", at most {high:g}"
    rule += "" if field.categories is None else ", each one of " + ", ".join(field.categories)
    rule += "" if field.longest is None else f", of at most {field.longest} characters"

    def fits(value: Any) -> bool:
        try:
            made = arrays.column([value], field)[0]
        except arrays.Misfit:
            return False
        return all(allowed(each) for each in np.ravel(made).tolist() if each is not None and each == each)

    def allowed(value: Any) -> bool:
        if field.media == "image":
            return _is_photo(value)
        if field.datatype == "BYTES":
            in_set = field.categories is None or value in field.categories
            return in_set and (field.longest is None or len(value) <= field.longest)
        inside = (low is None or value >= low) and (high is None or value <= high)
        return bool(inside and abs(value) < float("inf"))

    return pa.Check(lambda values: values.map(fits).astype(bool), name="formed", error=rule, statistics={"rule": rule})


def _is_whole(value: Any, *, truth: bool) -> bool:
    if truth or isinstance(value, bool | np.bool_):
        return truth and isinstance(value, bool | np.bool_)
    return isinstance(value, int | float | np.number) and float(value).is_integer()


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_photo(value: Any) -> bool:
    try:
        image.decode(value, at_least=1)
    except image.BadImage:
        return False
    return True


def _breaches(
    schema: pa.DataFrameSchema,
    frame: pd.DataFrame,
    errors: Sequence[SchemaError],
    place: Callable[[int], str] | None,
) -> tuple[Breach, ...]:
    found: list[Breach] = []
    unchecked: list[Breach] = []
    for error in errors:
        breach = _breach(schema, frame, error, place)
        aside = error.reason_code is SchemaErrorReason.CHECK_ERROR
        (unchecked if aside else found).append(breach)
    # A rule that could not even be asked is news only where nothing says why (a column missing, or of another type).
    places = {name: place for place, name in enumerate(schema.columns)}
    return tuple(dict.fromkeys(sorted(found or unchecked, key=lambda breach: places.get(breach.column, len(places)))))


def _breach(
    schema: pa.DataFrameSchema, frame: pd.DataFrame, error: SchemaError, place: Callable[[int], str] | None
) -> Breach:
    reason = error.reason_code
    if reason is SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        name, there = str(error.failure_cases), [str(each) for each in frame.columns if each not in schema.columns]
        near = [each for each in there if each.casefold() == name.casefold()]
        near = near or difflib.get_close_matches(name, there, cutoff=0.75)
        rule = (
            f"{_THERE}; where it is {near[0]}, write `names: {{{near[0]}: {name}}}` into data.yaml" if near else _THERE
        )
        return Breach(column=name, rule=rule, rows=len(frame))
    name = str(error.schema.name if isinstance(error.schema, pa.Column) else error.check.name)
    if reason is SchemaErrorReason.WRONG_DATATYPE:
        return _wrong_type(schema, frame[name], name, place)
    rule = {
        SchemaErrorReason.SERIES_CONTAINS_NULLS: "filled",
        SchemaErrorReason.SERIES_CONTAINS_DUPLICATES: "different from all others",
    }.get(reason, str(getattr(error.check, "error", None) or error.check))
    cases = error.failure_cases
    rows = cases["index"].nunique() if isinstance(cases, pd.DataFrame) and "index" in cases else len(frame)
    if place is not None and name in frame and isinstance(cases, pd.DataFrame) and "index" in cases:
        found = frame[name].loc[sorted(cases["index"].unique())[:_PLACED]]
        return Breach(column=name, rule=rule, rows=int(rows), example=_placed(found, place))
    whole_rows = isinstance(cases, pd.DataFrame) and "column" in cases
    shown = isinstance(cases, pd.DataFrame) and not whole_rows and reason is SchemaErrorReason.DATAFRAME_CHECK
    return Breach(
        column=name, rule=rule, rows=int(rows), example=_example(cases["failure_case"].iloc[0]) if shown else ""
    )


def _placed(values: pd.Series, place: Callable[[int], str]) -> str:
    """The values, each with the place where it is written; of a missing one the place alone."""
    return ", ".join(
        f"{place(row)} (nothing)" if pd.isna(value) else f"{_example(value)} ({place(row)})"
        for row, value in zip(values.index.tolist(), values.tolist(), strict=True)
    )


def _wrong_type(schema: pa.DataFrameSchema, values: pd.Series, name: str, place: Callable[[int], str] | None) -> Breach:
    wanted = str(schema.columns[name].dtype).lower()
    rule = _KINDS.get(wanted, "a time with a time zone" if "datetime" in wanted else "text" if name else wanted)
    if schema.columns[name].checks and wanted == "object":
        rule = str(schema.columns[name].checks[0].error)
    bad, known = values.notna(), values.dropna()
    missing = wanted.startswith(("int", "bool")) and len(known) < len(values)
    if missing and known.map(lambda value: _is_whole(value, truth=wanted == "bool")).all():
        gaps = values[values.isna()]
        example = _placed(gaps[:_PLACED], place) if place is not None else ""
        return Breach(column=name, rule="filled", rows=len(gaps), example=example)
    if values.dtype == object and wanted.startswith(("int", "float")):
        bad = pd.to_numeric(values, errors="coerce").isna() & values.notna()
    elif values.dtype == object and wanted == "bool":
        bad = ~values.map(lambda value: isinstance(value, bool)).astype(bool)
    elif values.dtype == object and "datetime" in wanted:
        bad = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce").isna() & values.notna()
    bad = bad if bad.any() else values.notna() | True
    if place is not None:
        return Breach(column=name, rule=rule, rows=int(bad.sum()), example=_placed(values[bad][:_PLACED], place))
    first = values[bad].iloc[0]
    return Breach(column=name, rule=rule, rows=int(bad.sum()), example=f"{_example(first)} ({values.dtype})")


def _example(value: object) -> str:
    if isinstance(value, bytes):
        return f"{image.format_of(value)} of {len(value)} bytes".removeprefix(" of ")
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
