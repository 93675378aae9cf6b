"""Members of the synthetic marketplace, whom campaigns wrote to by lot, and what they bought: with the uplift that each really had.

Some buy because they are written to, most do as they would have done, and some (sleeping dogs) buy less: they are tired of messages.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domains.marketing.features import CATEGORIES, COUNTRIES
from hallmark.errors import DeclarationError
from synthetic import shifts
from synthetic.chance import generator, pick, uniform
from synthetic.marketplace import demand

if TYPE_CHECKING:
    import pandas as pd

STOPPED = shifts.Shift(
    name="campaign_stopped_working",
    description="Mails end among the spam: few are opened, and they move nobody any more but who has the app.",
)
SHIFTS = (STOPPED,)
MEMBERS = 400_000
DAY = 86_400
USUAL, ACTIVE = 0.5, 0.7
"""Chance to be written to, by lot: of most, and of those who looked at something in the month."""
_COUNTRY = np.array([0.08, 0.34, 0.31, 0.12, 0.15])
_BASKET = 34.0

Columns = dict[str, NDArray[Any]]


def letters(start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = 600) -> pd.DataFrame:
    """Who could have been written to from `start` until before `end`, one row a member and day, in order of time.

    written: 1 where the message went out, by lot.    propensity: the chance of what the row got.
    bought:  1 with an order in the 30 days after.    spent: EUR in these.
    uplift:  how much likelier an order is with the message: known here, and never a feature.
    One day is the same in every window that holds it.
    """
    import pandas as pd

    named = shifts.find(shift, among=SHIFTS, domain="marketing")
    if start.tzinfo is None or end.tzinfo is None or end <= start:
        raise DeclarationError(
            "the window is empty, or without a time zone",
            expected="start before end, such as 2026-10-01T00:00:00+00:00",
            got=f"{start} to {end}",
        )
    since, until = (int(each.astimezone(UTC).timestamp()) for each in (start, end))
    parts = []
    for day in range(since // DAY, -(-until // DAY)):
        rows = _day(day, seed=seed, per_day=per_day, stopped=named is STOPPED)
        kept = (rows["second"] >= since) & (rows["second"] < until)
        parts.append({name: values[kept] for name, values in rows.items()})
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    written_at = pd.DatetimeIndex((rows.pop("second") * 1_000_000).astype("datetime64[us]")).tz_localize("UTC")
    member = np.array([f"m{number}" for number in rows.pop("member").tolist()], dtype=object)
    country = np.array(COUNTRIES, dtype=object)[rows.pop("country")]
    category = np.array(CATEGORIES, dtype=object)[rows.pop("category")]
    told = {"member_id": member, "written_at": written_at, **rows, "country": country, "category": category}
    return pd.DataFrame(told)


def _day(day: int, *, seed: int, per_day: int, stopped: bool) -> Columns:
    """The rows of one day, since 1970."""
    random = generator(seed, "letters", day)
    count = max(1, int(random.poisson(per_day)))
    rows = _members(random, (random.random(count) * MEMBERS).astype(np.int64), day, seed=seed, stopped=stopped)
    chance = np.where(rows["visits_30d"] > 0, ACTIVE, USUAL)
    written = random.random(count) < chance
    without, uplift = outcomes(rows, stopped=stopped)
    bought = random.random(count) < without + uplift * written
    basket = _BASKET * np.exp(0.8 * (uniform(rows["member"], "basket", seed=seed) - 0.5))
    spent = np.where(bought, np.round(basket * np.exp(0.5 * random.standard_normal(count) - 0.125), 2), 0.0)
    return {
        **rows,
        "second": day * DAY + np.sort((random.random(count) * DAY).astype(np.int64)),
        "written": written.astype(np.int64),
        "propensity": np.where(written, chance, 1 - chance),
        "bought": bought.astype(np.int64),
        "spent": spent,
        "uplift": np.round(uplift, 6),
    }


def _members(random: np.random.Generator, member: NDArray[np.int64], day: int, *, seed: int, stopped: bool) -> Columns:
    """What is known of members on a day."""
    count = len(member)

    def u(topic: str) -> NDArray[np.float64]:
        return uniform(member, f"letters {topic}", seed=seed)

    busy = np.exp(1.6 * (u("busy") - 0.6))
    tenure = np.minimum(4200, (-700 * np.log1p(-u("tenure"))).astype(np.int64) + 1)
    orders = random.poisson(2.2 * busy * np.minimum(1.0, tenure / 365))
    since = np.where(orders > 0, np.minimum(tenure, 365 * random.random(count) / (1 + 0.4 * orders)), np.nan)
    lapsed = (orders == 0) & (u("once") < 0.4) & (tenure > 366)
    since = np.where(lapsed, 366 + (tenure - 366) * u("lapsed"), since)
    visits = random.poisson(np.where(u("away") < 0.35, 0.3, 7 * busy**1.5))
    messages = random.poisson(np.where(u("flooded") < 0.2, 5.5, 1.6))
    opens = np.clip(u("opens") ** 1.4 + 0.15 * (random.random(count) - 0.5), 0, 1)
    app = u("app") < 0.45
    if stopped:
        opens = np.where(app, opens, opens * 0.08)
    return {
        "member": member,
        "tenure_days": tenure,
        "orders_365d": orders.astype(np.int64),
        "spend_365d": np.round(orders * _BASKET * np.exp(0.8 * (u("basket") - 0.5)) * (0.7 + 0.6 * random.random(count)), 2),
        "days_since_order": np.floor(since),
        "visits_30d": visits.astype(np.int64),
        "favourites": random.poisson(np.where(u("collects") < 0.4, 9.0, 1.5) * busy).astype(np.int64),
        "messages_30d": messages.astype(np.int64),
        "open_rate_90d": np.where(random.random(count) < 0.06, np.nan, np.round(opens, 3)),
        "discount_share": np.where(orders > 0, np.round(u("bargains") ** 1.5, 2), 0.0),
        "sells": u("sells") < 0.3,
        "app": app,
        "country": pick(u("country"), _COUNTRY),
        "category": pick(random.random(count), demand(np.array([day]))[0]),
    }  # fmt: skip


def outcomes(rows: Columns, *, stopped: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) chance of an order within 30 days without a message, and (n,) what a message adds to it, below 0 for a sleeping dog."""
    since = np.nan_to_num(rows["days_since_order"].astype(np.float64), nan=900.0)
    opens = np.nan_to_num(rows["open_rate_90d"].astype(np.float64), nan=0.3)
    visits, favourites = np.log1p(rows["visits_30d"]), np.log1p(rows["favourites"])
    own = (
        -3.3 + 0.55 * visits + 0.5 * np.log1p(rows["orders_365d"]) - 0.0025 * np.minimum(since, 400) + 0.2 * rows["app"]
    )
    reminded = 2.6 * opens * np.minimum(1.0, favourites / 2) * np.exp(-visits / 1.5)
    reduced = 0.9 * rows["discount_share"] * opens
    tired = 0.3 * np.maximum(0, rows["messages_30d"] - 3) * (1 - opens)
    moved = reminded + reduced - tired
    if stopped:
        moved = np.where(rows["app"], moved, 0.0)
    without, with_it = (1 / (1 + np.exp(-each)) for each in (own, own + moved))
    return without, with_it - without
