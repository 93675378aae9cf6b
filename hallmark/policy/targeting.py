"""Whom to treat: the hold-out left alone, some by lot so that the next policy can be judged, all others by what a treatment is worth within budget and caps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.policy import Policy
from hallmark.errors import DeclarationError
from hallmark.policy import lot
from hallmark.policy.knapsack import Allocation, allocate, best

Floats = NDArray[np.float64]
REASONS = (
    "worth it",
    "by lot",
    "left alone by lot",
    "held out",
    "not worth it",
    "beyond the budget or a cap",
    "had enough this month",
    "another row of the same",
)
(_WORTH, _LOT, _ALONE, _HELD, _POOR, _BEYOND, _ENOUGH, _TWICE) = range(len(REASONS))
_RESERVED = 0.25
"""Share of the budget, and of each cap, that exploration is to take on average, at most."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Decisions on n entities.

    treatment:  (n,) 0 for none.     reason: (n,) place in `REASONS`.
    worth:      (n,) money that the treatment is expected to bring, its cost taken off; 0 without one.
    cost:       (n,) of the treatment.
    propensity: (n,) chance of that treatment; 1 where no other could have been, NaN where a limit overruled the lot.
    """

    treatment: NDArray[np.int64]
    reason: NDArray[np.int64]
    worth: Floats
    cost: Floats
    propensity: Floats
    allocation: Allocation

    @property
    def spent(self) -> float:
        """Money that all treatments cost."""
        return math.fsum(self.cost.tolist())


def choose(
    uplifts: Floats,
    ids: Sequence[str],
    *,
    domain: str,
    policy: Policy,
    costs: Sequence[float],
    run: str,
    messages: NDArray[Any] | None = None,
) -> Targets:
    """The treatment of each of n entities, from (n,) or (n, treatments) uplifts; the same run chooses the same again.

    run:      names the batch: its lots are its own.   messages: (n,) how many treatments each had in the last 30 days.
    """
    columns = np.asarray(uplifts, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    n, k = columns.shape
    price = np.asarray(costs, dtype=np.float64)
    if len(price) != k:
        raise DeclarationError("each treatment needs a cost", expected=f"task.cost of {k}", got=str(list(costs)))
    values = columns * policy.value - price
    caps = np.asarray(policy.caps.campaign or [n] * k, dtype=np.int64)
    held = lot.held_out(ids, domain=domain, share=policy.holdout)
    enough = np.zeros(n, dtype=np.bool_) if policy.caps.month is None else _had(messages, n) >= policy.caps.month
    twice = _again(ids, values.max(axis=1, initial=-np.inf))
    free = np.flatnonzero(~(held | enough | twice))
    arm, chance = _explored([ids[row] for row in free.tolist()], policy, price, caps, run=f"{domain}/{run}")
    lots = arm >= 0
    counts = np.bincount(arm[lots], minlength=k + 1)[1:]
    reserve = float(counts @ price)
    left = (
        float(np.nextafter(policy.budget - reserve, 0.0)) if reserve else policy.budget
    )  # rounding is on the safe side
    others = free[~lots]
    allocation = allocate(values[others], price, budget=max(0.0, left), caps=np.maximum(0, caps - counts))
    treatment, reason, greedy = np.zeros((3, n), dtype=np.int64)
    treatment[others] = greedy[others] = allocation.choice
    explorers = free[lots]
    greedy[explorers] = best(values[explorers], price, allocation)
    treatment[explorers] = arm[lots]
    reason[others] = np.where(
        allocation.choice > 0, _WORTH, np.where(values[others].max(axis=1, initial=-np.inf) > 0, _BEYOND, _POOR)
    )
    reason[explorers] = np.where(arm[lots] > 0, _LOT, _ALONE)
    reason[twice], reason[enough], reason[held] = _TWICE, _ENOUGH, _HELD
    propensity = np.where(treatment == greedy, 1 - chance, 0.0) + chance / (k + 1)
    propensity = (1 - policy.holdout) * propensity + policy.holdout * (treatment == 0)
    propensity[held] = policy.holdout + (1 - policy.holdout) * _alone(values[held], price, allocation, chance, k)
    propensity[enough | twice] = 1.0
    rows = np.arange(n)
    given = treatment > 0
    worth, cost = np.zeros(n), np.zeros(n)
    worth[given] = values[rows[given], treatment[given] - 1]
    cost[given] = price[treatment[given] - 1]
    return Targets(treatment, reason, worth, cost, propensity, allocation)


def greedy(
    uplifts: Floats, *, policy: Policy, costs: Floats, messages: NDArray[Any] | None = None, share: float = 1.0
) -> NDArray[np.int64]:
    """(n,) the treatment of each row by what it is worth, within a `share` of the budget and caps; nobody held out, and no lots."""
    columns = np.asarray(uplifts, dtype=np.float64).reshape(len(uplifts), -1)
    n, k = columns.shape
    values = columns * policy.value - costs
    caps = np.floor(np.asarray(policy.caps.campaign or [n / share] * k) * share + 1e-9).astype(np.int64)
    enough = np.zeros(n, dtype=np.bool_) if policy.caps.month is None else _had(messages, n) >= policy.caps.month
    values[enough] = -1.0
    return allocate(values, costs, budget=policy.budget * share, caps=caps).choice


def _alone(values: Floats, costs: Floats, allocation: Allocation, chance: float, k: int) -> Floats:
    """(m,) chance that who is not held out would have been left alone."""
    return np.asarray(np.where(best(values, costs, allocation) == 0, 1 - chance, 0.0) + chance / (k + 1))


def _explored(
    ids: Sequence[str], policy: Policy, costs: Floats, caps: NDArray[np.int64], *, run: str
) -> tuple[NDArray[np.int64], float]:
    """(n,) the treatment that a lot gives, -1 for whom none is drawn, and the chance to be drawn; within half of each limit."""
    n, k = len(ids), len(costs)
    found = np.full(n, -1, dtype=np.int64)
    if not n or not policy.explore:
        return found, 0.0
    each = n / (k + 1)
    limits = [policy.budget / (each * costs.sum())] if costs.sum() > 0 else []
    limits += [cap / each for cap in caps.tolist()]
    chance = min(policy.explore, *(_RESERVED * limit for limit in limits))
    asked = lot.drawn(ids, f"{run}/explore") < chance
    which = np.minimum((lot.drawn(ids, f"{run}/which") * (k + 1)).astype(np.int64), k)
    found[asked] = which[asked]
    spent = np.cumsum(np.where(found > 0, costs[np.maximum(found, 1) - 1], 0.0))
    over = (found > 0) & (spent > policy.budget)
    for arm in range(1, k + 1):
        over[np.flatnonzero(found == arm)[caps[arm - 1] :]] = True
    found[over] = -1  # so small a file that its lots do not fit: these are chosen as all others
    return found, chance


def _had(messages: NDArray[Any] | None, n: int) -> Floats:
    if messages is None:
        raise DeclarationError(
            "policy.caps.month counts what was sent already, and the data does not say it",
            expected="the column that policy.messages names",
            got="none",
        )
    return np.asarray(messages, dtype=np.float64).reshape(n)


def _again(ids: Sequence[str], values: Floats) -> NDArray[np.bool_]:
    """(n,) rows of an entity that has a better one, or as good a one before."""
    import pandas as pd

    codes = pd.factorize(np.asarray(ids, dtype=object))[0]
    found = np.zeros(len(codes), dtype=np.bool_)
    if len(codes) and codes.max() + 1 < len(codes):
        order = np.lexsort((np.arange(len(codes)), -values, codes))
        found[order[1:]] = codes[order[1:]] == codes[order[:-1]]
    return found
