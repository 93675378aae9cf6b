"""Thresholds keep their risk: the binomial tail against fractions, and redraws of a market whose true risk is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision import calibrate
from hallmark.declaration.decision import Risk

RISK = Risk(score="view.counterfeit", at_most=0.01, confidence=0.95, slices=("brand",))
MARKET = {"Alma": (0.4, 12_000), "Brio": (0.9, 6_000), "Cora": (0.2, 3_000), "Dodo": (0.6, 1_500), "Elan": (0.5, 200)}
"""Of each brand: the steepness of its risk, and its items. A score is uniform in 0..1 and a counterfeit with the chance steep * score ** 3,
so that steep * threshold ** 3 / 4 of what a threshold accepts is counterfeit."""
Drawn = tuple[NDArray[np.float64], NDArray[np.bool_], list[tuple[str, ...]]]


def drawn(rng: np.random.Generator, *, part: float = 1.0) -> Drawn:
    scores, labels = [], []
    brands: list[tuple[str, ...]] = []
    for brand, (steep, items) in MARKET.items():
        own = rng.random(int(items * part))
        scores.append(own)
        labels.append(rng.random(len(own)) < steep * own**3)
        brands += [(brand,)] * len(own)
    return np.concatenate(scores), np.concatenate(labels), brands


def made(rng: np.random.Generator) -> Thresholds:
    earlier, _, before = drawn(rng, part=0.5)
    scores, labels, brands = drawn(rng)
    return calibrate.calibrated(
        RISK, scores=scores, counterfeit=labels, slices=brands, earlier=earlier, earlier_slices=before
    )


def reference(accepted: int, counterfeits: int, at_most: Fraction) -> Fraction:
    """The binomial tail by its definition, in fractions."""
    return sum(
        (math.comb(accepted, k) * at_most**k * (1 - at_most) ** (accepted - k) for k in range(counterfeits + 1)),
        Fraction(0),
    )


@given(st.integers(1, 400), st.integers(0, 400), st.sampled_from([Fraction(1, 100), Fraction(1, 20), Fraction(3, 10)]))
def test_a_p_value_is_the_exact_binomial_tail(accepted: int, counterfeits: int, at_most: Fraction) -> None:
    counterfeits = min(counterfeits, accepted)
    found = calibrate.p_values(np.array([accepted]), np.array([counterfeits]), float(at_most))[0]
    assert found == pytest.approx(float(reference(accepted, counterfeits, at_most)), rel=1e-9, abs=1e-300)


def test_fewer_items_than_can_show_the_risk_are_none() -> None:
    assert calibrate.fewest(0.01, 0.05) == 299
    assert reference(299, 0, Fraction(1, 100)) <= Fraction(5, 100) < reference(298, 0, Fraction(1, 100))
    assert calibrate.p_values(np.array([0]), np.array([0]), 0.01)[0] == 1.0


def test_it_agrees_with_a_test_of_each_threshold_by_hand() -> None:
    """The same sequence, threshold by threshold, counted and tested by the reference."""
    rng = np.random.default_rng(3)
    scores = rng.random(3000)
    labels = rng.random(3000) < 0.3 * scores**3
    grid = np.linspace(0.05, 1, 20)
    shares = grid
    error = Fraction(5, 100) / 4
    wanted = next(n for n in range(1, 5000) if Fraction(99, 100) ** n <= error)
    best = None
    for step in range(4):
        start = wanted * (3000 / wanted) ** (step / 3)
        for at in range(next(at for at in range(20) if 3000 * shares[at] >= start - 1e-9), 20):
            taken = scores <= grid[at]
            if reference(int(taken.sum()), int(labels[taken].sum()), Fraction(1, 100)) > error:
                break
            best = at if best is None else max(best, at)
    assert best is not None
    assert calibrate.highest(scores, labels, grid, RISK, shares=shares) == best


def true_risk(brand: str, threshold: float) -> float:
    return MARKET[brand][0] * threshold**3 / 4


def redraws(seeds: range) -> tuple[int, dict[str, int], dict[str, int]]:
    """Redraws in which the whole keeps the risk, and by brand those in which it does not, and those with a threshold."""
    whole, broken, shown = 0, dict.fromkeys(MARKET, 0), dict.fromkeys(MARKET, 0)
    for seed in seeds:
        found = made(np.random.default_rng(seed))
        accepted = counterfeits = 0.0
        for each in found.slices:
            (brand,) = each.values
            if each.threshold is None:
                continue
            shown[brand] += 1
            broken[brand] += true_risk(brand, each.threshold) > RISK.at_most
            accepted += MARKET[brand][1] * each.threshold
            counterfeits += MARKET[brand][1] * each.threshold * true_risk(brand, each.threshold)
        whole += counterfeits <= RISK.at_most * accepted
    return whole, broken, shown


@pytest.mark.slow
def test_the_risk_is_kept_in_ninety_of_a_hundred_redraws_and_in_each_slice_as_often_as_is_said() -> None:
    whole, broken, shown = redraws(range(100))
    assert whole >= 90
    assert all(each <= 5 + 3 * math.sqrt(100 * 0.05 * 0.95) for each in broken.values()), broken
    assert shown["Alma"] >= 95 and shown["Brio"] >= 95 and shown["Elan"] == 0, shown


@pytest.mark.long
def test_over_two_thousand_redraws_each_slice_breaks_its_promise_in_five_of_a_hundred_at_most() -> None:
    whole, broken, _ = redraws(range(1000, 3000))
    assert whole >= 0.9 * 2000
    assert all(each <= 2000 * 0.05 + 3 * math.sqrt(2000 * 0.05 * 0.95) for each in broken.values()), broken


def test_a_score_that_says_nothing_gets_no_threshold() -> None:
    rng = np.random.default_rng(5)
    scores, brands = rng.random(8000), [("Alma",)] * 8000
    found = calibrate.calibrated(
        RISK,
        scores=scores,
        counterfeit=rng.random(8000) < 0.03,
        slices=brands,
        earlier=scores[::-1],
        earlier_slices=brands,
    )
    assert [each.threshold for each in found.slices] == [None]
    assert found.of({"brand": "Alma"}) is None and found.of({"brand": "never seen"}) is None


def test_thresholds_use_what_the_labels_allow() -> None:
    """Alma's best threshold is 0.464, where 1% of what is accepted is counterfeit: 12,000 items come near it."""
    best = (4 * 0.01 / MARKET["Alma"][0]) ** (1 / 3)
    found = [made(np.random.default_rng(seed)).of({"brand": "Alma"}) for seed in range(20)]
    assert all(each is not None and 0.7 * best <= each <= 1.05 * best for each in found)


