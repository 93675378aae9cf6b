"""Orders of the synthetic marketplace: honest and not, with what was counted before each, and when it was charged back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from synthetic import fraudsters, history, shifts
from synthetic.marketplace import CATEGORIES, DAY, PATTERNS, PAYMENTS, ROW, TIERS, Marketplace, Rows

if TYPE_CHECKING:
    import pandas as pd

NEW_FRAUD_PATTERN = shifts.Shift(
    name="new_fraud_pattern",
    description="A wave of account takeovers, near a third of all orders: at night, by wallet, shipped far, on fresh passwords.",
)
SEASON = shifts.Shift(
    name="season",
    description="The weeks before the holidays: coats, knitwear and watches, reduced prices, gifts sent far, more express.",
)
SHIFTS = (NEW_FRAUD_PATTERN, SEASON)
MEMORY = 90
"""Days that an order's history reaches back."""


def orders(start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = 1500) -> pd.DataFrame:
    """The orders from `start` until before `end`, in order of time; one day is the same in every window that holds it.

    fraud: 1 where the order is charged back, at `charged_back_at` (later than the order by 1 to 30 days).
    pattern: how the fraud was done, "" for none; for analysis, never a feature.
    """
    named = shifts.find(shift, among=SHIFTS, domain="fraud")
    since, until = _second(start, "start"), _second(end, "end")
    if until <= since:
        raise DeclarationError("the window is empty", expected="start before end", got=f"{start} to {end}")
    place = Marketplace(seed=seed, per_day=per_day)
    rows = remembered(place, since // DAY, -(-until // DAY), shift=named)
    return _frame(rows, (rows["second"] >= since) & (rows["second"] < until))


def remembered(place: Marketplace, first: int, last: int, *, shift: shifts.Shift | None = None) -> Rows:
    """All orders of the days first..last-1 and of the `MEMORY` before them, in order of time, with their counts.

    Counts of the first `MEMORY` days are too low, since nothing is known of what went before.
    """
    honest = place.honest(first - MEMORY, last, season=shift is SEASON)
    crooked = fraudsters.orders(place, first - MEMORY, last, wave=shift is NEW_FRAUD_PATTERN)
    rows = {name: np.concatenate((honest[name], crooked[name])).astype(kind) for name, kind in ROW.items()}
    # The buyer breaks ties, so that the order of rows does not depend on the window either.
    by_time = np.lexsort((rows["buyer"], rows["second"]))
    rows = {name: values[by_time] for name, values in rows.items()}
    return rows | _counts(rows)


def _counts(rows: Rows) -> Rows:
    second, buyer = rows["second"], rows["buyer"]
    carded = np.flatnonzero(rows["card"])
    cards = np.zeros(len(second), dtype=np.int64)
    cards[carded] = history.distinct(buyer[carded], rows["card"][carded], second[carded], window=MEMORY * DAY)
    return {
        "buyer_orders_30d": history.earlier(buyer, second, window=30 * DAY),
        "buyer_cards_90d": cards,
        "device_accounts": history.distinct(rows["device"], buyer, second, window=MEMORY * DAY),
        "ip_orders_1h": history.earlier(rows["address"], second, window=3600),
    }


def _frame(rows: Rows, asked: NDArray[np.bool_]) -> pd.DataFrame:
    import pandas as pd

    numbers = _numbers(rows["second"])
    rows = {name: values[asked] for name, values in rows.items()}
    ordered = (rows["second"] * 1_000_000).astype("datetime64[us]")
    charged = ~np.isnan(rows["delay"])
    delay = (np.where(charged, rows["delay"], 0.0) * DAY * 1e6).astype("timedelta64[us]")
    later = np.where(charged, ordered + delay, np.datetime64("NaT", "us"))
    return pd.DataFrame(
        {
            "order_id": [f"o{day}-{number:06d}" for day, number in zip(*numbers[:, asked].tolist(), strict=True)],
            "buyer_id": [f"m{number}" for number in rows["buyer"].tolist()],
            "seller_id": [f"s{number}" for number in rows["seller"].tolist()],
            "ordered_at": pd.DatetimeIndex(ordered).tz_localize("UTC"),
            **{name: rows[name] for name in ("amount", "item_age_days", "seller_age_days", "buyer_age_days")},
            **{name: rows[name] for name in ("buyer_orders_30d", "buyer_cards_90d", "device_accounts", "ip_orders_1h")},
            **{name: rows[name] for name in ("password_age_hours", "shipping_distance_km", "discount", "hour")},
            **{name: rows[name] for name in ("address_changed", "express")},
            "category": _named(CATEGORIES, rows["category"]),
            "payment": _named(PAYMENTS, rows["payment"]),
            "brand_tier": _named(TIERS, rows["brand_tier"]),
            "fraud": charged.astype(np.int64),
            "charged_back_at": pd.DatetimeIndex(later).tz_localize("UTC"),
            "pattern": _named(PATTERNS, rows["pattern"]),
        }
    )


def _numbers(second: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, n) the day and the place in it of each order, which are in order of time."""
    day = second // DAY
    return np.stack((day, np.arange(len(day)) - np.searchsorted(day, day)))


def _named(names: tuple[str, ...], index: NDArray[np.int64]) -> NDArray[Any]:
    return np.array(names, dtype=object)[index]


def _second(time: datetime, name: str) -> int:
    if time.tzinfo is None:
        raise DeclarationError(
            f"{name} has no time zone", expected="a time in UTC, such as 2026-10-01T00:00:00+00:00", got=str(time)
        )
    return int(time.astimezone(UTC).timestamp())
