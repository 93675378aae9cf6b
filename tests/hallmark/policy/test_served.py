"""What a server chooses for one entity: within hold-out and month, by the chance that it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hallmark.declaration.policy import Policy
from hallmark.policy import lot
from hallmark.policy.served import ServedChoice

POLICY = Policy.model_validate(
    {"budget": 10, "value": 10.0, "caps": {"month": 4}, "messages": "sent", "holdout": 0.1, "explore": 0.2}
)
CHOICE = ServedChoice(domain="letters", entity="member_id", costs=(1.0,), policy=POLICY)


def chosen(uplifts: Any, ids: Sequence[str | None], *, sent: int = 0, day: int = 3, of: ServedChoice = CHOICE) -> Any:
    columns = {"member_id": np.array(ids, dtype=object), "sent": np.full(len(ids), sent)}
    return of.of(np.asarray(uplifts), columns, day=day)


def test_who_is_worth_it_is_treated_and_the_others_are_not() -> None:
    ids = [f"m{number}" for number in range(4000)]
    worth = chosen(np.full(4000, 0.3), ids)["treatment"].mean()
    poor = chosen(np.full(4000, 0.05), ids)["treatment"].mean()
    assert worth == pytest.approx(0.9 * (0.8 + 0.1), abs=0.02) and poor == pytest.approx(0.9 * 0.1, abs=0.02)


def test_the_chance_that_is_said_is_how_often_it_happens() -> None:
    ids = [f"m{number}" for number in range(20_000)]
    uplifts = np.where(np.arange(20_000) % 2, 0.3, 0.05)
    found = chosen(uplifts, ids)
    for first in (0, 1):
        mine = np.arange(20_000) % 2 == first
        for action in (0, 1):
            same = mine & (found["treatment"] == action)
            (said,) = set(found["propensity"][same].tolist())
            assert same.sum() / mine.sum() == pytest.approx(said, abs=0.015)


def test_nobody_is_treated_who_is_held_out_had_enough_or_has_no_name() -> None:
    ids = [f"m{number}" for number in range(2000)]
    held = lot.held_out(ids, domain="letters", share=0.1)
    found = chosen(np.full(2000, 0.9), ids)
    assert held.any() and not found["treatment"][held].any()
    enough = chosen(np.full(2000, 0.9), ids, sent=4)
    assert not enough["treatment"].any() and (enough["propensity"] == 1.0).all()
    nameless = chosen([0.9, 0.9], [None, ""])
    assert nameless["treatment"].tolist() == [0, 0] and nameless["propensity"].tolist() == [1.0, 1.0]


def test_a_lot_is_the_same_all_day_and_another_one_the_next() -> None:
    ids = [f"m{number}" for number in range(2000)]
    once, again, later = (chosen(np.full(2000, 0.05), ids, day=day)["treatment"] for day in (3, 3, 4))
    assert (once == again).all() and (once != later).any()


def test_of_several_treatments_the_one_that_is_worth_most_is_chosen() -> None:
    two = ServedChoice(domain="letters", entity="member_id", costs=(0.1, 1.0), policy=POLICY)
    ids = [f"m{number}" for number in range(3000)]
    found = chosen(np.tile([0.20, 0.22], (3000, 1)), ids, of=two)
    counts = np.bincount(found["treatment"], minlength=3) / 3000
    assert counts[1] > 0.7 and 0.02 < counts[2] < 0.12
    assert found["propensity"][found["treatment"] == 2] == pytest.approx(0.9 * 0.2 / 3)
