"""Orders of the synthetic marketplace: honest and not, and when they were charged back; and the events that tell of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from synthetic import fraudsters, shifts
from synthetic.chance import between, uniform
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
_MOST_A_DAY = 1_000_000
_OFFLINE = 0.02
"""Share of orders that reach the platform late, such as from a phone without a network."""
_AHEAD = 0.001
"""Share of orders whose time is ahead of the platform's clock, by less than what a view lets pass."""
_REFUNDED, _RECARDED, _RESOLVED = 0.008, 0.004, 0.004
"""Shares of orders that are corrected."""
_TWICE = 0.002
"""Share of orders of which the first version comes twice."""


def orders(start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = 1500) -> pd.DataFrame:
    """The orders from `start` until before `end`, in order of time; one day is the same in every window that holds it.

    device_id: none where the device is only worked out later.
    fraud: 1 where the order is charged back, at `charged_back_at` (later than the order by 1 to 30 days).
    pattern: how the fraud was done, "" for none; for analysis, never a feature.
    """
    named = shifts.find(shift, among=SHIFTS, domain="fraud")
    since, until = _window(start, end)
    rows = _placed(Marketplace(seed=seed, per_day=per_day), since // DAY, -(-until // DAY), shift=named)
    return _frame(rows, (rows["second"] >= since) & (rows["second"] < until), seed=seed)


def order_events(
    start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = 1500
) -> pd.DataFrame:
    """Events of the orders that `orders` gives from `start` until before `end`, as contracts/orders declares them, in order of `known_at`.

    Each order is an event; its rows are versions of it. Most reach the platform within seconds, those of a phone without a network within
    hours; some are corrected later (after a refund, with the card that paid in the end, with a device that was worked out), some come twice.
    Rows of an order come together: what is known at a time are those with an earlier `known_at`, which may lie after `end`.
    """
    named = shifts.find(shift, among=SHIFTS, domain="fraud")
    since, until = _window(start, end)
    rows = _placed(Marketplace(seed=seed, per_day=per_day), since // DAY, -(-until // DAY), shift=named)
    numbers = _numbers(rows["second"])
    asked = (rows["second"] >= since) & (rows["second"] < until)
    told = _told(_own(numbers), rows, seed=seed)
    told = {name: values[asked[told["row"]]] for name, values in told.items()}
    return _events({name: values[told["row"]] for name, values in rows.items()}, numbers[:, told["row"]], told)


def _placed(place: Marketplace, first: int, last: int, *, shift: shifts.Shift | None) -> Rows:
    """All orders of the days first..last-1, in order of time."""
    honest = place.honest(first, last, season=shift is SEASON)
    crooked = fraudsters.orders(place, first, last, wave=shift is NEW_FRAUD_PATTERN)
    rows = {name: np.concatenate((honest[name], crooked[name])).astype(kind) for name, kind in ROW.items()}
    # The buyer breaks ties, so that the order of rows does not depend on the window either.
    by_time = np.lexsort((rows["buyer"], rows["second"]))
    return {name: values[by_time] for name, values in rows.items()}


def _told(order: NDArray[np.int64], rows: Rows, *, seed: int) -> Rows:
    """When each version of each order is known, a row a version: its order's row, microseconds since 1970, and what it tells otherwise.

    order: a number of its own for each order, from which all chance follows.
    """

    def u(topic: str) -> NDArray[np.float64]:
        return uniform(order, topic, seed=seed)

    happened = rows["second"] * 1_000_000
    delay = between(u("delay"), 0.15, 4.0)
    delay = np.where(u("offline") < _OFFLINE, between(u("how long"), 60.0, 8 * 3600.0), delay)
    delay = np.where(u("clock") < _AHEAD, -between(u("by how much"), 1.0, 90.0), delay)
    known = happened + (delay * 1e6).astype(np.int64)
    carded = rows["card"] > 0
    which = _correction(order, seed=seed)
    refunded = which < _REFUNDED
    recarded = ~refunded & (which < _REFUNDED + _RECARDED) & carded
    unknown = _unknown_device(order, seed=seed)
    again = known + (between(u("later"), 60.0, 3 * DAY) * 1e6).astype(np.int64)
    every, corrected, twice = (
        np.arange(len(order)),
        np.flatnonzero(refunded | recarded | unknown),
        np.flatnonzero(u("twice") < _TWICE),
    )
    row = np.concatenate((every, twice, corrected))
    first = np.arange(len(row)) < len(every) + len(twice)
    return {
        "row": row,
        "known": np.where(first, known[row], again[row]),
        "paid": np.where(~first & refunded[row], np.round(0.3 + 0.6 * u("kept"), 2)[row], 1.0),
        "no_device": first & unknown[row],
        "other_card": first & recarded[row],
    }


def _events(rows: Rows, numbers: NDArray[np.int64], told: Rows) -> pd.DataFrame:
    import pandas as pd

    card = rows["card"] + np.where(told["other_card"], 1_000_003, 0)
    frame = pd.DataFrame(
        {
            "order_id": _order_ids(numbers),
            "ordered_at": pd.DatetimeIndex((rows["second"] * 1_000_000).astype("datetime64[us]")).tz_localize("UTC"),
            "known_at": pd.DatetimeIndex(told["known"].astype("datetime64[us]")).tz_localize("UTC"),
            "buyer_id": _ids("m", rows["buyer"]),
            "seller_id": _ids("s", rows["seller"]),
            "device_id": _ids("d", rows["device"], missing=told["no_device"]),
            "ip": _ips(rows["address"]),
            "card_id": _ids("c", card, missing=rows["card"] == 0),
            "payment": _named(PAYMENTS, rows["payment"]),
            "amount": np.round(rows["amount"] * told["paid"], 2),
            "discount": rows["discount"],
            "category": _named(CATEGORIES, rows["category"]),
            "brand_tier": _named(TIERS, rows["brand_tier"]),
            **{name: rows[name] for name in ("shipping_distance_km", "address_changed", "express")},
        }
    )
    return frame.sort_values(["known_at", "order_id"], kind="stable", ignore_index=True)


def _own(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) a number of its own for each order, from which its chance follows."""
    own: NDArray[np.int64] = numbers[0] * _MOST_A_DAY + numbers[1]
    return own


def _correction(order: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    return uniform(order, "correction", seed=seed)


def _unknown_device(order: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Of which orders the device is worked out later."""
    unknown: NDArray[np.bool_] = _correction(order, seed=seed) > 1 - _RESOLVED
    return unknown


def _frame(rows: Rows, asked: NDArray[np.bool_], *, seed: int) -> pd.DataFrame:
    import pandas as pd

    numbers = _numbers(rows["second"])[:, asked]
    rows = {name: values[asked] for name, values in rows.items()}
    ordered = (rows["second"] * 1_000_000).astype("datetime64[us]")
    charged = ~np.isnan(rows["delay"])
    delay = (np.where(charged, rows["delay"], 0.0) * DAY * 1e6).astype("timedelta64[us]")
    later = np.where(charged, ordered + delay, np.datetime64("NaT", "us"))
    return pd.DataFrame(
        {
            "order_id": _order_ids(numbers),
            "buyer_id": _ids("m", rows["buyer"]),
            "seller_id": _ids("s", rows["seller"]),
            "device_id": _ids("d", rows["device"], missing=_unknown_device(_own(numbers), seed=seed)),
            "ip": _ips(rows["address"]),
            "ordered_at": pd.DatetimeIndex(ordered).tz_localize("UTC"),
            **{name: rows[name] for name in ("amount", "item_age_days", "seller_age_days", "buyer_age_days")},
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


def _order_ids(numbers: NDArray[np.int64]) -> list[str]:
    return [f"o{day}-{number:06d}" for day, number in zip(*numbers.tolist(), strict=True)]


def _ids(letter: str, numbers: NDArray[np.int64], *, missing: NDArray[np.bool_] | None = None) -> list[str | None]:
    gone = np.zeros(len(numbers), dtype=np.bool_) if missing is None else missing
    return [None if no else f"{letter}{number}" for number, no in zip(numbers.tolist(), gone.tolist(), strict=True)]


def _ips(addresses: NDArray[np.int64]) -> list[str]:
    return [
        f"2001:db8:{n >> 48:x}:{n >> 32 & 0xFFFF:x}:{n >> 16 & 0xFFFF:x}:{n & 0xFFFF:x}::1" for n in addresses.tolist()
    ]


def _named(names: tuple[str, ...], index: NDArray[np.int64]) -> NDArray[Any]:
    return np.array(names, dtype=object)[index]


def _window(start: datetime, end: datetime) -> tuple[int, int]:
    """Both in seconds since 1970."""
    since, until = _second(start, "start"), _second(end, "end")
    if until <= since:
        raise DeclarationError("the window is empty", expected="start before end", got=f"{start} to {end}")
    return since, until


def _second(time: datetime, name: str) -> int:
    if time.tzinfo is None:
        raise DeclarationError(
            f"{name} has no time zone", expected="a time in UTC, such as 2026-10-01T00:00:00+00:00", got=str(time)
        )
    return int(time.astimezone(UTC).timestamp())
