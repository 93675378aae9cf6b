"""A team's own listings: with and without dates, and with columns that nobody declared."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from domains.pricing import data
from hallmark.data import contract
from hallmark.errors import ContractBroken


def _read(path: Path, text: str) -> pd.DataFrame:
    path.write_text(text, encoding="utf-8")
    frame = data.read(path)
    contract.check(data.contract(), frame, path.name)
    return frame


def test_dated_sales_say_how_long_each_was_on_offer_and_the_unsold_until_the_last_time_that_the_file_knows(
    tmp_path: Path,
) -> None:
    frame = _read(
        tmp_path / "sales.csv",
        "item_id,price,listed_at,sold_at,mileage,fuel\n"
        "a,100,2026-01-01T00:00:00Z,2026-01-03T00:00:00Z,12000,diesel\n"
        "b,200,2026-01-02T00:00:00Z,,,petrol\n"
        "c,300,2026-01-05T00:00:00Z,2026-01-12T00:00:00Z,5.5,\n",
    )
    assert frame["days"].tolist() == [2.0, 10.0, 7.0]
    assert frame["unsold"].tolist() == [False, True, False] and set(frame["dated"]) == {1.0}
    assert frame["asked"].tolist() == frame["price"].tolist()
    assert [list(each) for each in frame["fact_names"]] == [["mileage", "fuel"], ["fuel"], ["mileage"]]
    assert [list(each) for each in frame["fact_values"]] == [["12000", "diesel"], ["petrol"], ["5.5"]]


def test_prices_alone_are_taken_too_and_long_words_are_text(tmp_path: Path) -> None:
    words = "a very long word of thanks to all who read this"
    rows = "".join(f"{n},{10 + n},{'Nike' if n % 2 else 'Zara'},{words} {n}\n" for n in range(60))
    frame = _read(tmp_path / "prices.csv", "train_id,price,brand_name,item_description\n" + rows)
    assert set(frame["dated"]) == {0.0} and not frame["unsold"].any()
    assert frame["listed_at"].is_unique and frame["seller_id"].is_unique
    assert frame["description"].iloc[0].startswith("a very long word")
    assert "brand_name" in frame["fact_names"].iloc[0] and "item_description" not in frame["fact_names"].iloc[0]


@pytest.mark.parametrize(
    ("header", "row", "named"), [("cost", "1", "there is no column price"), ("price", "0", "price: not from 0.01")]
)
def test_a_price_that_is_missing_or_none_is_named(tmp_path: Path, header: str, row: str, named: str) -> None:
    with pytest.raises(ContractBroken, match=named):
        _read(tmp_path / "sales.csv", f"item_id,{header}\na,{row}\n")


def test_without_dates_what_was_not_sold_is_still_only_a_bound(tmp_path: Path) -> None:
    frame = _read(tmp_path / "f.csv", "price,sold_at\n10,2026-01-03T00:00:00Z\n20,\n")
    assert frame["unsold"].tolist() == [False, True] and set(frame["dated"]) == {0.0}


def test_prices_of_several_currencies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match="2 currencies, by column currency"):
        _read(tmp_path / "f.csv", "price,currency\n10,EUR\n20,PLN\n30,eur\n")
    assert len(_read(tmp_path / "g.csv", "price,currency\n10,EUR\n20,eur\n")) == 2


def test_a_column_that_tells_what_became_of_an_item_is_refused(tmp_path: Path) -> None:
    rows = [f"{10 + row},2026-01-01T00:00:00Z,{'2026-01-03T00:00:00Z' if row % 3 else ''},{'sold' if row % 3 else 'active'},{'red' if row % 2 else 'blue'}" for row in range(300)]  # fmt: skip
    with pytest.raises(ContractBroken, match="column status alone tells whether an item was sold"):
        _read(tmp_path / "f.csv", "price,listed_at,sold_at,status,dye\n" + "\n".join(rows))
