"""Columns of words with long tails, of five kinds, as clean traffic has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[Any]


def named(count: int, prefix: str, *, first: int = 0) -> Words:
    return np.array([f"{prefix}{at}" for at in range(first, first + count)], dtype=object)


CITIES, SKUS, BRANDS, RARE = named(320, "city "), named(3000, "sku-"), named(5000, "brand "), named(40_000, "item-")
ZIPF = (1 / np.arange(1, 5001)) / (1 / np.arange(1, 5001)).sum()


def cities(rows: int, *, seed: int, tail: Words = CITIES[20:]) -> Words:
    """20 cities with 60% of the rows; the rest is `tail`."""
    random = np.random.default_rng(seed)
    return np.where(random.random(rows) < 0.6, random.choice(CITIES[:20], rows), random.choice(tail, rows))


def draw(random: np.random.Generator, rows: int) -> dict[str, Any]:
    """All alike, a few that are common, most of them new in every window, ids that never repeat, and cities."""
    return {
        "sku": random.choice(SKUS, rows),
        "brand": random.choice(BRANDS, rows, p=ZIPF),
        "item": random.choice(RARE, rows),
        "order": named(rows, f"order-{random.integers(2**40)}-"),
        "city": cities(rows, seed=int(random.integers(2**40))),
    }
