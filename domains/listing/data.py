"""Source of photos (the synthetic marketplace, or the team's own `images.csv` and `images/`), and their contract."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from domains.listing.features import FIELDS

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

LABELS = (
    "Blazer",
    "Blouse",
    "Body",
    "Dress",
    "Hat",
    "Hoodie",
    "Longsleeve",
    "Outwear",
    "Pants",
    "Polo",
    "Shirt",
    "Shoes",
    "Shorts",
    "Skirt",
    "T-Shirt",
    "Top",
    "Undershirt",
)
PER_DAY = 8
"""Synthetic photos a day."""
_DAY = 86_400


def contract() -> pa.DataFrameSchema:
    """Contract of every data set of photos: a photo that can be decoded, its sender, and one of 17 garments."""
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="listing",
        extra={
            "name": contracts.identity(unique=True),
            "sender_id": contracts.identity(),
            "label": pa.Column("object", contracts.one_of(LABELS)),
            "kids": pa.Column("bool"),
        },
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Drawn photos of garments, `PER_DAY` for each day of the window, with their labels (domains.listing.synthetic)."""
    from domains.listing.synthetic import photos

    first, last = int(start.timestamp() // _DAY), -int(-end.timestamp() // _DAY)
    return photos(max(0, last - first) * PER_DAY, seed=seed, shift=shift, first=first * PER_DAY)


def read(source: Path) -> pd.DataFrame:
    """The team's own photos: a folder with `images.csv` and `images/`, or a data set that Hallmark wrote."""
    from hallmark.data import album

    return album.read(source)
