"""Source of what members looked at (the synthetic marketplace, or the team's own Parquet or CSV), as sequences, and their contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domains.recommendations.features import FACTS_OF_ITEMS, FIELDS, LONGEST, PLURALS, UNKNOWN, WORDS

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

NAMES = {"user": "member_id", "item": "item_id", "time": "shown_at"}
"""What public logs call the columns; either is read."""
_SECONDS = (10**8, 10**11)
"""Whole numbers in this range are seconds since 1970; a thousand times as many are milliseconds."""
_WRITTEN = "times of ISO 8601 with a zone; or, alike in every row, whole seconds or milliseconds since 1970, all their digits written"
_HELD_BACK, _FEWEST = 2, 3
"""How `split: last` parts them: the last two of each member with three or more are not learnt from."""
_NEW_MEMBER = 3
"""Items that a member looked at before, below which they count as new."""


def contract() -> pa.DataFrameSchema:
    """Contract of every data set: the last items before, the item that came next, whose session and when, and three slices.

    Rows with viewed of 0 tell of an item that can be recommended, and of nobody.
    """
    import pandera.pandas as pa

    from hallmark.data import contract as contracts

    return contracts.frame_schema(
        FIELDS,
        name="recommendations",
        extra={
            "session_id": contracts.identity(),
            "member_id": contracts.identity(),
            "item_id": contracts.identity(),
            "shown_at": contracts.time(),
            "viewed": pa.Column("int64", contracts.one_of((0, 1))),
            "category": contracts.identity(),
            "new_member": pa.Column("bool"),
            "new_item": pa.Column("bool"),
        },
    )


def draw(*, start: datetime, end: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Sequences of the synthetic marketplace's members, and the items that were for sale (domains.recommendations.synthetic)."""
    from domains.recommendations.synthetic import LOOK_BACK, items, views

    seen, stock = views(start, end, seed=seed, shift=shift), items(start, end, seed=seed, shift=shift)
    rows = sequences(seen, longest=timedelta(days=LOOK_BACK))
    return examples(rows[rows["shown_at"] >= start], stock)


def read(source: Path) -> pd.DataFrame:
    """The team's own log: a Parquet or CSV file, or a folder of them, with columns user, item and time (or member_id, item_id and shown_at).

    time: ISO 8601 with a zone, or whole seconds or milliseconds since 1970. Where there are category, brand, size, colour, condition, price or
    listed_at of the item, it is known by them too. Rows with a column viewed of 0 put an item into the catalogue that nobody looked at yet.
    """
    from hallmark.data import table

    kinds = dict.fromkeys(("user", "item", "member_id", "item_id", *WORDS), "BYTES") | {
        "price": "FP64",
        "viewed": "INT64",
    }
    frame = table.read(source, kinds)
    times = [name for name in ("time", "shown_at", "listed_at") if name in frame.columns]
    if written := [name for name in times if _counted(frame[name], name) is None]:
        frame = table.read(source, kinds | dict.fromkeys(written, table.TIME))
    frame = frame.rename(columns={old: new for old, new in NAMES.items() if new not in frame.columns})
    asked = [name for name in ("member_id", "item_id", "shown_at") if name not in frame.columns]
    if asked:
        raise _absent(asked, list(map(str, frame.columns)))
    frame["shown_at"] = moments(frame["shown_at"], "time" if "time" in times else "shown_at")
    if "listed_at" in frame.columns:
        frame["listed"] = _days(moments(frame["listed_at"], "listed_at"))
    facts = [name for name in FACTS_OF_ITEMS if name in frame.columns]
    for name in facts:
        frame[name] = frame[name].fillna(UNKNOWN if name in WORDS else 0)
    if "viewed" in frame.columns and not frame["viewed"].isin((0, 1)).all():
        wrong = frame["viewed"][~frame["viewed"].isin((0, 1))]
        raise _unread("viewed", "0 for an item that nobody looked at, 1 for a look, in every row", wrong)
    looked = frame["viewed"] > 0 if "viewed" in frame.columns else np.ones(len(frame), dtype=np.bool_)
    log = frame.loc[looked, ["member_id", "item_id", "shown_at", *facts]]
    stock = frame.sort_values("shown_at", kind="stable").drop_duplicates("item_id", keep="last")
    first = frame.groupby("item_id", sort=False)["shown_at"].min()
    stock = stock.assign(shown_at=stock["item_id"].map(first), seller_id="catalogue")
    return examples(sequences(log), stock[["item_id", "seller_id", "shown_at", *facts]])


