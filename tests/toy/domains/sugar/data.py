"""People with diabetes, measured at a clinic: the table that scikit-learn ships, drawn from with a little noise."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from domains.sugar.features import FIELDS

PER_DAY = 60


def contract() -> Any:
    """The fields, who, when, and how far the disease went in a year."""
    from hallmark.data import contract as contracts

    extra = {
        "who": contracts.identity(),
        "at": contracts.time(),
        "progression": pa.Column("float64", contracts.between(0, 1000)),
    }
    return contracts.frame_schema(FIELDS, name="sugar", extra=extra)


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """`PER_DAY` rows a day; "larger" takes people of a high body mass only."""
    from sklearn.datasets import load_diabetes

    days = max(1, (end - start).days)
    random = np.random.default_rng([seed, int(start.timestamp()) // 86_400])
    table = load_diabetes(as_frame=True, scaled=False).frame
    if shift == "larger":
        table = table[table["bmi"] > table["bmi"].quantile(0.75)].reset_index(drop=True)
    chosen = random.integers(0, len(table), PER_DAY * days)
    frame = table.iloc[chosen].reset_index(drop=True).rename(columns={"target": "progression"})
    for name in ("bmi", "bp", "s5", "s6"):
        frame[name] = (frame[name] * random.normal(1, 0.02, len(frame))).round(3)
    at = pd.Timestamp(start) + pd.to_timedelta(np.sort(random.uniform(0, days, len(frame))), unit="D")
    frame["sex"] = np.where(frame["sex"] > 1, "b", "a").astype(object)
    frame["who"] = np.array([f"p{number}" for number in chosen], dtype=object)
    frame["at"] = pd.DatetimeIndex(at).as_unit("us")
    return frame[[field.name for field in FIELDS] + ["who", "at", "progression"]]


def read(source: Path) -> pd.DataFrame:
    """A Parquet or CSV file in the form that `draw` gives."""
    from hallmark.data import table

    kinds = {field.name: field.datatype for field in FIELDS}
    return table.read(source, {**kinds, "who": "BYTES", "at": "UTC", "progression": "FP64"})
