"""Source of orders (the synthetic marketplace, or the team's own Parquet or CSV), and their contract."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from domains.fraud.features import FIELDS

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

ORDERS = "orders@1"
LATEST = timedelta(days=30)
"""A chargeback comes within this of its order."""


def contract() -> pa.DataFrameSchema:
    """Contract of every data set of orders: the model's fields, who and whence, the time, and a label that agrees with its time."""
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="fraud",
        extra={
            "order_id": contracts.identity(unique=True),
            "buyer_id": contracts.identity(),
            "device_id": contracts.identity(nullable=True),
            "ip": contracts.identity(),
            "ordered_at": contracts.time(),
            "fraud": pa.Column("int64", contracts.one_of((0, 1))),
            "charged_back_at": contracts.time(nullable=True),
        },
        checks=[
            contracts.present("charged_back_at", where="fraud"),
            contracts.later("charged_back_at", than="ordered_at", within=LATEST),
        ],
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Orders of the synthetic marketplace, one row each, with their labels (domains.fraud.synthetic)."""
    from domains.fraud.synthetic import orders

    return orders(start, end, seed=seed, shift=shift)


def events(source: str, *, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Events of the synthetic marketplace's orders, of which feature views know what was before an order."""
    from domains.fraud.synthetic import order_events
    from hallmark.errors import DeclarationError

    if source != ORDERS:
        raise DeclarationError("the synthetic marketplace has no such source", expected=ORDERS, got=source)
    return order_events(start, end, seed=seed, shift=shift)


def read(source: Path) -> pd.DataFrame:
    """The team's own orders: a Parquet or CSV file, or a folder of them, with the columns that the contract names."""
    from hallmark.data import table

    kinds = {field.name: field.datatype for field in FIELDS}
    names = dict.fromkeys(("order_id", "buyer_id", "device_id", "ip"), "BYTES")
    times = dict.fromkeys(("ordered_at", "charged_back_at"), table.TIME)
    return table.read(source, {**kinds, **names, "fraud": "INT64", **times})
