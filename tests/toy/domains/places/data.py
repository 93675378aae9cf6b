"""Rows of places: made up (synthetic.py), or your own Parquet or CSV (`--data`), and the contract that both keep."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from domains.places.features import FIELDS

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

KINDS = {field.name: field.datatype for field in FIELDS} | {
    "relevance": "INT64",
    "query": "BYTES",
    "at": "UTC",
}
"""How each column of a file is read: exactly, or refused by name, line and the option that would read it (docs/data.md)."""


def contract() -> pa.DataFrameSchema:
    """What every data set keeps: the request's fields, and the columns beside them. Columns that nobody names may be there."""
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="places",
        extra={
            "relevance": pa.Column("int64", contracts.between(0, 30)),
            "query": contracts.identity(),
            "at": contracts.time(),
        },
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Made-up rows from `start` until before `end`."""
    from domains.places.synthetic import rows

    return rows(start, end, seed=seed, shift=shift)


def read(source: Path) -> pd.DataFrame:
    """Your own rows: a Parquet or CSV file, or a folder of them. Join, filter and rename here."""
    from hallmark.data import table

    frame = table.read(source, KINDS)
    frame["query"] = frame["query"].astype(str).astype(object)
    return frame
