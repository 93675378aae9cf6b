"""Searches of the synthetic marketplace: what was asked, what was shown where, and what was clicked, with the relevance that is known.

Members read from the top and stop somewhere (a cascade), so that a place brings clicks by itself. What they were shown is
in the order of an older search: by words and age, which knows nothing of sizes, prices and people.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from synthetic import listings, marketplace, shifts, vocabulary
from synthetic.chance import generator, pick, uniform
from synthetic.listings import CONDITIONS, LONGEST, Listings
from synthetic.marketplace import CATEGORIES, DAY, Rows

if TYPE_CHECKING:
    import pandas as pd

SEASON = shifts.Shift(
    name="season",
    description="The weeks before the holidays: coats, knitwear and watches are searched for, often as a gift, and for less of one size.",
)
SHIFTS = (SEASON,)
PLACES = 16
"""Items shown for a search, at most."""
_FOUND = 30
"""Items that the older search finds, at most; those that are gone by then are not shown."""
GOES_ON, GOES_ON_AFTER_CLICK = 0.88, 0.6
"""Chance that a reader goes on to the next place, without and after a click."""
PER_DAY = 700
_BUCKET = 1 << 34
"""More than the seconds in a few centuries: items by bucket, and in it by time, are in order of one number."""
_TYPO, _PLAIN, _ENGLISH = 0.12, 0.4, 0.12


def searches(
    start: datetime, end: datetime, *, seed: int, shift: str | None = None, per_day: int = PER_DAY, listed: int = 1100
) -> pd.DataFrame:
    """What was shown for searches from `start` until before `end`, a row an item, in order of time and place.

    One day is the same in every window that holds it. per_day, listed: searches and new items a day, on average.
    clicked:   0 or 1.  position: from 1.
    relevance: 0 to 4, how well the item is what this member asked for: known here, and never a feature.
    """
    named = shifts.find(shift, among=SHIFTS, domain="search")
    since, until = _second(start, "start"), _second(end, "end")
    if until <= since:
        raise DeclarationError("the window is empty", expected="start before end", got=f"{start} to {end}")
    first, last = since // DAY, -(-until // DAY)
    items = Listings(seed=seed, per_day=listed).listed(first - LONGEST, last)
    index = _Index(items)
    parts = []
    for day in range(first, last):
        random = generator(seed, "searches", day)
        asked = _asked(random, day, per_day=per_day, seed=seed, season=named is SEASON)
        kept = (asked["second"] >= since) & (asked["second"] < until)
        shown = _shown(random, asked, items, index, seed=seed)
        rows = kept[shown["search"]]
        part = {f"asked_{name}": values[shown["search"]][rows] for name, values in asked.items()}
        parts.append(part | {name: values[rows] for name, values in shown.items()})
    rows_of = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _frame(rows_of, items)


def corpus(at: datetime, *, seed: int, listed: int = 1100) -> tuple[pd.DataFrame, Rows]:
    """Items that can be bought at a time, as a frame of listings@1 and by attribute: what a search chooses from."""
    import pandas as pd

    second = _second(at, "at")
    items = Listings(seed=seed, per_day=listed).listed(second // DAY - LONGEST, second // DAY + 1)
    there = (items["listed"] <= second) & (items["gone"] > second)
    items = {name: values[there] for name, values in items.items()}
    age = (second - items["listed"]) / DAY
    listed_at = pd.DatetimeIndex((items["listed"] * 1_000_000).astype("datetime64[us]")).tz_localize("UTC")
    views = np.floor((np.minimum(age, 7.0) + 0.05) * items["fame"] * 6 * (0.4 + items["quality"]))
    likes = np.floor(views * (0.02 + 0.16 * items["quality"] * uniform(items["number"], "likes", seed=seed)))
    known = {"item_views_7d": views, "item_likes": likes}
    told = _told(items) | {name: values.astype(np.int64) for name, values in known.items()}
    return pd.DataFrame({**told, "listed_at": listed_at}), items


def questions(at: datetime, *, seed: int, count: int = PER_DAY) -> tuple[list[str], Rows]:
    """Some searches of a day, in words and by what is meant."""
    second = _second(at, "at")
    asked = _asked(generator(seed, "searches", second // DAY), second // DAY, per_day=count, seed=seed, season=False)
    return _queries(asked), asked


def relevance(asked: Rows, items: Rows) -> NDArray[np.float64]:
    """(n,) 0..1 how well each item is what the search beside it asks for, whoever asks: kind, colour, material, brand, size."""
    same = asked["kind"] == items["kind"]
    akin = vocabulary.KIND_CATEGORY[asked["kind"]] == items["category"]
    match = np.where(same, 1.0, np.where(akin, 0.3, 0.0))
    colour = vocabulary.NEARNESS[asked["colour"], items["colour"]]
    match = match * np.where(asked["colour"] >= 0, 0.3 + 0.7 * colour, 1.0)
    match = match * np.where((asked["material"] >= 0) & (asked["material"] != items["material"]), 0.5, 1.0)
    match = match * np.where((asked["brand"] >= 0) & (asked["brand"] != items["brand"]), 0.35, 1.0)
    off = np.abs(asked["size"] - items["size"])
    worn = np.where(off == 0, 1.0, np.where(off == 1, 0.45, 0.15))
    found: NDArray[np.float64] = match * np.where((asked["size"] >= 0) & same, worn, 1.0)
    return found


class _Index:
    """Items by kind and colour, by kind, by category and all together, each in order of time."""

    def __init__(self, items: Rows) -> None:
        colours = len(vocabulary.COLOURS)
        keys = (
            items["kind"] * colours + items["colour"],
            items["kind"],
            items["category"],
            np.zeros_like(items["kind"]),
        )
        self._sorted = []
        for key in keys:
            number = key * _BUCKET + items["listed"]
            order = np.argsort(number, kind="stable")
            self._sorted.append((number[order], order))

    def draw(self, level: int, key: Any, second: Any, u: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) items of a bucket that were listed in the `LONGEST` days before, each as likely; -1 where there is none."""
        numbers, order = self._sorted[level]
        low = np.searchsorted(numbers, key * _BUCKET + second - LONGEST * DAY)
        high = np.searchsorted(numbers, key * _BUCKET + second)
        at = low + (u * (high - low)).astype(np.int64)
        return np.where(high > low, order[np.minimum(at, len(order) - 1)], -1)


