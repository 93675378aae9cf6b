"""A member's last items as the recommender reads them: by id where it knows them, and by what is known of them, which is all that a new item has."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import Misfit
from hallmark.features.fields import Columns, Field
from hallmark.features.hashing import bucket
from hallmark.features.matching import matches, width

LONGEST = 50
"""Items that a request may hold, the last ones."""
BUCKETS = 8192
UNKNOWN = "unknown"

WORDS = ("category", "brand", "size", "colour", "condition")
"""Facts of an item in words; its price is one more."""
PLURALS = {
    "category": "categories",
    "brand": "brands",
    "size": "sizes",
    "colour": "colours",
    "condition": "conditions",
    "price": "prices",
    "listed": "listed",
}
FACTS_OF_ITEMS = (*WORDS, "price", "listed")

FIELDS: tuple[Field, ...] = (
    Field(
        name="recent_items",
        datatype="BYTES",
        shape=(None,),
        at_most=LONGEST,
        optional=True,
        description="ids of what the member looked at, the last one at the end",
    ),
    *(
        Field(
            name=f"recent_{PLURALS[word]}",
            datatype="BYTES",
            shape=(None,),
            at_most=LONGEST,
            optional=True,
            description=f'{word} of each of these items, "{UNKNOWN}" where it is not known; or none at all',
        )
        for word in WORDS
    ),
    Field(
        name="recent_prices",
        datatype="FP64",
        shape=(None,),
        at_most=LONGEST,
        optional=True,
        minimum=0,
        maximum=100_000,
        description="EUR, 0 where it is not known; or none at all",
    ),
    Field(
        name="recent_listed",
        datatype="INT64",
        shape=(None,),
        at_most=LONGEST,
        optional=True,
        minimum=0,
        maximum=100_000,
        description="day on which each was listed, since 1970, 0 where it is not known; or none at all",
    ),
)
RECENT = frozenset(field.name for field in FIELDS)
ITEM: tuple[Field, ...] = (
    *(Field(name=word, datatype="BYTES", optional=True) for word in WORDS),
    Field(name="price", datatype="FP64", optional=True, minimum=0, maximum=100_000, description="EUR"),
    Field(name="listed", datatype="INT64", optional=True, minimum=0, maximum=100_000, description="day, since 1970"),
)
"""Of an item, in the index: columns of items@1."""

FACTS = 11
"""Words that an item is made of: its five, its category with brand and with size, its price and its day of listing at two steps each."""


def encode(columns: Columns) -> dict[str, NDArray[Any]]:
    """`recent` (n, t) ids, "" at the end of shorter ones, and `facts` (n, t, 11) INT16: hashes, 1..8191, of what is known of each, 0 for nothing."""
    items = columns["recent_items"]
    longest = max([1, *(len(each) for each in items)])
    recent = np.full((len(items), longest), "", dtype=object)
    facts = np.zeros((len(items), longest, FACTS), dtype=np.int16)
    known: dict[tuple[Any, ...], tuple[int, ...]] = {}
    told = [columns[f"recent_{PLURALS[word]}"] for word in FACTS_OF_ITEMS]
    for row, mine in enumerate(items):
        count = len(mine)
        recent[row, :count] = mine
        parts = [each[row] for each in told]
        lengths = {len(part) for part in parts} - {0}
        if lengths - {count}:
            raise Misfit(row, f"expected a fact of each of {count} recent_items, or of none, got {sorted(lengths)}")
        if lengths:
            lists = [part.tolist() if len(part) else [None] * count for part in parts]
            for place, each in enumerate(zip(*lists, strict=True)):
                if each not in known:
                    known[each] = _facts(*each)
                facts[row, place] = known[each]
    return {"recent": recent, "facts": facts}


def encode_item(columns: Columns) -> dict[str, NDArray[Any]]:
    """`item` (n,) ids, and `facts` (n, 11) INT16 of each, as `encode` makes them of an item in a sequence."""
    facts = np.zeros((len(columns["item_id"]), FACTS), dtype=np.int16)
    told = zip(*(columns[name].tolist() for name in FACTS_OF_ITEMS), strict=True)
    for row, (category, brand, size, colour, condition, price, listed) in enumerate(told):
        words = (category or UNKNOWN, brand or UNKNOWN, size or UNKNOWN, colour or UNKNOWN, condition or UNKNOWN)
        facts[row] = _facts(*words, 0.0 if math.isnan(price) else price, 0 if math.isnan(listed) else int(listed))
    return {"item": columns["item_id"], "facts": facts}


def encode_candidate(columns: Columns) -> dict[str, NDArray[Any]]:
    """`input` (n, 24) of items that were found: how near each is, and what it shares with what the member looked at."""
    facts, scores = encode_item(columns)["facts"], columns["vector_score"].astype(np.float32)
    looked, made, begin = columns["recent_items"], [np.zeros((0, width(FACTS)), dtype=np.float32)], 0
    for end in range(1, len(looked) + 1):
        if end < len(looked) and looked[end] is looked[begin]:  # of one record
            continue
        mine = encode({name: values[begin : begin + 1] for name, values in columns.items() if name in RECENT})["facts"]
        made.append(matches(mine[0, : len(looked[begin])], facts[begin:end], scores[begin:end]))
        begin = end
    return {"input": np.concatenate(made)}


@functools.lru_cache(maxsize=1 << 15)
def _facts(
    category: str, brand: str, size: str, colour: str, condition: str, price: float, listed: int
) -> tuple[int, ...]:
    words = dict(zip(WORDS, (category, brand, size, colour, condition), strict=True))
    known = {name: value for name, value in words.items() if value and value != UNKNOWN}
    found = [_hash(f"{name}={known[name]}") if name in known else 0 for name in WORDS]
    for other in ("brand", "size"):
        found.append(_hash(f"{category}/{other}={known[other]}") if "category" in known and other in known else 0)
    for name, steps in (
        ("price", (math.log2(1 + price), 3 * math.log2(1 + price)) if price else ()),
        ("listed", (listed / 20, listed / 5) if listed else ()),
    ):
        found += [_hash(f"{name} {place}={int(step)}") for place, step in enumerate(steps)] or [0, 0]
    return tuple(found)


def _hash(word: str) -> int:
    return bucket(word, buckets=BUCKETS)


def observe(columns: Columns) -> Columns:
    """What drift is watched on: how many items there are, and category and price of the last one."""
    items = columns["recent_items"]
    return {
        "recent": np.array([len(each) for each in items], dtype=np.int64),
        "category": np.array(
            [str(each[-1]) if len(each) else UNKNOWN for each in columns["recent_categories"]], dtype=object
        ),
        "price": np.array([float(each[-1]) if len(each) else 0.0 for each in columns["recent_prices"]]),
    }
