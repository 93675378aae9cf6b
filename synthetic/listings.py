"""Single items that members list in words: each sells once, so what is known of one is what is written on it.

Items of a day follow from the day and the seed alone, so that any span can be drawn by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from synthetic import marketplace, vocabulary
from synthetic.chance import between, generator, pick
from synthetic.marketplace import DAY, Rows

LONGEST = 60
"""Days after which an item that nobody bought is taken down."""
CONDITIONS = ("good", "new", "very_good", "worn")
_CONDITION = np.array([0.36, 0.16, 0.38, 0.10])
_WORTH = np.array([0.9, 1.35, 1.1, 0.6])
_WRITES = np.array([0.40, 0.35, 0.25])
"""Shares of the languages in which sellers write."""


class Listings(BaseModel):
    """The items of one marketplace: `seed` says which, `per_day` how many are listed on a day on average."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(ge=0)
    per_day: int = Field(default=1100, ge=1)

    def listed(self, first: int, last: int) -> Rows:
        """Items listed on the days first..last-1 (since 1970), in order of time, one row each.

        number, listed and gone (seconds; sold or taken down), kind, category, colour, material, brand, tier, size (its place among
        the sizes of its category), condition, locale (of its seller), price (EUR), photos, rating (of its seller),
        quality (0..1, what a photo shows and no column tells), wording (which words its title has).
        """
        parts = [self._day(day) for day in range(first, last)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _day(self, day: int) -> Rows:
        random = generator(self.seed, "listings", day)
        count = max(1, int(random.poisson(self.per_day)))
        u = random.random((16, count))
        category = pick(u[0], marketplace.demand(np.array([day]))[0])
        shares = np.where(
            vocabulary.KIND_CATEGORY[None, :] == np.arange(len(marketplace.CATEGORIES))[:, None],
            vocabulary.KIND_SHARE[None, :],
            0.0,
        )
        brand = pick(u[1], vocabulary.BRAND_SHARE)
        tier = np.array([tier for _, tier in vocabulary.BRANDS])[brand]
        condition = pick(u[2], _CONDITION)
        quality = u[3]
        rating = np.round(np.clip(3.2 + 1.8 * (0.35 * quality + 0.65 * u[4]), 1, 5), 1)
        dear = np.exp(0.8 * (u[5] - 0.5))
        price = marketplace.cents(marketplace.price(category, tier) * _WORTH[condition] * dear)
        lasts = -np.log1p(-u[6]) * 24 * dear * (1.6 - 1.1 * quality)
        listed = day * DAY + np.sort((u[7] * DAY).astype(np.int64))
        sizes = np.array([len(vocabulary.SIZES[system]) for system in vocabulary.SYSTEM])[category]
        return {
            "number": day * 100_000 + np.arange(count),
            "listed": listed,
            "gone": listed + (np.minimum(lasts, LONGEST) * DAY).astype(np.int64),
            "kind": pick(u[8], shares[category]),
            "category": category,
            "colour": pick(u[9], vocabulary.COLOUR_SHARE),
            "material": pick(u[10], vocabulary.MATERIAL_OF[category]),
            "brand": brand,
            "tier": tier,
            "size": _sized(u[11], sizes),
            "condition": condition,
            "locale": pick(u[12], _WRITES),
            "price": price,
            "photos": 1 + (np.clip(0.6 * quality + 0.5 * u[13], 0, 0.999) * 9).astype(np.int64),
            "rating": rating,
            "quality": quality,
            "wording": (u[14] * 1_000_000).astype(np.int64),
            "fame": between(u[15], 0.4, 2.5),
        }


def _sized(u: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) places among so many sizes, the middle ones more often."""
    middle: NDArray[np.int64] = (
        np.clip(0.5 + 0.5 * np.sign(u - 0.5) * np.abs(2 * u - 1) ** 1.4, 0, 0.9999) * sizes
    ).astype(np.int64)
    return middle


def sizes(items: Rows) -> list[str]:
    """The size of each item as it is written."""
    written = [vocabulary.SIZES[system] for system in vocabulary.SYSTEM]
    both = zip(items["category"].tolist(), items["size"].tolist(), strict=True)
    return [written[category][size] for category, size in both]


def brands(items: Rows) -> list[str]:
    """The brand of each item."""
    return [vocabulary.BRANDS[brand][0] for brand in items["brand"].tolist()]


def titles(items: Rows) -> list[str]:
    """The title of each item in its seller's words: mostly what it is, its colour and brand, not always its material or size."""
    columns = ("wording", "locale", "kind", "colour", "material", "brand")
    rows = zip(*(items[name].tolist() for name in columns), sizes(items), strict=True)
    return [_title(*row) for row in rows]


def _title(wording: int, locale: int, kind: int, colour: int, material: int, brand: int, size: str) -> str:
    order, has = wording % 3, wording // 3
    noun = vocabulary.KINDS[kind][1][locale]
    tint = vocabulary.COLOURS[colour][locale] if has % 10 < 8 else ""
    cloth = vocabulary.MATERIALS[material][locale] if has // 10 % 10 < 6 else ""
    maker = vocabulary.BRANDS[brand][0].title() if has // 100 % 10 < 7 else ""
    style = vocabulary.STYLES[has // 1000 % 6][locale] if has // 6000 % 2 else ""
    fits = f"{vocabulary.SIZE_WORD[locale]} {size}" if has // 12000 % 2 and size != "one size" else ""
    parts = (
        (style, tint, cloth, noun, maker, fits),
        (maker, noun, tint, cloth, fits, style),
        (noun, cloth, tint, style, maker, fits),
    )
    text = " ".join(filter(None, parts[order]))
    return text[:1].upper() + text[1:]
