"""A small corpus, and an index of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.retrieval.card import IndexOptions
from hallmark.retrieval.unit import Items, Unit, build, open_unit

ENCODER, PREPROCESSING = "sha256:" + "a" * 64, "sha256:" + "b" * 64
COLUMNS: dict[str, Any] = {"category": "keyword", "price": "number", "sizes": "keywords", "stock": "integer"}
_CATEGORIES, _SIZES = ("coat", "dress", "shoe", "hat"), ("S", "M", "L")


@dataclass(frozen=True)
class Corpus:
    """ids, vectors (n, d) of length 1, values and texts."""

    ids: list[str]
    vectors: NDArray[np.float32]
    values: dict[str, list[Any]]
    texts: list[str]


def clustered(count: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """(count, dimension) of length 1: clusters of uneven size, each spread along few directions."""
    chosen = np.random.default_rng(seed)
    clusters = max(2, round(count**0.5))
    centres = chosen.standard_normal((clusters, dimension))
    at = chosen.choice(clusters, count, p=chosen.dirichlet(np.full(clusters, 0.5)))
    directions = chosen.standard_normal((min(dimension, 24), dimension)) / 24**0.5
    spread = chosen.standard_normal((count, len(directions))) @ directions
    points = 0.7 * centres[at] + 0.7 * spread + 0.25 * chosen.standard_normal((count, dimension))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def corpus(count: int, dimension: int, seed: int = 0) -> Corpus:
    chosen = np.random.default_rng(seed)
    categories = [_CATEGORIES[each] for each in chosen.integers(0, len(_CATEGORIES), count)]
    return Corpus(
        ids=[f"i{row}" for row in range(count)],
        vectors=clustered(count, dimension, seed),
        values={
            "category": categories,
            "price": [float(each) for each in chosen.integers(1, 100, count)],
            "sizes": [[size for size in _SIZES if chosen.random() < 0.5] for _ in range(count)],
            "stock": [int(each) for each in chosen.integers(0, 5, count)],
        },
        texts=[f"{category} number {row}" for row, category in enumerate(categories)],
    )


def built(folder: Path, items: Corpus, options: IndexOptions | None = None) -> Unit:
    """The index of a corpus, written and opened."""
    build(
        folder,
        [Items(items.ids, items.vectors, items.values, items.texts)],
        encoder=ENCODER,
        preprocessing=PREPROCESSING,
        dimension=items.vectors.shape[1],
        columns=COLUMNS,
        words=True,
        options=options,
    )
    return open_unit(folder, encoder=ENCODER, preprocessing=PREPROCESSING)
