"""A person as a clinic knows them: a domain of seconds whose answer is a number with its quantiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns, Field

FIELDS: tuple[Field, ...] = (
    Field(name="age", datatype="FP64", minimum=0, maximum=120),
    Field(name="sex", datatype="BYTES", categories=("a", "b")),
    Field(name="bmi", datatype="FP64", minimum=5, maximum=100),
    Field(name="bp", datatype="FP64", minimum=20, maximum=250),
    Field(name="s5", datatype="FP64", minimum=0, maximum=20),
    Field(name="s6", datatype="FP64", minimum=0, maximum=400),
)


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, 6) float32: numbers as they are, sex as 1 for b."""
    parts = [columns[field.name] == "b" if field.categories else columns[field.name] for field in FIELDS]
    return np.stack(parts, axis=1).astype(np.float32)


def observe(columns: Columns) -> Columns:
    """The raw fields."""
    return columns
