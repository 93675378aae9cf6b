"""Stripes, told by a few numbers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

WAYS = ("across", "along", "slanted")
PER_DAY = 20


def contract() -> Any:
    """Direction, width and contrast of the shapes, and their owners."""
    return pa.DataFrameSchema(
        {
            "angle": pa.Column(float, pa.Check.in_range(-4, 4)),
            "width": pa.Column(float, pa.Check.in_range(1, 10)),
            "grain": pa.Column("int64"),
            "pale": pa.Column("int64", pa.Check.isin([0, 1])),
            "who": pa.Column(object),
            "way": pa.Column(object, pa.Check.isin(WAYS)),
        },
        strict=True,
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """`PER_DAY` of them for each day."""
    count = PER_DAY * max(1, (end - start).days)
    random = np.random.default_rng(seed)
    way = random.integers(0, 3, count)
    # Turned by half a circle or not, which stripes do not show: else the angle alone would tell the answer.
    half = np.pi * np.random.default_rng(seed + 1).integers(-1, 1, count)
    return pd.DataFrame(
        {
            "angle": np.array([0.0, np.pi / 2, np.pi / 4])[way] + half + random.normal(0, 0.12, count),
            "width": random.uniform(3, 6, count),
            "grain": random.integers(0, 1 << 30, count),
            "pale": random.integers(0, 2, count),
            "who": np.array([f"who-{n}" for n in random.integers(0, 150, count)], dtype=object),
            "way": np.array(WAYS, dtype=object)[way],
        }
    )


def read(source: Path) -> pd.DataFrame:
    """A Parquet file in the form that `draw` gives."""
    return pd.read_parquet(source)
