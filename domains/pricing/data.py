"""Source of listings (the synthetic marketplace, or the team's own Parquet or CSV) with what became of each, and their contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domains.pricing.features import FIELDS, LONGEST, NUMBERS
from hallmark.errors import ContractBroken

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

HORIZON = timedelta(days=14)
"""An item is on offer for so long before its label is final: `data.label_delay` of domain.yaml."""
TIMES = ("listed_at", "sold_at", "unlisted_at")
_OWN = ("item_id", "seller_id", "price", "asked", *TIMES)
_UNDATED = datetime(2026, 1, 1, tzinfo=UTC)
_SPREAD = timedelta(days=120)
_TEXT_WORDS = 6.0
"""Words of a value on average, from which a column that nobody declared is free text."""
_CURRENCY = frozenset({"currency", "price currency", "currency code", "currency id"})
_FEWEST_ROWS, _UNSURE, _FEW_VALUES, _TELLS = 200, 0.02, 50, 0.995
"""Of facts that tell whether an item was sold: rows to judge by, share of the rarer outcome, values that a fact has at most, and rows told."""
_RARE = 0.5
"""Share of values that are one of a kind, above which an undeclared column of words says who, not what."""


def contract() -> pa.DataFrameSchema:
    """Contract of every data set of listings: an item's facts, whose and since when, for how much, and whether it was sold.

    price: what it was sold for; of an item that nobody bought, what was asked for it last.  asked: what was asked for it.
    days:  for how long it was on offer.  dated: whether the data says when items were listed and sold.
    """
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="pricing",
        extra={
            "seller_id": contracts.identity(),
            "listed_at": contracts.time(),
            "sold_at": contracts.time(nullable=True),
            "price": pa.Column("float64", [contracts.finite(), contracts.between(0.01, 1e9)]),
            "asked": pa.Column("float64", [contracts.finite(), contracts.between(0.01, 1e9)]),
            "days": pa.Column("float64", contracts.between(0, 36_500)),
            "unsold": pa.Column("bool"),
            "dated": pa.Column("float64", contracts.one_of((0.0, 1.0))),
        },
        checks=[contracts.later("sold_at", than="listed_at", within=timedelta(days=36_500))],
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Listings of the synthetic marketplace with what became of them (domains.pricing.synthetic)."""
    from domains.pricing.synthetic import sales

    return told(sales(start, end, seed=seed, shift=shift))


def read(source: Path) -> pd.DataFrame:
    """The team's own listings: a Parquet or CSV file, or a folder of them, with a price, and whatever else is known of the items.

    listed_at, sold_at (empty: not sold) and unlisted_at (empty: still on offer) say when; without a sold_at all count as sold and no
    chance of sale is learnt; without a listed_at neither, and rows are parted at random. asked: where things go for another price than is
    asked. Columns that FIELDS does not name are facts too (docs/data.md), but for one that tells what became of an item.
    """
    from hallmark.data import table

    kinds: dict[str, str] = {field.name: field.datatype for field in FIELDS if not field.shape}
    kinds |= {"seller_id": "BYTES", "price": "FP64", "asked": "FP64"} | dict.fromkeys(TIMES, table.TIME)
    return told(table.read(source, kinds))


def told(frame: pd.DataFrame) -> pd.DataFrame:
    """Listings with all columns of the contract: what is not there is missing, and further columns are facts by name."""
    import pandas as pd

    rows = len(frame)
    if "price" not in frame.columns:
        raise ContractBroken(
            "there is no column price",
            expected="price: what an item was sold for, or asked for last; every other column may be missing",
            got=", ".join(map(str, frame.columns)),
            fix="name yours in data.yaml beside the file: names: {theirs: price}",
        )
    made: dict[str, Any] = {}
    for field in FIELDS:
        if not field.shape:
            made[field.name] = frame[field.name] if field.name in frame.columns else _nothing(rows, field.name)
    made["seller_id"] = (
        frame["seller_id"].astype(object).where(frame["seller_id"].notna(), "unknown")
        if "seller_id" in frame.columns
        else np.array([f"row {number}" for number in range(rows)], dtype=object)
    )
    made["price"] = frame["price"]
    made["asked"] = (
        frame["asked"].where(frame["asked"].notna(), frame["price"]) if "asked" in frame.columns else frame["price"]
    )
    made |= _when(frame)
    if "fact_names" in frame.columns and "fact_values" in frame.columns:
        made |= {name: frame[name] for name in ("fact_names", "fact_values")}
    else:
        others = [str(name) for name in frame.columns if name not in made and name not in _OWN]
        texts, named = _parted(frame, others)
        _one_currency(frame, named)
        _nothing_of_later(frame, named, np.asarray(made["unsold"]))
        for name in texts:
            made["description"] = _joined(made["description"], frame[name])
        made |= _pairs(frame, named)
    return pd.DataFrame(made)


