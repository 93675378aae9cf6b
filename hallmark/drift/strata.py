"""The reference for the same mix: a window of one night hour is held against nights, not against the whole day.

A busy service fills its window within minutes, and a new revision begins with an empty one; either is all of one hour, and
scores at night are not those of noon. So the reference is kept by the values of one field of the request (drift.match), and
weighted as the window's rows are (post-stratification).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects
from hallmark.section import Frozen

FEWEST = 50
"""Values with fewer reference rows are put together; where all of those have fewer still, all rows stand in for them."""
MOST = 48
_LONGEST = 64


class Strata(Frozen):
    """Reference rows by the value of the field `column`, and how they fall into the profile's bins.

    values: groups of values, most of one value each; the rare ones are a group.
    counts: for each of these groups, for each column of the profile, what `Column.counts` is.
    """

    column: str
    values: tuple[tuple[str, ...], ...]
    counts: tuple[tuple[tuple[int, ...], ...], ...]

    def matched(self, place: int, whole: Sequence[int], shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., bins) reference counts of the profile's column at `place`, for windows with these (..., groups) `shares`.

        whole: the column's counts over all reference rows, which stand in for rows of no known value.
        The counts sum to the effective number of reference rows, 1 / sum(share² / rows), which is what a test may use.
        """
        table = np.array([counts[place] for counts in self.counts] + [whole], dtype=np.float64)
        rows = np.maximum(1.0, table.sum(axis=-1))
        every = np.concatenate([shares, 1 - shares.sum(axis=-1, keepdims=True)], axis=-1).clip(0)
        found: NDArray[np.float64] = (every @ (table / rows[:, None])) / (every**2 @ (1 / rows))[..., None]
        return found

    def count(self, keys: Sequence[str] | NDArray[Any]) -> NDArray[np.int64]:
        """(groups,) how many of a window's rows are of each group."""
        found = Counter(keys.tolist() if isinstance(keys, np.ndarray) else keys)
        return np.array([sum(found.get(value, 0) for value in group) for group in self.values], dtype=np.int64)

    def shares(self, keys: Sequence[str] | NDArray[Any]) -> NDArray[np.float64]:
        """(groups,) the share of a window's rows that is of each group."""
        return self.count(keys) / max(1, len(keys))


def keys(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """(n,) names of a field's values; "" for a value that is neither word, truth value nor number."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" and values.ndim == 1:
        few, places = np.unique(values, return_inverse=True)
        return np.asarray(objects([_key(value) for value in few])[places])
    return objects([_key(value) for value in values])


def choose(found: Sequence[str]) -> list[tuple[str, ...]]:
    """The groups of values that have rows enough: at most `MOST` values alone, and the rare ones together."""
    counted = Counter(value for value in found if value)
    often = [value for value, count in counted.most_common(MOST) if count >= FEWEST]
    rare = [value for value, _ in counted.most_common(4 * MOST) if value not in often]
    groups: list[tuple[str, ...]] = [(value,) for value in sorted(often)]
    if sum(counted[value] for value in rare) >= FEWEST:
        groups.append(tuple(sorted(rare)))
    return groups


def _key(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, str):
        return value[:_LONGEST]
    if isinstance(value, int | float | np.integer | np.floating) and np.isfinite(float(value)):
        return f"{float(value):g}"
    return ""
