"""SQL of views, each with what it means in plain Python: what every execution of it is compared with.

A text names columns by what they hold; a source says which of its columns are these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hallmark.declaration.expression import parsed
from hallmark.declaration.feature_view import FeatureView

ORDERS = {
    "whole": "items",
    "number": "amount",
    "truth": "paid",
    "text": "card",
    "time": "ordered_at",
    "known": "known_at",
}
"""The columns of offline_cases.py."""
DRAWN = {"whole": "amount", "number": "price", "truth": "gift", "text": "card", "time": "happened", "known": "known"}
"""Those of drawn.py."""
_SOURCES = {"items": ORDERS, "price": DRAWN}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Given(NamedTuple):
    """Values of a row."""

    whole: int | None
    number: float | None
    truth: bool | None
    text: str | None
    time: datetime
    known: datetime


class Meaning(NamedTuple):
    """kind: number, text, time or truth.   everywhere: also in Spark's and Snowflake's SQL."""

    sql: str
    kind: str
    value: Callable[[Given], Any]
    everywhere: bool = True


def _of(function: Callable[..., Any], *values: Any) -> Any:
    """A function of values; null where one is null."""
    return None if None in values else function(*values)


def _wide(value: int) -> int | None:
    """A whole number of 64 bits, or null."""
    return value if -(2**63) <= value < 2**63 else None


def _us(value: datetime) -> int:
    return (value - _EPOCH) // timedelta(microseconds=1)


def _and(one: bool | None, other: bool | None) -> bool | None:
    return False if one is False or other is False else None if None in (one, other) else True


def _or(one: bool | None, other: bool | None) -> bool | None:
    return True if one is True or other is True else None if None in (one, other) else False


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _towards_zero(one: int, other: int) -> int:
    return abs(one) // other * (1 if one >= 0 else -1)


def _away(value: float) -> float:
    """The nearest whole number; of two the one that is farther from 0."""
    near = math.trunc(value)
    return near + (abs(value - near) >= 0.5) * math.copysign(1.0, value)


def _less(value: Any, text: str) -> Any:
    return None if value == text else value


MEANINGS = (
    Meaning("{number} * {whole}", "number", lambda r: _of(lambda n, w: n * float(w), r.number, r.whole)),
    Meaning("{number} - 0.5 -- less a fee", "number", lambda r: _of(lambda n: n - 0.5, r.number)),
    Meaning("{whole} * {whole} - 3", "number", lambda r: _of(lambda w: _of(lambda s: _wide(s - 3), _wide(w * w)), r.whole)),
    Meaning("coalesce({whole} * {whole}, 7)", "number", lambda r: _of(lambda w: 7 if _wide(w * w) is None else w * w, r.whole) if r.whole is not None else 7),
    Meaning("{number} / {whole}", "number", lambda r: _of(lambda n, w: n / w if w else None, r.number, r.whole)),
    Meaning("{whole} / ({whole} - 1)", "number", lambda r: _of(lambda w: float(w) / float(w - 1) if w != 1 and _wide(w - 1) else None, r.whole)),
    Meaning("{whole} % 2", "number", lambda r: _of(lambda w: w - 2 * _towards_zero(w, 2), r.whole)),
    Meaning("7 % ({whole} - 2)", "number", lambda r: _of(lambda w: 7 % abs(w - 2) if w != 2 else None, r.whole)),
    Meaning("{whole} // 2", "number", lambda r: _of(lambda w: _towards_zero(w, 2), r.whole), everywhere=False),
    Meaning("-{whole}", "number", lambda r: _of(lambda w: -w, r.whole)),
    Meaning("CASE WHEN {text} = 'm' THEN {number} ELSE 0 END", "number", lambda r: r.number if r.text == "m" else 0.0),
    Meaning("case {whole} when 1 then 10 when 2 then 20 end", "number", lambda r: {1: 10, 2: 20}.get(r.whole)),  # type: ignore[call-overload]
    Meaning("if({truth}, {whole}, null)", "number", lambda r: r.whole if r.truth else None),
    Meaning("coalesce({number}, {whole}, -1.5)", "number", lambda r: next(float(each) for each in (r.number, r.whole, -1.5) if each is not None)),
    Meaning("nullif({whole}, 1)", "number", lambda r: _less(r.whole, 1)),  # type: ignore[arg-type]
    Meaning("cast({truth} as bigint) + 1", "number", lambda r: _of(lambda b: int(b) + 1, r.truth)),
    Meaning("cast({number} as bigint)", "number", lambda r: _of(lambda n: _wide(round(n)), r.number), everywhere=False),
    Meaning("round({number})", "number", lambda r: _of(_away, r.number), everywhere=False),
    Meaning("greatest({number}, {whole})", "number", lambda r: max((float(each) for each in (r.number, r.whole) if each is not None), default=None), everywhere=False),
    Meaning("(epoch_us({known}) - epoch_us({time})) / 60e6", "number", lambda r: (_us(r.known) - _us(r.time)) / 60e6),
    Meaning("date_part('hour', {time}) * 10 + date_part('isodow', {known})", "number", lambda r: r.time.hour * 10 + r.known.isoweekday(), everywhere=False),
    Meaning("{text} || '-' || {text}", "text", lambda r: _of(lambda t: f"{t}-{t}", r.text)),
    Meaning("case when {truth} then 'x' else 'longer' end", "text", lambda r: "x" if r.truth else "longer"),
    Meaning("nullif({text}, 'm')", "text", lambda r: _less(r.text, "m")),
    Meaning("upper({text})", "text", lambda r: _of(str.upper, r.text), everywhere=False),
    Meaning("cast({whole} as varchar)", "text", lambda r: _of(str, r.whole)),
    Meaning("greatest({time}, {known})", "time", lambda r: max(r.time, r.known), everywhere=False),
    Meaning("{number} > 1 AND {whole} IS NOT NULL", "truth", lambda r: _and(_of(lambda n: n > 1, r.number), r.whole is not None)),
    Meaning("{text} in ('m', 'x', 'ä') or not {truth}", "truth", lambda r: _or(_of(lambda t: t in ("m", "x", "ä"), r.text), _not(r.truth))),
    Meaning("{whole} between 0 and 2.5", "truth", lambda r: _of(lambda w: 0 <= float(w) <= 2.5, r.whole)),
    Meaning("{number} > {whole}", "truth", lambda r: _of(lambda n, w: n > float(w), r.number, r.whole)),
    Meaning("{time} < {known}", "truth", lambda r: r.time < r.known),
    Meaning("starts_with({text}, 'v') = false", "truth", lambda r: _of(lambda t: not t.startswith("v"), r.text), everywhere=False),
)  # fmt: skip

FITTING: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("sum", "mean"), ("number",)),
    **dict.fromkeys(("min", "max"), ("number", "text", "time")),
    **dict.fromkeys(("last", "distinct"), ("number", "text", "time", "truth")),
}
"""What an aggregate takes."""


def chosen(names: Mapping[str, str], *kinds: str, everywhere: bool = False) -> tuple[str, ...]:
    """Texts over a source that give one of these kinds."""
    return tuple(
        each.sql.format_map(names) for each in MEANINGS if each.kind in kinds and (each.everywhere or not everywhere)
    )


_MEANT = {
    (source, parsed(each.sql.format_map(names)).text): (names, each.value)
    for source, names in _SOURCES.items()
    for each in MEANINGS
}


def completed(view: FeatureView, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with the values of the view's SQL, by its text."""
    source = next(each for each in _SOURCES if each in row)
    found = dict(row)
    for each in view.expressions:
        names, value = _MEANT[source, each.text]
        found[each.text] = _kept(value(Given(**{key: row[name] for key, name in names.items()})))
    return found


def _kept(value: Any) -> Any:
    """What every execution can hold: no number beyond 1e290, and not -2^63."""
    if isinstance(value, float):
        return value + 0.0 if abs(value) <= 1e290 else None
    return None if value == -(2**63) else value
