"""Thresholds by slice that keep a risk with a stated confidence, or NO_THRESHOLD, from labels of a later part of the data.

Learn then test (Angelopoulos, Bates, Candès, Jordan and Lei, 2021, arXiv:2110.01052): each threshold of a grid is a hypothesis, "above this share
of what it accepts is counterfeit". Of n accepted items, each a counterfeit with the same chance above the bound, at most k counterfeits come
with a binomial probability, which is its p-value: exact, for any n. Thresholds are tested in rising order, and the last one before the first
that cannot be rejected is taken (fixed sequence), from several starts between which the error is split, since a start with few items stops at the
first counterfeit. The grid and the starts come from scores of an earlier part, and no label: what is tested has to be fixed before it is seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.declaration.decision import Risk

Floats = NDArray[np.float64]
_GRID = 100
_STARTS = 4
_FEWEST = 50
"""Earlier scores of a slice from which a grid of its own is made; with fewer it gets the grid of all."""
_BINS = 50


def p_values(accepted: NDArray[Any], counterfeits: NDArray[Any], at_most: float) -> Floats:
    """(g,) probability of so few counterfeits among so many accepted items, were `at_most` of them counterfeit; 1 where none is accepted."""
    from scipy.stats import binom

    return np.asarray(np.where(accepted > 0, binom.cdf(counterfeits, accepted, at_most), 1.0), dtype=np.float64)


def fewest(at_most: float, error: float) -> int:
    """Accepted items with which the risk can be shown at all: with no counterfeit among them."""
    return math.ceil(math.log(error) / math.log1p(-at_most))


def needed(risk: Risk) -> int:
    """Accepted items of a slice with which this risk can be shown at all."""
    return fewest(risk.at_most, _error(risk))


def highest(scores: Floats, counterfeit: NDArray[np.bool_], grid: Floats, risk: Risk, *, shares: Floats) -> int | None:
    """Place in `grid` (rising) of the highest threshold that is shown to keep the risk; None where none is.

    scores, counterfeit: (n,) labelled items of the slice.   shares: (g,) of items that each threshold is expected to accept.
    """
    order = np.argsort(scores, kind="stable")
    accepted = np.searchsorted(scores[order], grid, side="right")
    counted = np.concatenate(([0], np.cumsum(counterfeit[order])))[accepted]
    kept = p_values(accepted, counted, risk.at_most) <= _error(risk)
    wanted, most = needed(risk), len(scores) * float(shares[-1])
    if most < wanted:
        return None
    best = None
    for start in np.geomspace(wanted, most, _STARTS):
        at = int(np.searchsorted(len(scores) * shares, start - 1e-9))
        run = int(np.argmin(np.append(kept[at:], False)))
        if run and (best is None or at + run - 1 > best):
            best = at + run - 1
    return best


def calibrated(
    risk: Risk,
    *,
    scores: Floats,
    counterfeit: NDArray[np.bool_],
    slices: Sequence[tuple[str, ...]],
    earlier: Floats,
    earlier_slices: Sequence[tuple[str, ...]],
) -> Thresholds:
    """The thresholds of every slice among the labelled items.

    scores, counterfeit, slices: (n,) items with final labels, of which nothing was learnt.
    earlier, earlier_slices:     (m,) scores of items before them, whose labels do not matter.
    """
    if not (len(scores) == len(counterfeit) == len(slices) and len(earlier) == len(earlier_slices)):
        raise ValueError("expected one score, label and slice an item")
    if not (len(earlier) and np.isfinite(scores).all() and np.isfinite(earlier).all()):
        raise ValueError("expected finite scores, and some of earlier items")
    found = []
    for values in sorted(set(slices)):
        rows = np.array([each == values for each in slices])
        before = earlier[np.array([each == values for each in earlier_slices], dtype=np.bool_)]
        before = np.sort(before if len(before) >= _FEWEST else earlier)
        grid = np.unique(np.quantile(before, np.linspace(0, 1, _GRID + 1)[1:]))
        shares = np.searchsorted(before, grid, side="right") / len(before)
        at = highest(scores[rows], counterfeit[rows], grid, risk, shares=shares)
        taken = scores[rows] <= grid[at] if at is not None else np.zeros(int(rows.sum()), dtype=np.bool_)
        found.append(
            SliceThreshold(
                values=values,
                threshold=None if at is None else float(grid[at]),
                examples=int(rows.sum()),
                accepted=int(taken.sum()),
                counterfeits=int(counterfeit[rows][taken].sum()),
            )
        )
    knots, chances = rising(scores, counterfeit)
    return Thresholds(
        score=risk.score,
        at_most=risk.at_most,
        confidence=risk.confidence,
        fields=risk.slices,
        slices=tuple(found),
        scores=tuple(knots.tolist()),
        chances=tuple(chances.tolist()),
    )


def rising(scores: Floats, counterfeit: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Knots of the chance of a counterfeit by score: shares of equal parts, pooled until they rise (pool adjacent violators).

    A part without a counterfeit counts as half of one, so that no score promises certainty.
    """
    if not len(scores):
        return np.empty(0), np.empty(0)
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)))
    part = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, None)
    pools: list[list[float]] = []  # weight, sum of scores, counterfeits
    for each in np.unique(part):
        rows = part == each
        pools.append([float(rows.sum()), float(scores[rows].sum()), float(counterfeit[rows].sum())])
        while len(pools) > 1 and _share(pools[-2]) >= _share(pools[-1]):
            last = pools.pop()
            pools[-1] = [one + other for one, other in zip(pools[-1], last, strict=True)]
    return np.array([total / weight for weight, total, _ in pools]), np.array([_share(each) for each in pools])


def _error(risk: Risk) -> float:
    """The error of one of the starts, which share that of the whole."""
    return (1 - risk.confidence) / _STARTS


def _share(pool: list[float]) -> float:
    return (pool[2] + 0.5) / (pool[0] + 1)
