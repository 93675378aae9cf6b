"""Distance between two sets of counts, and the chance that it is noise. Checked against scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-3
"""No share counts as less: a bin that the reference never filled is rare, not impossible."""
EXPECTED = 5.0
"""The chi-square approximation is used on bins that expect at least this many in the smaller set (Cochran, 1954)."""

Counts = NDArray[np.int64] | NDArray[np.float64] | Sequence[int]


def shares(counts: Counts) -> NDArray[np.float64]:
    """Counts (..., bins) as shares, after Laplace (half a row more in each bin), none under `FLOOR`."""
    smoothed = np.asarray(counts, dtype=np.float64) + 0.5
    floored: NDArray[np.float64] = np.maximum(smoothed / smoothed.sum(axis=-1, keepdims=True), FLOOR)
    return floored


def index_parts(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Term of each bin in the population stability index: (actual - expected) ln(actual / expected)."""
    return (actual - expected) * np.log(actual / expected)


def stability_indices(reference: Counts, current: Counts) -> NDArray[np.float64]:
    """PSI of (..., bins) counts against (..., bins), less what chance gives in small ones: (bins - 1)(1/n + 1/m), Yurdakul 2018."""
    first, second = np.asarray(reference), np.asarray(current)
    filled = ((first + second) > 0).sum(axis=-1)
    chance = (filled - 1) * (1 / np.maximum(1, first.sum(axis=-1)) + 1 / np.maximum(1, second.sum(axis=-1)))
    found: NDArray[np.float64] = index_parts(shares(first), shares(second)).sum(axis=-1) - chance
    return np.maximum(0.0, found)


def stability_index(reference: Counts, current: Counts) -> float:
    """`stability_indices` of one set of counts."""
    return float(stability_indices(reference, current))


def rank_shifts(reference: Counts, current: Counts) -> NDArray[np.float64]:
    """Cliff's delta of (..., bins) counts against (..., bins), bins in the order of their values: -1..1.

    How much more often a new value is the larger of a pair than the smaller: P(new > old) - P(new < old). 0 is no shift,
    0.15 is 0.27 standard deviations of a normal; 0 where either side is empty.
    """
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    below = np.cumsum(first, axis=-1) - first
    above = first.sum(axis=-1, keepdims=True) - below - first
    pairs = np.maximum(1.0, first.sum(axis=-1) * second.sum(axis=-1))
    found: NDArray[np.float64] = (second * (below - above)).sum(axis=-1) / pairs
    return found


def rank_test(reference: Counts, current: Counts) -> float:
    """p of the Mann-Whitney test (normal approximation, ties corrected, two sides) that the shift of ranks is chance."""
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    old, new = first.sum(), second.sum()
    total = old + new
    ties = ((first + second) ** 3 - (first + second)).sum()
    if min(old, new) == 0 or ties >= total**3 - total:
        return 1.0
    # Of Cliff's delta, which is 2U/(old new) - 1.
    variance = ((total + 1) - ties / (total * (total - 1))) / (3 * old * new)
    return two_sides(float(rank_shifts(first, second)) / math.sqrt(variance))


def two_sides(z: float) -> float:
    """P(|normal| >= |z|)."""
    return math.erfc(abs(z) / math.sqrt(2))


def homogeneity(reference: Counts, current: Counts) -> tuple[float, int, float]:
    """Pearson's chi-square test that both sets of counts come from one distribution: statistic, degrees, p.

    Bins too small for the approximation are put together first. Where that leaves one, Fisher's exact test of the
    largest bin against all others gives p, with 0 degrees.
    """
    whole = np.array([reference, current], dtype=np.float64)
    if whole.sum(axis=1).min() == 0:
        return 0.0, 0, 1.0
    table = _pooled(whole)
    degrees = table.shape[1] - 1
    if degrees < 1:
        largest = whole[:, whole.sum(axis=0).argmax()]
        return 0.0, 0, exact(np.stack([largest, whole.sum(axis=1) - largest], axis=1))
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    expected = np.outer(rows, columns) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, degrees, upper_tail(statistic, degrees)


def exact(table: NDArray[np.float64]) -> float:
    """Fisher's exact test of a 2 x 2 table of counts: twice the smaller tail, at most 1."""
    (a, b), (c, d) = table.astype(int).tolist()
    drawn, hits, total = c + d, b + d, a + b + c + d
    least, most = max(0, drawn + hits - total), min(drawn, hits)
    logs = np.array([_log_hypergeometric(k, drawn, hits, total) for k in range(least, most + 1)])
    chances = np.exp(logs)
    at = d - least
    return float(min(1.0, 2 * min(chances[: at + 1].sum(), chances[at:].sum())))


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted so that, of all of them, one below alpha by chance is as rare as alpha (Holm, 1979)."""
    order = sorted(range(len(p)), key=lambda at: p[at])
    adjusted, worst = [1.0] * len(p), 0.0
    for rank, at in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[at]))
        adjusted[at] = worst
    return adjusted


def upper_tail(statistic: float, degrees: int) -> float:
    """P(chi-square with `degrees` >= statistic), by the regularised incomplete gamma function."""
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        return max(0.0, 1.0 - front * _series(a, x))
    return front * _fraction(a, x)


def _log_hypergeometric(k: int, drawn: int, hits: int, total: int) -> float:
    return _log_choose(hits, k) + _log_choose(total - hits, drawn - k) - _log_choose(total, drawn)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _pooled(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table without empty bins, and with those that expect under `EXPECTED` in the smaller set as one.

    What to expect is the larger set's to say: bins chosen by the counts that are tested would look significant.
    """
    table = table[:, table.sum(axis=0) > 0]
    rows = table.sum(axis=1)
    expected = table[rows.argmax()] * (rows.min() / rows.max())
    small = expected < EXPECTED
    if not small.any():
        return table
    kept, rest = table[:, ~small].copy(), table[:, small].sum(axis=1, keepdims=True)
    if expected[small].sum() >= EXPECTED or not kept.shape[1]:
        return np.hstack([kept, rest])
    kept[:, expected[~small].argmin()] += rest[:, 0]
    return kept


def _series(a: float, x: float) -> float:
    """Lower incomplete gamma over its front factor (DLMF 8.7.1), for x < a + 1."""
    term = total = 1.0 / a
    step = a
    while term > total * 1e-16:
        step += 1
        term *= x / step
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    """Upper incomplete gamma over its front factor (DLMF 8.9.2, by Lentz's way), for x >= a + 1."""
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    total = d
    for step in range(1, 500):
        factor = -step * (step - a)
        b += 2
        d = factor * d + b
        c = b + factor / c
        d = 1 / (d if abs(d) > tiny else tiny)
        c = c if abs(c) > tiny else tiny
        total *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return total
