"""The synthetic marketplace: who is on it, what they sell and how they order when they are honest.

Nobody is stored. A member is a number, made of the day they joined and a place in that day's cohort; what they are like
follows from the number and the seed. So any day can be drawn alone, and is the same whichever window asks for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from synthetic.chance import between, generator, mixed, pick, uniform

Rows = dict[str, NDArray[Any]]
"""Orders by column, before what can only be counted is known; see `ROW`."""

CATEGORIES = ("accessories", "bags", "coats", "dresses", "jeans", "knitwear", "shoes", "watches")
TIERS = ("high_street", "luxury", "premium", "unknown")
PAYMENTS = ("bank_transfer", "card", "invoice", "wallet")
PATTERNS = ("", "friendly", "ring", "stolen_card", "takeover", "wallet_takeover")

ROW: dict[str, Any] = {
    "second": np.int64,  # since 1970, UTC
    "buyer": np.int64,
    "buyer_age_days": np.int64,
    "seller": np.int64,
    "seller_age_days": np.int64,
    "item_age_days": np.int64,
    "category": np.int64,
    "brand_tier": np.int64,
    "amount": np.float64,
    "discount": np.float64,
    "payment": np.int64,
    "card": np.int64,
    "device": np.int64,
    "address": np.int64,
    "password_age_hours": np.float64,
    "shipping_distance_km": np.float64,
    "address_changed": np.bool_,
    "express": np.bool_,
    "hour": np.int64,
    "delay": np.float64,  # days until the order is charged back; NaN where it never is
    "pattern": np.int64,
}

DAY = 86_400
COHORT = 1000
"""Numbers set aside for the members who join on one day; honest ones have the first `MEMBERS`, fraudsters the rest."""
MEMBERS = 80
SELLERS = 14
OLDEST = 4200
"""Days since the marketplace opened, as seen from any day: what it is like does not age."""

_SHARE = np.array([0.14, 0.12, 0.11, 0.16, 0.12, 0.12, 0.17, 0.06])
_PEAK = np.array([345, 340, 320, 165, 265, 330, 105, 345])
_SWING = np.array([0.08, 0.06, 0.22, 0.18, 0.06, 0.18, 0.06, 0.08])
_PRICE = np.array([22.0, 58.0, 64.0, 32.0, 28.0, 26.0, 42.0, 110.0])
_TIER = np.array(
    [
        [0.48, 0.10, 0.20, 0.22],
        [0.40, 0.22, 0.22, 0.16],
        [0.55, 0.09, 0.22, 0.14],
        [0.60, 0.06, 0.18, 0.16],
        [0.62, 0.05, 0.22, 0.11],
        [0.60, 0.06, 0.20, 0.14],
        [0.52, 0.10, 0.26, 0.12],
        [0.30, 0.26, 0.26, 0.18],
    ]
)
_DEARER = np.array([1.0, 7.0, 2.3, 0.7])
_PAYS = np.array([0.12, 0.55, 0.08, 0.25])
_HOURS = np.array(
    [10, 5, 3, 2, 2, 4, 10, 22, 34, 40, 44, 46, 54, 50, 44, 44, 48, 56, 66, 78, 92, 90, 62, 28], dtype=float
)
_WEEK = np.array([1.0, 0.96, 0.95, 0.97, 0.98, 1.02, 1.12])
_ZONES = np.array([0, 1, 1, 1, 1, 2])
"""Hours that members' clocks are ahead of UTC."""


