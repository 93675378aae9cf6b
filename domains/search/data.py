"""Source of searches (the synthetic marketplace, or the team's own log as Parquet or CSV), and their contract."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domains.search.features import FIELDS, ITEM, LATEST

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

DEEPEST = 1000
HEAD = 0.5
"""Share of all searches that the commonest queries, the head, make up together."""


def contract() -> pa.DataFrameSchema:
    """Contract of every log of searches: a row for each item that was shown, at which place, and whether it was clicked.

    look, demand, at: told from the log (`read`), not written in it.  relevance: what people judged, or the synthetic marketplace knows.
    """
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="search",
        extra={
            "query_id": contracts.identity(),
            "item_id": contracts.identity(),
            "searched_at": contracts.time(),
            "position": pa.Column("int64", contracts.between(1, DEEPEST)),
            "clicked": pa.Column("int64", contracts.one_of((0, 1))),
            "look": pa.Column("float64", contracts.between(0, 1)),
            "at": pa.Column("float64", contracts.between(0, LATEST)),
            "demand": pa.Column("object", contracts.one_of(("head", "tail"))),
            "relevance": pa.Column("int64", contracts.between(0, 4), required=False),
        },
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Searches of the synthetic marketplace, one row an item that was shown (domains.search.synthetic)."""
    from domains.search.synthetic import searches

    return _told(searches(start, end, seed=seed, shift=shift))


def corpus(source: Path | None, *, at: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Items that answers are taken from at a time, by listings@1: those of the synthetic marketplace, or of the team's own.

    source: a folder with `searches` and `listings`, each .parquet, .csv or a folder of those; of a log alone, the items that were
            ever shown in it, as they were last.
    """
    if source is None:
        from domains.search.synthetic import corpus as items

        return items(at, seed=seed)[0]
    import pandas as pd

    from hallmark.data import table

    if stock := _part(source, "listings"):
        return table.read(
            stock, {**{field.name: str(field.datatype) for field in ITEM}, "item_id": "BYTES", "listed_at": table.TIME}
        )
    shown = read(source).sort_values("searched_at", kind="stable").drop_duplicates("item_id", keep="last")
    listed = shown["searched_at"] - pd.to_timedelta(shown["item_age_days"], unit="D")
    return shown.assign(listed_at=listed).reset_index(drop=True)


def read(source: Path) -> pd.DataFrame:
    """The team's own log: a Parquet or CSV file, or a folder of them, with the columns that the contract names; or one with `searches`.

    `relevance` may be there. How likely each place is looked at, and which queries are common, is told from the log itself.
    """
    from hallmark.data import contract as contracts
    from hallmark.data import table

    kinds: dict[str, str] = {field.name: str(field.datatype) for field in FIELDS}
    names = dict.fromkeys(("query_id", "item_id"), "BYTES")
    whole = dict.fromkeys(("position", "clicked", "relevance"), "INT64")
    frame = table.read(_part(source, "searches") or source, {**kinds, **names, **whole, "searched_at": table.TIME})
    written = contract().remove_columns(["look", "demand", "at"])
    if contracts.breaches(written, frame):  # training names those; nothing can be told from such a log
        return frame.assign(look=1.0, demand="tail", at=0.0)
    return _told(frame)


def _part(source: Path, name: str) -> Path | None:
    """The file or folder of this name in a folder; none where there is none."""
    found = (source / each for each in (name, f"{name}.parquet", f"{name}.csv"))
    return next((each for each in found if each.exists()), None) if source.is_dir() else None


def _told(frame: pd.DataFrame) -> pd.DataFrame:
    """The log with what it tells as a whole: how likely each place is looked at, and whether a query is of the head or the tail."""
    from domains.search.features import encode
    from hallmark.features import text
    from hallmark.learners import click_model
    from hallmark.learners.model import columns

    position = frame["position"].to_numpy(dtype=np.int64)
    numbers = encode(columns(frame, FIELDS))["numbers"]
    looks = click_model.looks(position, frame["clicked"].to_numpy(dtype=np.float64), numbers)
    words = {each: text.plain(each) for each in frame["query"].unique()}
    asked = frame["query"].map(words)
    once = asked[~frame["query_id"].duplicated()].value_counts()
    before = once.cumsum() - once
    head = before.index[before < HEAD * once.sum()]
    demand = np.where(asked.isin(head), "head", "tail").astype(object)
    at = frame["searched_at"].astype("datetime64[us, UTC]").astype("int64") / 1_000_000
    return frame.assign(look=looks[position - 1], demand=demand, at=at)
