"""The contract of searches: what the marketplace draws keeps it, a team's own log arrives as it was, and each breach is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domains.search import data
from hallmark.data import contract, dataset
from hallmark.errors import ContractBroken
from hallmark.training import source

START = datetime(2026, 7, 1, tzinfo=UTC)
END = START + timedelta(hours=12)
NOW = datetime(2026, 9, 1, tzinfo=UTC)
TOLD = ["look", "demand", "at"]


@cache
def log() -> pd.DataFrame:
    return source.load("search", source=source.SYNTHETIC, start=START, end=END, seed=7)


def arrives(frame: pd.DataFrame, folder: Path, *, name: str = "log.parquet") -> pd.DataFrame:
    """Training's view of a team's own file with `frame` in it."""
    path = folder / name
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    else:
        dataset.write(frame, path)
    loaded = source.load("search", source=str(path), start=START, end=END, seed=0, now=NOW)
    contract.check(data.contract(), loaded, name)
    return loaded


def test_what_the_marketplace_draws_keeps_the_contract() -> None:
    for shift in (None, "season"):
        frame = source.load("search", source=source.SYNTHETIC, start=START, end=END, seed=3, shift=shift)
        assert contract.breaches(data.contract(), frame) == ()


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_a_log_of_one_s_own_arrives_as_it_was_and_tells_the_same(tmp_path: Path, name: str) -> None:
    arrived = arrives(log().drop(columns=TOLD), tmp_path, name=name)
    pd.testing.assert_frame_equal(arrived[log().columns], log())


def test_a_log_needs_no_judgement_and_no_member(tmp_path: Path) -> None:
    bare = log().drop(columns=[*TOLD, "relevance", "member_id", "member_price"])
    bare["member_price"] = None
    arrived = arrives(bare, tmp_path, name="log.csv")
    assert arrived.member_price.isna().all() and "relevance" not in arrived


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("position", 0, "from 1 to 1000"),
        ("clicked", 2, "one of 0, 1"),
        ("locale", "pt", "one of de, en, fr"),
        ("price", 0.0, "from 0.5 to 100000"),
        ("query", "x" * 201, "at most 200 characters"),
        ("relevance", 5, "from 0 to 4"),
        ("item_id", "", "text that is not empty"),
    ],
)
def test_a_breach_names_its_column_alone(tmp_path: Path, column: str, value: object, rule: str) -> None:
    frame = log().drop(columns=TOLD)
    frame[column] = frame[column].where(frame.index != 5, value).astype(frame[column].dtype)
    with pytest.raises(ContractBroken) as caught:
        arrives(frame, tmp_path)
    assert f"column {column}: not {rule}, in 1 row" in caught.value.message
    assert "more" not in caught.value.message and "look" not in str(caught.value)


def test_the_log_tells_which_places_are_looked_at_and_which_queries_are_common() -> None:
    looks = log().groupby("position").look.first()
    assert looks[1] == 1
    assert looks[8] < 0.6 * looks[2] and (looks > 0).all()
    once = log().drop_duplicates("query_id")
    assert 0.4 < (once.demand == "head").mean() < 0.65
    head, tail = (set(once["query"][once.demand == name]) for name in ("head", "tail"))
    assert len(head) < len(tail) and not head & tail


def test_looks_are_told_from_clicks_alone() -> None:
    from domains.search.synthetic import searches

    frame = searches(START, END, seed=7)
    frame["relevance"] = np.int64(0)
    assert (data._told(frame)["look"] == log()["look"]).all()


def test_items_are_those_on_sale_or_a_team_s_own_or_what_its_log_has_shown(tmp_path: Path) -> None:
    drawn = source.corpus("search", source=source.SYNTHETIC, at=END, seed=7)
    assert drawn["item_id"].is_unique and (drawn["listed_at"] <= pd.Timestamp(END)).all()
    dataset.write(log().drop(columns=TOLD), tmp_path / "searches.parquet")
    shown = source.corpus("search", source=str(tmp_path), at=END, seed=7)
    assert set(shown["item_id"]) == set(log()["item_id"])
    one = log().drop_duplicates("item_id", keep="last").set_index("item_id")
    first = shown.iloc[0]
    age = one.at[first["item_id"], "searched_at"] - first["listed_at"]
    assert age == pd.Timedelta(days=int(one.at[first["item_id"], "item_age_days"]))
    drawn.head(50).to_csv(tmp_path / "listings.csv", index=False)
    pd.testing.assert_frame_equal(source.corpus("search", source=str(tmp_path), at=END, seed=7), drawn.head(50))
    assert len(source.load("search", source=str(tmp_path), start=START, end=END, seed=0, now=NOW)) == len(log())
    drawn.head(50).assign(price=-1.0).to_csv(tmp_path / "listings.csv", index=False)
    with pytest.raises(ContractBroken, match="price"):
        source.corpus("search", source=str(tmp_path), at=END, seed=7)