def _asked(random: np.random.Generator, day: int, *, per_day: int, seed: int, season: bool) -> Rows:
    """Searches of one day: who asks, when, what is meant (-1 where it is not said), and by which words."""
    count = max(1, int(random.poisson(per_day)))
    u = random.random((22, count))
    age = marketplace.ages(u[0], u[1])
    member = marketplace.members(day - age, u[2], count=marketplace.MEMBERS)
    wanted = marketplace.demand(np.array([day]), season=season)[0]
    kinds = wanted[vocabulary.KIND_CATEGORY] * vocabulary.KIND_SHARE
    kind = pick(u[3], kinds)
    category = vocabulary.KIND_CATEGORY[kind]
    liked = pick(uniform(member, "brand", seed=seed), vocabulary.BRAND_SHARE)
    sizes = np.array([len(vocabulary.SIZES[system]) for system in vocabulary.SYSTEM])[category]
    worn = np.clip((uniform(member, "size", seed=seed) * 0.8 + 0.1) * sizes, 0, sizes - 1).astype(np.int64)
    known = np.array([system != "none" for system in vocabulary.SYSTEM])[category]
    says_size = known & (u[4] < (0.2 if season else 0.35))
    locale = pick(uniform(member, "locale", seed=seed), np.array([0.42, 0.33, 0.25]))
    return {
        "member": member,
        "second": day * DAY + np.sort((u[5] * DAY).astype(np.int64)),
        "number": day * 100_000 + np.arange(count),
        "kind": kind,
        "colour": np.where(u[6] < 0.5, pick(u[7], vocabulary.COLOUR_SHARE**2), -1),
        "material": np.where(u[8] < 0.22, pick(u[9], vocabulary.MATERIAL_OF[category]), -1),
        "brand": np.where(u[10] < 0.2, np.where(u[11] < 0.6, liked, pick(u[12], vocabulary.BRAND_SHARE)), -1),
        "size": np.where(known & ((u[13] < 0.8) | says_size), worn, -1),
        "says_size": says_size,
        "gift": u[14] < (0.25 if season else 0.01),
        "locale": locale,
        "language": np.where(u[15] < _ENGLISH, 1, locale),
        "order": (u[16] * 3).astype(np.int64),
        "plain": u[17] < _PLAIN,
        "slips": np.where(u[18] < _TYPO, u[19], -1.0),
        "liked": liked,
        "new": u[20] < 0.25,
        "taste": np.exp(0.9 * (uniform(member, "taste", seed=seed) - 0.5)),
    }


