"""A corpus that is not easy: clusters of very uneven size along few directions, and queries between items and beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192


@dataclass(frozen=True)
class Corpus:
    """count vectors of `dimension` in blocks, the same for the same seed."""

    count: int
    dimension: int = 256
    seed: int = 0

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First row and vectors (at most BLOCK, dimension), of length 1."""
        chosen = np.random.default_rng(self.seed)
        clusters = round(self.count**0.5)
        centres = chosen.standard_normal((clusters, self.dimension), dtype=np.float32)
        weights = chosen.dirichlet(np.full(clusters, 0.5))
        directions = chosen.standard_normal((24, self.dimension), dtype=np.float32) / np.float32(24**0.5)
        for first in range(0, self.count, BLOCK):
            count = min(BLOCK, self.count - first)
            points = 0.7 * centres[chosen.choice(clusters, count, p=weights)]
            points += 0.7 * chosen.standard_normal((count, 24), dtype=np.float32) @ directions
            points += 0.25 * chosen.standard_normal((count, self.dimension), dtype=np.float32)
            yield first, points / np.linalg.norm(points, axis=1, keepdims=True)

    def vectors(self) -> NDArray[np.float32]:
        """All of them, (count, dimension)."""
        return np.concatenate([each for _, each in self.blocks()])


def queries(vectors: NDArray[np.float32], count: int, seed: int = 1) -> NDArray[np.float32]:
    """(count, d): half of them an item with noise of its own length, half a point between an item and a random other one."""
    chosen = np.random.default_rng(seed)
    one, other = vectors[chosen.integers(0, len(vectors), (2, count))]
    noise = chosen.standard_normal(one.shape).astype(np.float32) / one.shape[1] ** 0.5
    made = np.where(np.arange(count)[:, None] % 2, one + 0.7 * noise, one + 0.7 * other)
    return np.ascontiguousarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean share of the true rows (n, k) that were found."""
    return float(
        np.mean(
            [len(set(one.tolist()) & set(other.tolist())) / len(other) for one, other in zip(found, truth, strict=True)]
        )
    )
