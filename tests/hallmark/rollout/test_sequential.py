"""The sequential tests: against likelihoods of scipy and cases by hand, and their stated rates by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from hallmark.rollout import sequential
from hallmark.rollout.sequential import above, below, distance, mean_radius, not_worse, radius, worse

ALPHA = 0.05
RUNS = 1500
LOOKS = 60

count = st.integers(0, 100_000)
limit = st.floats(0.0005, 0.95)


def noise(rate: float) -> float:
    """Three standard deviations of a share of RUNS around `rate`."""
    return 3 * math.sqrt(rate * (1 - rate) / RUNS)


# Against references.


@pytest.mark.parametrize(("bad", "of"), [(0, 1), (0, 500), (3, 100), (100, 100), (40, 1000)])
@pytest.mark.parametrize("null", [0.002, 0.02, 0.4, 0.9])
def test_evidence_above_a_limit_is_a_mean_of_likelihood_ratios(bad: int, of: int, null: float) -> None:
    odds = [each * null / (1 - null) for each in sequential._ABOVE]
    ratios = [stats.binom.logpmf(bad, of, o / (1 + o)) - stats.binom.logpmf(bad, of, null) for o in odds]
    assert above(bad, of, limit=null) == pytest.approx(float(np.logaddexp.reduce(ratios)) - math.log(len(ratios)))


@pytest.mark.parametrize(("bad", "of"), [(0, 1), (0, 500), (3, 100), (100, 100), (40, 1000)])
@pytest.mark.parametrize("null", [0.002, 0.02, 0.4, 0.9])
def test_evidence_below_a_limit_is_a_mean_of_likelihood_ratios(bad: int, of: int, null: float) -> None:
    ratios = [
        stats.binom.logpmf(bad, of, each * null) - stats.binom.logpmf(bad, of, null) for each in sequential._BELOW
    ]
    assert below(bad, of, limit=null) == pytest.approx(float(np.logaddexp.reduce(ratios)) - math.log(len(ratios)))


@pytest.mark.parametrize(("bad", "of", "before", "of_before"), [(3, 100, 5, 900), (0, 50, 4, 50), (50, 50, 0, 9000)])
def test_evidence_that_it_is_worse_compares_binomials_given_the_total(
    bad: int, of: int, before: int, of_before: int
) -> None:
    share = of / (of + of_before)
    ratios = []
    for each in sequential._WORSE:
        odds = 2.0 * each * share / (1 - share)
        ratios.append(
            stats.binom.logpmf(bad, bad + before, odds / (1 + odds)) - stats.binom.logpmf(bad, bad + before, share)
        )
    expected = float(np.logaddexp.reduce(ratios)) - math.log(len(ratios))
    assert worse(bad, of, before, of_before, ratio=2.0) == pytest.approx(expected)


def test_not_worse_by_hand() -> None:
    """Equal shares, ratio 3: of 2 bad answers none is the candidate's, so (1/2)^2 / (1/4)^2 = 4."""
    assert not_worse(0, 100, 2, 100, ratio=3.0) == pytest.approx(math.log(4))
    assert not_worse(1, 100, 0, 100, ratio=3.0) == pytest.approx(math.log(0.5 / 0.75))


def test_the_distance_is_kolmogorovs_and_smirnovs() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        first, second = rng.integers(0, 12, rng.integers(1, 300)), rng.integers(0, 15, rng.integers(1, 300))
        tallies = [np.bincount(each, minlength=15).tolist() for each in (first, second)]
        assert distance(*tallies) == pytest.approx(float(stats.ks_2samp(first, second).statistic))
    assert distance([1, 0], [0, 1]) == 1.0
    assert distance([], []) == distance([0, 0], [3, 4]) == 0.0


def test_the_radius_by_hand_and_beside_a_single_look() -> None:
    """0.85 sqrt((ln ln 1000 e + 0.8 ln 32240) / 1000), and up to twice Massart's, which holds for one look only."""
    assert radius(1000, alpha=0.05) == pytest.approx(0.086569, abs=1e-6)
    for size in (100, 1000, 40_000):
        once = math.sqrt(math.log(2 / 0.001) / (2 * size))
        assert once < radius(size, alpha=0.001) < 2 * once
    assert radius(0, alpha=0.05) == radius(1, alpha=0.05) == 1.0


