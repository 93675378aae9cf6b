"""Telltales: how well a single field explains the answer, to find fields that were filled in after it was known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.tasks.targets import Floats


def best(
    measured: Callable[[Floats, Floats], float | None],
    truths: Floats,
    values: NDArray[Any],
    known: tuple[Floats, NDArray[Any]] | None,
) -> float | None:
    """The highest of `measured` over the columns of `truths` (n, answers); None where none is defined.

    known: truths and values of other rows; words get their mean truth there, and the mean of all where they are new.
    Without such rows words are not judged: on their own rows, ids would explain everything.
    """
    found = []
    for column in range(truths.shape[1]):
        numbers: Floats | None
        if values.dtype.kind in "biuf":
            numbers = values.astype(np.float64)
        else:
            numbers = None if known is None else _encoded(known[0][:, column], known[1], values)
        if numbers is not None and (value := measured(truths[:, column], numbers)) is not None:
            found.append(value)
    return max(found, default=None)


def area(truth: Floats, values: Floats) -> float | None:
    """The larger of the area under the ROC curve and 1 less it, ties as half, NaN as the smallest; None with one class."""
    positives = truth.sum()
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    ranks = _ranks(values)
    found = (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(found, 1 - found))


def correlation(truth: Floats, values: Floats) -> float | None:
    """Size of Spearman's rank correlation, 0..1, NaN as the smallest; None where one side is constant."""
    first, second = _ranks(truth), _ranks(values)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(abs(np.corrcoef(first, second)[0, 1]))


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values at their mean rank."""
    filled = np.where(np.isnan(values), -np.inf, values)
    _, inverse, counts = np.unique(filled, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.reshape(-1)])


def _encoded(truth: Floats, words: NDArray[Any], values: NDArray[Any]) -> Floats:
    every, inverse = np.unique(np.concatenate([words.astype(str), values.astype(str)]), return_inverse=True)
    here, there = inverse[: len(words)], inverse[len(words) :]
    counts = np.bincount(here, minlength=len(every))
    sums = np.bincount(here, weights=truth, minlength=len(every))
    rates = np.divide(sums, counts, out=np.full(len(every), truth.mean() if len(truth) else 0.0), where=counts > 0)
    return np.asarray(rates[there])
