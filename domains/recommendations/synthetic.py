"""What members of the synthetic marketplace look at, in words, and the stock that comes and sells."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from hallmark.errors import DeclarationError
from synthetic import shifts, times
from synthetic.interactions import DAY, LONGEST, LOOK_BACK, Rows, Stock, named

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOOK_BACK", "NEW_STOCK", "SHIFTS", "items", "views"]

NEW_STOCK = shifts.Shift(
    name="new_stock",
    description="Another stock: most of what is listed are dear bags and watches of brands that nobody sold before, and members look at them.",
)
SHIFTS = (NEW_STOCK,)


def views(start: datetime, end: datetime, *, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Who looked at which item, from 30 days before `start`, which a sequence reaches back to, until before `end`; with what is known of it."""
    import pandas as pd

    place, first, last = _window(start, end, seed=seed, shift=shift)
    seen = place.views(first - LOOK_BACK, last)
    stock = place.items(first - LOOK_BACK - LONGEST, last)
    seen = {name: values[seen["second"] < end.timestamp()] for name, values in seen.items()}
    at = np.searchsorted(stock["item"], seen["item"])
    words = named({name: values[at] for name, values in stock.items()})
    words.pop("seller_id")
    who = np.array([f"m{number}" for number in seen["member"].tolist()], dtype=object)
    return pd.DataFrame({"member_id": who, "shown_at": times.utc(seen["second"]), **words})


def items(start: datetime, end: datetime, *, seed: int, shift: str | None = None) -> pd.DataFrame:
    """The items that were for sale from `start` until before `end`: item_id, seller_id, what is known of each, and since when."""
    import pandas as pd

    place, first, last = _window(start, end, seed=seed, shift=shift)
    stock = place.items(first - LONGEST, last)
    since = np.maximum(stock["second"], int(start.timestamp()))
    there = (stock["until"] > start.timestamp()) & (since < end.timestamp())
    rows: Rows = {name: values[there] for name, values in stock.items()}
    return pd.DataFrame({**named(rows), "shown_at": times.utc(since[there])})


def _window(start: datetime, end: datetime, *, seed: int, shift: str | None) -> tuple[Stock, int, int]:
    named_shift = shifts.find(shift, among=SHIFTS, domain="recommendations")
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise DeclarationError(
            "the window is not one", expected="a start before an end, both with a time zone", got=f"{start} to {end}"
        )
    place = Stock(seed=seed, fresh=named_shift is NEW_STOCK)
    return place, int(start.astimezone(UTC).timestamp() // DAY), int(-(-end.astimezone(UTC).timestamp() // DAY))
