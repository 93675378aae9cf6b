"""Listings of the synthetic marketplace, what was asked for them, and what became of that; with what each is worth, which only we know.

Offers come for two weeks. How likely one of `p` or more comes on a day falls with p as the power -elasticity of p by what an item is worth,
and rises with how much its like is wanted. Of what is wanted, sellers also ask more: that confounds price and sale.
An item is sold for its best offer where that reaches what was asked, else not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from synthetic import listings, marketplace, shifts, times, vocabulary
from synthetic.chance import uniform
from synthetic.listings import CONDITIONS, Listings
from synthetic.marketplace import CATEGORIES, DAY, Rows

if TYPE_CHECKING:
    import pandas as pd

LUXURY_JUMP = shifts.Shift(
    name="luxury_jump",
    description="Luxury brands cost twice as much, three of ten items are of one, and buyers pay it: what was learnt before asks too little.",
)
SHIFTS = (LUXURY_JUMP,)
PER_DAY = 220
DAYS = 14.0
"""Days for which an item is on offer."""
_FADES = 0.05


@dataclass(frozen=True)
class World:
    """How a marketplace buys and sells.

    elasticity: by how much the hazard of sale falls, in percent, where a price is one percent higher.
    offers:     chance a day of an offer of all that an item is worth, at the first; less as it stands there.
    wanted, asked_more: of what is wanted most rather than least the log of how many more offers come, and of how much more is asked.
    conditions: what an item of each is worth, by one in a very good one: new, very good, good, worn.
    """

    elasticity: float = 4.0
    offers: float = 0.055
    wanted: float = 1.2
    asked_more: float = 0.45
    conditions: tuple[float, float, float, float] = (1.30, 1.0, 0.82, 0.5)

    def reach(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) log of the offers to expect within 14 days of all that an item is worth."""
        found: NDArray[np.float64] = np.log(self.offers * _stood(np.array([DAYS]))[0]) + self.wanted * (wanted - 0.5)
        return found


OURS = World()
BARGAINS = World(elasticity=2.5, offers=0.09, wanted=0.8, asked_more=0.3, conditions=(1.6, 1.0, 0.7, 0.3))
"""The marketplace, and another one in which buyers mind the price less, offers are many, and wear costs more: nothing is to be fitted to ours alone."""
_CONDITIONS = ("new", "very_good", "good", "worn")
_SEASONS = ("all year", "summer", "winter")


def sales(
    start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = PER_DAY, world: World = OURS
) -> pd.DataFrame:
    """Listings of the days from `start` until before `end`, in order of time; a day is the same in every window that holds it.

    sold_at: none where it was not sold within 14 days; unlisted_at: when the other ones were taken down.
    price: sold for, or asked last.  asked: by the seller.  true_worth, wanted: what is known here alone and never a feature.
    """
    import pandas as pd

    named = shifts.find(shift, among=SHIFTS, domain="pricing")
    first, last = _day(start, end)
    items = Listings(seed=seed, per_day=per_day).listed(first, last)
    items = {
        name: values[(items["listed"] >= start.timestamp()) & (items["listed"] < end.timestamp())]
        for name, values in items.items()
    }
    if named is LUXURY_JUMP:
        items = _dearer(items, seed=seed)
    worth, wanted = _worth(items, jump=named is LUXURY_JUMP, world=world)
    random = [uniform(items["number"], f"sale {topic}", seed=seed) for topic in ("ask", "ask too", "best", "when")]
    asked = worth - 0.12 + world.asked_more * (wanted - 0.5) + 0.2 * (random[0] + random[1] - 1) * np.sqrt(6)
    reach = world.reach(wanted)
    # The best of all offers: P(best < p) = exp(-(p / worth)^-elasticity e^reach).
    best = worth + (reach - np.log(-np.log(random[2]))) / world.elasticity
    sold = best >= asked
    # The first that reaches the asked price: by the cumulated hazard, of which no more than all is left.
    most = np.exp(reach - world.elasticity * (asked - worth))
    hazard = -np.log1p(-random[3] * -np.expm1(-most))
    days = _until(hazard / most * _stood(np.array([DAYS]))[0])
    price = np.where(sold, best, asked)
    listed = items["listed"].astype(np.float64)
    gone = listed + np.where(sold, np.clip(days, 1e-3, DAYS), DAYS) * DAY
    return pd.DataFrame(
        {
            "item_id": [f"i{number}" for number in items["number"].tolist()],
            "seller_id": [f"s{number}" for number in (items["number"] % 9973 * 7 % 4001).tolist()],
            "title": np.array(listings.titles(items), dtype=object),
            "brand": np.array(listings.brands(items), dtype=object),
            "category": np.array(CATEGORIES, dtype=object)[items["category"]],
            "size": np.array(listings.sizes(items), dtype=object),
            "colour": np.array([vocabulary.COLOURS[colour][1] for colour in items["colour"].tolist()], dtype=object),
            "season": np.array(_SEASONS, dtype=object)[items["number"] % 3],
            "condition": np.array(CONDITIONS, dtype=object)[items["condition"]],
            "photos": items["photos"].astype(np.float64),
            "seller_rating": items["rating"],
            "listed_at": times.utc(listed),
            "sold_at": times.utc(np.where(sold, gone, np.nan)),
            "unlisted_at": times.utc(np.where(sold, np.nan, gone)),
            "price": np.maximum(0.5, np.round(np.exp(price), 2)),
            "asked": np.maximum(0.5, np.round(np.exp(asked), 2)),
            "fact_names": _lists([["material"]] * len(listed)),
            "fact_values": _lists([[vocabulary.MATERIALS[material][1]] for material in items["material"].tolist()]),
            "true_worth": np.exp(worth),
            "wanted": wanted,
        }
    )


