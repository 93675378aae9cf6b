"""An item as the pricing model reads it: facts with names, words or numbers; facts that nobody declared come as pairs of name and value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.facts import Facts, numbered
from hallmark.features.fields import Columns, Field

BUCKETS = 1 << 17
LONGEST = 64
"""Characters of a fact's name or value that count."""
WORDS_OF_TITLE, WORDS_OF_DESCRIPTION = 16, 40
CONDITION = "condition"
_RANKS: dict[float, tuple[str, ...]] = {
    0.0: ("for parts", "salvage", "broken", "defective", "damaged"),
    1.0: ("poor", "worn", "heavily used", "well worn"),
    2.0: ("fair", "acceptable", "satisfactory", "used fair"),
    3.0: ("good", "used", "pre owned", "preowned", "used good"),
    4.0: ("very good", "excellent", "used excellent", "refurbished"),
    5.0: ("like new", "new without tags", "mint", "open box", "new other"),
    6.0: ("new", "new with tags", "brand new", "unused"),
}
CONDITIONS = {word: rank for rank, words in _RANKS.items() for word in words}
"""Conditions that markets name, with their rank: what is of a better one is never worth less. Others are words like any fact."""

WORDS = ("brand", "category", "size", "colour", "season")
NUMBERS = ("photos", "seller_rating")
FIELDS: tuple[Field, ...] = (
    Field(
        name="item_id",
        datatype="BYTES",
        optional=True,
        longest=200,
        description="so that it is not compared with itself",
    ),
    Field(name="title", datatype="BYTES", media="text", longest=500, optional=True),
    Field(name="description", datatype="BYTES", media="text", longest=20_000, optional=True),
    *(Field(name=name, datatype="BYTES", longest=200, optional=True) for name in WORDS),
    Field(
        name=CONDITION, datatype="BYTES", longest=200, optional=True, description="such as new, very_good, good, worn"
    ),
    Field(name="photos", datatype="INT64", minimum=0, maximum=1000, optional=True),
    Field(name="seller_rating", datatype="FP64", optional=True, description="what buyers gave the seller"),
    Field(
        name="fact_names",
        datatype="BYTES",
        shape=(None,),
        at_most=LONGEST,
        optional=True,
        description="names of other facts, such as mileage",
    ),
    Field(
        name="fact_values",
        datatype="BYTES",
        shape=(None,),
        at_most=LONGEST,
        optional=True,
        description="the value of each, as it is written; what reads as a number is one",
    ),
)


def encode(columns: Columns) -> dict[str, NDArray[Any]]:
    """`item` (n,) ids, `names`, `tokens` and `values` (n, facts) of what is known, and `words` (n, words) of title and description."""
    facts = Facts(len(columns["item_id"]), buckets=BUCKETS, longest=LONGEST)
    ranks, known = _ranks(columns[CONDITION])
    facts.number(CONDITION, ranks)
    facts.word(CONDITION, np.where(known, np.array(None, dtype=object), columns[CONDITION]))
    for name in WORDS:
        facts.word(name, columns[name])
    facts.both("brand", columns["brand"], "category", columns["category"])
    for name in NUMBERS:
        facts.number(name, columns[name])
    facts.pairs(columns["fact_names"], columns["fact_values"])
    words = facts.text((columns["title"], WORDS_OF_TITLE), (columns["description"], WORDS_OF_DESCRIPTION))
    item = np.array([each or "" for each in columns["item_id"].tolist()], dtype=object)
    return {"item": item, **facts.arrays(), "words": words}


def observe(columns: Columns) -> Columns:
    """What drift is watched on: the words of few values, the rank of the condition, photos and rating; and the number of other facts."""
    ranks, _ = _ranks(columns[CONDITION])
    named = {
        name: np.array([each or "unknown" for each in columns[name].tolist()], dtype=object)
        for name in ("brand", "category")
    }
    numbers = {name: columns[name] for name in NUMBERS}
    told = np.array([len(each) for each in columns["fact_names"]], dtype=np.int64)
    return {**named, CONDITION: ranks, **numbers, "other_facts": told}


def _ranks(condition: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n,) rank of each condition, NaN for none and for one that is not known, and whether it is known."""
    ranks = numbered(condition, CONDITIONS)
    return ranks, ~np.isnan(ranks)
