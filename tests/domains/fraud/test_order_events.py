"""Events of synthetic orders: what the contract declares, told late and again as real ones are, and the same world as the orders'."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pandas as pd
import pytest

from domains.fraud.synthetic import order_events, orders
from hallmark.declaration import feature_view, source
from hallmark.feature_store import source_batch
from hallmark.settings import Settings
from synthetic.marketplace import DAY

START = datetime(2026, 9, 1, tzinfo=UTC)
END = START + timedelta(days=3)
SETTINGS = Settings.load()


@lru_cache(maxsize=1)
def told() -> pd.DataFrame:
    """Events of three days and of the 91 before them, on which views look back."""
    return order_events(START - timedelta(days=91), END, seed=7, per_day=100)


def test_they_keep_the_contract() -> None:
    declared = source.load("orders@1", SETTINGS)
    found = source_batch.checked(declared, told(), shown="the events")
    assert len(found) == len(told()) and set(told().columns) == set(declared.columns)
    assert (told().ordered_at - told().known_at).max() < feature_view.FUTURE


@pytest.mark.parametrize("shift", [None, "new_fraud_pattern", "season"])
def test_they_are_of_the_orders_of_the_same_seed_and_shift(shift: str | None) -> None:
    theirs = orders(START, END, seed=7, shift=shift, per_day=100).set_index("order_id").sort_index()
    mine = order_events(START, END, seed=7, shift=shift, per_day=100).drop_duplicates("order_id")
    mine = mine.set_index("order_id").sort_index()
    who = ["buyer_id", "seller_id", "device_id", "ip"]
    same = ["ordered_at", *who, "payment", "category", "discount", "shipping_distance_km", "express"]
    pd.testing.assert_frame_equal(mine[same], theirs[same])
    assert (mine.amount == theirs.amount).all(), "what is told first is not yet corrected"


def test_a_day_is_the_same_whichever_window_asks_for_it_and_another_seed_another() -> None:
    whole = order_events(START, END, seed=7, per_day=50)
    days = [
        order_events(START + timedelta(days=n), START + timedelta(days=n + 1), seed=7, per_day=50) for n in range(3)
    ]
    parts = pd.concat(days).sort_values(["known_at", "order_id"], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(whole, parts)
    assert not set(order_events(START, END, seed=8, per_day=50).ip) & set(whole.ip[:5])


def test_most_come_within_seconds_and_some_late_or_by_a_clock_that_is_ahead() -> None:
    late = (told().drop_duplicates("order_id").pipe(lambda frame: frame.known_at - frame.ordered_at)).dt.total_seconds()
    assert 0.95 < (late.between(0, 5)).mean() < 0.99
    assert 0.01 < (late > 60).mean() < 0.03 and late.max() < DAY / 2
    assert 0 < (late < 0).mean() < 0.005
    assert told().known_at.is_monotonic_increasing


def test_some_are_corrected_and_some_come_twice() -> None:
    versions = told().groupby("order_id")
    several = versions.filter(lambda rows: len(rows) > 1).groupby("order_id")
    first, last = (several.nth(place).set_index("order_id").sort_index() for place in (0, -1))
    assert 0.01 < len(first) / len(versions) < 0.03
    assert (last.amount < first.amount).any() and not (last.amount > first.amount).any()
    assert (first.device_id.isna() & last.device_id.notna()).any() and last.device_id.notna().all()
    assert ((first.card_id != last.card_id) & last.card_id.notna() & first.card_id.notna()).any()
    assert told().duplicated().any()
    fixed = ["buyer_id", "seller_id", "ordered_at", "ip", "payment", "category"]
    assert (first[fixed] == last[fixed]).all(axis=None)
