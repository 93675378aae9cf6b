"""Where orders come from: the synthetic marketplace, or the team's own Parquet or CSV."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Orders of the synthetic marketplace, one row each, with their labels (hallmark.data.orders)."""
    from hallmark.data.orders import orders

    return orders(start, end, seed=seed, shift=shift)
