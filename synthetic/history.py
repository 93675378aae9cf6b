"""Counts before an order: over a trailing window, each row looking back on those before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def earlier(groups: Ints, times: Ints, *, window: int) -> Ints:
    """(n,) how many rows of the same group lie before each row and less than `window` back; rows are in order of time."""
    order, first = _by_group(groups, times, window=window)
    counted = np.empty(len(groups), dtype=np.int64)
    counted[order] = np.arange(len(groups)) - first
    return counted


def distinct(groups: Ints, values: Ints, times: Ints, *, window: int) -> Ints:
    """(n,) how many different values a row's group has shown in `window`, the row's own included.

    A row of the window counts where the one before it with the same value lies outside: it is that value's first.
    """
    order, first = _by_group(groups, times, window=window)
    previous = _previous(groups[order], values[order])
    rows = np.arange(len(order))
    sizes = rows - first + 1
    looking = np.repeat(rows, sizes)
    seen = np.arange(len(looking)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + first[looking]
    counted = np.empty(len(order), dtype=np.int64)
    counted[order] = np.bincount(looking[previous[seen] < first[looking]], minlength=len(order))
    return counted


def _by_group(groups: Ints, times: Ints, *, window: int) -> tuple[Ints, Ints]:
    """The rows sorted by group and time, and for each the first place whose row is of its group and window."""
    order = np.argsort(groups, kind="stable")
    _, dense = np.unique(groups[order], return_inverse=True)
    span = int(times.max() - times.min()) + window + 1 if len(times) else 1
    key = dense * span + (times[order] - (times.min() if len(times) else 0))
    # Within a group nothing is further back than its own start, since a whole window lies between groups.
    first = np.searchsorted(key, key - window, side="right")
    return order, first.astype(np.int64)


def _previous(groups: Ints, values: Ints) -> Ints:
    """(n,) the place of the row before with the same group and value; -1 where there is none."""
    order = np.lexsort((values, groups))
    same = (groups[order][1:] == groups[order][:-1]) & (values[order][1:] == values[order][:-1])
    previous = np.full(len(groups), -1, dtype=np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous
