"""The records of answered requests: parts of calls of the model, and many of these as one."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
NUMBERS = "biuf"
"""Kinds of numbers, as numpy has them."""
_SMALL = 8
"""Records of a call whose arrays are better joined with others' while the processor has them at hand, and their memory free again."""
_dtype = operator.attrgetter("dtype")


class Call(msgspec.Struct, gc=False, eq=False):
    """One call of the model: columns and outputs (rows, …)."""

    columns: Columns
    outputs: Columns
    rows: int

    def part(self, first: int, end: int) -> Call:
        """Its records from one place to before another."""
        if not first and end == self.rows:
            return self
        return self.taken(slice(first, end), end - first)

    def taken(self, places: slice | NDArray[np.int64], rows: int) -> Call:
        """So many of its records."""
        columns, outputs = (
            {name: values[places] for name, values in each.items()} for each in (self.columns, self.outputs)
        )
        return Call(columns, outputs, rows)


def gathered(calls: Sequence[Call], firsts: Sequence[int], rows: Sequence[int]) -> list[Call]:
    """The records of requests, of which each has so many of its call, from a place on; many small calls as one."""
    parts: list[Call] = []
    at = 0
    for call, group in itertools.groupby(calls):
        begin, at = at, at + len([*group])
        first, end = firsts[begin], firsts[at - 1] + rows[at - 1]
        if end - first == sum(rows[begin:at]):
            parts.append(call.part(first, end))
        else:  # of those between some were not answered
            parts += [
                call.part(first, first + count) for first, count in zip(firsts[begin:at], rows[begin:at], strict=True)
            ]
    return parts if len(parts) * _SMALL < sum(rows) else [together(parts)]


def together(calls: Sequence[Call]) -> Call:
    """Calls of one model behind each other."""
    if len(calls) == 1:
        return calls[0]
    columns, outputs = (
        {name: joined([each[name] for each in side]) for name in side[0]}
        for side in ([each.columns for each in calls], [each.outputs for each in calls])
    )
    return Call(columns, outputs, sum([each.rows for each in calls]))


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays behind each other. Joining the bytes of numbers takes a third of the time of joining their arrays."""
    kind, rest = parts[0].dtype, parts[0].shape[1:]
    if len(parts) == 1:
        return parts[0]
    if (
        kind.kind in NUMBERS
        and kind.isnative
        and [*map(_dtype, parts)].count(kind) == len(parts)
        and not (rest and (0 in rest or any(part.shape[1:] != rest for part in parts)))
    ):
        try:
            data = b"".join(parts)  # type: ignore[arg-type]
        except TypeError:  # one is not in one piece
            pass
        else:
            return np.frombuffer(data, dtype=kind).reshape(-1, *rest)
    return np.concatenate(parts)
