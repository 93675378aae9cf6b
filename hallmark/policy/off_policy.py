"""What a policy would have been worth, told from a log of another one that says how likely each of its actions was.

IPS: Horvitz and Thompson (1952). SNIPS: Swaminathan and Joachims (2015). DR: Dudík, Langford and Li (2011). Errors are of independent rows or groups of
rows, by the delta method where a figure is a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hallmark.section import Frozen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Z = 1.959963984540054
"""Standard errors on either side that hold 95 of 100."""


@dataclass(frozen=True, eq=False)
class Log:
    """What was done on n rows and what came of it.

    action:     (n,) 0.. of what could be done.     reward: (n,).
    propensity: (n,) chance of that action, above 0, up to 1.     groups: (n,) code of what is not independent; None: each row alone.
    """

    action: Ints
    reward: Floats
    propensity: Floats
    groups: Ints | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.action), len(self.reward), len(self.propensity)}
        if len(sizes) > 1 or not len(self.action):
            raise ValueError(f"expected columns of one length, above 0, got {sizes}")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all() or not np.isfinite(self.reward).all():
            raise ValueError("expected propensities above 0 and up to 1, and finite rewards")

    def __len__(self) -> int:
        return len(self.action)


class PolicyValue(Frozen):
    """Mean reward of a policy, with an interval that holds the truth in 95 of 100 logs."""

    value: float
    error: float
    low: float
    high: float


class PolicyValues(Frozen):
    """The same by three estimators.

    matched:   rows on which the log did what the policy does (weighed by the policy's chance).
    effective: rows that as good a figure would need where the policy itself is followed: (sum of weights)² by the sum of their squares.
    """

    ips: PolicyValue
    snips: PolicyValue
    dr: PolicyValue
    rows: int
    matched: float
    effective: float


def value(log: Log, policy: Floats, expected: Floats | None = None) -> PolicyValues:
    """Value of a policy that takes each action with (n, actions) chances.

    expected: (n, actions) reward that a model expects of each action, which has not learnt from these rows; None: the log's mean for all.
    """
    rows = np.arange(len(log))
    if (
        policy.shape[0] != len(log)
        or log.action.max() >= policy.shape[1]
        or np.abs(policy.sum(axis=1) - 1).max() > 1e-9
    ):
        raise ValueError(f"expected (n, actions) chances that sum to 1, got {policy.shape}")
    model = np.full(policy.shape, log.reward.mean()) if expected is None else expected
    follows = policy[rows, log.action]
    weights = follows / log.propensity
    ips = weights * log.reward
    direct = (policy * model).sum(axis=1) + weights * (log.reward - model[rows, log.action])
    share = max(float(weights.mean()), 1e-300)
    ratio = float(ips.mean()) / share
    squares = float(weights @ weights)
    return PolicyValues(
        ips=_told(float(ips.mean()), ips - ips.mean(), log.groups),
        snips=_told(ratio, (ips - ratio * weights) / share, log.groups),
        dr=_told(float(direct.mean()), direct - direct.mean(), log.groups),
        rows=len(log),
        matched=float(follows.sum()),
        effective=float(weights.sum()) ** 2 / squares if squares else 0.0,
    )


def gain(log: Log, policy: Floats, other: Floats, expected: Floats | None = None) -> PolicyValue:
    """Doubly robust value of a policy less that of another one, on the same rows: its error is of the difference."""
    rows = np.arange(len(log))
    model = np.full(policy.shape, log.reward.mean()) if expected is None else expected
    apart = policy - other
    beyond = apart[rows, log.action] / log.propensity * (log.reward - model[rows, log.action])
    found = (apart * model).sum(axis=1) + beyond
    return _told(float(found.mean()), found - found.mean(), log.groups)


def chances(action: Ints, actions: int) -> Floats:
    """(n, actions) of a policy that always takes (n,) these."""
    found = np.zeros((len(action), actions))
    found[np.arange(len(action)), action] = 1.0
    return found


def _told(figure: float, influence: Floats, groups: Ints | None) -> PolicyValue:
    """A mean of n rows with the error of its (n,) influences, summed by group."""
    n = len(influence)
    sums = influence if groups is None else np.bincount(np.unique(groups, return_inverse=True)[1], weights=influence)
    m = len(sums)
    error = float(np.sqrt((sums @ sums) * m / max(1, m - 1))) / n
    return PolicyValue(value=figure, error=error, low=figure - Z * error, high=figure + Z * error)
