"""A search and one item that it may show, as the search model reads them: what was asked, what is written, what is known of who asks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features import hashing, text
from hallmark.features.fields import Columns, Field

CATEGORIES = ("accessories", "bags", "coats", "dresses", "jeans", "knitwear", "shoes", "watches")
CONDITIONS = ("good", "new", "very_good", "worn")
LOCALES = ("de", "en", "fr")

DAY = 86_400.0
LATEST = 1e10
"""Seconds since 1970 that a time may be, at most."""

ASKED: tuple[Field, ...] = (
    Field(name="query", datatype="BYTES", media="text", longest=200, description="as the member typed it"),
    Field(name="locale", datatype="BYTES", categories=LOCALES, description="language of the member's app"),
    Field(
        name="member_price", datatype="FP64", minimum=0.5, maximum=100_000, optional=True,
        description="EUR, what the member usually looks at; none for a new member",
    ),
)  # fmt: skip
"""Of a search, in a log and in a request."""

ITEM: tuple[Field, ...] = (
    Field(name="title", datatype="BYTES", media="text", longest=200, description="of the item, in its seller's language"),
    Field(name="brand", datatype="BYTES", media="text", longest=80),
    Field(name="size", datatype="BYTES", media="text", longest=20, description="as on its label: M, 42, W30"),
    Field(name="category", datatype="BYTES", categories=CATEGORIES),
    Field(name="condition", datatype="BYTES", categories=CONDITIONS),
    Field(name="price", datatype="FP64", minimum=0.5, maximum=100_000, description="EUR"),
    Field(name="photos", datatype="INT64", minimum=0, maximum=50),
    Field(name="seller_rating", datatype="FP64", minimum=1, maximum=5, optional=True, description="none for a new seller"),
    Field(name="item_views_7d", datatype="INT64", minimum=0, maximum=1_000_000),
    Field(name="item_likes", datatype="INT64", minimum=0, maximum=1_000_000, description="members who keep it in mind"),
)  # fmt: skip
"""Of an item, in a log and in the index: columns of listings@1."""

FIELDS: tuple[Field, ...] = (
    *ASKED,
    *ITEM,
    Field(name="item_age_days", datatype="INT64", minimum=0, maximum=3650, description="since the item was listed"),
    Field(
        name="member_brand_share", datatype="FP64", minimum=0, maximum=1, optional=True,
        description="of what the member clicked lately, how much was of this brand; none for a new member",
    ),
)  # fmt: skip
"""Of an item that was shown for a search: what the ranker learns from."""

REQUEST: tuple[Field, ...] = (
    *ASKED,
    Field(
        name="at", datatype="FP64", minimum=0, maximum=LATEST,
        description="time of the search, seconds since 1970: items' age counts to it; to the hour, answers can be kept for others",
    ),
    Field(
        name="member_brands", datatype="BYTES", shape=(None,), at_most=20, longest=80, optional=True,
        description="brands that the member clicked lately; none for a new member",
    ),
    Field(
        name="member_shares", datatype="FP64", shape=(None,), at_most=20, minimum=0, maximum=1, optional=True,
        description="of what the member clicked lately, how much was of each of these brands",
    ),
)  # fmt: skip
"""Of a request, beside filters: the search, and what is known of who asks."""

BUCKETS = 1 << 15
QUERY_SLOTS, ITEM_SLOTS = 48, 80
WATCHED = 8
"""Buckets of words that the drift monitor looks at."""
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


def encode_candidate(columns: Columns) -> dict[str, NDArray[Any]]:
    """Inputs of the ranker for items that were found: those of `encode`, with age and brand share told from item and request."""
    age = np.clip(np.floor((columns["at"] - columns["listed_at"]) / DAY), 0, 3650)
    return encode({**columns, "item_age_days": age, "member_brand_share": _brand_share(columns)})


def observe(columns: Columns) -> Columns:
    """What the drift monitor watches of requests: language and usual price, and of a query how long it is, whether it names a size, and its words.

    `word_<n>` is the share of its words that a hash puts into bucket n: what is searched for, without a dictionary.
    """
    queries = [text.plain(query) for query in columns["query"].tolist()]
    sized = np.array([float(any(map(_is_size, query.split()))) for query in queries])
    watched = {"locale": columns["locale"], "member_price": columns["member_price"]}
    return {**watched, "query_words": _words(queries), "size_asked": sized, **_buckets(queries)}


def _buckets(queries: list[str]) -> Columns:
    found = np.zeros((len(queries), WATCHED), dtype=np.float64)
    for row, query in enumerate(queries):
        words = query.split()
        for word in words:
            found[row, hashing.bucket(word, buckets=WATCHED + 1) - 1] += 1 / len(words)
    return {f"word_{at}": found[:, at] for at in range(WATCHED)}


def _brand_share(columns: Columns) -> NDArray[np.float64]:
    """(n,) share of the member's clicks that went to the item's brand; NaN of a member of whom nothing is known."""
    found = np.full(len(columns["brand"]), np.nan)
    rows = zip(columns["brand"].tolist(), columns["member_brands"], columns["member_shares"], strict=True)
    for at, (brand, brands, shares) in enumerate(rows):
        if len(brands):
            found[at] = next((float(share) for name, share in zip(brands, shares, strict=False) if name == brand), 0.0)
    return found


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
