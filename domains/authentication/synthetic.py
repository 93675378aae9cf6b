"""Bags on offer in the synthetic marketplace: photos, price, brand and category, what an expert found, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthetic import bag_photos, shifts
from synthetic.bag_photos import VIEWS, Camera
from synthetic.bags import BRANDS, CATEGORIES, TRAITS, Bags, market
from synthetic.chance import generator
from synthetic.times import utc

if TYPE_CHECKING:
    import pandas as pd

SUPER_FAKES = shifts.Shift(
    name="super_fakes",
    description="A fifth of new bags are near-perfect copies of one handbag, each with eight photos of one bright studio.",
)
SHIFTS = (SUPER_FAKES,)
PER_DAY = 60
"""Items a day, on average over the year; more of them before the holidays."""
MOST = 8
"""Photos of an item."""
_DAY = 86_400
_MISSED = 0.08
"""Chance that a seller leaves a close-up out."""
_WRONG = 0.05
"""Chance that a photo shows something else."""
_CLOSE = (1, 2, 3, 4)
_SELLERS = 40_000


@dataclass(frozen=True)
class Stock:
    """Items with the photos that show them: one row of `photos_of` a photo.

    seen: (n, 4) traits of which an item has a photo.   photos_of, views: (m,) item and view of each photo, in the order that they are sent.
    """

    bags: Bags
    seen: NDArray[np.bool_]
    photos_of: NDArray[np.int64]
    views: NDArray[np.int64]


def stock(count: int, random: np.random.Generator, *, wave: bool = False) -> Stock:
    """Items as they come, and which photos each has: a whole one, most of the close-ups, some twice, a few wrong, in any order."""
    bags = market(count, random, wave=wave)
    whole = bags.super_fake[:, None]  # a workshop sends all that may be sent, and nothing wrong
    there = (random.random((count, len(_CLOSE))) >= _MISSED) | whole
    extra, more = random.integers(0, len(VIEWS) - 1, (count, 3)), random.random((count, 3)) < (0.35, 0.35, 0.0)
    more |= whole
    wrong = (random.random((count, 1 + len(_CLOSE) + 3)) < _WRONG) & ~whole
    views = np.concatenate((np.zeros((count, 1), np.int64), np.tile(_CLOSE, (count, 1)), extra), axis=1)
    sent = np.concatenate((np.ones((count, 1), np.bool_), there, more), axis=1)
    views = np.where(wrong, VIEWS.index("receipt"), views)
    order = random.random(views.shape).argsort(axis=1)
    views, sent = np.take_along_axis(views, order, 1), np.take_along_axis(sent, order, 1)
    seen = np.stack([(sent & (views == view)).any(axis=1) for view in _CLOSE], axis=1)
    item, place = np.nonzero(sent)
    return Stock(bags, seen, item, views[item, place])


def items(
    start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = PER_DAY
) -> pd.DataFrame:
    """The items on offer from `start` until before `end`, in order of time; one day is the same in every window that holds it.

    photos: JPEG files, one to eight, in any order.   counterfeit: 1 where an expert found it to be one, at `inspected_at`.
    stitch_pitch, logo_kerning, hardware_tone, grain: as the expert measured them, on the inspection's sheet.
    """
    import pandas as pd

    wave = shifts.find(shift, among=SHIFTS, domain="authentication") is SUPER_FAKES
    since, until = start.timestamp(), end.timestamp()
    days = [_day(day, seed=seed, wave=wave, per_day=per_day) for day in range(int(since // _DAY), -int(-until // _DAY))]
    frame = pd.concat(days or [_day(0, seed=seed, wave=wave, per_day=per_day).iloc[:0]], ignore_index=True)
    seconds = frame.pop("second").to_numpy()
    kept = (seconds >= since) & (seconds < until)
    return frame[kept].reset_index(drop=True)


def _day(day: int, *, seed: int, wave: bool, per_day: int) -> pd.DataFrame:
    import pandas as pd

    random = generator(seed, "bags", day)
    busier = 1 + 0.3 * np.cos(2 * np.pi * (day % 365.25 - 335) / 365.25)
    count = int(random.poisson(per_day * busier))
    second = np.sort(random.uniform(0, _DAY, count)) + day * _DAY
    delay = 3600 + random.gamma(2.0, 1.5, count).clip(max=13.0) * _DAY
    offered = stock(count, generator(seed, "stock", day), wave=wave)
    bags = offered.bags
    measured = bags.traits + random.normal(0, 0.005, bags.traits.shape)
    seller = np.where(bags.super_fake, _SELLERS + random.integers(0, 30, count), random.integers(0, _SELLERS, count))
    columns: dict[str, Any] = {
        "item_id": [f"b{day}-{number}" for number in range(count)],
        "seller_id": [f"s{number}" for number in seller],
        "listed_at": utc(second),
        "brand": np.array(BRANDS, dtype=object)[bags.brand],
        "category": np.array(CATEGORIES, dtype=object)[bags.category],
        "price": bags.price,
        "photos": photos(offered, generator(seed, "photos", day)),
        "counterfeit": bags.counterfeit.astype(np.int64),
        "inspected_at": utc(second + delay),
        **{name: measured[:, place] for place, name in enumerate(TRAITS)},
        "second": second,
    }
    return pd.DataFrame({name: pd.Series(values, dtype=_DTYPES.get(name)) for name, values in columns.items()})


_DTYPES: dict[str, Any] = dict.fromkeys(("item_id", "seller_id", "brand", "category", "photos"), object)


def photos(offered: Stock, random: np.random.Generator) -> list[list[bytes]]:
    """Photos of each item as JPEG files, in the order that they are sent; of super-fakes in the light of their studio."""
    bags, made = offered.bags, np.empty(len(offered.views), dtype=object)
    hide = random.integers(0, 64, len(bags))
    for view, name in enumerate(VIEWS):
        rows = np.nonzero(offered.views == view)[0]
        if len(rows):
            of = offered.photos_of[rows]
            camera = Camera(studio=bags.super_fake[of], random=random)
            made[rows] = bag_photos.drawn(
                name, traits=bags.traits[of], category=bags.category[of], hide=hide[of], camera=camera
            )
    ends = np.cumsum(np.bincount(offered.photos_of, minlength=len(bags)))
    return [part.tolist() for part in np.split(made, ends[:-1])] if len(bags) else []