class Marketplace(BaseModel):
    """One marketplace: `seed` says which, `per_day` how many honest orders a day it has on average."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(ge=0)
    per_day: int = Field(default=1500, ge=1)

    def honest(self, first: int, last: int, *, season: bool = False) -> Rows:
        """Orders of honest buyers on the days first..last-1 (since 1970), in no order; a few are charged back all the same.

        season: the weeks before the winter holidays, whatever the calendar says.
        """
        days, u, normal = self._drawn(first, last)
        rows = self._buyers(days, u)
        rows |= self._items(days, u, normal, season=season)
        rows |= self._ways(rows, u, season=season)
        rows |= self._complaints(rows, u)
        return rows

    def _drawn(self, first: int, last: int) -> tuple[NDArray[np.int64], Any, Any]:
        """The day of each order, and all the chance it will need: (36, n) even and (3, n) normal numbers."""
        days, even, normal = [], [], []
        for day in range(first, last):
            random = generator(self.seed, "orders", day)
            count = random.poisson(self.per_day * _WEEK[(day + 3) % 7])
            days.append(np.full(count, day))
            even.append(random.random((36, count)))
            normal.append(random.standard_normal((3, count)))
        return np.concatenate(days), iter(np.concatenate(even, axis=1)), iter(np.concatenate(normal, axis=1))

    def _buyers(self, days: NDArray[np.int64], u: Any) -> Rows:
        """Buyers and times of orders: members of all ages, the new ones more often, some far more than others."""
        age = ages(next(u), next(u))
        buyer = members(days - age, next(u), count=MEMBERS)
        hour = pick(next(u), _HOURS)
        return {"buyer": buyer, "buyer_age_days": age, "hour": hour, "second": self.moments(days, hour, next(u), buyer)}

    def moments(self, days: NDArray[np.int64], hour: Any, u: Any, buyer: Any) -> NDArray[np.int64]:
        """(n,) seconds since 1970 of orders at a local hour, on a day in UTC."""
        zone = _ZONES[(uniform(buyer, "zone", seed=self.seed) * len(_ZONES)).astype(np.int64)]
        second: NDArray[np.int64] = days * DAY + (hour * 3600 + (u * 3600).astype(np.int64) - zone * 3600) % DAY
        return second

    def _items(self, days: NDArray[np.int64], u: Any, normal: Any, *, season: bool) -> Rows:
        """Ordered items, with seller and price."""
        category = pick(next(u), demand(days, season=season))
        tier = pick(next(u), _TIER[category])
        seller_age = np.minimum(OLDEST, (-620 * np.log1p(-next(u))).astype(np.int64))
        seller = members(days - seller_age, next(u), count=SELLERS)
        item_age = np.minimum(seller_age, (-34 * np.log1p(-next(u)) * np.exp(0.5 * next(normal))).astype(np.int64))
        taste = np.exp(0.5 * (uniform(seller, "dear", seed=self.seed) - 0.5))
        asked = _PRICE[category] * _DEARER[tier] * taste * np.exp(0.55 * next(normal)) * (1.08 if season else 1.0)
        stale = np.minimum(1.0, 0.25 + item_age / 90)
        haggled = next(u) < (0.62 if season else 0.42)
        discount = np.where(haggled, np.round((0.15 if season else 0.06) + 0.45 * stale * next(u), 2), 0.0)
        return {
            "category": category,
            "brand_tier": tier,
            "seller": seller,
            "seller_age_days": seller_age,
            "item_age_days": item_age,
            "discount": discount,
            "amount": cents(asked * (1 - discount)),
        }

    def _ways(self, rows: Rows, u: Any, *, season: bool) -> Rows:
        """Payment, device and destination of each order. Much of it would look odd to somebody in a hurry."""
        buyer, n = rows["buyer"], len(rows["buyer"])
        habit = pick(uniform(buyer, "pays", seed=self.seed), _PAYS)
        payment = np.where(next(u) < 0.75, habit, pick(next(u), _PAYS))
        card = (
            bits(buyer, "card", seed=self.seed) + (next(u) < 0.12) + (next(u) < 0.02) * (1 + (next(u) * 3).astype(int))
        )
        device = bits(buyer // 3, "family", seed=self.seed)
        alone = uniform(buyer, "alone", seed=self.seed) < 0.88
        device = np.where(alone, bits(buyer, "device", seed=self.seed) + (next(u) < 0.25), device)
        device = np.where(next(u) < 0.03, (next(u) ** 2.2 * 2500).astype(np.int64), device)  # libraries, lent phones
        address = np.where(next(u) < 0.2, (next(u) ** 3 * 900).astype(np.int64), bits(buyer, "address", seed=self.seed))
        lately = next(u)
        member_hours = rows["buyer_age_days"] * 24.0 + 24 * next(u)
        password = np.where(lately < 0.035, between(next(u), 0.05, 60.0), -6500 * np.log1p(-next(u)))
        password = np.minimum(member_hours, password)
        where, far = next(u), next(u)
        gift, moved, abroad = (0.2, 0.03, 0.05) if season else (0.07, 0.025, 0.025)
        distance = between(far, 0.1, 12.0)
        distance = np.where(where < 0.30, between(far, 1.0, 40.0), distance)
        distance = np.where(where < gift + moved + abroad, between(far, 30.0, 900.0), distance)
        distance = np.where(where < abroad, between(far, 300.0, 9000.0), distance)
        new_address = (where < abroad + moved) | (next(u) < 0.05)
        return {
            "payment": payment,
            "card": np.where(payment == PAYMENTS.index("card"), card, 0),
            "device": device,
            "address": address,
            "password_age_hours": np.round(password, 2),
            "shipping_distance_km": np.round(distance, 1),
            "address_changed": new_address,
            "express": next(u) < np.where(where < gift, 0.3, 0.15) * (1.7 if season else 1.0),
            "pattern": np.zeros(n, dtype=np.int64),
        }

    def _complaints(self, rows: Rows, u: Any) -> Rows:
        """Goods said never to have come: nothing in the order tells."""
        chance = 0.0028 * np.clip(rows["amount"] / 60, 0.4, 2.5)
        complains = next(u) < chance
        return {
            "delay": np.where(complains, 6 + 23.5 * next(u), np.nan),
            "pattern": np.where(complains, PATTERNS.index("friendly"), rows["pattern"]),
        }


def demand(days: NDArray[np.int64], *, season: bool = False) -> NDArray[np.float64]:
    """(n, 8) how much each category is asked for on a day: coats towards winter, dresses towards summer."""
    of_year = (days % 365.2425)[:, None]
    wanted: NDArray[np.float64] = _SHARE * np.exp(_SWING * np.cos(2 * np.pi * (of_year - _PEAK) / 365.2425))
    if season:
        wanted = wanted * np.array([1.3, 1.2, 2.8, 0.4, 0.7, 2.6, 0.7, 1.8])
    return wanted


def price(category: NDArray[np.int64], tier: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) what such an item usually costs, EUR."""
    usual: NDArray[np.float64] = _PRICE[category] * _DEARER[tier]
    return usual


def ages(which: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) days since a buyer joined: many order in their first days, the rest have been there for a year or more."""
    long = -640 * np.log1p(-u)
    age = np.where(which < 0.05, 3 * u, np.where(which < 0.13, 60 * u, long))
    return np.minimum(OLDEST, age.astype(np.int64))


def members(joined: NDArray[np.int64], u: NDArray[np.float64], *, count: int) -> NDArray[np.int64]:
    """(n,) numbers of members who joined on a day; low places of a cohort are the busy ones."""
    return joined * COHORT + (u**1.6 * count).astype(np.int64)


def bits(ids: NDArray[np.int64], topic: str, *, seed: int) -> NDArray[np.int64]:
    """(n,) a number of its own for each id, such as that of its device."""
    return (mixed(ids, topic, seed=seed) >> np.uint64(2)).astype(np.int64)


def cents(amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) prices as they are asked: whole cents within what can be sold."""
    return np.clip(np.round(amount, 2), 0.5, 100_000.0)
