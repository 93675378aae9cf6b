"""What is worth a person's minutes: by hand, against fixed thresholds in drawn economies, and against an oracle under overload."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from hallmark.decision import economics
from hallmark.decision.economics import Pace
from hallmark.declaration.decision import DecisionCosts, Node
from tests.hallmark.decision.economies import DAY, Economy

COSTS = DecisionCosts(false_accept=1.0, false_reject=0.2, refuse=0.05, minute=0.5)
EXPERT = Node(kind="person", minutes=6, capacity=60, wrong=0.01)


def test_costs_are_multiples_of_the_price_and_minutes_are_money() -> None:
    assert economics.automatic(COSTS, "accept", chance=0.1, price=500) == 50
    assert economics.automatic(COSTS, "reject", chance=0.1, price=500) == pytest.approx(90)
    assert economics.automatic(COSTS, "refuse", chance=0.1, price=500) == 25
    assert economics.by_person(COSTS, EXPERT, chance=0.1, price=500) == pytest.approx(3 + 0.01 * (50 + 90))
    assert economics.realized(COSTS, "reject", counterfeit=True, price=500) == 0


def test_a_minute_costs_what_the_first_item_that_gets_none_would_save() -> None:
    rates = [5.0, -1.0, 3.0, 1.0, 4.0]
    assert economics.minute_price(rates, 6, available=12) == 3.0
    assert economics.minute_price(rates, 6, available=24) == 0.0
    assert economics.minute_price(rates, 6, available=5) == 5.0
    assert economics.minute_price([], 6, available=0) == 0.0


def test_minutes_run_out_and_come_back_with_the_day() -> None:
    pace = Pace(EXPERT, day=100.0)
    for at in range(10):
        assert pace.price(float(at)) < math.inf
        pace.took(float(at))
    assert pace.left(10.0) == 0 and pace.price(10.0) == math.inf
    assert pace.left(100.0) == 60 and pace.price(100.0) < math.inf
    assert Pace(Node(kind="person")).price(0.0) == 0.0


def beaten(seeds: Iterable[int]) -> dict[int, float]:
    """Of each economy, what ours costs as a share of what the best fixed thresholds cost."""
    found = {}
    for seed in seeds:
        economy = Economy(seed)
        items = economy.drawn(economy.items)
        actions = [str(each.action) for each in economy.ours(items)]
        found[seed] = economy.cost(items, actions) / economy.rival(items)
    return found


@pytest.mark.slow
def test_the_expected_cost_beats_every_fixed_threshold() -> None:
    found = beaten(range(2))
    assert all(share < 1 for share in found.values()), found


@pytest.mark.long
def test_the_expected_cost_beats_every_fixed_threshold_in_twenty_of_twenty_economies() -> None:
    found = beaten(range(20))
    assert all(share < 1 for share in found.values()), found


def test_the_dear_bag_goes_to_a_person_before_the_cheap_belt() -> None:
    """Of the items of one score the dearest get the experts, in an economy that has too few of them."""
    economy = Economy(4)
    items = economy.drawn(economy.items)
    found = economy.ours(items)
    offered = [each for each in found if each.reason in ("route", "not_worth_a_person", "worth_a_person")]
    seen = np.array([each.action == "person" for each in offered if each.saved is not None and each.saved > 0])
    saved = np.array([each.saved for each in offered if each.saved is not None and each.saved > 0])
    assert 0.02 < seen.mean() < 0.9
    assert np.median(saved[seen]) > 3 * np.median(saved[~seen])


def routed(seed: int, *, days: int = 5, load: float = 1.2) -> float:
    """Share of what an oracle saves, who knows every item of a day before the first comes, where experts are asked for more than they can do."""
    economy = Economy(seed, days=days, items=2000 * days)
    items = economy.drawn(economy.items)
    rates = np.array([each.saved or 0.0 for each in economy.ours(items)]) / economy.expert.minutes
    wanted = float((rates > 0).sum() * economy.expert.minutes)
    expert = economy.expert.model_copy(update={"capacity": wanted / load / days})
    pace, ours = Pace(expert), 0.0
    for rate, at in zip(rates.tolist(), items.at.tolist(), strict=True):
        if rate > 0 and rate > pace.price(at):
            pace.took(at)
            ours += rate
        pace.saw(rate, at)
    room = int(float(expert.capacity or 0) // expert.minutes)
    best = sum(
        float(np.sort(own[own > 0])[::-1][:room].sum())
        for own in (rates[items.at // DAY == day] for day in range(days))
    )
    return ours / best


def test_under_120_percent_load_nearly_all_is_saved_that_can_be() -> None:
    found = {seed: routed(seed, days=3) for seed in range(1)}
    assert all(share >= 0.95 for share in found.values()), found


@pytest.mark.long
def test_under_120_percent_load_nearly_all_is_saved_that_can_be_in_twenty_economies() -> None:
    found = {seed: routed(seed) for seed in range(20)}
    assert all(share >= 0.95 for share in found.values()), found