def test_the_mean_radius_by_hand() -> None:
    """At its tuned count, with the paper's formula: rho^2 = (2 ln 20 + ln(1 + 2 ln 20)) / 4, standard deviation 1."""
    values = np.array([-math.sqrt(0.75), math.sqrt(0.75)] * 2)
    rho2 = (2 * math.log(20) + math.log(1 + 2 * math.log(20))) / 4
    expected = math.sqrt(2 * (4 * rho2 + 1) / (16 * rho2) * math.log(math.sqrt(4 * rho2 + 1) / 0.05))
    assert mean_radius(4, values.std(ddof=1), alpha=0.05, tuned=4) == pytest.approx(expected)
    assert mean_radius(1, math.nan, alpha=0.05) == mean_radius(0, math.nan, alpha=0.05) == math.inf


# At the edges.


def test_no_answers_are_no_evidence() -> None:
    assert above(0, 0, limit=0.02) == below(0, 0, limit=0.02) == 0.0
    assert worse(0, 0, 5, 100, ratio=2.0) == worse(5, 100, 0, 0, ratio=2.0) == worse(0, 0, 0, 0, ratio=2.0) == 0.0
    assert not_worse(0, 0, 5, 100, ratio=2.0) == not_worse(5, 100, 0, 0, ratio=2.0) == 0.0


def test_limits_of_nothing_and_of_everything() -> None:
    assert above(1, 10, limit=0.0) == math.inf
    assert above(0, 10, limit=0.0) == 0.0
    assert above(10, 10, limit=1.0) == 0.0
    assert below(0, 10_000, limit=0.0) == 0.0
    assert below(3, 10, limit=1.0) == math.inf
    assert below(10, 10, limit=1.0) == 0.0


@given(count, count, limit)
def test_every_answer_is_a_number_and_points_the_right_way(bad: int, good: int, null: float) -> None:
    over, under = above(bad, bad + good, limit=null), below(bad, bad + good, limit=null)
    assert math.isfinite(over) and math.isfinite(under)
    if bad <= null * (bad + good):
        assert over <= 1e-9
    if bad >= null * (bad + good):
        assert under <= 1e-9


@given(count, count, count, count, st.floats(1.01, 20))
def test_a_comparison_is_a_number_and_points_the_right_way(bad: int, good: int, b2: int, g2: int, ratio: float) -> None:
    of, of_before = bad + good, b2 + g2
    one, other = worse(bad, of, b2, of_before, ratio=ratio), not_worse(bad, of, b2, of_before, ratio=ratio)
    assert math.isfinite(one) and math.isfinite(other)
    assume(of and of_before)
    if bad / of <= b2 / of_before:
        assert one <= 1e-9
    if bad / of >= ratio * b2 / of_before:
        assert other <= 1e-9 * (1 + bad + b2)


@given(st.integers(1, 5000), st.data(), limit, st.floats(1.01, 20), st.integers(1, 5000), count)
def test_one_more_bad_answer_is_more_evidence(
    of: int, data: st.DataObject, null: float, ratio: float, of_before: int, more: int
) -> None:
    bad, before = data.draw(st.integers(0, of - 1)), data.draw(st.integers(0, of_before))
    assert above(bad + 1, of, limit=null) >= above(bad, of, limit=null)
    assert below(bad + 1, of, limit=null) <= below(bad, of, limit=null)
    assert worse(bad + 1, of, before, of_before, ratio=ratio) >= worse(bad, of, before, of_before, ratio=ratio)
    assert not_worse(bad + 1, of, before, of_before, ratio=ratio) <= not_worse(bad, of, before, of_before, ratio=ratio)


@pytest.mark.parametrize("null", [0.001, 0.02, 0.3, 0.6, 0.9])
def test_what_is_really_over_or_under_a_limit_is_found(null: float) -> None:
    over, under = 1 - (1 - null) * 0.6, null * 0.6
    size = round(60 / min(null, 1 - null)) * 10
    assert above(round(over * size), size, limit=null) > math.log(1000)
    assert below(round(under * size), size, limit=null) > math.log(1000)


# Rates by simulation: how often evidence ever exceeds 1 / alpha where the null hypothesis holds.


def _paths(rng: np.random.Generator, rate: float, each: int) -> NDArray[np.int64]:
    """(RUNS, LOOKS) bad answers so far, of `each` a look."""
    return np.cumsum(rng.binomial(each, rate, (RUNS, LOOKS)), axis=1)


@pytest.mark.parametrize(("null", "each"), [(0.02, 20), (0.002, 100), (0.5, 5)])
def test_looking_often_does_not_find_what_is_not_over(null: float, each: int) -> None:
    bad = _paths(np.random.default_rng(11), null, each)
    needed = math.log(1 / ALPHA)
    alarms = sum(any(above(int(b), each * (at + 1), limit=null) >= needed for at, b in enumerate(path)) for path in bad)
    assert alarms / RUNS <= ALPHA + noise(ALPHA)
    missed = sum(any(below(int(b), each * (at + 1), limit=null) >= needed for at, b in enumerate(path)) for path in bad)
    assert missed / RUNS <= ALPHA + noise(ALPHA)


