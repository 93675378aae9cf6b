"""Our numbers beside scipy's and Evidently's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from hallmark.drift import profile, statistics


@pytest.fixture(scope="module")
def evidently_index() -> Callable[..., float]:
    """Evidently's own index of two series."""
    with warnings.catch_warnings():
        # What Evidently imports (litestar, an old numpy name) warns while it loads.
        warnings.simplefilter("ignore")
        from evidently.legacy.calculations.stattests.psi import psi_stat_test
        from evidently.legacy.core import ColumnType

    import pandas as pd

    def index(reference: NDArray[Any], current: NDArray[Any], kind: str) -> float:
        return float(psi_stat_test(pd.Series(reference), pd.Series(current), ColumnType(kind), 0.1).drift_score)

    return index


@pytest.mark.parametrize("degrees", [1, 2, 9, 30, 200])
@pytest.mark.parametrize("statistic", [0.0, 0.5, 5.0, 9.9, 30.0, 250.0, 1200.0])
def test_the_tail_of_chi_square_is_scipys(statistic: float, degrees: int) -> None:
    expected = scipy.stats.chi2.sf(statistic, degrees)
    assert statistics.upper_tail(statistic, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("seed", range(20))
def test_homogeneity_is_scipys_where_every_bin_is_large_enough(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(8, 5.0))
    table = np.stack([random.multinomial(9000, shares), random.multinomial(900, shares)]) + 8
    expected = scipy.stats.chi2_contingency(table, correction=False)
    assert statistics.homogeneity(*table) == pytest.approx((expected.statistic, expected.dof, expected.pvalue))


@pytest.mark.parametrize("table", [[[20_000, 0], [299, 1]], [[990, 10], [40, 5]], [[5, 5], [5, 5]], [[50, 3], [20, 0]]])
def test_the_exact_test_is_twice_scipys_smaller_tail(table: list[list[int]]) -> None:
    tails = [scipy.stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert statistics.exact(np.array(table, dtype=float)) == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-6)


def test_small_bins_are_put_together_and_two_by_two_is_exact() -> None:
    statistic, degrees, _ = statistics.homogeneity([5000, 4000, 3, 2, 1, 0], [500, 400, 0, 1, 0, 1])
    assert degrees == 1 and statistic < 10
    assert statistics.homogeneity([20_000, 0], [0, 300])[2] < 1e-100
    assert statistics.homogeneity([20_000, 0], [300, 0])[2] == 1.0
    assert statistics.homogeneity([0, 0], [3, 4])[2] == 1.0


def test_holm_is_scipys_on_a_known_case() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_p_is_uniform_where_nothing_changed() -> None:
    random = np.random.default_rng(3)
    shares = np.full(10, 0.1)
    found = [
        statistics.homogeneity(random.multinomial(20_000, shares), random.multinomial(300, shares))[2]
        for _ in range(2000)
    ]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_the_index_is_evidentlys_on_the_same_bins(evidently_index: Callable[..., float]) -> None:
    """Evidently's own function on categories, where both count the same bins; it fills no gaps here, since none is empty."""
    random = np.random.default_rng(5)
    reference = random.choice(list("abcde"), 20_000, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    current = random.choice(list("abcde"), 5000, p=[0.25, 0.3, 0.2, 0.1, 0.15])
    theirs = evidently_index(reference, current, "cat")
    first, second = ([int((values == each).sum()) for each in "abcde"] for values in (reference, current))
    chance = 4 * (1 / 20_000 + 1 / 5000)
    assert statistics.stability_index(first, second) + chance == pytest.approx(theirs, rel=0.005)


@pytest.mark.slow
def test_the_index_of_a_known_normal_shift_agrees_with_evidently(evidently_index: Callable[..., float]) -> None:
    """Two normals half a deviation apart have an index of 0.25 in the limit of fine bins."""
    random = np.random.default_rng(5)
    reference, current = random.normal(0, 1, 50_000), random.normal(0.5, 1, 50_000)
    column = profile.build({"x": reference}).columns[0]
    ours = statistics.stability_index(column.counts, column.tally(current))
    theirs = evidently_index(reference, current, "num")
    assert 0.2 < ours < 0.25 and ours == pytest.approx(theirs, abs=0.05)


def test_chance_is_taken_off_the_index_of_small_windows() -> None:
    random = np.random.default_rng(7)
    shares = np.full(10, 0.1)
    reference = random.multinomial(20_000, shares)
    found = [statistics.stability_index(reference, random.multinomial(300, shares)) for _ in range(500)]
    assert np.mean(found) < 0.01 and max(found) < 0.1


@pytest.mark.parametrize("seed", range(10))
def test_the_shift_of_ranks_and_its_test_are_scipys_mann_whitney(seed: int) -> None:
    """On the bins themselves, ties and all; Cliff's delta is 2U/(nm) - 1."""
    random = np.random.default_rng(seed)
    old, new = random.poisson(3.0, 4000), random.poisson(3.0 + seed / 50, 700)
    first, second = (np.bincount(each, minlength=20) for each in (old, new))
    theirs = scipy.stats.mannwhitneyu(new, old, method="asymptotic", use_continuity=False)
    assert float(statistics.rank_shifts(first, second)) == pytest.approx(2 * theirs.statistic / (4000 * 700) - 1)
    assert statistics.rank_test(first, second) == pytest.approx(theirs.pvalue, rel=1e-6)


def test_ranks_of_nothing_or_of_one_value_say_nothing() -> None:
    assert statistics.rank_test([0, 0], [3, 4]) == statistics.rank_test([9, 0], [5, 0]) == 1.0
    assert float(statistics.rank_shifts([0, 0], [3, 4])) == 0.0


def test_many_windows_at_once_are_each_of_them_alone() -> None:
    random = np.random.default_rng(5)
    before, windows = random.multinomial(5000, np.full(8, 1 / 8)), random.multinomial(400, np.full(8, 1 / 8), size=6)
    alone = [statistics.stability_index(before, window) for window in windows]
    assert statistics.stability_indices(before, windows) == pytest.approx(alone)
    assert statistics.rank_shifts(before, windows) == pytest.approx(
        [statistics.rank_shifts(before, w) for w in windows]
    )
