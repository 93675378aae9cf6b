"""Source of campaigns (the synthetic marketplace, or the team's own Parquet or CSV), and their contract."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from domains.marketing.features import FIELDS

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa


def contract() -> pa.DataFrameSchema:
    """Contract of every log of campaigns: what was known of a member, whether the message went out and how likely that was, what came of it.

    propensity: of what the row got; a log without it says a declared share instead (docs/decisions/0050).
    uplift:     the true one, which only the synthetic marketplace knows.
    """
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="marketing",
        extra={
            "member_id": contracts.identity(),
            "written_at": contracts.time(),
            "written": pa.Column("int64", contracts.one_of((0, 1))),
            "propensity": pa.Column("float64", contracts.between(0, 1), required=False),
            "bought": pa.Column("int64", contracts.one_of((0, 1))),
            "spent": pa.Column("float64", contracts.between(0, None), required=False),
            "uplift": pa.Column("float64", contracts.between(-1, 1), required=False),
        },
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Campaigns of the synthetic marketplace, one row a member who could have been written to (domains.marketing.synthetic)."""
    from domains.marketing.synthetic import letters

    return letters(start, end, seed=seed, shift=shift)


def read(source: Path) -> pd.DataFrame:
    """The team's own log: a Parquet or CSV file, or a folder of them, with the columns that the contract names."""
    from hallmark.data import table

    kinds = {field.name: field.datatype for field in FIELDS}
    whole = dict.fromkeys(("written", "bought"), "INT64")
    numbers = dict.fromkeys(("propensity", "spent"), "FP64")
    return table.read(source, {**kinds, **whole, **numbers, "member_id": "BYTES", "written_at": table.TIME})
