"""Made-up columns spread as those of a table: numbers by their quantiles, words by their shares, and a signal that an answer hangs on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, Any]
"""Columns by name, (rows,) each."""


def drawn(
    random: np.random.Generator,
    count: int,
    *,
    numbers: Mapping[str, Sequence[float]],
    words: Mapping[str, Mapping[Any, float]],
    whole: Collection[str] = (),
    missing: Mapping[str, float] | None = None,
    larger: bool = False,
) -> tuple[Columns, NDArray[np.float64]]:
    """The fields of `count` records, and what their answer hangs on: (count,) about 0 on the mean, with a deviation of about 1.

    numbers: evenly spaced quantiles by column; `whole` names those that are whole numbers.
    words:   shares of the values by column.   missing: share of rows without a value by column.
    larger:  every number is in the upper third.
    """
    columns: Columns = {}
    parts = []
    for name, quantiles in numbers.items():
        place = random.uniform(0.67 if larger else 0.0, 1.0, count)
        values = np.interp(place, np.linspace(0, 1, len(quantiles)), quantiles)
        columns[name] = values.round().astype(np.int64) if name in whole else values
        parts.append(3.5 * (place - 0.5))
    for name, shares in words.items():
        known = np.array(list(shares.values()))
        code = random.choice(len(known), count, p=known / known.sum())
        columns[name] = np.array(list(shares))[code].astype(object if isinstance(next(iter(shares)), str) else bool)
        parts.append((code - code.mean()) / max(1e-9, code.std()))
    weights = np.array([(-1) ** at / (1 + at) for at in range(len(parts))])
    signal = np.tensordot(weights / np.sqrt((weights**2).sum()), np.stack(parts), axes=1)
    for name, share in (missing or {}).items():
        gone = random.random(count) < share
        values = columns[name].astype(object)
        values[gone] = None
        columns[name] = values.astype(np.float64) if name in numbers else values
    return columns, signal
