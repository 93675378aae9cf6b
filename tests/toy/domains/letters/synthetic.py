"""Made-up rows of letters: each column spread as in a small example, the answer a plain function of them with noise."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthetic import shifts, spread
from synthetic.spread import Columns

if TYPE_CHECKING:
    import pandas as pd

LARGER = shifts.Shift(name="larger", description="Every number is in the upper third of what was seen.")
SHIFTS = (LARGER,)
PER_DAY = 150
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


def rows(start: datetime, end: datetime, *, seed: int, shift: str | None = None) -> pd.DataFrame:
    """`PER_DAY` rows for each day from `start` until before `end`."""
    import pandas as pd

    named = shifts.find(shift, among=SHIFTS, domain="letters")
    days = max(1, (end - start).days)
    random = np.random.default_rng([seed, int(start.timestamp()) // 86_400])
    columns, signal = spread.drawn(
        random, days * PER_DAY, numbers=NUMBERS, words=WORDS, whole=WHOLE, missing=MISSING, larger=named is LARGER
    )
    columns, unit = _answered(random, columns, signal)
    who = random.integers(0, max(2, len(unit) // 4), int(unit.max()) + 1)[unit]
    columns["customer"] = np.array([f"e{number}" for number in who.tolist()], dtype=object)
    at = np.sort(random.uniform(0, days, int(unit.max()) + 1))[unit]
    times = pd.DatetimeIndex(pd.Timestamp(start) + pd.to_timedelta(at, unit="D"))
    columns["at"] = times.as_unit("us")
    return pd.DataFrame(columns)


TREATED = 0.497
"""Chance of the treatment, by lot."""


def _answered(
    random: np.random.Generator, columns: Columns, signal: NDArray[np.float64]
) -> tuple[Columns, NDArray[np.int64]]:
    """Treatment and outcome (1 or 0) of each row, and which request it would be a record of."""
    treated = (random.random(len(signal)) < TREATED).astype(np.int64)
    chance = 0.4 + 0.3 * treated * np.tanh(1.5 * signal)
    outcome = (random.random(len(signal)) < chance).astype(np.int64)
    told = columns | {"treated": treated, "outcome": outcome.astype(np.float64)}
    return told, np.arange(len(signal))
