"""Thresholds by slice that keep a risk with a stated confidence, or NO_THRESHOLD, from labels of a later part of the data.

Learn then test (Angelopoulos, Bates, Candès, Jordan and Lei, 2021, arXiv:2110.01052): each threshold of a grid is a hypothesis, "above this share
of what it accepts is counterfeit". Of n accepted items, each a counterfeit with the same chance above the bound, at most k counterfeits come
with a binomial probability, which is its p-value: exact, for any n. Thresholds are tested in rising order, and the last one before the first
that cannot be rejected is taken (fixed sequence), from several starts between which the error is split, since a start with few items stops at the
first counterfeit. The grid and the starts come from scores of an earlier part, and no label: what is tested has to be fixed before it is seen.

The tail is that of items which all had the same chance to be labelled. Where they had not, such as audits that were drawn beside all that people
looked at, each has a weight, one by its chance, and labels are thinned first: von Neumann's rejection (1951) keeps an item with the chance
weight / largest weight of its slice, so that each of the slice is there with the same chance, one by that largest weight.
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
_LOTS = 83
"""Seed of the lots by which labels are thinned: a training that is repeated keeps the same ones."""


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
    weights: Floats | None = None,
    earlier_weights: Floats | None = None,
) -> Thresholds:
    """The thresholds of every slice among the labelled items.

    scores, counterfeit, slices: (n,) items with final labels, of which nothing was learnt.
    earlier, earlier_slices:     (m,) scores of items before them, whose labels do not matter.
    weights, earlier_weights:    (n,) and (m,) one by the chance with which an item came to be labelled; None: all had the same.
    """
    if not (len(scores) == len(counterfeit) == len(slices) and len(earlier) == len(earlier_slices)):
        raise ValueError("expected one score, label and slice an item")
    for each, items in ((weights, scores), (earlier_weights, earlier)):
        if each is not None and not (len(each) == len(items) and np.isfinite(each).all() and (each > 0).all()):
            raise ValueError("expected one weight an item, above 0 and finite")
    if not (len(earlier) and np.isfinite(scores).all() and np.isfinite(earlier).all()):
        raise ValueError("expected finite scores, and some of earlier items")
    found = []
    lots = None if weights is None else np.random.default_rng(_LOTS).random(len(weights))
    for values in sorted(set(slices)):
        rows = np.array([each == values for each in slices])
        if weights is not None and lots is not None:
            rows &= lots < weights / weights[rows].max()
        mine = np.array([each == values for each in earlier_slices], dtype=np.bool_)
        mine = mine if mine.sum() >= _FEWEST else np.ones_like(mine)
        grid, shares = _grid(earlier[mine], None if earlier_weights is None else earlier_weights[mine])
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
    knots, chances = rising(scores, counterfeit, weights)
    return Thresholds(
        score=risk.score,
        at_most=risk.at_most,
        confidence=risk.confidence,
        fields=risk.slices,
        slices=tuple(found),
        scores=tuple(knots.tolist()),
        chances=tuple(chances.tolist()),
    )


def _grid(before: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """(g,) thresholds at a hundred equal steps among scores (m,) of items, and the share of items that each accepts, both by weight."""
    steps = np.linspace(0, 1, _GRID + 1)[1:]
    order = np.argsort(before, kind="stable")
    before = before[order]
    if weights is None:
        grid = np.unique(np.quantile(before, steps))
        return grid, np.searchsorted(before, grid, side="right") / len(before)
    summed = np.cumsum(weights[order])
    grid = np.unique(before[np.searchsorted(summed, steps * summed[-1], side="left")])
    return grid, summed[np.searchsorted(before, grid, side="right") - 1] / summed[-1]


def rising(scores: Floats, counterfeit: NDArray[np.bool_], weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Knots of the chance of a counterfeit by score: shares of equal parts, pooled until they rise (pool adjacent violators).

    A part without a counterfeit counts as half of one, so that no score promises certainty.
    Rows count by weight and are not thinned: this is an estimate, which all labels make better, and no test. A part then has as many items as
    would tell as much, (sum w)^2 / sum w^2 (Kish, 1965), or half a counterfeit would be nothing beside weights of audits.
    """
    if not len(scores):
        return np.empty(0), np.empty(0)
    counts = np.ones(len(scores)) if weights is None else weights
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)))
    part = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, None)
    pools: list[list[float]] = []  # sums of weights, scores, counterfeits and squared weights
    for each in np.unique(part):
        rows = part == each
        own = counts[rows]
        told = (own, own * scores[rows], own * counterfeit[rows], own**2)
        pools.append([float(values.sum()) for values in told])
        while len(pools) > 1 and _share(pools[-2]) >= _share(pools[-1]):
            last = pools.pop()
            pools[-1] = [one + other for one, other in zip(pools[-1], last, strict=True)]
    return np.array([total / weight for weight, total, *_ in pools]), np.array([_share(each) for each in pools])


def _error(risk: Risk) -> float:
    """The error of one of the starts, which share that of the whole."""
    return (1 - risk.confidence) / _STARTS


def _share(pool: list[float]) -> float:
    items = pool[0] / pool[3]  # of which one weighs as much as so many: 1 where all weigh 1
    return (pool[2] * items + 0.5) / (pool[0] * items + 1)