def best_offer(
    worth: NDArray[np.float64], wanted: NDArray[np.float64], quantile: float, *, world: World = OURS
) -> NDArray[np.float64]:
    """(n,) the true quantile of an item's best offer within 14 days, in EUR; a share of 1 - quantile sells for that or more."""
    reach = world.reach(wanted)
    found: NDArray[np.float64] = worth * np.exp((reach - np.log(-np.log(quantile))) / world.elasticity)
    return found


def chance_of_best_below(
    worth: NDArray[np.float64], wanted: NDArray[np.float64], price: NDArray[np.float64], *, world: World = OURS
) -> NDArray[np.float64]:
    """(n,) the true chance that an item's best offer within 14 days is below a price; `best_offer` turned around."""
    found: NDArray[np.float64] = np.exp(-np.exp(world.reach(wanted) - world.elasticity * np.log(price / worth)))
    return found


def _worth(items: Rows, *, jump: bool, world: World) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) log of what each item is worth, and (n,) in 0..1 how much its like is wanted; both follow from what is written."""
    price = np.log(marketplace.price(items["category"], items["tier"]))
    by_name = dict(zip(_CONDITIONS, world.conditions, strict=True))
    condition = np.log(np.array([by_name[each] for each in CONDITIONS]))[items["condition"]]
    brand = 0.5 * np.sin(2.4 * items["brand"].astype(np.float64))
    cloth = 0.18 * np.cos(1.7 * items["material"].astype(np.float64))
    photos = 0.02 * (items["photos"].astype(np.float64) - 5)
    rating = 0.06 * (items["rating"] - 4)
    season = np.array([0.0, 0.08, -0.05])[items["number"] % 3]
    worth = price + condition + brand + cloth + photos + rating + season
    if jump:
        worth = worth + np.where(items["tier"] == marketplace.TIERS.index("luxury"), np.log(2.0), 0.0)
    colour = np.cos(1.1 * items["colour"].astype(np.float64))
    kind = np.sin(2.9 * items["kind"].astype(np.float64))
    wanted = 1 / (1 + np.exp(-2.0 * (brand / 0.5 * 0.6 + 0.5 * colour + 0.5 * kind)))
    return worth, wanted


def _dearer(items: Rows, *, seed: int) -> Rows:
    """The same items, of which more are of luxury brands."""
    luxury = np.array(
        [brand for brand, (_, tier) in enumerate(vocabulary.BRANDS) if tier == marketplace.TIERS.index("luxury")]
    )
    u = uniform(items["number"], "luxury jump", seed=seed)
    brand = np.where(u < 0.3, luxury[(u * 1e6).astype(np.int64) % len(luxury)], items["brand"])
    return items | {"brand": brand, "tier": np.array([tier for _, tier in vocabulary.BRANDS])[brand]}


def _stood(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offers that came by then, in units of the first day's."""
    found: NDArray[np.float64] = -np.expm1(-_FADES * days) / _FADES
    return found


def _until(offers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The day by which so many came."""
    found: NDArray[np.float64] = -np.log1p(-np.minimum(_FADES * offers, 1 - 1e-9)) / _FADES
    return found


def _lists(values: list[list[Any]]) -> NDArray[Any]:
    return np.fromiter(values, dtype=np.object_, count=len(values))


def _day(start: datetime, end: datetime) -> tuple[int, int]:
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise DeclarationError(
            "the window is not one", expected="a start before an end, both with a time zone", got=f"{start} to {end}"
        )
    return int(start.astimezone(UTC).timestamp() // DAY), int(-(-end.astimezone(UTC).timestamp() // DAY))
