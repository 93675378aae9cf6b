"""What a request of letters holds, and how the model reads it: only what is known before the answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns, Field

FIELDS: tuple[Field, ...] = (
    Field(name="size", datatype="FP64", minimum=0, maximum=240),
    Field(name="age_days", datatype="INT64", minimum=0, maximum=800),
    Field(name="rating", datatype="FP64", minimum=0, maximum=9),
    Field(name="category", datatype="BYTES", categories=("coats", "dresses", "jeans", "shoes")),
    Field(name="is_new", datatype="BOOL"),
)


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, k) float32: numbers as they are, true as 1, one column a category; a missing number is NaN, a missing word no category."""
    parts: list[NDArray[np.float32]] = []
    for field in FIELDS:
        values = columns[field.name]
        parts += [values == each for each in field.categories] if field.categories else [values]
    return np.stack(parts, axis=1).astype(np.float32)


def observe(columns: Columns) -> Columns:
    """What the drift monitor watches of a request: every field."""
    return {field.name: columns[field.name] for field in FIELDS}
