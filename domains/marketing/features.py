"""A member whom a campaign may write to, as the uplift model reads them: known before the message goes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns, Field

COUNTRIES = ("be", "de", "fr", "nl", "pl")
CATEGORIES = ("accessories", "bags", "coats", "dresses", "jeans", "knitwear", "shoes", "watches")

FIELDS: tuple[Field, ...] = (
    Field(name="tenure_days", datatype="INT64", minimum=0, maximum=7300, description="since the member joined"),
    Field(name="orders_365d", datatype="INT64", minimum=0, maximum=10_000),
    Field(name="spend_365d", datatype="FP64", minimum=0, maximum=1_000_000, description="EUR"),
    Field(
        name="days_since_order", datatype="INT64", minimum=0, maximum=7300, optional=True,
        description="none for who never ordered",
    ),
    Field(name="visits_30d", datatype="INT64", minimum=0, maximum=10_000),
    Field(name="favourites", datatype="INT64", minimum=0, maximum=100_000, description="items that the member keeps in mind"),
    Field(name="messages_30d", datatype="INT64", minimum=0, maximum=1000, description="messages of any campaign"),
    Field(
        name="open_rate_90d", datatype="FP64", minimum=0, maximum=1, optional=True,
        description="share of messages that were opened; none for who got none",
    ),
    Field(name="discount_share", datatype="FP64", minimum=0, maximum=1, description="of orders that were reduced"),
    Field(name="sells", datatype="BOOL", description="has listed an item in the last year"),
    Field(name="app", datatype="BOOL", description="has the app, with messages allowed"),
    Field(name="country", datatype="BYTES", categories=COUNTRIES),
    Field(name="category", datatype="BYTES", categories=CATEGORIES, description="looked at most"),
)  # fmt: skip

_LOGGED = ("tenure_days", "orders_365d", "spend_365d", "days_since_order", "visits_30d", "favourites", "messages_30d")
_PLAIN = ("open_rate_90d", "discount_share", "sells", "app")
_ONE_HOT = (("country", COUNTRIES), ("category", CATEGORIES))

NAMES: tuple[str, ...] = (
    *(f"log_{name}" for name in _LOGGED),
    *_PLAIN,
    *(f"{name}_{value}" for name, values in _ONE_HOT for value in values),
)
"""Name of each column that `encode` returns."""


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, 24) float32: logarithms of counts and days, shares as they are, one column a country and a category; NaN for what is missing."""
    parts: list[NDArray[Any]] = [np.log1p(columns[name].astype(np.float64)) for name in _LOGGED]
    parts += [columns[name].astype(np.float64) for name in _PLAIN]
    for name, values in _ONE_HOT:
        parts += [(columns[name] == value).astype(np.float64) for value in values]
    return np.stack(parts, axis=1).astype(np.float32)


def observe(columns: Columns) -> Columns:
    """The raw fields themselves."""
    return {field.name: columns[field.name] for field in FIELDS}
