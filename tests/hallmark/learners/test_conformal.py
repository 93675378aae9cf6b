"""Ends of a band moved: against ranks by hand, and in groups that overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

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


class _Sayer(BaseEstimator, RegressorMixin):  # type: ignore[misc]
    """Answers with a column of its inputs: a model that was fitted elsewhere."""

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def fit(self, inputs: np.ndarray, labels: np.ndarray) -> _Sayer:
        self.fitted_ = True
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(inputs[:, self.column])


def test_ends_are_those_of_mapie_group_by_group() -> None:
    """Conformalised quantile regression, an end at a time: MAPIE's on each group alone is ours on all with nothing drawn back."""
    from mapie.regression import ConformalizedQuantileRegressor

    rng = np.random.default_rng(5)
    group, width = rng.integers(0, 3, 900), rng.uniform(0.5, 1.5, 900)
    labels = rng.normal(size=900) * (1 + group) + 0.4 * group
    ends = np.stack((-width, width, np.zeros(900)), axis=1)
    rows = [np.flatnonzero(group == each) for each in range(3)]
    told = [_Sayer(column).fit(ends, labels) for column in range(3)]
    # Each end may miss half of what both may: 0.1 of 0.2.
    below, under = conformal.shifts(ends[:, 0] - labels, rows, level=0.9, weights=np.ones(900), drawn_back=0.0)
    above, over = conformal.shifts(labels - ends[:, 1], rows, level=0.9, weights=np.ones(900), drawn_back=0.0)
    for place, mine in enumerate(rows):
        theirs = ConformalizedQuantileRegressor(told, confidence_level=0.8, prefit=True)
        theirs.conformalize(ends[mine], labels[mine])
        _, intervals = theirs.predict_interval(ends[mine], symmetric_correction=False)
        low, high = ends[mine, 0] + below + under[place], ends[mine, 1] - above - over[place]
        assert intervals[:, 0, 0] == pytest.approx(low) and intervals[:, 1, 0] == pytest.approx(high)


def test_groups_that_differ_by_chance_alone_are_left_together_and_others_are_not() -> None:
    rng = np.random.default_rng(6)
    group = rng.integers(0, 30, 9_000)
    rows = [np.flatnonzero(group == each) for each in range(30)]
    same, apart = rng.normal(size=9_000), rng.normal(size=9_000) + np.linspace(-1, 1, 30)[group]
    freely = conformal.shifts(same, rows, level=0.9, weights=np.ones(9_000), drawn_back=0.0)[1]
    ours = conformal.shifts(same, rows, level=0.9, weights=np.ones(9_000))[1]
    assert np.abs(ours).max() < 0.5 * np.abs(freely).max()
    whole, each = conformal.shifts(apart, rows, level=0.9, weights=np.ones(9_000))
    left = apart + whole + each[group]
    assert max(abs((left[mine] <= 0).mean() - 0.9) for mine in rows) < 0.03


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
