"""Made-up rows of finds: each column spread as in a small example, the answer a plain function of them with noise."""

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


def rows(start: datetime, end: datetime, *, seed: int, shift: str | None = None) -> pd.DataFrame:
    """`PER_DAY` rows for each day from `start` until before `end`."""
    import pandas as pd

    named = shifts.find(shift, among=SHIFTS, domain="finds")
    days = max(1, (end - start).days)
    random = np.random.default_rng([seed, int(start.timestamp()) // 86_400])
    columns, signal = spread.drawn(
        random, days * PER_DAY, numbers=NUMBERS, words=WORDS, whole=WHOLE, missing=MISSING, larger=named is LARGER
    )
    columns, unit = _answered(random, columns, signal)
    at = np.sort(random.uniform(0, days, int(unit.max()) + 1))[unit]
    times = pd.DatetimeIndex(pd.Timestamp(start) + pd.to_timedelta(at, unit="D"))
    columns["at"] = times.as_unit("us")
    return pd.DataFrame(columns)


ITEMS: tuple[str, ...] = (
    "i0",
    "i1",
    "i10",
    "i11",
    "i12",
    "i13",
    "i14",
    "i15",
    "i16",
    "i17",
    "i18",
    "i19",
    "i2",
    "i20",
    "i21",
    "i22",
    "i23",
    "i24",
    "i25",
    "i26",
    "i27",
    "i28",
    "i29",
    "i3",
    "i30",
    "i31",
    "i32",
    "i33",
    "i34",
    "i35",
    "i36",
    "i37",
    "i38",
    "i39",
    "i4",
    "i40",
    "i41",
    "i42",
    "i43",
    "i44",
    "i45",
    "i46",
    "i47",
    "i48",
    "i49",
    "i5",
    "i50",
    "i51",
    "i52",
    "i53",
    "i54",
    "i55",
    "i56",
    "i57",
    "i58",
    "i59",
    "i6",
    "i7",
    "i8",
    "i9",
)
RELEVANT = 8
"""Items that are relevant to a query."""


def _answered(
    random: np.random.Generator, columns: Columns, signal: NDArray[np.float64]
) -> tuple[Columns, NDArray[np.int64]]:
    """One row for each relevant item of a query, and which request it is: a query is asked in one record."""
    count = len(signal) // RELEVANT
    tastes = np.random.default_rng(0).normal(size=(len(ITEMS), 2))
    other = np.random.default_rng(1).normal(size=len(columns))
    coded = np.stack([_standard(values[:count]) for values in columns.values()])
    wanted = np.column_stack([signal[:count], np.tensordot(other, coded, axes=1)])
    fit = wanted @ tastes.T + random.normal(0, 0.3, (count, len(ITEMS)))
    best = np.argsort(-fit, axis=1, kind="stable")[:, :RELEVANT].ravel()
    unit = np.repeat(np.arange(count), RELEVANT)
    base = random.integers(1 << 40)
    told: Columns = {name: values[unit] for name, values in columns.items()}
    told["query"] = np.array([f"q{base + number}" for number in unit.tolist()], dtype=object)
    told["item"] = np.array(ITEMS, dtype=object)[best]
    return told | {"relevant": np.ones(len(unit), dtype=np.int64)}, unit


def _standard(values: NDArray[Any]) -> NDArray[np.float64]:
    code = np.unique(values.astype(str), return_inverse=True)[1] if values.dtype == object else values
    number = np.nan_to_num(np.asarray(code, dtype=np.float64))
    return (number - number.mean()) / max(1e-9, float(number.std()))
