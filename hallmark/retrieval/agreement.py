"""Rank-biased overlap: how far two rankings agree, the top counting most."""

from __future__ import annotations

from collections.abc import Sequence


def rbo(one: Sequence[str], other: Sequence[str], *, p: float = 0.9, depth: int = 10) -> float:
    """0..1; 1 for the same ranking, 0 for none in common; two empty rankings agree.

    Extrapolated: equation 32 of Webber, Moffat and Zobel, A similarity measure for indefinite rankings (TOIS 28, 2010), which
    also takes rankings of two lengths.  p: how likely a reader goes on to the next rank.  depth: ranks that are compared.
    """
    if not 0 < p < 1:
        raise ValueError(f"expected p between 0 and 1, got {p}")
    short, long = sorted((list(dict.fromkeys(one))[:depth], list(dict.fromkeys(other))[:depth]), key=len)
    s, length = len(short), len(long)
    if not s:
        return float(not length)
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    overlap = 0
    at_s = 0
    total = 0.0
    for rank in range(1, length + 1):
        added = long[rank - 1]
        seen_long.add(added)
        overlap += added in seen_short
        if rank <= s:
            mine = short[rank - 1]
            overlap += mine in seen_long
            seen_short.add(mine)
            at_s = overlap
        else:
            total += p**rank * at_s * (rank - s) / (s * rank)
        total += p**rank * overlap / rank
    return (1 - p) / p * total + ((overlap - at_s) / length + at_s / s) * p**length
