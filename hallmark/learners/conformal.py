"""Ends of a band moved until it holds what it promises, in every larger group at once, groups that overlap included.

Split-conformal quantile regression (Romano, Patterson and Candès, 2019), an end at a time, and group by group (Mondrian; Vovk, 2003). Groups
overlap, so each is moved by what the others leave, in turn (backfitting). A small group's rows say less of it than what all groups have in
common: how far each is moved is drawn back by as many rows as the groups' own spread is worth beyond chance (empirical Bayes; Morris, 1983),
the groups of one kind apart from those of another: categories may differ where colours do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SWEEPS = 8
_FEWEST = 4
"""Groups of a kind that say themselves how far they differ."""
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
    kinds: NDArray[np.int64] | None = None,
    drawn_back: float | None = None,
) -> tuple[float, Floats]:
    """A shift of all `scores` (n,) and one of each group, such that a share `level` of each group is at or below 0 after both.

    groups: rows of each, which may overlap.  kinds: (groups,) what each is one of; None: all of one.
    drawn_back: rows by which a group's own shift is drawn back to none; None: what the groups of its kind themselves tell.
    """
    whole = shift(scores, level, weights)
    left, of_groups = scores + whole, np.zeros(len(groups))
    if not len(groups):
        return whole, of_groups
    counted = np.array([_counted(weights[rows]) for rows in groups])
    if drawn_back is None:
        held = np.array([float(weights[rows] @ (left[rows] <= 0)) / max(1e-12, weights[rows].sum()) for rows in groups])
        back = _spread(held, counted, _together(kinds, len(groups)), level=level)
    else:
        back = np.full(len(groups), drawn_back)
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


def _together(kinds: NDArray[np.int64] | None, groups: int) -> NDArray[np.int64]:
    """(groups,) the kind of each, those of too few groups as one: three shares say little of how far such shares lie apart."""
    if kinds is None:
        return np.zeros(groups, dtype=np.int64)
    _, code, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.where(counts[code] >= _FEWEST, code, -1).astype(np.int64)


def _spread(held: Floats, counted: Floats, kinds: NDArray[np.int64], *, level: float) -> Floats:
    """(groups,) rows whose chance is as large as the differences of the groups of a kind: the variance of a row by that of their shares `held` beyond chance."""
    back, chance = np.full(len(held), _MOST), level * (1 - level)
    for kind in np.unique(kinds):
        mine = kinds == kind
        beyond = float(np.average((held[mine] - level) ** 2 - chance / counted[mine], weights=counted[mine]))
        if beyond > 0:
            back[mine] = min(_MOST, chance / beyond)
    return back
