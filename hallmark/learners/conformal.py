"""Ends of a band moved until it holds what it promises, in every larger group at once, groups that overlap included.

Split-conformal quantile regression (Romano, Patterson and Candès, 2019), an end at a time, and group by group (Mondrian; Vovk, 2003). Groups
overlap, so each is moved by what the others leave, in turn (backfitting). A small group's rows say less of it than what all groups have in
common: how far each is moved is drawn back by as many rows as the groups' own spread is worth beyond chance (empirical Bayes; Morris, 1983).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SWEEPS = 8
_MOST = 1e9
"""Rows by which shifts are drawn back where groups differ by no more than chance."""


def shift(scores: Floats, level: float, weights: Floats) -> float:
    """What to add so that a share `level` of `scores` (n,) is at or below 0 then: minus their conformal quantile.

    The quantile of n equal weights is the one of rank (n + 1) * level, so that a new row keeps to it at least so often.
    Scores that are not finite count, and none of them is the quantile.
    """
    order = np.argsort(scores, kind="stable")
    cumulated = np.cumsum(weights[order])
    finite = np.flatnonzero(np.isfinite(scores[order]))
    if not len(finite):
        return 0.0
    goal = level * (cumulated[-1] + cumulated[-1] / len(order))
    at = int(np.searchsorted(cumulated, goal - 1e-9 * cumulated[-1], side="left"))
    return -float(scores[order[min(max(at, finite[0]), finite[-1])]])


def shifts(
    scores: Floats,
    groups: Sequence[NDArray[np.int64]],
    *,
    level: float,
    weights: Floats,
    drawn_back: float | None = None,
) -> tuple[float, Floats]:
    """A shift of all `scores` (n,) and one of each group, such that a share `level` of each group is at or below 0 after both.

    groups: rows of each, which may overlap.  drawn_back: rows by which a group's own shift is drawn back to none; None: what the groups themselves tell.
    """
    whole = shift(scores, level, weights)
    left, of_groups = scores + whole, np.zeros(len(groups))
    if not len(groups):
        return whole, of_groups
    counted = np.array([_counted(weights[rows]) for rows in groups])
    back = _spread(left, groups, level=level, weights=weights, counted=counted) if drawn_back is None else drawn_back
    share = counted / (counted + back)
    for _ in range(_SWEEPS):
        for place, rows in enumerate(groups):
            alone = left[rows] - of_groups[place]
            found = share[place] * shift(alone, level, weights[rows])
            left[rows] = alone + found
            of_groups[place] = found
    return whole, of_groups


def _counted(weights: Floats) -> float:
    """Rows that weigh so: no more than they are said to be worth, nor than equal ones would be (Kish, 1965)."""
    total = float(weights.sum())
    return max(1e-9, min(total, total**2 / max(1e-12, float(weights @ weights))))


def _spread(
    left: Floats, groups: Sequence[NDArray[np.int64]], *, level: float, weights: Floats, counted: Floats
) -> float:
    """Rows whose chance is as large as the groups' differences: the variance of a row by that of the groups' shares beyond chance."""
    held = np.array([float(weights[rows] @ (left[rows] <= 0)) / max(1e-12, weights[rows].sum()) for rows in groups])
    chance = level * (1 - level)
    beyond = float(np.average((held - level) ** 2 - chance / counted, weights=counted))
    return min(_MOST, chance / beyond) if beyond > 0 else _MOST
