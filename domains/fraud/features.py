"""An order, as the fraud model reads it: known the moment the buyer presses "pay", and what feature views know of who orders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns, Field

CATEGORIES = ("accessories", "bags", "coats", "dresses", "jeans", "knitwear", "shoes", "watches")
PAYMENTS = ("bank_transfer", "card", "invoice", "wallet")
TIERS = ("high_street", "luxury", "premium", "unknown")

FIELDS: tuple[Field, ...] = (
    Field(name="amount", datatype="FP64", minimum=0.5, maximum=100_000, description="EUR"),
    Field(name="item_age_days", datatype="INT64", minimum=0, maximum=3650, description="since the item was listed"),
    Field(name="seller_age_days", datatype="INT64", minimum=0, maximum=7300, description="since the seller joined"),
    Field(name="buyer_age_days", datatype="INT64", minimum=0, maximum=7300, description="since the buyer joined"),
    Field(name="buyer_orders_30d", datatype="INT64", minimum=0, maximum=10_000),
    Field(name="buyer_cards_90d", datatype="INT64", minimum=0, maximum=1000),
    Field(name="device_accounts", datatype="INT64", minimum=0, maximum=1000, description="accounts seen on the device"),
    Field(name="ip_orders_1h", datatype="INT64", minimum=0, maximum=10_000),
    Field(name="password_age_hours", datatype="FP64", minimum=0, maximum=200_000),
    Field(name="shipping_distance_km", datatype="FP64", minimum=0, maximum=20_100),
    Field(name="discount", datatype="FP64", minimum=0, maximum=1, description="share of the asking price taken off"),
    Field(name="hour", datatype="INT64", minimum=0, maximum=23, description="local hour of the order"),
    Field(name="address_changed", datatype="BOOL", description="since the buyer's last order"),
    Field(name="express", datatype="BOOL"),
    Field(name="category", datatype="BYTES", categories=CATEGORIES),
    Field(name="payment", datatype="BYTES", categories=PAYMENTS),
    Field(name="brand_tier", datatype="BYTES", categories=TIERS),
)

_LOGGED = (
    "amount",
    "item_age_days",
    "seller_age_days",
    "buyer_age_days",
    "buyer_orders_30d",
    "buyer_cards_90d",
    "device_accounts",
    "ip_orders_1h",
    "password_age_hours",
    "shipping_distance_km",
)
_ONE_HOT = (("category", CATEGORIES), ("payment", PAYMENTS), ("brand_tier", TIERS))

NAMES: tuple[str, ...] = (
    *(f"log_{name}" for name in _LOGGED),
    "discount",
    "hour",
    "hour_sin",
    "hour_cos",
    "address_changed",
    "express",
    *(f"{name}_{value}" for name, values in _ONE_HOT for value in values),
)
"""Name of each column that `encode` returns."""


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, 32) float32: logarithms of what has a long tail, the hour as a place on a clock, one column a category."""
    hour = columns["hour"].astype(np.float64)
    parts: list[NDArray[Any]] = [np.log1p(columns[name].astype(np.float64)) for name in _LOGGED]
    parts += [columns["discount"].astype(np.float64), hour]
    parts += [np.sin(hour * np.pi / 12), np.cos(hour * np.pi / 12)]
    parts += [columns[name].astype(np.float64) for name in ("address_changed", "express")]
    for name, values in _ONE_HOT:
        parts += [(columns[name] == value).astype(np.float64) for value in values]
    return np.stack(parts, axis=1).astype(np.float32)


def observe(columns: Columns) -> Columns:
    """The raw fields themselves, but for the hour: a window of a few hours never looks like a reference of weeks."""
    return {field.name: columns[field.name] for field in FIELDS if field.name != "hour"}