def _when(frame: pd.DataFrame) -> dict[str, Any]:
    """When each item was listed and sold, for how long it was on offer, and whether the data says so."""
    import pandas as pd

    rows, known = len(frame), {name: frame[name] for name in TIMES if name in frame.columns}
    never = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]")
    sold = known.get("sold_at", never)
    listed = known.get("listed_at")
    if listed is None:
        place = np.random.default_rng(0).permutation(rows) / max(1, rows)
        first = pd.Timestamp(_UNDATED - _SPREAD)
        listed = pd.Series(first + pd.to_timedelta(place * _SPREAD.days, unit="D"), index=frame.index)
        listed = listed.astype("datetime64[us, UTC]")
        unsold = sold.isna().to_numpy() if "sold_at" in known else np.zeros(rows, dtype=np.bool_)
        return {"listed_at": listed, "sold_at": never, "days": np.zeros(rows), "unsold": unsold, "dated": 0.0}
    dated = "sold_at" in known and all(isinstance(each.dtype, pd.DatetimeTZDtype) for each in known.values())
    if not dated:
        return {
            "listed_at": listed,
            "sold_at": sold,
            "days": np.zeros(rows),
            "unsold": np.zeros(rows, dtype=np.bool_),
            "dated": 0.0,
        }
    last = max(each.max() for each in (listed, sold) if each.notna().any())
    gone = sold.fillna(known.get("unlisted_at", never)).fillna(last)
    days = ((gone - listed).dt.total_seconds() / 86_400).clip(lower=0.0).to_numpy()
    return {"listed_at": listed, "sold_at": sold, "days": days, "unsold": sold.isna().to_numpy(), "dated": 1.0}


def _one_currency(frame: pd.DataFrame, named: list[str]) -> None:
    """`ContractBroken` where prices are in several currencies: as one column of numbers they mean nothing."""
    for name in named:
        if name.lower().replace("_", " ") not in _CURRENCY:
            continue
        found = sorted({str(each).strip().upper() for each in frame[name].dropna().tolist()})
        if len(found) > 1:
            raise ContractBroken(
                f"prices are in {len(found)} currencies, by column {name}",
                expected="prices in one currency",
                got=", ".join(found[:5]),
                fix="convert them at the rate of their day, or train on a file of one currency",
            )


def _nothing_of_later(frame: pd.DataFrame, named: list[str], unsold: NDArray[np.bool_]) -> None:
    """`ContractBroken` where a fact alone tells whether an item was sold, such as its status today: of a new item nobody knows that."""
    rows, share = len(unsold), float(unsold.mean()) if unsold.size else 0.0
    if rows < _FEWEST_ROWS or not _UNSURE < share < 1 - _UNSURE:
        return
    for name in named:
        values = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
        if values.nunique() > _FEW_VALUES:
            continue
        counts = values.to_frame("value").assign(unsold=unsold).groupby("value")["unsold"].agg(["sum", "count"])
        told = float(np.maximum(counts["sum"], counts["count"] - counts["sum"]).sum()) / rows
        if told > _TELLS:
            raise ContractBroken(
                f"column {name} alone tells whether an item was sold",
                expected="facts that are known when an item is listed",
                got=f"{told:.1%} of rows told by it, such as {', '.join(map(repr, counts.index[:3]))}",
                fix=f"take {name} out of the file; what sold_at is empty for is unsold",
            )


def _nothing(rows: int, name: str) -> NDArray[Any]:
    return np.full(rows, np.nan) if name in NUMBERS else np.full(rows, None, dtype=object)


def _parted(frame: pd.DataFrame, names: list[str]) -> tuple[list[str], list[str]]:
    """Undeclared columns that are free text, and those that are facts; what names a row, a place or a moment is neither."""
    texts, facts = [], []
    for name in names:
        values = frame[name].dropna()
        if not len(values) or values.dtype.kind == "M":
            continue
        if values.dtype.kind in "biuf":
            facts.append(name)
            continue
        words = values.astype(str)
        few = words.sample(min(len(words), 2000), random_state=0)
        if few.str.count(r"\s").mean() + 1 >= _TEXT_WORDS:
            texts.append(name)
        elif few.nunique() <= max(50, _RARE * len(few)) or _numeric(few):
            facts.append(name)
    return texts, facts[:LONGEST]


def _numeric(words: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.to_numeric(words, errors="coerce").notna().mean() > 0.95)


def _joined(first: Any, second: pd.Series) -> NDArray[Any]:
    """(n,) two texts behind each other."""
    both = zip(first.tolist(), second.tolist(), strict=True)
    parts = [" ".join(str(each) for each in pair if isinstance(each, str) and each) for pair in both]
    return np.array([*(part or None for part in parts), None], dtype=object)[:-1]


def _pairs(frame: pd.DataFrame, named: list[str]) -> dict[str, NDArray[Any]]:
    """`fact_names` and `fact_values`, (n,) lists of those that a row has."""
    columns = {name: _written(frame[name]) for name in named}
    names = np.empty(len(frame), dtype=object)
    values = np.empty(len(frame), dtype=object)
    short = [name[:LONGEST] for name in named]
    for row, told_of in enumerate(zip(*columns.values(), strict=True) if named else iter([()] * len(frame))):
        there = [place for place, value in enumerate(told_of) if value is not None]
        names[row], values[row] = [short[place] for place in there], [told_of[place] for place in there]
    return {"fact_names": names, "fact_values": values}


def _written(values: pd.Series) -> list[str | None]:
    """Each value as a request would have it; None where it is missing."""
    known: dict[Any, str | None] = {}
    found = []
    for value in values.tolist():
        if value not in known:
            missing = value is None or value != value
            text = "" if missing else (f"{value:.10g}" if isinstance(value, float) else str(value).strip()[:LONGEST])
            known[value] = text or None
        found.append(known[value])
    return found
