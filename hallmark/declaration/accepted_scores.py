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

_TRIED = 10_000
"""Items that are sent through; where there are more combinations, so many by lot."""


class Gap(NamedTuple):
    """A route that takes a score, and something before it does not take a lower one of the same item."""

    step: str
    route: int
    taken: float
    left: float


class _Way(NamedTuple):
    """Where an item goes on: 2: it is accepted; 1: offered to a person, and may be accepted where that is not worth it; 0: neither."""

    taken: int
    step: str
    route: int


def gaps(decision: Decision) -> Iterator[Gap]:
    """One for each such route, of a graph that ends; in no order."""
    score = decision.risk.false_authentic.score
    pools = _pools(decision)
    numbers = {float(each) for each in pools.pop(score, set()) if isinstance(each, int | float)}
    rising = sorted({0.0, 1.0, *(each for each in numbers if 0 <= each <= 1)})  # the score is a chance
    told = set[tuple[str, int]]()
    for values in _items(pools):
        least, left = 2, 0.0
        for each in rising:
            way = _way(decision, {**values, score: each})
            if way.taken > least and way[1:] not in told:
                told.add(way[1:])
                yield Gap(way.step, way.route, taken=each, left=left)
            if way.taken < least:
                least, left = way.taken, each


def _way(decision: Decision, values: Mapping[str, Value]) -> _Way:
    """Where such an item goes, every node having answered and each threshold allowing it."""
    at = decision.start
    while True:
        routes = decision.steps[at].routes
        taken = next(
            number
            for number, route in enumerate(routes)
            if route.when is None or condition.holds(condition.parsed(route.when), values)
        )
        to = routes[taken].to
        if to not in decision.steps:
            return _Way(2 if to == "accept" else int(to in decision.persons), at, taken)
        at = to


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
