"""Source of inspected items (the synthetic marketplace, or the team's own Parquet), and their contract."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from domains.authentication.features import FIELDS

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

SHEET = ("stitch_pitch", "logo_kerning", "hardware_tone", "grain")
"""What an expert measures of an item, each as its place from 0 to 1 in the range that there is of it."""
LATEST = timedelta(days=14)
"""An expert's answer comes within this of the item."""


def contract() -> pa.DataFrameSchema:
    """Contract of every data set of items: what a request holds, who sells it, what an expert found and measured, and when."""
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="authentication",
        extra={
            "item_id": contracts.identity(unique=True),
            "seller_id": contracts.identity(),
            "listed_at": contracts.time(),
            "counterfeit": pa.Column("int64", contracts.one_of((0, 1))),
            "inspected_at": contracts.time(),
            **{name: pa.Column("float64", [contracts.finite(), contracts.between(-1, 2)]) for name in SHEET},
        },
        checks=[contracts.later("inspected_at", than="listed_at", within=LATEST)],
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Items of the synthetic marketplace, one row each, with what an expert found (domains.authentication.synthetic)."""
    from domains.authentication.synthetic import items

    return items(start, end, seed=seed, shift=shift)


def read(source: Path) -> pd.DataFrame:
    """The team's own items: a Parquet file, or a folder of them, with the columns that the contract names; photos are lists of files' bytes."""
    import pandas as pd

    from hallmark.data import dataset
    from hallmark.errors import NotFound

    files = [source] if source.is_file() else sorted(source.glob("*.parquet"))
    if not files:
        raise NotFound("there are no items here", expected="a Parquet file, or a folder of them", got=source.name)
    return pd.concat([dataset.read(each) for each in files], ignore_index=True)
