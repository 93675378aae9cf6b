"""Columns of a table as fields of a request: what is told of them, and what is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.data import columns, table
from hallmark.errors import DeclarationError, HallmarkError


@pytest.fixture
def rents(tmp_path: Path) -> Path:
    random, count = np.random.default_rng(3), 400
    frame = pd.DataFrame(
        {
            "listing_id": [f"L{number:05d}" for number in range(count)],
            "number": range(1000, 1000 + count),
            "rooms": random.integers(1, 7, count),
            "area": random.uniform(20, 120, count).round(1),
            "below": random.uniform(-5, 5, count).round(2),
            "district": random.choice(["Mitte", "Nord", "Süd"], count),
            "balcony": random.choice(["true", "false"], count),
            "built": random.integers(1890, 2024, count).astype(float),
            "listed": pd.date_range("2025-01-01", periods=count, freq="9h").strftime("%Y-%m-%d"),
            "country": "DE",
            "nothing": "",
            "rent": random.uniform(300, 2000, count).round(),
        }
    )
    frame.loc[frame.index[::10], ["built", "district"]] = np.nan
    frame.to_csv(tmp_path / "rents.csv", index=False)
    return tmp_path / "rents.csv"


def test_numbers_words_and_truths_are_fields_and_ids_times_and_constants_are_not(rents: Path) -> None:
    found = columns.read(table.head(rents, rows=1000), roles=["rent"])
    told = {each.field.name: each.field for each in found.fields}
    assert {name: field.datatype for name, field in told.items()} == {
        "rooms": "INT64",
        "area": "FP64",
        "below": "FP64",
        "district": "BYTES",
        "balcony": "BOOL",
        "built": "FP64",
    }
    assert told["district"].categories == ("Mitte", "Nord", "Süd")
    assert {name for name, field in told.items() if field.optional} == {"built", "district"}
    assert set(found.left) == {"listing_id", "number", "listed", "country", "nothing"}
    assert (found.left["listed"], found.left["nothing"]) == ("a time", "empty")


def test_ranges_are_wider_than_what_was_seen_and_keep_the_sign(rents: Path) -> None:
    told = {each.field.name: each.field for each in columns.read(table.head(rents, rows=1000), roles=["rent"]).fields}
    assert told["area"].minimum == 0 and told["area"].maximum is not None and told["area"].maximum > 200
    assert told["below"].minimum is not None and told["below"].minimum < -10


def test_shares_and_quantiles_say_how_values_are_spread(rents: Path) -> None:
    seen = {each.field.name: each for each in columns.read(table.head(rents, rows=1000), roles=["rent"]).fields}
    assert seen["built"].missing == seen["district"].missing == 0.1
    assert sum(seen["district"].shares) == pytest.approx(1, abs=1e-3)
    assert len(seen["area"].quantiles) == columns.QUANTILES and list(seen["area"].quantiles) == sorted(
        seen["area"].quantiles
    )


def test_what_cannot_be_told_is_asked_once_for_all_columns() -> None:
    count = 300
    frame = pd.DataFrame(
        {
            "size": np.arange(count) % 17 + 0.5,
            "notes": [f"a lovely place number {number}" for number in range(count)],
            "price": ["n/a" if number % 9 == 0 else str(number * 1.5) for number in range(count)],
        }
    )
    with pytest.raises(DeclarationError) as caught:
        columns.read(frame, roles=[])
    text = str(caught.value)
    assert "--leave notes --leave price" in text and "numbers, and 'n/a'" in text
    assert [each.field.name for each in columns.read(frame, roles=[], leave=["notes", "price"]).fields] == ["size"]


def test_a_table_of_nothing_but_ids_has_no_request() -> None:
    frame = pd.DataFrame({"id": [f"x{number}" for number in range(100)], "answer": range(100)})
    with pytest.raises(DeclarationError, match="no column is left"):
        columns.read(frame, roles=["answer"])


def test_the_head_of_a_table_is_read_from_csv_and_parquet_alike(rents: Path, tmp_path: Path) -> None:
    assert len(table.head(rents, rows=7)) == 7
    pd.read_csv(rents).to_parquet(tmp_path / "rents.parquet")
    assert len(table.head(tmp_path / "rents.parquet", rows=7)) == 7
    with pytest.raises(HallmarkError, match="a folder"):
        table.head(tmp_path, rows=7)


def test_times_without_a_zone_are_in_utc_where_that_is_said() -> None:
    made = table.conformed(pd.Series(["2026-10-01", "2026-10-01T08:00:00", "2026-10-01T08:00:00+02:00"]), table.UTC)
    assert [str(each) for each in made] == [
        "2026-10-01 00:00:00+00:00",
        "2026-10-01 08:00:00+00:00",
        "2026-10-01 06:00:00+00:00",
    ]
    odd = pd.Series(["2026-10-01", "soon"])
    assert table.conformed(odd, table.UTC).tolist() == odd.tolist()
