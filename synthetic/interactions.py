"""What members of the synthetic marketplace look at: single items that sell once, tastes that last, and sessions in which one item leads to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from synthetic.chance import generator, pick, uniform
from synthetic.marketplace import CATEGORIES, TIERS, demand, price

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rows = dict[str, NDArray[Any]]

BRANDS, SIZES, COLOURS, CONDITIONS = 48, 6, 10, 4
DAY = 86_400
LISTED = 100_000
"""Numbers set aside for the items that are listed on one day, and for the members who join on one."""
LONGEST = 30
"""Days after which an item that nobody bought is taken down."""
LOOK_BACK = 30
"""Days of a member's past that are remembered."""
_STEPS = 8
_MEMBER_DAYS = 240
_OLD = np.array([0.5, 0.8, 1.0, 1.4])


class Stock(BaseModel):
    """The items and members of one marketplace, by `seed`: so many listed and joining a day.

    fresh: a wave of other things: listings of brands that nobody sold before, dear bags and watches above all, which many look at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(ge=0)
    listed: int = Field(default=45, ge=1)
    joining: int = Field(default=6, ge=1)
    fresh: bool = False

    def items(self, first: int, last: int) -> Rows:
        """Items listed on the days first..last-1 (since 1970), with what is known of each; `until` is the second at which it sells."""
        days = np.repeat(np.arange(first, last), self.listed)
        item = days * LISTED + np.tile(np.arange(self.listed), last - first)

        def u(topic: str) -> Floats:
            return uniform(item, f"listed {topic}", seed=self.seed)

        new = (u("new") < 0.6) & self.fresh
        wanted = np.where(new[:, None], np.array([0.05, 0.4, 0.05, 0.02, 0.02, 0.02, 0.04, 0.4]), demand(days))
        category = pick(u("category"), wanted)
        brand = np.where(
            new, BRANDS + (u("brand") * 12).astype(np.int64), (u("brand") ** 1.7 * BRANDS).astype(np.int64)
        )
        tier = brand % len(TIERS)
        condition = (u("condition") * CONDITIONS).astype(np.int64)
        dear = (
            np.exp(0.5 * (u("dear") - 0.5))
            * _OLD[condition]
            * np.exp(0.6 * (uniform(brand, "dear", seed=self.seed) - 0.5))
        )
        dear = np.where(new, 3.0, 1.0) * dear
        charm = u("charm")
        life = np.clip(-9.0 * np.log1p(-u("life") * 0.98) * (1.3 - 0.8 * charm), 0.5, LONGEST)
        second = days * DAY + (u("second") * DAY).astype(np.int64)
        return {
            "item": item,
            "second": second,
            "until": second + (life * DAY).astype(np.int64),
            "category": category,
            "brand": brand,
            "size": (u("size") * SIZES).astype(np.int64),
            "colour": (u("colour") ** 1.4 * COLOURS).astype(np.int64),
            "condition": condition,
            "price": np.round(price(category, tier) * dear, 2),
            "charm": charm,
            "new": new,
            "seller": (u("seller") ** 2 * 4000).astype(np.int64),
        }

    def views(self, first: int, last: int) -> Rows:
        """Who looked at what on the days first..last-1, each item once by one member, in order of time: second, member, item."""
        stock = self.items(first - 2 * LONGEST, last)
        days = [self._day(day, stock) for day in range(first - LONGEST, last)]
        rows = {name: np.concatenate([each[name] for each in days]) for name in days[0]}
        order = np.lexsort((rows["item"], rows["member"], rows["second"]))
        rows = {name: values[order] for name, values in rows.items()}
        again = np.unique(rows["member"] * (1 << 32) + rows["item"], return_index=True)[1]
        kept = np.zeros(len(order), dtype=np.bool_)
        kept[again] = True
        kept &= rows["second"] >= first * DAY
        return {name: values[kept] for name, values in rows.items()}

    def _day(self, day: int, stock: Rows) -> Rows:
        """Sessions of one day: each member who comes, and up to eight items one after the other."""
        random = generator(self.seed, "views", day)
        joined = np.arange(day - _MEMBER_DAYS, day + 1)
        members = (joined[:, None] * LISTED + np.arange(self.joining)[None, :]).ravel()
        eager = 0.02 + 0.16 * uniform(members, "eager", seed=self.seed) ** 2
        come = random.random(len(members)) < np.where(members // LISTED >= day - 3, 0.5, eager)
        member = members[come]
        started = day * DAY + (random.beta(2.2, 1.6, len(member)) * (DAY - 3600)).astype(np.int64)
        live = (stock["second"] < (day + 1) * DAY) & (stock["until"] > day * DAY)
        offered = {name: values[live] for name, values in stock.items()}
        fit = self._fits(member, offered)
        old = (day * DAY + DAY / 2 - offered["second"]) / DAY
        fit += (1.2 * offered["charm"] - 0.15 * np.maximum(old, 0.0) + 1.6 * offered["new"])[None, :]
        there = offered["second"][None, :] < started[:, None]
        fit = np.where(there & (offered["until"][None, :] > started[:, None]), fit, -np.inf)
        long = np.minimum(_STEPS, random.geometric(0.32, len(member)))
        last = np.zeros(len(member), dtype=np.int64)
        found: dict[str, list[NDArray[Any]]] = {"second": [], "member": [], "item": []}
        for step in range(_STEPS):
            goes = (long > step) & np.isfinite(fit).any(axis=1)
            drawn = fit + random.gumbel(size=fit.shape)
            if step:
                for name, pull in (("category", 2.6), ("brand", 1.8), ("colour", 1.2), ("size", 0.6)):
                    drawn += pull * (offered[name][None, :] == offered[name][last][:, None])
            chosen = drawn.argmax(axis=1)
            found["second"].append((started + step * 47)[goes])
            found["member"].append(member[goes])
            found["item"].append(offered["item"][chosen][goes])
            fit[np.flatnonzero(goes), chosen[goes]] = -np.inf
            last = np.where(goes, chosen, last)
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _fits(self, member: Ints, offered: Rows) -> Floats:
        """(members, items) how well each item suits each member's lasting tastes."""

        def u(topic: str) -> Floats:
            return uniform(member, f"likes {topic}", seed=self.seed)

        share = demand(np.zeros(1, dtype=np.int64))[0]
        fit = np.zeros((len(member), len(offered["item"])))
        for place, strength in enumerate((3.2, 2.4)):
            liked = pick(u(f"category {place}"), share)
            fit = np.maximum(fit, strength * (offered["category"][None, :] == liked[:, None]))
        brands = np.zeros_like(fit)
        for place in range(3):
            liked = (u(f"brand {place}") ** 1.7 * BRANDS).astype(np.int64)
            brands = np.maximum(brands, 3.0 * (offered["brand"][None, :] == liked[:, None]))
        size, colour = (u("size") * SIZES).astype(np.int64), (u("colour") ** 1.4 * COLOURS).astype(np.int64)
        purse = np.log(12.0) + 2.2 * u("price")
        return np.asarray(
            fit
            + brands
            + 3.2 * (offered["size"][None, :] == size[:, None])
            + 0.8 * (offered["colour"][None, :] == colour[:, None])
            - 0.7 * np.abs(np.log(offered["price"])[None, :] - purse[:, None])
        )


def named(items: Rows) -> Rows:
    """The same in words, as sellers write them: item, seller, category, brand, size, colour, condition, the price, and the day it was listed."""
    words = {
        "category": np.array(CATEGORIES),
        "size": np.array(["XS", "S", "M", "L", "XL", "XXL"]),
        "colour": np.array(["black", "white", "grey", "navy", "blue", "red", "pink", "green", "beige", "brown"]),
        "condition": np.array(["worn", "good", "very_good", "new"]),
    }
    found: Rows = {name: values[items[name]].astype(object) for name, values in words.items()}
    found["item_id"] = np.array([f"i{number}" for number in items["item"].tolist()], dtype=object)
    found["seller_id"] = np.array([f"s{number}" for number in items["seller"].tolist()], dtype=object)
    found["brand"] = np.array([f"brand_{number}" for number in items["brand"].tolist()], dtype=object)
    found["price"] = items["price"]
    found["listed"] = items["second"] // DAY
    return found