def test_the_chance_by_score_is_the_isotonic_regression_of_its_parts() -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(2)
    scores = rng.random(20_000)
    labels = rng.random(20_000) < 0.6 * scores**2
    knots, chances = calibrate.rising(scores, labels)
    assert (np.diff(knots) > 0).all() and (np.diff(chances) > 0).all() and 2 <= len(knots) <= 50
    other = IsotonicRegression().fit(scores, labels)
    at = np.linspace(0.05, 0.95, 50)
    found = Thresholds(score="a.b", at_most=0.01, confidence=0.95, scores=tuple(knots), chances=tuple(chances))
    told = np.array([found.chance(each) for each in at])
    assert np.abs(told - 0.6 * at**2).max() < 0.03
    assert np.abs(told - other.predict(at)).max() < 0.05
    assert found.chance(-1.0) == chances[0] > 0 and found.chance(2.0) == chances[-1]


def test_what_is_not_finite_is_refused() -> None:
    one = np.array([0.1, np.nan])
    with pytest.raises(ValueError, match="finite"):
        calibrate.calibrated(
            RISK, scores=one, counterfeit=one > 1, slices=[("a",)] * 2, earlier=one, earlier_slices=[("a",)] * 2
        )


AUDITED = Risk(score="view.counterfeit", at_most=0.02, confidence=0.95, slices=())
"""Of one slice, in which people look at all above a score, and at audits of the rest."""