def _shown(random: np.random.Generator, asked: Rows, items: Rows, index: _Index, *, seed: int) -> Rows:
    """Items shown for each search of a day, in their places, and what was clicked."""
    count = len(asked["kind"])
    search = np.repeat(np.arange(count), _FOUND)
    u = random.random((8, len(search)))
    of = {name: values[search] for name, values in asked.items()}
    level = np.where(
        u[0] < np.where(of["colour"] >= 0, 0.35, 0.0), 0, np.where(u[0] < 0.8, 1, np.where(u[0] < 0.95, 2, 3))
    )
    category = vocabulary.KIND_CATEGORY[of["kind"]]
    keys = (of["kind"] * len(vocabulary.COLOURS) + of["colour"], of["kind"], category, np.zeros_like(category))
    item = np.select(
        [level == at for at in range(4)], [index.draw(at, keys[at], of["second"], u[1]) for at in range(4)]
    )
    there = (item >= 0) & (items["gone"][item] > of["second"])
    first = np.zeros(len(search), dtype=np.bool_)
    first[np.unique(search * len(items["kind"]) + item, return_index=True)[1]] = True
    kept = np.flatnonzero(there & first)
    search, item, u = search[kept], item[kept], u[:, kept]
    of, shown = {name: values[kept] for name, values in of.items()}, {name: v[item] for name, v in items.items()}

    meant = relevance({**of, "size": np.full_like(of["size"], -1)}, shown)
    age = (of["second"] - shown["listed"]) / DAY
    order = np.lexsort((-(0.9 * meant - 0.012 * age + 0.45 * u[2]), search))
    search, item, age, u = search[order], item[order], age[order], u[:, order]
    of, shown = {name: v[order] for name, v in of.items()}, {name: v[order] for name, v in shown.items()}
    position = np.arange(len(search)) - np.searchsorted(search, search) + 1
    seen = position <= PLACES
    search, item, age, u, position = search[seen], item[seen], age[seen], u[:, seen], position[seen]
    of, shown = {name: v[seen] for name, v in of.items()}, {name: v[seen] for name, v in shown.items()}

    likes = of["liked"] == shown["brand"]
    usual = marketplace.price(shown["category"], shown["tier"]) * of["taste"]
    fair = np.exp(-np.maximum(0.0, np.log(shown["price"] / usual)))
    pleases = np.clip((0.45 + 0.35 * shown["quality"] + 0.3 * likes) * fair, 0, 1)
    good = relevance(of, shown) * pleases
    clicked = _cascade(search, position, u[3] < 0.01 + 0.75 * good, random.random((PLACES, count)))
    days = np.minimum(age, 7.0) + 0.05
    views = np.floor(days * shown["fame"] * 6 * (0.4 + shown["quality"]) * np.exp(0.8 * (u[4] - 0.5)))
    share = np.where(likes, 0.12 + 0.5 * u[5], np.where(u[5] < 0.85, 0.0, 0.1 * u[6]))
    return {
        "search": search,
        "item": item,
        "position": position,
        "clicked": clicked.astype(np.int64),
        "relevance": np.minimum(4, np.floor(5.5 * good)).astype(np.int64),
        "item_age_days": np.floor(age).astype(np.int64),
        "item_views_7d": views.astype(np.int64),
        "item_likes": np.floor(views * (0.02 + 0.16 * shown["quality"] * u[7])).astype(np.int64),
        "member_brand_share": np.where(of["new"], np.nan, np.round(share, 3)),
        "member_price": np.where(
            of["new"],
            np.nan,
            np.round(40 * of["taste"] * np.exp(0.2 * (uniform(of["number"], "spent", seed=seed) - 0.5)), 2),
        ),
    }


