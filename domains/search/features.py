"""A search and one item that it may show, as the search model reads them: what was asked, what is written, what is known of who asks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features import text
from hallmark.features.fields import Columns, Field

CATEGORIES = ("accessories", "bags", "coats", "dresses", "jeans", "knitwear", "shoes", "watches")
CONDITIONS = ("good", "new", "very_good", "worn")
LOCALES = ("de", "en", "fr")

FIELDS: tuple[Field, ...] = (
    Field(name="query", datatype="BYTES", media="text", longest=200, description="as the member typed it"),
    Field(name="locale", datatype="BYTES", categories=LOCALES, description="language of the member's app"),
    Field(name="title", datatype="BYTES", media="text", longest=200, description="of the item, in its seller's language"),
    Field(name="brand", datatype="BYTES", media="text", longest=80),
    Field(name="size", datatype="BYTES", media="text", longest=20, description="as on its label: M, 42, W30"),
    Field(name="category", datatype="BYTES", categories=CATEGORIES),
    Field(name="condition", datatype="BYTES", categories=CONDITIONS),
    Field(name="price", datatype="FP64", minimum=0.5, maximum=100_000, description="EUR"),
    Field(name="photos", datatype="INT64", minimum=0, maximum=50),
    Field(name="seller_rating", datatype="FP64", minimum=1, maximum=5, optional=True, description="none for a new seller"),
    Field(name="item_age_days", datatype="INT64", minimum=0, maximum=3650, description="since the item was listed"),
    Field(name="item_views_7d", datatype="INT64", minimum=0, maximum=1_000_000),
    Field(name="item_likes", datatype="INT64", minimum=0, maximum=1_000_000, description="members who keep it in mind"),
    Field(
        name="member_brand_share", datatype="FP64", minimum=0, maximum=1, optional=True,
        description="of what the member clicked lately, how much was of this brand; none for a new member",
    ),
    Field(
        name="member_price", datatype="FP64", minimum=0.5, maximum=100_000, optional=True,
        description="EUR, what the member usually looks at; none for a new member",
    ),
)  # fmt: skip

BUCKETS = 1 << 15
QUERY_SLOTS, ITEM_SLOTS = 48, 80
_LETTERS = frozenset(("xxs", "xs", "s", "m", "l", "xl", "xxl"))

NAMES: tuple[str, ...] = (
    *("shared_words", "shared_parts", "size_asked", "brand_asked"),
    *(
        "log_price",
        "price_by_usual",
        "photos",
        "seller_rating",
        "log_age_days",
        "log_views",
        "log_likes",
        "likes_by_views",
    ),
    *("brand_share", "query_words", "title_words"),
    *(f"condition_{each}" for each in CONDITIONS),
    *(f"category_{each}" for each in CATEGORIES),
    *(f"locale_{each}" for each in LOCALES),
)
"""Name of each column of the numbers that `encode` gives."""


def encode(columns: Columns) -> dict[str, NDArray[Any]]:
    """Inputs: `query` (n, 48) and `item` (n, 80) int32, words and parts of words; `numbers` (n, 30) float32.

    What is missing of a member or a seller is NaN.
    """
    query, item = _texts(columns)
    asked, written = _numbered(query, QUERY_SLOTS), _numbered(item, ITEM_SLOTS)
    price, usual = columns["price"].astype(np.float64), columns["member_price"].astype(np.float64)
    views, likes = (columns[name].astype(np.float64) for name in ("item_views_7d", "item_likes"))
    parts: list[NDArray[Any]] = [text.shared(query, item), _named(columns)]
    parts += [np.log(price), np.log(price / usual), columns["photos"], columns["seller_rating"]]
    parts += [np.log1p(columns["item_age_days"].astype(np.float64)), np.log1p(views), np.log1p(likes)]
    parts += [likes / (views + 20), columns["member_brand_share"]]
    parts += [_words(query), _words(columns["title"].tolist())]
    for name, values in (("condition", CONDITIONS), ("category", CATEGORIES), ("locale", LOCALES)):
        parts += [columns[name] == value for value in values]
    numbers = np.column_stack([np.asarray(part, dtype=np.float32) for part in parts])
    return {"query": asked, "item": written, "numbers": numbers}


def encode_query(columns: Columns) -> dict[str, NDArray[np.int32]]:
    """Input of the text encoder: `text` (n, 48) of each query."""
    return {"text": _numbered(columns["query"].tolist(), QUERY_SLOTS)}


def encode_item(columns: Columns) -> dict[str, NDArray[np.int32]]:
    """Input of the text encoder: `text` (n, 80) of each item's title and brand."""
    return {"text": _numbered(_items(columns), ITEM_SLOTS)}


def observe(columns: Columns) -> Columns:
    """What the drift monitor watches: every field but the texts, and of those how long a query is and how much of it an item has."""
    query, item = _texts(columns)
    words = text.shared(query, item)[:, 0].astype(np.float64)
    watched = {field.name: columns[field.name] for field in FIELDS if field.media != "text"}
    return {**watched, "query_words": _words(query), "shared_words": words}


def _texts(columns: Columns) -> tuple[list[str], list[str]]:
    return columns["query"].tolist(), _items(columns)


def _items(columns: Columns) -> list[str]:
    titles, brands = columns["title"].tolist(), columns["brand"].tolist()
    return [f"{title} {brand}" for title, brand in zip(titles, brands, strict=True)]


def _numbered(texts: list[str], slots: int) -> NDArray[np.int32]:
    """(n, slots) numbers of each text's words and their parts, each text looked at once."""
    once = {each: at for at, each in enumerate(dict.fromkeys(texts))}
    numbers = text.grams(list(once), slots=slots, buckets=BUCKETS)
    return numbers[[once[each] for each in texts]]


def _named(columns: Columns) -> NDArray[np.float32]:
    """(n, 2) whether the query names the item's size (1), another (-1) or none (0); and whether it names the item's brand."""
    plain: dict[str, str] = {}

    def known(given: str) -> str:
        return plain.get(given) or plain.setdefault(given, f" {text.plain(given)} ")

    found = np.zeros((len(columns["query"]), 2), dtype=np.float32)
    rows = zip(*(columns[name].tolist() for name in ("query", "size", "brand")), strict=True)
    for at, (query, size, brand) in enumerate(rows):
        asked = known(query)
        if any(map(_is_size, asked.split())):
            found[at, 0] = 1 if known(size) in asked else -1
        found[at, 1] = known(brand) in asked
    return found


def _is_size(word: str) -> bool:
    number = word.removeprefix("w")
    return word in _LETTERS or (number.isdecimal() and 26 <= int(number) <= 49)


def _words(texts: list[str]) -> NDArray[np.int64]:
    return np.array([len(each.split()) for each in texts], dtype=np.int64)
