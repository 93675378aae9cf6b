"""The watch of a guarantee (fault 45): how soon it notices, how seldom it is wrong, and that experts err."""

from __future__ import annotations

import numpy as np
import pytest

from hallmark.decision.guarantee import PATIENCE, Guarantee

AT_MOST = 0.01


def labels(rng: np.random.Generator, share: float, n: int, *, wrong: float = 0.0) -> list[bool]:
    """Labels of accepted items of which so many are counterfeits, by experts who err so often."""
    return [bool(each) for each in (rng.random(n) < share) ^ (rng.random(n) < wrong)]


@pytest.mark.parametrize("wrong", [0.0, 0.02])
@pytest.mark.parametrize("before", [0, 2000])
def test_a_wave_of_super_fakes_is_noticed_within_300_labels_however_long_all_was_well(
    wrong: float, before: int
) -> None:
    rng, late, took = np.random.default_rng(17), 0, []
    for _ in range(60):
        watch = Guarantee(at_most=AT_MOST, wrong=wrong)
        if watch.saw(labels(rng, 0.002, before, wrong=wrong)).broken is not None:
            continue
        broken = watch.saw(labels(rng, 0.2, 300, wrong=wrong)).broken
        late += broken is None
        took.append(300 if broken is None else broken - before)
    assert not late and len(took) > 55
    assert np.median(took) < 100


def test_a_guarantee_that_just_holds_is_called_broken_once_in_ten_thousand_labels_at_most() -> None:
    rng, each, runs = np.random.default_rng(5), 1000, 120
    alarms = sum(Guarantee(at_most=AT_MOST).saw(labels(rng, AT_MOST, each)).broken is not None for _ in range(runs))
    expected = runs * each / PATIENCE
    assert alarms <= expected + 3 * expected**0.5


def test_experts_who_err_break_no_guarantee_and_would_if_nobody_counted_that() -> None:
    rng = np.random.default_rng(7)
    drawn = labels(rng, 0.0, 3000, wrong=0.03)
    assert Guarantee(at_most=AT_MOST, wrong=0.03).saw(drawn).broken is None
    assert Guarantee(at_most=AT_MOST).saw(drawn).broken is not None


def test_what_is_broken_stays_so_and_labels_in_parts_are_labels_at_once() -> None:
    rng = np.random.default_rng(3)
    drawn = labels(rng, 0.2, 200) + labels(rng, 0.0, 800)
    whole, parts = Guarantee(at_most=AT_MOST), Guarantee(at_most=AT_MOST)
    whole.saw(drawn)
    for at in range(0, 1000, 50):
        parts.saw(drawn[at : at + 50])
    assert whole.state == parts.state and whole.state.broken is not None and whole.state.broken <= 200
    assert (whole.state.labels, whole.state.counterfeits) == (1000, sum(drawn))


def test_numbers_that_are_no_shares_are_refused() -> None:
    for at_most, wrong in ((0.0, 0.0), (1.0, 0.0), (0.01, 0.5)):
        with pytest.raises(ValueError, match="expected at_most"):
            Guarantee(at_most=at_most, wrong=wrong)
