"""Points on a plane."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa


def contract() -> Any:
    """Two numbers within bounds, a kind, who and when."""
    return pa.DataFrameSchema(
        {
            "a": pa.Column(float, pa.Check.in_range(-100, 100)),
            "b": pa.Column(float, pa.Check.in_range(-100, 100)),
            "kind": pa.Column(object, pa.Check.isin(["x", "y"])),
            "who": pa.Column(object),
            "above": pa.Column("int64", pa.Check.isin([0, 1])),
            "at": pa.Column("datetime64[us, UTC]"),
        },
        strict=True,
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """100 points a day."""
    days = max(1, (end - start).days)
    random = np.random.default_rng([seed, int(start.timestamp()) // 86400])
    count = 100 * days
    a, b = random.normal(0, 2, count), random.normal(0, 2, count)
    noise = random.normal(0, 0.5, count)
    at = pd.Timestamp(start) + pd.to_timedelta(np.sort(random.uniform(0, days, count)), unit="D")
    return pd.DataFrame(
        {
            "a": a,
            "b": b,
            "kind": random.choice(np.array(["x", "y"], dtype=object), count),
            "who": np.array([f"who-{n}" for n in random.integers(0, 400, count)], dtype=object),
            "above": (a + noise > b).astype("int64"),
            "at": pd.DatetimeIndex(at).astype("datetime64[us, UTC]"),
        }
    )


def read(source: Path) -> pd.DataFrame:
    """A Parquet file in the form that `draw` gives."""
    return pd.read_parquet(source)
