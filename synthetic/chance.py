"""Chance that can be asked for by name: the same seed, day or member gives the same numbers, whoever asks and when."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def generator(seed: int, topic: str, *numbers: int) -> np.random.Generator:
    """The random numbers of one topic, such as the orders of one day."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(topic.encode()), *numbers])))


def uniform(ids: NDArray[np.int64], topic: str, *, seed: int) -> NDArray[np.float64]:
    """(n,) numbers in 0..1, one an id: what an id is like, without a table of all ids (splitmix64)."""
    return (mixed(ids, topic, seed=seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mixed(ids: NDArray[np.int64], topic: str, *, seed: int) -> NDArray[np.uint64]:
    """(n,) 64 well-mixed bits, one word an id."""
    start = np.uint64((zlib.crc32(topic.encode()) << 32 | seed & 0xFFFFFFFF) & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        z = (ids.astype(np.uint64) + start) * _GOLDEN + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        mixed_bits: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed_bits


def pick(u: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) indices drawn by `weights` ((k,), or (n, k) for a row each) from uniform numbers `u` (n,)."""
    cumulated = np.cumsum(weights, axis=-1)
    cumulated = cumulated / cumulated[..., -1:]
    if cumulated.ndim == 1:
        return np.searchsorted(cumulated[:-1], u, side="right").astype(np.int64)
    index: NDArray[np.int64] = (u[:, None] >= cumulated[:, :-1]).sum(axis=1, dtype=np.int64)
    return index


def between(u: NDArray[np.float64], low: Any, high: Any) -> NDArray[np.float64]:
    """(n,) numbers from `low` to `high`, evenly over their logarithm."""
    spread: NDArray[np.float64] = low * np.exp(u * np.log(np.asarray(high) / np.asarray(low)))
    return spread
