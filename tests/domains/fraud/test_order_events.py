"""Events of synthetic orders: what the contract declares, told late and again as real ones are, and the same world as the orders'."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domains.fraud.synthetic import MEMORY, order_events, orders
from hallmark.declaration import feature_view, source
from hallmark.feature_store import source_batch
from hallmark.settings import Settings
from synthetic import history
from synthetic.marketplace import DAY
from tests.hallmark.feature_store import reference

START = datetime(2026, 9, 1, tzinfo=UTC)
END = START + timedelta(days=3)
FEATURES = ("buyer_orders_30d", "buyer_cards_90d", "device_accounts", "ip_orders_1h")
SETTINGS = Settings.load()


@lru_cache(maxsize=1)
def told() -> pd.DataFrame:
    """Events of three days and of the 91 before them, on which views look back."""
    return order_events(START - timedelta(days=MEMORY + 1), END, seed=7, per_day=100)


@lru_cache(maxsize=1)
def placed() -> pd.DataFrame:
    return orders(START, END, seed=7, per_day=100)


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
    same = ["ordered_at", "buyer_id", "seller_id", "payment", "category", "discount", "shipping_distance_km", "express"]
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


def test_the_drawn_counts_of_orders_can_be_computed_from_their_last_versions() -> None:
    events = told().drop_duplicates("order_id", keep="last")
    placing = events.order_id.str.extract(r"o(\d+)-(\d+)").astype(int)
    events = events.iloc[np.lexsort((placing[1], placing[0]))]
    second = (events.ordered_at.astype("int64") // 1_000_000).to_numpy()
    buyer, device, ip, card = (pd.factorize(events[each])[0] for each in ("buyer_id", "device_id", "ip", "card_id"))
    carded = np.flatnonzero(card >= 0)
    cards = np.zeros(len(events), dtype=np.int64)
    cards[carded] = history.distinct(buyer[carded], card[carded], second[carded], window=MEMORY * DAY)
    counted = pd.DataFrame(
        {
            "order_id": events.order_id,
            "buyer_orders_30d": history.earlier(buyer, second, window=30 * DAY),
            "buyer_cards_90d": cards,
            "device_accounts": history.distinct(device, buyer, second, window=MEMORY * DAY),
            "ip_orders_1h": history.earlier(ip, second, window=3600),
        }
    )
    mine = counted[counted.order_id.isin(placed().order_id)]
    pd.testing.assert_frame_equal(
        mine.sort_values("order_id", ignore_index=True),
        placed()[["order_id", *FEATURES]].sort_values("order_id", ignore_index=True),
    )


def computed(name: str, entity: str, at: datetime) -> dict[str, Any]:
    view = feature_view.load(f"{name}@1", SETTINGS)
    mine = told()[told()[view.entity] == entity]
    rows = told()[told().order_id.isin(mine.order_id)]
    return reference.features(view, rows.to_dict("records"), entity, at)


def test_views_give_the_drawn_counts_but_for_the_order_itself_and_what_is_not_yet_known() -> None:
    """What moves with the move onto views: a view never counts the order that is asked about, its card and its account."""
    found = []
    for order in placed()[::4].itertuples():
        event = told()[told().order_id == order.order_id].iloc[-1]
        at = order.ordered_at.to_pydatetime()
        buyer = computed("buyer_orders", event.buyer_id, at)
        device = computed("device", event.device_id, at)["device_accounts"]
        found.append(
            (
                buyer["buyer_orders_30d"] == order.buyer_orders_30d,
                order.device_accounts - device in (0, 1),
                computed("ip_orders", event.ip, at)["ip_orders_1h"] == order.ip_orders_1h,
                event.card_id is None or order.buyer_cards_90d - buyer["buyer_cards_90d"] in (0, 1),
            )
        )
    same = np.array(found).mean(axis=0)
    assert len(found) > 60 and (same > 0.93).all(), same
