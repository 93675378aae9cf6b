"""A domain of seconds, for tests of what goes on around a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns, Field

FIELDS = (
    Field(name="a", datatype="FP64", minimum=-100, maximum=100),
    Field(name="b", datatype="FP64", minimum=-100, maximum=100),
    Field(name="kind", datatype="BYTES", categories=("x", "y")),
)


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, 2): a and b."""
    return np.column_stack([columns["a"], columns["b"]]).astype(np.float32)


def observe(columns: Columns) -> Columns:
    """The raw fields."""
    return columns
