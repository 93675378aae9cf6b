"""Whom a batch treats: hold-out, lots, caps and budget together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.declaration.policy import Caps, Policy
from hallmark.errors import DeclarationError
from hallmark.policy import lot
from hallmark.policy.targeting import REASONS, Targets, choose

COSTS = (0.05, 0.2)
POLICY = Policy(budget=60.0, value=9.0, caps=Caps(month=4, campaign=(900, 500)), messages="had")
IDS = [f"m{number}" for number in range(5000)]


def chosen(run: str = "first", policy: Policy = POLICY, ids: list[str] = IDS, seed: int = 0) -> Targets:
    random = np.random.default_rng(seed)
    uplifts = random.normal(0.01, 0.03, (len(ids), 2))
    had = random.integers(0, 7, len(ids))
    return choose(uplifts, ids, domain="letters", policy=policy, costs=COSTS, run=run, messages=had)


BATCHES = st.fixed_dictionaries(
    {
        "n": st.integers(0, 120),
        "budget": st.floats(0, 5),
        "month": st.integers(1, 4),
        "campaign": st.tuples(st.integers(0, 30), st.integers(0, 30)),
        "holdout": st.floats(0, 0.5),
        "explore": st.floats(0, 0.5),
        "seed": st.integers(0, 10**6),
    }
)


@settings(max_examples=40, deadline=None)
@given(BATCHES)
def test_no_limit_is_exceeded(batch: dict[str, Any]) -> None:
    within(**batch)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(BATCHES)
def test_no_limit_is_exceeded_in_a_thousand_draws(batch: dict[str, Any]) -> None:
    within(**batch)


def within(
    *, n: int, budget: float, month: int, campaign: tuple[int, int], holdout: float, explore: float, seed: int
) -> None:
    policy = Policy(
        budget=budget,
        value=9.0,
        caps=Caps(month=month, campaign=campaign),
        messages="had",
        holdout=holdout,
        explore=explore,
    )
    random = np.random.default_rng(seed)
    ids = [f"m{number}" for number in random.integers(0, max(1, n), n)]
    had = random.integers(0, 5, n)
    found = choose(
        random.normal(0.02, 0.05, (n, 2)),
        ids,
        domain="letters",
        policy=policy,
        costs=COSTS,
        run=str(seed),
        messages=had,
    )
    given_to = np.flatnonzero(found.treatment)
    assert found.spent <= budget
    assert (np.bincount(found.treatment, minlength=3)[1:] <= campaign).all()
    assert (had[given_to] < month).all()
    assert len({ids[row] for row in given_to}) == len(given_to)
    assert not lot.held_out([ids[row] for row in given_to], domain="letters", share=holdout).any()
    assert ((found.propensity > 0) & (found.propensity <= 1)).all()


def test_the_holdout_is_the_same_in_every_run_and_a_tenth() -> None:
    held = REASONS.index("held out")
    first, second = chosen("first"), chosen("second", seed=1)
    rows = lot.held_out(IDS, domain="letters", share=0.1)
    assert 0.08 < rows.mean() < 0.12
    for each in (first, second):
        assert (each.reason[rows] == held).all() and (each.reason[~rows] != held).all()


def test_the_lots_of_a_run_are_its_own_and_the_same_again() -> None:
    first, again, other = chosen("first"), chosen("first"), chosen("second")
    assert (first.treatment == again.treatment).all()
    by_lot = np.isin(first.reason, (REASONS.index("by lot"), REASONS.index("left alone by lot")))
    theirs = np.isin(other.reason, (REASONS.index("by lot"), REASONS.index("left alone by lot")))
    assert 0 < by_lot.sum() < 0.08 * len(IDS) and (by_lot != theirs).any()


def test_what_is_logged_as_chance_is_how_often_it_happens() -> None:
    """Of one row over many runs and ids: the treatment's share is its propensity."""
    policy = Policy(budget=1e9, value=9.0, holdout=0.2, explore=0.5)
    ids = [f"x{number}" for number in range(40_000)]
    found = choose(np.full(len(ids), 0.1), ids, domain="letters", policy=policy, costs=(0.05,), run="r")
    for treatment in (0, 1):
        rows = found.treatment == treatment
        assert np.ptp(found.propensity[rows]) < 1e-12
        assert rows.mean() == pytest.approx(found.propensity[rows][0], abs=0.01)


def test_a_cap_by_month_needs_to_know_what_was_sent() -> None:
    with pytest.raises(DeclarationError, match="does not say it"):
        choose(np.zeros((1, 2)), ["a"], domain="letters", policy=POLICY, costs=COSTS, run="r")


def test_lots_do_not_change_with_a_release_of_ours() -> None:
    assert lot.drawn(["m1", "m2"], "letters/holdout").round(9).tolist() == [*LOTS]


LOTS = (0.955547043, 0.423239116)
