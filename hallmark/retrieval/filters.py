"""Filters of a search: what a caller asks of the columns of an index, in a form that can be compared and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hallmark.errors import Refused

Value = str | int | float | bool
_SHAPE = '{column: value}, {column: [values]} or {column: {"min": value, "max": value}}, each bound optional'
_BOUNDS = ("min", "max")
MOST_CONDITIONS, MOST_VALUES = 32, 1024
"""A filter of more conditions, or a condition of more values, is refused: callers send them."""


@dataclass(frozen=True)
class OneOf:
    """A row's value is among `values`; of a column of lists, any of its values is."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Between:
    """A row's value is at least `least` and at most `most`; None leaves that side open."""

    column: str
    least: Value | None = None
    most: Value | None = None


Condition = OneOf | Between


@dataclass(frozen=True)
class Filter:
    """Conditions that a row meets all of; two filters that ask the same are equal and have one hash."""

    conditions: tuple[Condition, ...] = field(default=(), compare=False)
    key: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", tuple(_typed(each) for each in self.conditions))

    def __bool__(self) -> bool:
        return bool(self.conditions)


def parse(given: Mapping[str, Any] | None) -> Filter | None:
    """The filter of a request, such as {"category": "coat", "size": ["M", "L"], "price": {"max": 40}}; None where it asks nothing.

    `Refused` where it has another shape; whether columns and types fit is for the index to say (`Columns.check`).
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise _misshapen(type(given).__name__)
    if len(given) > MOST_CONDITIONS:
        raise _misshapen(f"{len(given)} columns; at most {MOST_CONDITIONS} are compared")
    conditions = tuple(_condition(str(column), given[column]) for column in sorted(given, key=str))
    return Filter(conditions) if conditions else None


def _condition(column: str, asked: Any) -> Condition:
    if isinstance(asked, Mapping):
        unknown = set(asked) - set(_BOUNDS)
        if unknown or not any(asked.get(bound) is not None for bound in _BOUNDS):
            raise _misshapen(f"{column}: {dict(asked)!r:.80}")
        return Between(column, *(_value(column, asked.get(bound), optional=True) for bound in _BOUNDS))
    values = asked if isinstance(asked, list | tuple | set | frozenset) else [asked]
    if len(values) > MOST_VALUES:
        raise _misshapen(f"{column}: {len(values)} values; at most {MOST_VALUES} are compared")
    known = {(type(each).__name__, each): each for each in (_value(column, value) for value in values)}
    return OneOf(column, tuple(known[each] for each in sorted(known, key=lambda pair: (pair[0], pair[1]))))


def _value(column: str, value: Any, *, optional: bool = False) -> Any:
    if (optional and value is None) or (isinstance(value, str | int | float | bool) and value == value):
        return value
    raise _misshapen(f"{column}: {value!r:.80}")


def _typed(condition: Condition) -> tuple[Any, ...]:
    """What tells 1 from 1.0 and True, which Python takes for the same."""
    if isinstance(condition, OneOf):
        return ("one of", condition.column, tuple((type(each), each) for each in condition.values))
    sides = (condition.least, condition.most)
    return ("between", condition.column, tuple((type(each), each) for each in sides))


def _misshapen(got: str) -> Refused:
    return Refused("a filter has no shape that an index compares", expected=_SHAPE, got=got)
