"""Reciprocal rank fusion: one ranking of several, that keeps from where each item came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CONSTANT = 60
"""k of Cormack, Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods (SIGIR 2009)."""


class Fused(NamedTuple):
    """An item of a fused ranking.

    score:  sum over the sources that found it of 1 / (CONSTANT + rank).
    ranks:  its rank in each source that found it, from 1.
    scores: what each of those gave it, in the source's own measure.
    """

    id: str
    score: float
    ranks: Mapping[str, int]
    scores: Mapping[str, float]


def fuse(rankings: Mapping[str, Sequence[tuple[str, float]]], k: int, *, constant: int = CONSTANT) -> list[Fused]:
    """The k best of rankings by source, best first; equal scores in the order of their best rank, then of their ids."""
    found: dict[str, list[Any]] = {}  # less than zero by its score, best rank, id: as they are sorted
    for source, ranking in rankings.items():
        for rank, (item, score) in enumerate(ranking, start=1):
            known = found.get(item)
            if known is None:
                found[item] = [-1 / (constant + rank), rank, item, {source: rank}, {source: score}]
            elif source not in known[3]:
                known[0] -= 1 / (constant + rank)
                known[1] = min(known[1], rank)
                known[3][source], known[4][source] = rank, score
    return [Fused(item, -less, ranks, scores) for less, _, item, ranks, scores in sorted(found.values())[:k]]