def corpus(source: Path | None, *, at: datetime, seed: int, shift: str | None = None) -> pd.DataFrame:
    """Items that can be recommended at a time, by items@1: those for sale in the synthetic marketplace, or all of the team's own log."""
    import pandas as pd

    if source is None:
        from domains.recommendations.synthetic import items

        found = items(at - timedelta(hours=1), at, seed=seed, shift=shift)
    else:
        rows = read(source)
        rows = rows[rows["viewed"] == 0].reset_index(drop=True)
        told = {name: rows[f"recent_{PLURALS[name]}"] for name in FACTS_OF_ITEMS}
        found = pd.DataFrame(
            {"item_id": rows["item_id"]}
            | {name: [None if each is None else each[0] for each in lists] for name, lists in told.items()}
        )
    made = found[["item_id", *FACTS_OF_ITEMS]].reset_index(drop=True)
    return made.astype({"price": "float64", "listed": "Int64"} | dict.fromkeys(WORDS, object))


def moments(values: pd.Series, name: str = "time") -> pd.Series:
    """Times in UTC: of ISO 8601 with a zone, or of whole numbers, seconds or milliseconds since 1970; as they came where they are no numbers.

    `ContractBroken` where they are numbers of something else. name: of their column.
    """
    import pandas as pd

    from hallmark.data import table

    number = _counted(values, name)
    if number is None:
        return table.conformed(values, table.TIME)
    told = number.dropna()
    for times in (1, 1000):
        if not len(told) or (_SECONDS[0] * times <= told.min() and told.max() < _SECONDS[1] * times):
            return pd.to_datetime(number * (1000 // times), unit="ms", utc=True).dt.as_unit("us")
    raise _unread(name, _WRITTEN, told.sort_values())


def _counted(values: pd.Series, name: str) -> pd.Series | None:
    """Whole numbers, written 1300000000 or 1300000000.0, as Int64; none where they are no numbers; `ContractBroken` where some are not whole."""
    import pandas as pd
    import pyarrow as pa

    from hallmark.data import table
    from hallmark.data.exact import exact
    from hallmark.data.reading import ReadingOptions

    made = exact(pa.Array.from_pandas(values), "INT64", ReadingOptions())
    if made.bad is None:
        return pd.Series(made.values.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get), index=values.index)
    if table.conformed(values, "FP64").dtype.kind == "f":
        raise _unread(name, _WRITTEN, values[made.bad.to_numpy(zero_copy_only=False)])
    return None


def _days(times: pd.Series) -> pd.Series:
    """Days since 1970; 0 where there is no time."""
    import pandas as pd

    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise _unread("listed_at", _WRITTEN, times)
    return ((times - pd.Timestamp(0, tz="UTC")).dt.days.fillna(0)).astype("int64")


def _unread(name: str, expected: str, values: pd.Series) -> Exception:
    from hallmark.errors import ContractBroken

    got = " to ".join(dict.fromkeys(repr(each) for each in values.iloc[[0, -1]].tolist()))
    return ContractBroken(
        f"column {name} cannot be read", expected=expected, got=got, fix=f"write {name} so in every row of the file"
    )


def sequences(log: pd.DataFrame, *, longest: timedelta | None = None) -> pd.DataFrame:
    """The log in order of members and times, each row with what its member looked at before, the last 50, for as long as that is remembered.

    An item that a member looked at again counts once, at the first time. What happened at one moment is in the order of the rows.
    """
    log = log.sort_values("shown_at", kind="stable").drop_duplicates(["member_id", "item_id"])
    log = log.sort_values(["member_id", "shown_at"], kind="stable", ignore_index=True)
    if not len(log) or log["shown_at"].dtype == object:
        return log.assign(session_id="", recent_items=None)
    place = np.arange(len(log))
    fresh = np.append(True, log["member_id"].to_numpy()[1:] != log["member_id"].to_numpy()[:-1])
    first = np.maximum.accumulate(np.where(fresh, place, 0))
    start = np.maximum(first, place - LONGEST)
    if longest is not None:
        times = log["shown_at"].to_numpy("datetime64[s]").astype(np.int64) + (np.cumsum(fresh) << 36)
        start = np.maximum(start, np.searchsorted(times, times - int(longest.total_seconds())))
    made = {
        "session_id": [
            f"{who}/{number}" for who, number in zip(log["member_id"], (place - first).tolist(), strict=True)
        ]
    }
    told = {"recent_items": log["item_id"]} | {
        f"recent_{PLURALS[name]}": log[name] for name in FACTS_OF_ITEMS if name in log.columns
    }
    bounds = list(zip(start.tolist(), place.tolist(), strict=True))
    for name, values in told.items():
        array = values.to_numpy()
        made[name] = [array[a:b] for a, b in bounds]  # type: ignore[misc]
    return log.assign(**{name: _objects(values) for name, values in made.items()})


def examples(rows: pd.DataFrame, stock: pd.DataFrame) -> pd.DataFrame:
    """Sequences as examples, and one row for each item of `stock`, whose request is the item itself: so what is known of it is known."""
    import pandas as pd

    back = rows.groupby("member_id", sort=False).cumcount(ascending=False)
    held = (back < _HELD_BACK) & (rows.groupby("member_id", sort=False)["item_id"].transform("size") >= _FEWEST)
    learnt = set(rows.loc[~held, "item_id"]).union(
        *(each for each in rows.loc[~held, "recent_items"] if each is not None)
    )
    before = np.array([len(each) if each is not None else 0 for each in rows["recent_items"]], dtype=np.int64)
    looked = _columns(rows) | {"viewed": np.ones(len(rows), dtype=np.int64)}
    looked |= {"new_member": before < _NEW_MEMBER, "new_item": ~rows["item_id"].isin(learnt).to_numpy()}
    facts = [name for name in FACTS_OF_ITEMS if name in stock.columns]
    single = {
        f"recent_{PLURALS[name]}": _objects([stock[name].to_numpy()[n : n + 1] for n in range(len(stock))])
        for name in facts
    }
    single["recent_items"] = _objects([stock["item_id"].to_numpy()[n : n + 1] for n in range(len(stock))])
    offered = stock.rename(columns={"seller_id": "member_id"}).assign(**single)
    offered["session_id"] = "item/" + stock["item_id"].astype(str)
    told = _columns(offered) | {"viewed": np.zeros(len(stock), dtype=np.int64)}
    told |= {"new_member": np.zeros(len(stock), dtype=np.bool_), "new_item": ~stock["item_id"].isin(learnt).to_numpy()}
    made = pd.concat([pd.DataFrame(looked), pd.DataFrame(told)], ignore_index=True)
    return made.astype({"new_member": bool, "new_item": bool, "viewed": "int64"})


def _columns(rows: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {name: rows[name].to_numpy() for name in ("session_id", "member_id", "item_id")}
    found["shown_at"] = rows["shown_at"].reset_index(drop=True)
    found["category"] = rows["category"].to_numpy() if "category" in rows else np.full(len(rows), UNKNOWN, dtype=object)
    for field in FIELDS:
        found[field.name] = (
            rows[field.name].to_numpy() if field.name in rows else np.full(len(rows), None, dtype=object)
        )
    return found


def _objects(values: list[Any]) -> NDArray[Any]:
    return np.fromiter(values, dtype=np.object_, count=len(values))


def _absent(asked: list[str], there: list[str]) -> Exception:
    from hallmark.errors import ContractBroken

    names: Mapping[str, str] = {new: old for old, new in NAMES.items()}
    return ContractBroken(
        f"there is no column {names[asked[0]]}",
        expected="user, item and time, or " + ", ".join(NAMES.values()),
        got=", ".join(there),
        fix=f"name yours in data.yaml beside the file: names: {{theirs: {names[asked[0]]}}}",
    )