def _cascade(
    search: NDArray[np.int64], position: NDArray[np.int64], attracted: NDArray[np.bool_], u: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,) what was clicked by readers who begin at the first place, and go on after each with a chance."""
    clicked = np.zeros(len(search), dtype=np.bool_)
    reading = np.ones(u.shape[1], dtype=np.bool_)
    for place in range(1, PLACES + 1):
        here = np.flatnonzero(position == place)
        clicked[here] = attracted[here] & reading[search[here]]
        took = np.zeros(u.shape[1], dtype=np.bool_)
        took[search[here]] = clicked[here]
        reading &= u[place - 1] < np.where(took, GOES_ON_AFTER_CLICK, GOES_ON)
    return clicked


def _frame(rows: Rows, items: Rows) -> pd.DataFrame:
    import pandas as pd

    asked = {name.removeprefix("asked_"): values for name, values in rows.items() if name.startswith("asked_")}
    fresh = np.flatnonzero(np.append(True, np.diff(asked["number"]) != 0))
    which = np.cumsum(np.append(False, np.diff(asked["number"]) != 0))
    once = {name: values[fresh] for name, values in asked.items()}
    shown, which_item = np.unique(rows["item"], return_inverse=True)
    told = _told({name: values[shown] for name, values in items.items()})
    times = (asked["second"] * 1_000_000).astype("datetime64[us]")
    return pd.DataFrame(
        {
            "query_id": np.array([f"q{number}" for number in once["number"].tolist()], dtype=object)[which],
            "member_id": np.array([f"m{number}" for number in once["member"].tolist()], dtype=object)[which],
            "searched_at": pd.DatetimeIndex(times).tz_localize("UTC"),
            "query": np.array(_queries(once), dtype=object)[which],
            "locale": np.array(vocabulary.LOCALES, dtype=object)[asked["locale"]],
            **{name: values[which_item] for name, values in told.items()},
            **{name: rows[name] for name in ("item_age_days", "item_views_7d", "item_likes")},
            **{name: rows[name] for name in ("member_brand_share", "member_price")},
            **{name: rows[name].astype(np.int64) for name in ("position", "clicked", "relevance")},
        }
    )


def _told(items: Rows) -> dict[str, NDArray[Any]]:
    """What is written on each item."""
    return {
        "item_id": np.array([f"i{number}" for number in items["number"].tolist()], dtype=object),
        "title": np.array(listings.titles(items), dtype=object),
        "brand": np.array(listings.brands(items), dtype=object),
        "size": np.array(listings.sizes(items), dtype=object),
        "category": np.array(CATEGORIES, dtype=object)[items["category"]],
        "condition": np.array(CONDITIONS, dtype=object)[items["condition"]],
        "price": items["price"],
        "photos": items["photos"],
        "seller_rating": items["rating"],
    }


def _queries(asked: Rows) -> list[str]:
    names = ("kind", "colour", "material", "brand", "size", "says_size", "gift", "language", "order", "plain", "slips")
    return [_query(*row) for row in zip(*(asked[name].tolist() for name in names), strict=True)]


def _query(
    kind: int, colour: int, material: int, brand: int, size: int, says_size: bool, gift: bool, language: int,
    order: int, plain: bool, slips: float,
) -> str:  # fmt: skip
    category, nouns = vocabulary.KINDS[kind]
    tint = vocabulary.COLOURS[colour][language] if colour >= 0 else ""
    cloth = vocabulary.MATERIALS[material][language] if material >= 0 else ""
    maker = vocabulary.BRANDS[brand][0] if brand >= 0 else ""
    written = vocabulary.SIZES[vocabulary.SYSTEM[CATEGORIES.index(category)]]
    fits = (f"{vocabulary.SIZE_WORD[language]} " if order else "") + written[size] if says_size else ""
    present = vocabulary.GIFT[language] if gift else ""
    noun = nouns[language]
    parts = ((tint, cloth, noun, maker, fits), (maker, noun, tint, cloth, fits), (noun, tint, cloth, maker, fits))
    words = " ".join(filter(None, (*parts[order], present))).split(" ")
    if slips >= 0:
        at, rest = divmod(slips * len(words), 1)
        words[int(at)] = vocabulary.slip(words[int(at)], rest)
    return " ".join(vocabulary.plain(words) if plain else words)


def _second(time: datetime, name: str) -> int:
    if time.tzinfo is None:
        raise DeclarationError(
            f"{name} has no time zone", expected="a time in UTC, such as 2026-10-01T00:00:00+00:00", got=str(time)
        )
    return int(time.astimezone(UTC).timestamp())
