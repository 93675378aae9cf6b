"""Whom to treat within a budget and caps: the linear relaxation's prices by cutting planes, and a whole solution that never exceeds a limit.

Each row gets one treatment or none (a multiple-choice knapsack; Sinha and Zoltners, 1979). The relaxation's dual has one price for money and one for each
capped treatment, however many rows there are: it is minimised by Kelley's cutting planes (1960). A row's treatment is then the one that is worth most
beyond these prices, and the few rows that the relaxation would split are taken while they fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_CUTS = 200
_NEAR = 1e-7
"""Share of the bound at which the dual is near enough."""
_PASSES = 200


@dataclass(frozen=True, eq=False)
class Allocation:
    """Treatments of n rows.

    choice: (n,) 0 for none, 1.. for which.     value, spent: of them all.
    bound:  no allocation within the limits is worth more: the value of the linear relaxation.
    price:  what a unit of budget more would bring; prices: (treatments,) what one more of each would.
    """

    choice: Ints
    value: float
    spent: float
    bound: float
    price: float
    prices: Floats

    @property
    def gap(self) -> float:
        """Share of the bound that is not reached."""
        return 0.0 if self.bound <= 0 else max(0.0, 1 - self.value / self.bound)


def allocate(values: Floats, costs: Floats, *, budget: float, caps: NDArray[Any] | None = None) -> Allocation:
    """The best treatment of each row within the limits.

    values: (n, k) worth of each treatment, what it costs taken off; what is not above 0 is never given.
    costs:  (n, k) or (k,), 0 or more.     caps: (k,) rows that each treatment may reach; None: any number.
    """
    n, k = values.shape
    spends = np.broadcast_to(np.asarray(costs, dtype=np.float64), (n, k))
    most = np.full(k, n, dtype=np.int64) if caps is None else np.minimum(np.asarray(caps, dtype=np.int64), n)
    if (
        not (np.isfinite(values).all() and np.isfinite(spends).all())
        or (spends < 0).any()
        or (most < 0).any()
        or not budget >= 0
    ):
        raise ValueError("expected finite values, and costs, caps and a budget of 0 or more")
    rows = np.flatnonzero(((values > 0) & (spends <= budget) & (most > 0)).any(axis=1))
    part = _Part(values[rows], spends[rows], budget, most)
    prices, bound = part.dual()
    chosen = part.filled(prices)
    choice = np.zeros(n, dtype=np.int64)
    choice[rows] = chosen
    taken = np.flatnonzero(choice)
    worth = float(values[taken, choice[taken] - 1].sum())
    spent = math.fsum(spends[taken, choice[taken] - 1].tolist())
    return Allocation(choice, worth, spent, max(bound, worth), float(prices[0]), prices[1:])


def best(values: Floats, costs: Floats, allocation: Allocation) -> Ints:
    """(m,) treatment of other rows at an allocation's prices: what is worth most beyond them, 0 where nothing is."""
    beyond = np.where(values > 0, values - allocation.price * costs - allocation.prices, -np.inf)
    return np.where(beyond.max(axis=1, initial=-np.inf) > 0, beyond.argmax(axis=1) + 1, 0)


class _Part:
    """The rows that any treatment is worth something for."""

    def __init__(self, values: Floats, costs: Floats, budget: float, caps: Ints) -> None:
        self.values, self.costs, self.budget, self.caps = values, costs, budget, caps
        self.allowed = (values > 0) & (costs <= budget) & (caps > 0)

    def beyond(self, prices: Floats) -> Floats:
        """(n, k) worth beyond prices of money and of each treatment; -inf for what may not be."""
        return np.where(self.allowed, self.values - prices[0] * self.costs - prices[1:], -np.inf)

    def at(self, prices: Floats) -> tuple[float, Floats]:
        """The dual at these prices, and a subgradient: what is left of each limit."""
        limits = np.concatenate(([self.budget], self.caps.astype(np.float64)))
        if not len(self.values):
            return float(limits @ prices), limits
        beyond = self.beyond(prices)
        arm = beyond.argmax(axis=1)
        worth = beyond[np.arange(len(arm)), arm]
        taken = worth > 0
        used = np.bincount(arm[taken], minlength=len(self.caps)).astype(np.float64)
        spent = float(self.costs[taken, arm[taken]].sum())
        return float(limits @ prices + worth[taken].sum()), limits - np.concatenate(([spent], used))

    def dual(self) -> tuple[Floats, float]:
        """Prices that make the dual smallest, and its value there."""
        from scipy.optimize import linprog

        size = len(self.caps) + 1
        place = np.zeros(size)
        value, slope = self.at(place)
        if (slope >= 0).all():
            return place, value
        dearest = float(self.values.max())
        paid = self.costs > 0
        top = float((self.values[paid] / self.costs[paid]).max()) if paid.any() else 0.0
        bounds = [(0.0, top), *[(0.0, dearest)] * (size - 1)]
        cuts: list[tuple[float, Floats, Floats]] = [(value, slope, place)]
        best_place, best_value = place, value
        for _ in range(_CUTS):
            # minimise t where t >= value + slope (p - place) for every cut
            rows = np.array([[*cut[1], -1.0] for cut in cuts])
            right = np.array([cut[1] @ cut[2] - cut[0] for cut in cuts])
            found = linprog([0.0] * size + [1.0], A_ub=rows, b_ub=right, bounds=[*bounds, (None, None)], method="highs")
            if found.x is None:
                break
            place = np.clip(found.x[:size], 0.0, None)
            value, slope = self.at(place)
            cuts.append((value, slope, place))
            if value < best_value:
                best_place, best_value = place, value
            if best_value - found.fun <= _NEAR * max(abs(best_value), 1e-12):
                break
        return best_place, best_value

    def filled(self, prices: Floats) -> Ints:
        """(n,) treatments within all limits: what is worth most beyond the prices first, then what else fits."""
        n, k = self.values.shape
        choice = np.zeros(n, dtype=np.int64)
        if not n:
            return choice
        beyond = self.beyond(prices)
        left, caps = self.budget, self.caps.copy()
        row, arm = np.divmod(np.flatnonzero(self.allowed), k)
        order = np.lexsort((-self.values[row, arm], -beyond[row, arm]))
        row, arm = row[order], arm[order]
        for _ in range(_PASSES):
            fits = (choice[row] == 0) & (caps[arm] > 0) & (self.costs[row, arm] <= left)
            row, arm = row[fits], arm[fits]
            if not len(row):
                break
            first = np.zeros(len(row), dtype=np.bool_)
            first[np.unique(row, return_index=True)[1]] = True
            r, a = row[first], arm[first]
            within = np.zeros(len(r), dtype=np.bool_)
            for each in range(k):
                within[np.flatnonzero(a == each)[: caps[each]]] = True
            cost = np.where(within, self.costs[r, a], 0.0)
            take = within & (np.cumsum(cost) <= left)
            choice[r[take]] = a[take] + 1
            caps = caps - np.bincount(a[take], minlength=k)
            left = self.budget - self._spent(choice)
        while self._spent(choice) > self.budget:  # sums of floats in another order
            taken = np.flatnonzero(choice)
            choice[taken[np.argmin(self.values[taken, choice[taken] - 1])]] = 0
        return choice

    def _spent(self, choice: Ints) -> float:
        taken = np.flatnonzero(choice)
        return math.fsum(self.costs[taken, choice[taken] - 1].tolist())  # exact: whatever the order of rows
