"""Which scores a decision accepts: all up to one, as its threshold was shown for, or a part of them that holds more counterfeits.

Items are sent through the graph with every combination of the values that its conditions tell apart, as if every node had answered and each
threshold allowed it. What else a verdict hangs on, costs and minutes, keeps items of a low score no less than those of a higher one.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hallmark.declaration import condition
from hallmark.declaration.condition import Compared, Condition, Joined, Kind, Literally, Named, Value
from hallmark.declaration.decision import Decision

_TRIED = 500
"""Items that are sent through; where there are more combinations, so many by lot."""


class Gap(NamedTuple):
    """A route that takes a score, and something before it does not take a lower one of the same item."""

    step: str
    route: int
    taken: float
    left: float


def gaps(decision: Decision) -> Iterator[Gap]:
    """One for each such route, of a graph that ends; in no order."""
    score = decision.risk.false_authentic.score
    pools = _pools(decision)
    rising = sorted(float(each) for each in pools.pop(score, {0.0}) if isinstance(each, int | float))
    told = set[tuple[str, int]]()
    for values in _items(pools):
        left: float | None = None
        for each in rising:
            place = _accepting(decision, {**values, score: each})
            if place is None:
                left = each if left is None else left
            elif left is not None and place not in told:
                told.add(place)
                yield Gap(*place, taken=each, left=left)


def _accepting(decision: Decision, values: Mapping[str, Value]) -> tuple[str, int] | None:
    """Step and number of the route by which such an item is offered to be accepted, every node having answered; None where it is not."""
    at = decision.start
    while at in decision.steps:
        routes = decision.steps[at].routes
        taken = next(
            number
            for number, route in enumerate(routes)
            if route.when is None or condition.holds(condition.parsed(route.when), values)
        )
        if routes[taken].to == "accept":
            return at, taken
        at = routes[taken].to
    return None


def _pools(decision: Decision) -> dict[str, set[Value]]:
    """By name, values of which each makes some condition another one: those in the conditions, between and beyond them."""
    kinds, found = decision.kinds, defaultdict[str, set[Value]](set)
    alike: list[tuple[str, str]] = []
    for step in decision.steps.values():
        for route in step.routes:
            for name, other in _sides(condition.parsed(route.when)) if route.when is not None else ():
                if isinstance(other, Named):
                    alike.append((name, other.shown))
                found[name] |= _literals(other)
    for one, two in alike * len(alike):
        found[one] = found[two] = found[one] | found[two]
    return {name: _spread(kinds[name], values) for name, values in found.items()}


def _sides(given: Condition) -> Iterator[tuple[str, Literally | Named | None]]:
    """Names in a condition, each with what it is compared with."""
    if isinstance(given, Joined):
        for part in given.parts:
            yield from _sides(part)
    elif isinstance(given, Compared):
        for side, other in ((given.left, given.right), (given.right, given.left)):
            if isinstance(side, Named):
                yield side.shown, other
    elif isinstance(given, Named):
        yield given.shown, None


def _literals(given: Literally | Named | None) -> set[Value]:
    if not isinstance(given, Literally):
        return set()
    return set(given.value) if isinstance(given.value, tuple) else {given.value}


def _spread(kind: Kind, values: set[Value]) -> set[Value]:
    if kind == "truth":
        return {True, False}
    texts = sorted(each for each in values if isinstance(each, str))
    if kind == "texts":
        return {(), tuple(texts), *((each,) for each in texts)}
    if kind == "text":
        return {*texts, "".join(texts) + "?"}
    numbers = sorted(each for each in values if isinstance(each, int | float)) or [0.0]
    between = [(one + other) / 2 for one, other in itertools.pairwise(numbers)]
    return {numbers[0] - 1.0, *numbers, *between, numbers[-1] + 1.0}


def _items(pools: Mapping[str, set[Value]]) -> Iterator[dict[str, Value]]:
    """Every item that the pools make, or `_TRIED` of them by lot, the same ones each time."""
    names: Sequence[str] = sorted(pools)
    values = [sorted(pools[name], key=repr) for name in names]
    count = math.prod(map(len, values))
    if count <= _TRIED:
        for chosen in itertools.product(*values):
            yield dict(zip(names, chosen, strict=True))
        return
    chance = random.Random(count)  # noqa: S311 - a sample
    for _ in range(_TRIED):
        yield {name: chance.choice(each) for name, each in zip(names, values, strict=True)}
