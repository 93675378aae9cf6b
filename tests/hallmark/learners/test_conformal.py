"""Ends of a band moved: against ranks by hand, and in groups that overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hallmark.learners import conformal


@pytest.mark.parametrize("size", [9, 10, 99, 1000])
def test_a_shift_is_minus_the_score_of_the_conformal_rank(size: int) -> None:
    scores = np.random.default_rng(size).normal(size=size)
    rank = min(size, math.ceil(0.9 * (size + 1)))
    assert conformal.shift(scores, 0.9, np.ones(size)) == -np.sort(scores)[rank - 1]


def test_a_weight_counts_as_so_many_rows_and_what_is_beyond_all_scores_counts_too() -> None:
    scores, weights = np.arange(200.0), np.tile([1.0, 3.0], 100)
    twice = np.repeat(scores, weights.astype(int))
    assert conformal.shift(scores, 0.8, weights) == pytest.approx(conformal.shift(twice, 0.8, np.ones(400)), abs=1.0)
    hidden = np.where(scores < 50, -np.inf, scores)
    assert conformal.shift(hidden, 0.8, weights) == conformal.shift(scores, 0.8, weights)
    assert conformal.shift(hidden, 0.1, weights) == -50.0
    assert conformal.shift(np.full(3, -np.inf), 0.5, np.ones(3)) == 0.0


def test_groups_that_overlap_all_hold_their_share() -> None:
    rng = np.random.default_rng(4)
    brand, kind = rng.integers(0, 5, 20_000), rng.integers(0, 4, 20_000)
    scores = rng.normal(size=20_000) + 0.5 * brand - 0.3 * kind
    groups = [np.flatnonzero(brand == each) for each in range(5)] + [np.flatnonzero(kind == each) for each in range(4)]
    whole, each = conformal.shifts(scores, groups, level=0.9, weights=np.ones(20_000))
    left = scores + whole
    assert max(abs((left[rows] <= 0).mean() - 0.9) for rows in groups) > 0.05
    for rows, by in zip(groups, each, strict=True):
        left[rows] += by
    assert max(abs((left[rows] <= 0).mean() - 0.9) for rows in groups) < 0.01
