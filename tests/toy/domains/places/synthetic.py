"""Made-up rows of places: each column spread as in a small example, the answer a plain function of them with noise."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthetic import shifts

if TYPE_CHECKING:
    import pandas as pd

LARGER = shifts.Shift(name="larger", description="Every number is in the upper third of what was seen.")
SHIFTS = (LARGER,)
PER_DAY = 200
NUMBERS: dict[str, tuple[float, ...]] = {
    "size": (
        6.52,
        14.28,
        17.38,
        19.65,
        21.25,
        23.3,
        25.16,
        27.1,
        28.68,
        30.27,
        31.95,
        33.06,
        34.98,
        37.4,
        40.07,
        43.97,
        47.85,
        52.35,
        58.63,
        70.98,
        119.8,
    ),
    "age_days": (
        0.0,
        21.95,
        42.0,
        63.85,
        82.0,
        101.0,
        119.0,
        137.7,
        153.0,
        174.0,
        192.5,
        213.0,
        238.0,
        260.0,
        277.0,
        293.0,
        316.0,
        335.0,
        354.0,
        377.0,
        399.0,
    ),
    "rating": (
        1.0,
        1.2,
        1.4,
        1.685,
        1.9,
        2.075,
        2.27,
        2.5,
        2.7,
        2.9,
        3.1,
        3.3,
        3.5,
        3.7,
        3.9,
        4.1,
        4.3,
        4.4,
        4.6,
        4.8,
        5.0,
    ),
}
"""Of each number, evenly spaced quantiles."""
WORDS: dict[str, dict[Any, float]] = {
    "category": {"coats": 0.2017, "dresses": 0.3267, "jeans": 0.3767, "shoes": 0.095},
    "is_new": {False: 0.6817, True: 0.3183},
}
"""Of each other field, its values with their shares."""
WHOLE = frozenset(("age_days",))
MISSING: dict[str, float] = {}
"""Shares of rows without a value."""

Rows = dict[str, NDArray[Any]]


def rows(start: datetime, end: datetime, *, seed: int, shift: str | None = None) -> pd.DataFrame:
    """`PER_DAY` rows for each day from `start` until before `end`."""
    import pandas as pd

    named = shifts.find(shift, among=SHIFTS, domain="places")
    days = max(1, (end - start).days)
    random = np.random.default_rng([seed, int(start.timestamp()) // 86_400])
    columns, signal = _drawn(random, days * PER_DAY, larger=named is LARGER)
    columns, unit = _answered(random, columns, signal)
    at = np.sort(random.uniform(0, days, int(unit.max()) + 1))[unit]
    times = pd.DatetimeIndex(pd.Timestamp(start) + pd.to_timedelta(at, unit="D"))
    columns["at"] = times.as_unit("us")
    return pd.DataFrame(columns)


def _drawn(random: np.random.Generator, count: int, *, larger: bool) -> tuple[Rows, NDArray[np.float64]]:
    """The fields of `count` records, and what their answer hangs on: about 0 on the mean, with a deviation of about 1."""
    columns: Rows = {}
    parts = []
    for name, quantiles in NUMBERS.items():
        place = random.uniform(0.67 if larger else 0.0, 1.0, count)
        values = np.interp(place, np.linspace(0, 1, len(quantiles)), quantiles)
        columns[name] = values.round().astype(np.int64) if name in WHOLE else values
        parts.append(3.5 * (place - 0.5))
    for name, shares in WORDS.items():
        known = np.array(list(shares.values()))
        code = random.choice(len(known), count, p=known / known.sum())
        columns[name] = np.array(list(shares))[code].astype(object if isinstance(next(iter(shares)), str) else bool)
        parts.append((code - code.mean()) / max(1e-9, code.std()))
    weights = np.array([(-1) ** at / (1 + at) for at in range(len(parts))])
    signal = np.tensordot(weights / np.sqrt((weights**2).sum()), np.stack(parts), axes=1)
    for name, share in MISSING.items():
        gone = random.random(count) < share
        columns[name] = np.where(gone, None, columns[name].astype(object))
        if name in NUMBERS:
            columns[name] = columns[name].astype(np.float64)
    return columns, signal


SIZE = 8
"""Rows of a query."""


def _answered(
    random: np.random.Generator, columns: Rows, signal: NDArray[np.float64]
) -> tuple[Rows, NDArray[np.int64]]:
    """Query and relevance (0 to 2) of each row, and which request it is a record of: all rows of a query come in one."""
    query = np.arange(len(signal)) // SIZE
    noisy = signal + random.normal(0, 0.4, len(signal))
    relevance = (noisy > 0.8).astype(np.int64) + (noisy > 1.6)
    base = random.integers(1 << 40)
    names = np.array([f"q{base + number}" for number in query.tolist()], dtype=object)
    return columns | {"query": names, "relevance": relevance}, query
