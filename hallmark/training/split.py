"""Examples in three parts, such that the test part says what serving will see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.domain import Domain


@dataclass(frozen=True)
class Split:
    """The three parts, as frames with the columns they came with."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def split(domain: Domain, frame: pd.DataFrame, *, as_of: datetime | None = None, seed: int | None = None) -> Split:
    """`frame` in three parts, by event time or by entity, of what was known at `as_of`."""
    raise NotImplementedError
