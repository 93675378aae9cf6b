"""Partial aggregates: what is kept of some events, so that two of them make the one of all their events, in whatever order.

kind        partial                                value
count       how many                               the same
int_sum     [how many, sum]                        exact, of any size
float_sum   [how many, parts]                      parts add up to the exact sum, so its rounding does not depend on the order
min, max    the value, or None                     the same
distinct    how often each value occurs            how many values
last        (event time, known at, id, value)      the value of the greatest
"""

from __future__ import annotations

from collections.abc import Callable
from math import fsum
from typing import Any, NamedTuple

Partial = Any
Order = tuple[int, int, Any]
"""When an event happened, when it was known, its id: what `last` goes by."""


class Aggregate(NamedTuple):
    """empty: the partial of no event.   add, remove: with one value more or less.   merge: of both.

    Each may change its first argument. `remove` gives `BROKEN` where only the other events say what is left.
    """

    empty: Callable[[], Partial]
    add: Callable[[Partial, Any, Order], Partial]
    remove: Callable[[Partial, Any, Order], Partial]
    merge: Callable[[Partial, Partial], Partial]


BROKEN = object()


def grow(parts: list[float], value: float) -> None:
    """Add a number to parts that do not overlap (Shewchuk 1997), whose sum stays exact."""
    kept = 0
    for part in parts:
        if abs(value) < abs(part):
            value, part = part, value
        high = value + part
        low = part - (high - value)
        if low:
            parts[kept] = low
            kept += 1
        value = high
    parts[kept:] = [value]


def total(kind: str, partial: Partial) -> int | float:
    """The sum of an `int_sum` or `float_sum`, rounded once."""
    return partial[1] if kind == "int_sum" else fsum(partial[1])  # type: ignore[no-any-return]


def _add_int(partial: Partial, value: Any, _: Order) -> Partial:
    partial[0] += 1
    partial[1] += value
    return partial


def _remove_int(partial: Partial, value: Any, _: Order) -> Partial:
    partial[0] -= 1
    partial[1] -= value
    return partial


def _merge_int(one: Partial, other: Partial) -> Partial:
    one[0] += other[0]
    one[1] += other[1]
    return one


def _add_float(partial: Partial, value: Any, _: Order) -> Partial:
    partial[0] += 1
    grow(partial[1], value)
    return partial


def _remove_float(partial: Partial, value: Any, _: Order) -> Partial:
    partial[0] -= 1
    grow(partial[1], -value)
    return partial


def _merge_float(one: Partial, other: Partial) -> Partial:
    one[0] += other[0]
    for part in other[1]:
        grow(one[1], part)
    return one


def _least(one: Partial, other: Any, _: Order | None = None) -> Partial:
    return other if one is None or (other is not None and other < one) else one


def _most(one: Partial, other: Any, _: Order | None = None) -> Partial:
    return other if one is None or (other is not None and other > one) else one


def _remove_extreme(partial: Partial, value: Any, _: Order) -> Partial:
    return BROKEN if value == partial else partial


def _add_distinct(partial: Partial, value: Any, _: Order) -> Partial:
    partial[value] = partial.get(value, 0) + 1
    return partial


def _remove_distinct(partial: Partial, value: Any, _: Order) -> Partial:
    left = partial.get(value, 0) - 1
    if left > 0:
        partial[value] = left
    elif partial.pop(value, None) is None:
        return BROKEN
    return partial


def _merge_distinct(one: Partial, other: Partial) -> Partial:
    for value, times in other.items():
        one[value] = one.get(value, 0) + times
    return one


def _add_last(partial: Partial, value: Any, order: Order) -> Partial:
    return (*order, value) if partial is None or order > partial[:3] else partial


def _remove_last(partial: Partial, _: Any, order: Order) -> Partial:
    return BROKEN if partial is None or partial[:3] == order else partial


def _merge_last(one: Partial, other: Partial) -> Partial:
    return other if one is None or (other is not None and other[:3] > one[:3]) else one


def _nothing() -> None:
    return None


AGGREGATES: dict[str, Aggregate] = {
    "count": Aggregate(
        int, lambda partial, _, __: partial + 1, lambda partial, _, __: partial - 1, lambda one, other: one + other
    ),
    "int_sum": Aggregate(lambda: [0, 0], _add_int, _remove_int, _merge_int),
    "float_sum": Aggregate(lambda: [0, []], _add_float, _remove_float, _merge_float),
    "min": Aggregate(_nothing, _least, _remove_extreme, _least),
    "max": Aggregate(_nothing, _most, _remove_extreme, _most),
    "distinct": Aggregate(dict, _add_distinct, _remove_distinct, _merge_distinct),
    "last": Aggregate(_nothing, _add_last, _remove_last, _merge_last),
}
