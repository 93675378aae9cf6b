"""Answers and labels one by one, as a drift monitor keeps them: whether two agree, and what a late label says of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hallmark.section import Section, Share
from hallmark.tasks.targets import Floats, Ints

Value = float | int | bool | str | Sequence[Any] | None
"""The answer to one record: a number, a word, or a list: ids, quantiles, uplifts by treatment."""
Label = float | int | bool | str | Sequence[Any] | Mapping[str, Any] | None
_NUMBERS = (float, int, np.bool_, np.integer, np.floating)
PERSISTENCE = 0.9
"""Chance that a reader of a ranking goes on to the next place (rank-biased overlap, Webber 2010)."""


class Agreement(Section):
    """The rule by which stable's answer and the candidate's count as the same; a task reads the one key that it knows.

    threshold: both numbers on the same side (binary, uplift).   tolerance: relative difference allowed (regression).
    overlap:   rank-biased overlap of both rankings, at least (ranking, retrieval).
    """

    threshold: float | None = None
    tolerance: float | None = None
    overlap: Share | None = None


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of a variant's answers by their late labels, one per unit: a record, or a request for tasks by request.

    loss: (units,) 0 for a right answer; NaN where answer or label is of another kind.
    bias: (units,) what came true less what was answered; 0 where there is no such thing.
    rows: (units,) index of the unit's first row.
    kept: (units,) 1 where an answer that promises a range held the label, 0 where it did not, NaN where the label cannot say; None: no promise.
    """

    loss: Floats
    bias: Floats
    rows: Ints
    kept: Floats | None = None


def number(value: object) -> float:
    """The value as a finite float, true and false as 1 and 0; NaN where it is none."""
    if isinstance(value, _NUMBERS):
        return float(value) if math.isfinite(value) else math.nan
    return math.nan


def numbers(value: object, *, count: int) -> Floats | None:
    """A list of `count` finite numbers; None where it is none."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or len(value) != count:
        return None
    found = np.array([number(each) for each in value])
    return found if np.isfinite(found).all() else None


def ids(value: object) -> tuple[str, ...] | None:
    """A list of ids, each a word or a whole number, as words without repeats; None where it is none."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return None
    if set(map(type, value)) == {str}:
        return tuple(dict.fromkeys(value))
    if not all(isinstance(each, str | int | np.integer) and not isinstance(each, bool) for each in value):
        return None
    return tuple(dict.fromkeys(str(each) for each in value))


def by_record(
    answers: Sequence[Value], labels: Sequence[Label], judge: Callable[[Value, Label], tuple[float, float]]
) -> Losses:
    """Losses of records on their own: `judge` gives loss and bias of one."""
    found = np.array([judge(a, b) for a, b in zip(answers, labels, strict=True)], dtype=np.float64).reshape(-1, 2)
    return Losses(loss=found[:, 0], bias=found[:, 1], rows=np.arange(len(found), dtype=np.int64))


def units(requests: Sequence[str]) -> tuple[Ints, Ints]:
    """(rows,) number of each row's request, and (units,) first row of each; a row without a request's id is one of its own."""
    found: dict[object, int] = {}
    codes = np.array(
        [found.setdefault(request or row, len(found)) for row, request in enumerate(requests)], dtype=np.int64
    )
    return codes, np.unique(codes, return_index=True)[1].astype(np.int64)


def overlap(first: Sequence[object], second: Sequence[object], *, depth: int) -> float:
    """Rank-biased overlap of two rankings without repeats, 0..1 and 1 for the same, over their first `depth` places.

    Truncated at the depth, or at the longer ranking's end, and divided by what two equal rankings reach there.
    """
    deepest = min(depth, max(len(first), len(second)))
    ours: set[object] = set()
    theirs: set[object] = set()
    shared = total = reached = 0.0
    for place in range(deepest):
        for ranking, mine, other in ((first, ours, theirs), (second, theirs, ours)):
            if place < len(ranking):
                shared += ranking[place] in other
                mine.add(ranking[place])
        weight = PERSISTENCE**place
        reached += weight * shared / (place + 1)
        total += weight
    return reached / total if total else 1.0
