"""Reciprocal rank fusion: one ranking of several, that keeps from where each item came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONSTANT = 60
"""k of Cormack, Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods (SIGIR 2009)."""


@dataclass(frozen=True)
class Fused:
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
    ranks: dict[str, dict[str, int]] = {}
    scores: dict[str, dict[str, float]] = {}
    for source, ranking in rankings.items():
        for rank, (item, score) in enumerate(ranking, start=1):
            ranks.setdefault(item, {}).setdefault(source, rank)
            scores.setdefault(item, {}).setdefault(source, score)
    fused = [
        Fused(item, sum(1 / (constant + rank) for rank in found.values()), found, scores[item])
        for item, found in ranks.items()
    ]
    return sorted(fused, key=lambda each: (-each.score, min(each.ranks.values()), each.id))[:k]
