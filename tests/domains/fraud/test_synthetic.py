"""The synthetic marketplace: the same every time, hard but learnable, and shifted where it is told to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import cache

import numpy as np
import pandas as pd
import pytest

from domains.fraud.synthetic import SEASON, SHIFTS, order_events, orders
from hallmark.errors import DeclarationError
from synthetic import shifts

START = datetime(2026, 7, 1, tzinfo=UTC)


@cache
def drawn(days: int = 40, *, offset: int = 0, shift: str | None = None, seed: int = 7) -> pd.DataFrame:
    start = START + timedelta(days=offset)
    return orders(start, start + timedelta(days=days), seed=seed, shift=shift)


def stability(reference: pd.Series, current: pd.Series) -> float:
    """Population stability index over tenths of the reference, or over its values."""
    if reference.dtype == object or reference.dtype == bool:
        kinds = reference.unique()
        p, q = (np.array([(part == kind).mean() for kind in kinds]) for part in (reference, current))
    else:
        edges = np.unique(np.quantile(reference, np.linspace(0.1, 0.9, 9)))
        p, q = (
            np.bincount(np.searchsorted(edges, part), minlength=len(edges) + 1) / len(part)
            for part in (reference, current)
        )
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def accounts() -> pd.Series:
    """How many accounts each device was used by."""
    return drawn().groupby("device_id").buyer_id.nunique()


WATCHED = (
    "amount", "item_age_days", "seller_age_days", "buyer_age_days", "password_age_hours", "shipping_distance_km",
    "discount", "hour", "address_changed", "express", "category", "payment", "brand_tier",
)  # fmt: skip


def worst(current: pd.DataFrame, rows: int) -> dict[str, float]:
    window = current.sample(rows, random_state=3)
    return {name: stability(drawn()[name], window[name]) for name in WATCHED}


def test_a_seed_gives_the_same_orders_and_another_seed_others() -> None:
    end = START + timedelta(days=3)
    first, again, other = (orders(START, end, seed=seed, per_day=200) for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again)
    assert not set(other.amount[:20]) <= set(first.amount)


@pytest.mark.parametrize("shift", [None, "new_fraud_pattern", "season"])
def test_a_day_is_the_same_whichever_window_asks_for_it(shift: str | None) -> None:
    wide = orders(START, START + timedelta(days=10), seed=7, shift=shift, per_day=200)
    for first, days in ((3, 1), (0, 5), (8, 2)):
        begin = START + timedelta(days=first)
        end = begin + timedelta(days=days)
        inside = wide[(wide.ordered_at >= begin) & (wide.ordered_at < end)].reset_index(drop=True)
        pd.testing.assert_frame_equal(inside, orders(begin, end, seed=7, shift=shift, per_day=200))


def test_a_window_may_begin_at_any_minute_and_in_any_zone() -> None:
    begin = datetime(2026, 7, 2, 11, 30, tzinfo=timezone(timedelta(hours=2)))
    part = orders(begin, begin + timedelta(hours=5), seed=7)
    wide = drawn()
    inside = wide[(wide.ordered_at >= begin) & (wide.ordered_at < begin + timedelta(hours=5))].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, inside)


def test_orders_come_in_order_of_time_each_with_its_own_number() -> None:
    assert drawn().ordered_at.is_monotonic_increasing
    assert drawn().order_id.is_unique
    assert drawn().ordered_at.dtype == pd.DatetimeTZDtype("us", "UTC")


def test_about_three_in_a_hundred_are_charged_back_within_thirty_days() -> None:
    frame = drawn()
    assert 0.02 < frame.fraud.mean() < 0.04
    late = frame.charged_back_at - frame.ordered_at
    np.testing.assert_array_equal(late.notna(), frame.fraud == 1)
    assert late.min() >= timedelta(days=1) and late.max() <= timedelta(days=30)
    assert 5 < late.dt.days.median() < 20


def test_every_kind_of_fraud_is_there_and_some_of_it_is_never_found_out() -> None:
    by_kind = drawn().groupby("pattern").fraud.agg(["mean", "sum"])
    assert set(by_kind.index) == {"", "friendly", "ring", "stolen_card", "takeover"}
    assert by_kind.loc["", "mean"] == 0 and by_kind.loc["friendly", "mean"] == 1
    for kind in ("ring", "stolen_card", "takeover"):
        assert by_kind.loc[kind, "sum"] > 200 and 0.7 < by_kind.loc[kind, "mean"] < 0.95


def test_frauds_leave_the_traces_that_they_should() -> None:
    cards = order_events(START, START + timedelta(days=40), seed=7).groupby("buyer_id").card_id.nunique()
    told = {"accounts": drawn().device_id.map(accounts()), "cards": drawn().buyer_id.map(cards)}
    by_kind = drawn().assign(**told).groupby("pattern").median(numeric_only=True)
    assert by_kind.accounts["ring"] >= 3 > by_kind.accounts[""]
    assert by_kind.cards["stolen_card"] >= 2 > by_kind.cards[""]
    assert by_kind.password_age_hours["takeover"] < 48 < by_kind.password_age_hours[""]
    assert by_kind.shipping_distance_km["takeover"] > 50 * by_kind.shipping_distance_km[""]
    assert by_kind.buyer_age_days["takeover"] > 100 > by_kind.buyer_age_days["stolen_card"]


def test_honest_members_look_suspicious_now_and_then() -> None:
    honest = drawn()[drawn().pattern == ""]
    shared = honest.device_id.map(accounts()) > 3
    odd = (honest.password_age_hours < 48) | shared | (honest.shipping_distance_km > 500)
    assert 0.05 < odd.mean() < 0.25
    assert odd.sum() > 2 * drawn().fraud.sum()


def test_nothing_is_older_than_it_can_be() -> None:
    frame = drawn()
    assert (frame.item_age_days <= frame.seller_age_days).all()
    young = frame.buyer_age_days == 0
    assert (frame.password_age_hours[young] <= 48).all()


def test_coats_are_for_winter_and_dresses_for_summer() -> None:
    summer, winter = (
        drawn(14).category.value_counts(normalize=True),
        drawn(14, offset=150).category.value_counts(normalize=True),
    )
    assert winter["coats"] > 1.2 * summer["coats"] and summer["dresses"] > 1.15 * winter["dresses"]


@pytest.mark.parametrize("rows", [300, 2000])
def test_later_weeks_do_not_drift_by_themselves(rows: int) -> None:
    for offset in (60, 100):
        assert max(worst(drawn(14, offset=offset), rows).values()) < 0.15


@pytest.mark.parametrize("rows", [300, 2000])
def test_a_new_fraud_pattern_shows_in_what_comes_in(rows: int) -> None:
    found = worst(drawn(14, offset=60, shift="new_fraud_pattern"), rows)
    assert {"password_age_hours", "shipping_distance_km"} <= {name for name, value in found.items() if value > 0.2}
    assert found["brand_tier"] < 0.2 and found["seller_age_days"] < 0.2


def test_a_new_fraud_pattern_is_takeovers_by_wallet_at_night() -> None:
    frame = drawn(14, offset=60, shift="new_fraud_pattern")
    wave = frame[frame.pattern == "wallet_takeover"]
    assert 0.2 < len(wave) / len(frame) < 0.4
    assert (wave.payment == "wallet").all() and (wave.hour < 6).mean() > 0.8 and wave.fraud.mean() > 0.8
    rest = frame[frame.pattern != "wallet_takeover"]
    assert len(rest) == len(drawn(14, offset=60))


def test_a_season_changes_what_is_bought_and_not_who_cheats() -> None:
    frame = drawn(14, offset=60, shift="season")
    found = worst(frame, 2000)
    assert found["category"] > 0.2 and found["discount"] > 0.2
    assert found["buyer_age_days"] < 0.1 and found["hour"] < 0.1
    assert abs(frame.fraud.mean() - drawn(14, offset=60).fraud.mean()) < 0.01


def test_times_without_a_zone_and_empty_windows_are_refused() -> None:
    with pytest.raises(DeclarationError, match="start has no time zone"):
        orders(datetime(2026, 7, 1), START, seed=7)
    with pytest.raises(DeclarationError, match="the window is empty"):
        orders(START, START, seed=7)


def test_shifts_say_what_they_are_and_whose() -> None:
    assert [shift.name for shift in SHIFTS] == ["new_fraud_pattern", "season"]
    assert all(shift.description.endswith(".") for shift in SHIFTS)
    assert shifts.find("season", among=SHIFTS, domain="fraud") is SEASON
    assert shifts.find(None, among=SHIFTS, domain="fraud") is None
    with pytest.raises(DeclarationError, match="fraud has no shift 'earthquake'"):
        orders(START, START + timedelta(days=1), seed=7, shift="earthquake")
