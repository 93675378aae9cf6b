"""What a decision costs, what a person would save of it, and which minutes are worth whose.

A minute of an expert has a price beyond the wage when there are more items than minutes: the rate of the item that just does not get one. With
it each item is decided for itself, and all of them together as if they had been sorted by what they save a minute.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from hallmark.declaration.decision import DecisionCosts, End, Node


def automatic(costs: DecisionCosts, action: End, *, chance: float, price: float) -> float:
    """Expected cost of an action without a person, where `chance` is that of a counterfeit."""
    if action == "accept":
        return chance * costs.false_accept * price
    return (1 - chance) * costs.false_reject * price if action == "reject" else costs.refuse * price


def by_person(costs: DecisionCosts, person: Node, *, chance: float, price: float) -> float:
    """Expected cost of a person's verdict: the minutes, and the mistakes that persons make too."""
    mistaken = chance * costs.false_accept + (1 - chance) * costs.false_reject
    return person.minutes * costs.minute + person.wrong * mistaken * price


def realized(costs: DecisionCosts, action: End, *, counterfeit: bool, price: float) -> float:
    """Cost of a final action once the truth is known."""
    return automatic(costs, action, chance=float(counterfeit), price=price)


def minute_price(rates: Sequence[float], minutes: float, *, available: float) -> float:
    """Price at which those who pay more for each of their `minutes` fill what is available; 0 where it is enough for all.

    rates: money that a minute saves, of each item that would like a person.
    """
    wanting = sorted((rate for rate in rates if rate > 0), reverse=True)
    fit = math.floor(available / minutes + 1e-9)
    return wanting[fit] if fit < len(wanting) else 0.0


class Pace:
    """Price of a minute as items come, by those of late and by what is left of the day's minutes."""

    def __init__(self, person: Node, *, day: float = 86_400.0, window: int = 2000) -> None:
        self._minutes = person.minutes
        self._capacity = math.inf if person.capacity is None else person.capacity
        self._day = day
        self._seen: deque[tuple[float, float]] = deque(maxlen=window)
        self._began = self._spent = 0.0

    def saw(self, rate: float, at: float) -> None:
        """An item that a person would save so much a minute of, at a time in seconds; 0 or less: none would want it."""
        self._turn(at)
        self._seen.append((rate, at))

    def took(self, at: float, minutes: float | None = None) -> None:
        """An item was given to a person, for as many minutes as one takes, or as many as are said."""
        self._turn(at)
        self._spent += self._minutes if minutes is None else minutes

    def left(self, at: float) -> float:
        """Minutes of this day that are not given away."""
        self._turn(at)
        return max(0.0, self._capacity - self._spent)

    def price(self, at: float) -> float:
        """Price of a minute now; infinite where none is left."""
        left = self.left(at)
        if left < self._minutes:
            return math.inf
        if len(self._seen) < 2 or math.isinf(left):
            return 0.0
        lasted = max(1e-9, self._seen[-1][1] - self._seen[0][1])
        to_come = max(0.0, self._began + self._day - at) / lasted * len(self._seen)
        if to_come <= 0:
            return 0.0
        share = left / to_come  # minutes for each item that is still to come
        return minute_price([rate for rate, _ in self._seen], self._minutes, available=share * len(self._seen))

    def _turn(self, at: float) -> None:
        if at >= self._began + self._day:
            self._began += math.floor((at - self._began) / self._day) * self._day
            self._spent = 0.0
