"""Ends of a band moved until it holds what it promises, in every larger group at once, groups that overlap included.

Split-conformal quantile regression (Romano, Patterson and Candès, 2019), an end at a time; the group whose share is furthest from what it
should be is mended first, again and again, as in batch multivalid prediction (Jung, Noarov, Ramalingam and Roth, 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_ROUNDS = 200


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
    drawn_back: float = 60.0,
    tolerance: float = 0.5,
) -> tuple[float, Floats]:
    """A shift of all `scores` (n,) and one of each group, such that a share `level` of each group is at or below 0 after both.

    groups: rows of each, which may overlap.  drawn_back: rows by which a group's own shift is drawn back to none.  tolerance: standard errors of a group's share that count as kept.
    """
    whole = shift(scores, level, weights)
    left, of_groups = scores + whole, np.zeros(len(groups))
    total = np.array([weights[rows].sum() for rows in groups])
    counted = np.array([weights[rows].sum() ** 2 / max(1e-12, (weights[rows] ** 2).sum()) for rows in groups])
    error = np.sqrt(level * (1 - level) / np.maximum(counted, 1.0))
    if not len(groups):
        return whole, of_groups
    from scipy import sparse

    whose = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    of_row = sparse.csr_matrix((np.ones(len(whose)), (np.concatenate(groups), whose)), shape=(len(scores), len(groups)))
    held = (weights * (left <= 0)) @ of_row
    for _ in range(_ROUNDS):
        off = np.abs(held / np.maximum(total, 1e-12) - level) / error
        worst = int(np.argmax(off))
        if off[worst] <= tolerance:
            break
        rows = groups[worst]
        step = shift(left[rows], level, weights[rows]) * counted[worst] / (counted[worst] + drawn_back)
        of_groups[worst] += step
        before = left[rows] <= 0
        left[rows] += step
        crossed = (left[rows] <= 0).astype(np.float64) - before
        some = np.flatnonzero(crossed)
        held = held + (weights[rows[some]] * crossed[some]) @ of_row[rows[some]]
    return whole, of_groups