@pytest.mark.parametrize(("share", "rate"), [(0.1, 0.01), (0.5, 0.01), (0.9, 0.05), (0.1, 0.5)])
def test_looking_often_does_not_find_a_difference_where_there_is_none(share: float, rate: float) -> None:
    """Also with the random number of requests that a weight gives each variant, and with rates that are not small."""
    rng = np.random.default_rng(12)
    mine = np.cumsum(rng.binomial(100, share, (RUNS, LOOKS)), axis=1)
    total = 100 * np.arange(1, LOOKS + 1)
    fresh = np.diff(mine, axis=1, prepend=0)
    bad, before = np.cumsum(rng.binomial(fresh, rate), axis=1), np.cumsum(rng.binomial(100 - fresh, rate), axis=1)
    needed = math.log(1 / ALPHA)
    alarms = 0
    for run in range(RUNS):
        alarms += any(
            worse(int(bad[run, at]), int(mine[run, at]), int(before[run, at]), int(total[at] - mine[run, at]), ratio=2)
            >= needed
            for at in range(LOOKS)
        )
    assert alarms / RUNS <= ALPHA + noise(ALPHA)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_what_is_twice_as_bad_is_seldom_called_no_worse(share: float) -> None:
    rng = np.random.default_rng(13)
    mine, theirs = round(200 * share), 200 - round(200 * share)
    bad, before = _paths(rng, 0.02, mine), _paths(rng, 0.01, theirs)
    needed = math.log(1 / ALPHA)
    missed = 0
    for run in range(RUNS):
        missed += any(
            not_worse(int(bad[run, at]), mine * (at + 1), int(before[run, at]), theirs * (at + 1), ratio=2) >= needed
            for at in range(LOOKS)
        )
    assert missed / RUNS <= ALPHA + noise(ALPHA)


@pytest.mark.slow
def test_the_radius_holds_at_all_counts_together() -> None:
    rng = np.random.default_rng(14)
    runs, alpha, left = 400, 0.2, 0
    for _ in range(runs):
        values = rng.random(2000)
        for size in (2, 5, 10, 20, 50, 100, 200, 400, 700, 1000, 1500, 2000):
            if stats.kstest(values[:size], "uniform", method="asymp").statistic > radius(size, alpha=alpha):
                left += 1
                break
    assert left / runs <= alpha


@pytest.mark.parametrize("kind", ["normal", "uniform", "exponential"])
def test_the_mean_radius_nearly_holds_from_200_labels_on(kind: str) -> None:
    """Asymptotic, so nearly: within twice the rate. (A mean of costs that are 0 but for 3% is left by 15%, from below.)"""
    rng = np.random.default_rng(15)
    runs, left = 400, 0
    for _ in range(runs):
        values = {
            "normal": lambda: rng.normal(size=4000),
            "uniform": lambda: rng.random(4000) - 0.5,
            "exponential": lambda: rng.exponential(size=4000) - 1,
        }[kind]()
        left += any(
            abs(values[:size].mean()) > mean_radius(size, values[:size].std(ddof=1), alpha=ALPHA, tuned=500)
            for size in (200, 300, 400, 500, 700, 1000, 1400, 2000, 2800, 4000)
        )
    assert left / runs <= 2 * ALPHA


@pytest.mark.parametrize(("wrong", "share"), [(0.005, 0.5), (0.02, 0.1), (0.1, 0.5)])
def test_equal_costs_are_not_told_apart_however_rare_and_uneven_they_are(wrong: float, share: float) -> None:
    """Where the mean's radius is weakest, what is decided on is the difference of two, upwards: there it errs on the safe side."""
    rng = np.random.default_rng(16)
    runs, alarms = 300, 0
    for _ in range(runs):
        stable, canary = (rng.binomial(1, wrong, 10_000) * rng.lognormal(4, 1, 10_000) for _ in range(2))
        for size in (1000, 2000, 4000, 7000, 10_000):
            mine, theirs = canary[: round(size * share)], stable[: round(size * (1 - share))]
            doubt = sum(mean_radius(len(each), each.std(ddof=1), alpha=ALPHA / 2, tuned=200) for each in (mine, theirs))
            if mine.mean() - theirs.mean() > doubt:
                alarms += 1
                break
    assert alarms / runs <= ALPHA
