"""Items beside those that were looked at before: how much of what is known of each is the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def width(facts: int) -> int:
    """Numbers that `matches` gives of an item of which so many facts are kept."""
    return 2 + 2 * facts


def matches(recent: NDArray[np.int16], items: NDArray[np.int16], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m, 2 + 2f) of items (m, f): the score, how many were looked at, and of each fact the share of those that have it, and whether the last has.

    recent: (t, f) hashes of what is known of each, the last one at the end; 0 is nothing, which is never the same. Where nothing was looked at
    shares are NaN.
    """
    count = len(recent)
    found = np.full((len(items), width(items.shape[1])), np.nan, dtype=np.float32)
    found[:, 0], found[:, 1] = scores, count
    if count:
        same = (recent[None, :, :] == items[:, None, :]) & (items != 0)[:, None, :]
        found[:, 2::2], found[:, 3::2] = same.mean(axis=1), same[:, -1, :]
    return found
