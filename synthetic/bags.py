"""Bags of the synthetic marketplace: declared traits by brand and category, how makers keep to them, and what a counterfeiter alters.

An authentic item has the traits that its brand declares, within `TOLERANCE`. A counterfeit has one to three of them altered, each by a drawn
number of tolerances, up or down. Both are known in closed form, so that the best possible answer is a function (`chance`), and no model can do better.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synthetic.chance import generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BRANDS = ("Aurelle", "Montclar", "Vespera", "Tolva")
CATEGORIES = ("handbag", "wallet", "belt")
TRAITS = ("stitch_pitch", "logo_kerning", "hardware_tone", "grain")
"""Each as a place from 0 to 1 in the range that there is of it."""
TOLERANCE = 0.04
"""Standard deviation of a maker's own work."""
BRAND_SHARES = np.array([0.6, 0.22, 0.12, 0.06])
CATEGORY_SHARES = np.array([0.62, 0.24, 0.14])
COUNTERFEIT = np.array([0.1, 0.08, 0.06, 0.04])
"""Share of counterfeits by brand: the best known is copied most."""
ALTERED = np.array([0.4, 0.35, 0.25])
"""Chances that one, two or three traits are altered."""
WAVE = 0.2
"""Share of new bags that are super-fakes, once they come."""
DECLARED: Floats = generator(0, "declared traits").uniform(0.3, 0.7, (len(BRANDS), len(CATEGORIES), len(TRAITS)))
"""(brands, categories, traits) what the brands declare."""
_PRICES = np.array([[1900.0, 480.0, 310.0], [1250.0, 340.0, 240.0], [820.0, 230.0, 150.0], [520.0, 160.0, 95.0]])
_SPREAD = 0.45
_CHEAPER = 0.2
"""A counterfeit asks for less, by this in the logarithm on average."""


@dataclass(frozen=True)
class Counterfeiter:
    """How far a counterfeiter is off: evenly between `least` and `most` tolerances, either way."""

    least: float
    most: float

    def density(self, off: Floats) -> Floats:
        """Of an altered trait, by how many tolerances it is off the declared one: the maker's spread on top of the alteration."""
        from scipy.special import ndtr

        up = ndtr(off - self.least) - ndtr(off - self.most)
        down = ndtr(off + self.most) - ndtr(off + self.least)
        return np.asarray((up + down) / (2 * (self.most - self.least)), dtype=np.float64)


ORDINARY = Counterfeiter(least=4.0, most=10.0)
SUPER = Counterfeiter(least=0.0, most=1.2)
"""Super-fakes: nearly what the brand itself makes."""


@dataclass(frozen=True)
class Bags:
    """Items, one place in each array.

    traits: (n, 4) as made.   off: (n, 4) tolerances from the declared ones.   super_fake: of the wave.
    """

    brand: Ints
    category: Ints
    price: Floats
    traits: Floats
    counterfeit: NDArray[np.bool_]
    super_fake: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.brand)

    @property
    def off(self) -> Floats:
        """(n, 4) how far each trait is off the declared one, in tolerances."""
        return np.asarray((self.traits - DECLARED[self.brand, self.category]) / TOLERANCE, dtype=np.float64)


def market(count: int, random: np.random.Generator, *, wave: bool = False) -> Bags:
    """`count` items as they come; with `wave`, a fifth of them are super-fakes, of handbags of the first brand."""
    brand = random.choice(len(BRANDS), count, p=BRAND_SHARES)
    category = random.choice(len(CATEGORIES), count, p=CATEGORY_SHARES)
    counterfeit = random.random(count) < COUNTERFEIT[brand]
    lots, sizes, asked = random.random((count, len(TRAITS))), random.random(count), random.standard_normal(count)
    amounts, signs = random.random((count, len(TRAITS))), random.choice([-1.0, 1.0], (count, len(TRAITS)))
    made, waved = random.standard_normal((count, len(TRAITS))), random.random(count) < WAVE
    super_fake = waved if wave else np.zeros(count, dtype=np.bool_)
    brand, category = np.where(super_fake, 0, brand), np.where(super_fake, 0, category)
    counterfeit = counterfeit | super_fake
    altered = 1 + np.searchsorted(np.cumsum(ALTERED)[:-1], sizes, side="right")
    chosen = counterfeit[:, None] & (lots.argsort(axis=1).argsort(axis=1) < altered[:, None])
    least = np.where(super_fake, SUPER.least, ORDINARY.least)[:, None]
    most = np.where(super_fake, SUPER.most, ORDINARY.most)[:, None]
    moved = chosen * signs * (least + amounts * (most - least))
    traits = DECLARED[brand, category] + TOLERANCE * (made + moved)
    cheaper = _CHEAPER * (counterfeit & ~super_fake)
    price = np.clip(np.exp(np.log(_PRICES[brand, category]) + _SPREAD * asked - cheaper), 15, 20_000).round(2)
    return Bags(brand, category, price, traits, counterfeit, super_fake)


def chance(bags: Bags, seen: NDArray[np.bool_] | None = None, *, by: Counterfeiter = ORDINARY) -> Floats:
    """(n,) chance of a counterfeit to one who knows the traits that are `seen` (n, 4) exactly, the price, and this whole file: the best that there is."""
    there = np.ones_like(bags.traits, dtype=np.bool_) if seen is None else seen
    off = bags.off
    plain = np.exp(-0.5 * off**2) / np.sqrt(2 * np.pi)
    ratio = np.where(there, by.density(off) / np.maximum(plain, 1e-300), 1.0)
    likelier = np.zeros(len(bags))
    for number, share in enumerate(ALTERED, start=1):
        sets = list(combinations(range(len(TRAITS)), number))
        likelier += share * sum(ratio[:, list(each)].prod(axis=1) for each in sets) / len(sets)
    asked = (np.log(bags.price) - np.log(_PRICES[bags.brand, bags.category])) / _SPREAD
    cheaper = _CHEAPER / _SPREAD
    likelier *= np.exp(-0.5 * (asked + cheaper) ** 2 + 0.5 * asked**2)
    odds = likelier * COUNTERFEIT[bags.brand] / (1 - COUNTERFEIT[bags.brand])
    return np.asarray(odds / (1 + odds), dtype=np.float64)
