"""The knapsack: within every limit, and next to what no allocation can exceed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from hallmark.policy.knapsack import allocate, best


@st.composite
def problems(draw: st.DrawFn, most: int = 40) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    n, k = draw(st.integers(0, most)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.normal(draw(st.sampled_from((-1.0, 0.0, 2.0))), 2, (n, k))
    if draw(st.booleans()):
        values = np.round(values)  # many equal ones
    costs = random.random((n, k)) * draw(st.sampled_from((0.0, 0.01, 1.0, 50.0)))
    if draw(st.booleans()):
        costs = np.broadcast_to(random.random(k), (n, k))
    return values, costs, draw(st.floats(0, 20)), random.integers(0, n + 1, k)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_no_limit_is_exceeded(problem: tuple[np.ndarray, np.ndarray, float, np.ndarray]) -> None:
    within(problem)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(problems())
def test_no_limit_is_exceeded_in_a_thousand_draws(problem: tuple[np.ndarray, np.ndarray, float, np.ndarray]) -> None:
    within(problem)


def within(problem: tuple[np.ndarray, np.ndarray, float, np.ndarray]) -> None:
    values, costs, budget, caps = problem
    found = allocate(values, costs, budget=budget, caps=caps)
    taken = np.flatnonzero(found.choice)
    assert math.fsum(costs[taken, found.choice[taken] - 1].tolist()) <= budget
    assert (np.bincount(found.choice, minlength=values.shape[1] + 1)[1:] <= caps).all()
    assert (values[taken, found.choice[taken] - 1] > 0).all()
    assert found.value <= found.bound * (1 + 1e-9) + 1e-9


def relaxed(values: np.ndarray, costs: np.ndarray, budget: float, caps: np.ndarray) -> float:
    """The same by a general solver: one variable a row and treatment."""
    n, k = values.shape
    limits = [costs.ravel(), *(np.tile(np.arange(k) == arm, n) for arm in range(k))]
    limits += [np.repeat(np.arange(n) == row, k) for row in range(n)]
    worth = np.where((values > 0) & (costs <= budget) & (caps > 0), values, 0.0)
    right = [budget, *caps, *[1] * n]
    return -linprog(-worth.ravel(), A_ub=np.array(limits, dtype=float), b_ub=right, bounds=(0, 1)).fun


def test_the_bound_is_the_linear_relaxation_by_another_solver() -> None:
    random = np.random.default_rng(0)
    for seed in range(15):
        n, k = int(random.integers(1, 40)), int(random.integers(1, 4))
        values, costs = random.normal(1, 2, (n, k)), random.random((n, k))
        budget, caps = float(random.random() * n / 4), random.integers(0, n + 1, k)
        expected = relaxed(values, costs, budget, caps)
        assert allocate(values, costs, budget=budget, caps=caps).bound == pytest.approx(expected, rel=1e-6, abs=1e-9), (
            seed
        )


def test_of_many_rows_it_reaches_the_bound() -> None:
    random = np.random.default_rng(1)
    values, costs = random.normal(0.1, 0.4, (20_000, 3)), np.array([0.05, 0.1, 0.3])
    found = allocate(values, costs, budget=300.0, caps=np.array([1000, 2000, 20_000]))
    assert found.gap < 1e-3
    assert found.spent <= 300.0


def test_a_small_case_by_hand() -> None:
    values = np.array([[6.0, 7.0], [4.0, 0.0], [3.0, 5.0]])
    costs = np.array([[2.0, 3.0], [2.0, 1.0], [1.0, 3.0]])
    found = allocate(values, costs, budget=5.0)
    worth = max(
        sum(values[row, arm - 1] for row, arm in enumerate(arms) if arm)
        for arms in itertools.product(range(3), repeat=3)
        if sum(costs[row, arm - 1] for row, arm in enumerate(arms) if arm) <= 5
    )
    assert worth == 13.0 == found.value
    assert found.choice.tolist() == [1, 1, 1]


def test_prices_choose_for_others_as_the_allocation_did() -> None:
    random = np.random.default_rng(2)
    values, costs = random.normal(0.1, 0.4, (5000, 2)), np.array([0.05, 0.1])
    found = allocate(values, costs, budget=50.0)
    assert (best(values, costs, found) != found.choice).sum() <= 2


@pytest.mark.parametrize("budget", [-1.0, float("nan")])
def test_a_budget_that_is_none_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="budget of 0 or more"):
        allocate(np.ones((1, 1)), np.ones(1), budget=budget)