@dataclass(frozen=True)
class Audits:
    """An economy of usual items and dear ones, a fifth, with labels of all above a score and of a share of the others.

    steep: of the risk of each, as in MARKET.   shares: of each that are audited.   above: people look at all of these.
    """

    steep: tuple[float, float]
    shares: tuple[float, float]
    above: float
    items: int

    @property
    def best(self) -> float:
        """The threshold up to which a share of `at_most` is counterfeit."""
        return float((4 * AUDITED.at_most / (0.8 * self.steep[0] + 0.2 * self.steep[1])) ** (1 / 3))

    def labelled(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
        """Scores, labels and weights of what is labelled."""
        scores, dear = rng.random(self.items), (rng.random(self.items) < 0.2).astype(int)
        chance = np.where(scores > self.above, 1.0, np.array(self.shares)[dear])
        rows = np.flatnonzero(rng.random(self.items) < chance)
        false = rng.random(len(rows)) < np.array(self.steep)[dear[rows]] * scores[rows] ** 3
        return scores[rows], false, 1.0 / chance[rows]

    def thresholds(self, seed: int, *, weighted: bool = True) -> Thresholds:
        rng = np.random.default_rng(seed)
        earlier, _, before = self.labelled(rng)
        scores, labels, weights = self.labelled(rng)
        return calibrate.calibrated(
            AUDITED,
            scores=scores,
            counterfeit=labels,
            slices=[()] * len(scores),
            earlier=earlier,
            earlier_slices=[()] * len(earlier),
            weights=weights if weighted else None,
            earlier_weights=before if weighted else None,
        )

    def redrawn(self, count: int, *, weighted: bool = True) -> NDArray[np.float64]:
        """(count,) thresholds, nan where none is shown."""
        found = [self.thresholds(seed, weighted=weighted).slices[0].threshold for seed in range(count)]
        return np.array([np.nan if each is None else each for each in found])


SPARED = Audits(steep=(0.1, 0.9), shares=(0.2, 0.02), above=0.9, items=60_000)
"""What is riskiest is audited least: labels as they are look safer than what is accepted."""
EVEN = Audits(steep=(0.6, 0.6), shares=(0.1, 0.1), above=0.3, items=60_000)
"""Audits of a tenth, and people look at much of what could be accepted: labels as they are look riskier."""


@pytest.mark.slow
def test_with_weights_the_risk_is_kept_where_what_is_risky_is_audited_least() -> None:
    most = 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95)
    found = SPARED.redrawn(200)
    assert (found > SPARED.best).sum() <= most
    assert np.isfinite(found).mean() > 0.8 and np.nanmedian(found) > 0.65 * SPARED.best
    plain = SPARED.redrawn(10, weighted=False)
    assert (plain > SPARED.best).all(), "labels as they are break the promise each time"


def test_with_weights_labels_of_much_that_people_look_at_waste_nothing() -> None:
    found, plain = EVEN.redrawn(12), EVEN.redrawn(12, weighted=False)
    assert (found > EVEN.best).sum() <= 2
    assert np.median(found) > np.median(plain) + 0.05, "labels as they are count too many that are risky"


def test_what_is_left_of_labels_with_weights_is_a_fair_sample_and_the_same_each_time() -> None:
    first, again = (SPARED.thresholds(3) for _ in range(2))
    assert first == again
    (left,) = first.slices
    assert left.examples == pytest.approx(SPARED.items / 50, rel=0.1)
    assert left.threshold is not None
    assert left.accepted / left.examples == pytest.approx(left.threshold, abs=0.05)


def test_the_chance_by_score_counts_by_weight() -> None:
    told = [SPARED.thresholds(seed) for seed in range(20)]
    at = 0.75
    true = (0.8 * SPARED.steep[0] + 0.2 * SPARED.steep[1]) * at**3
    plain = [SPARED.thresholds(seed, weighted=False) for seed in range(20)]
    assert np.mean([each.chance(at) for each in told]) == pytest.approx(true, abs=0.015)
    assert np.mean([each.chance(at) for each in plain]) < 0.6 * true
    lowest = [each.chance(0.0) for each in told]
    assert min(each for each in lowest if each is not None) > 1e-4, "half a counterfeit of as many as were looked at"


def test_equal_weights_throw_nothing_away() -> None:
    earlier, _, before = drawn(np.random.default_rng(1), part=0.5)
    scores, labels, brands = drawn(np.random.default_rng(2))
    plain, even = (
        calibrate.calibrated(
            RISK,
            scores=scores,
            counterfeit=labels,
            slices=brands,
            earlier=earlier,
            earlier_slices=before,
            weights=weights,
        )
        for weights in (None, np.full(len(scores), 7.0))
    )
    assert even.slices == plain.slices
    assert even.scores == pytest.approx(plain.scores) and even.chances == pytest.approx(plain.chances)


@pytest.mark.parametrize("wrong", [np.array([1.0]), np.array([1.0, 0.0]), np.array([1.0, np.inf])])
def test_weights_that_are_none_are_refused(wrong: NDArray[np.float64]) -> None:
    two = np.array([0.1, 0.2])
    with pytest.raises(ValueError, match="one weight an item"):
        calibrate.calibrated(
            RISK,
            scores=two,
            counterfeit=two > 1,
            slices=[("a",)] * 2,
            earlier=two,
            earlier_slices=[("a",)] * 2,
            weights=wrong,
        )
