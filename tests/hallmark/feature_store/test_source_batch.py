"""A batch of a source is taken whole or refused whole, and whoever sent it is told the column, the rows and the lines."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from hallmark.data import contract, table
from hallmark.errors import ContractBroken
from hallmark.feature_store import source_batch
from tests.hallmark.declaration.contract_changes import CASES, Case, batch, source

SALES = source()


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_batch_of_a_changed_source_is_taken_or_stopped(case: Case, tmp_path: Path) -> None:
    path = written(case.written(batch()), tmp_path / "batch.csv")
    if case.stops is None:
        assert list(source_batch.read(SALES, path).columns) == list(SALES.columns)
        return
    assert case.kind == "breaking"
    with pytest.raises(ContractBroken, match=rf"column {case.stops}\b"):
        source_batch.read(SALES, path)


def test_every_breaking_change_that_shows_in_the_data_is_stopped() -> None:
    """Of the others nothing shows: a key, a name of the contract, a text of digits, a truth that is taken for a text."""
    quiet = {case.name for case in CASES if case.kind == "breaking" and case.stops is None}
    assert quiet == {
        "a text becomes a number",
        "a text becomes a truth",
        "the primary key moves",
        "the table is renamed",
        "the source is renamed",
    }


def renamed(name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.rename(columns={name: f"{name}_2"})


def dropped(name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(columns=name)


def holds(name: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{name: [value, *frame[name].tolist()[1:]]})


MUTATIONS = [
    *((f"rename {name}", name, renamed(name)) for name in SALES.columns),
    *((f"drop {name}", name, dropped(name)) for name in SALES.columns),
    *(
        (f"retype {name}", name, holds(name, "!"))
        for name in ("sold_at", "told_at", "amount", "distance", "items", "serial", "weight", "gift")
    ),
    *(
        (f"{name} holds {value!r:.12}", name, holds(name, value))
        for name, value in {
            "amount": -0.01,
            "items": 0,
            "payment": "Card",
            "code": "A",
            "note": "x" * 21,
            "sale_id": "x" * 11,
            "sold_at": "2019-12-31T23:59:59Z",
            "serial": 12,
            "distance": "inf",
            "buyer": None,
        }.items()
    ),
]


@pytest.mark.parametrize(("name", "edit"), [case[1:] for case in MUTATIONS], ids=[case[0] for case in MUTATIONS])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_broken_batch_is_stopped_and_its_column_named(
    name: str, edit: Callable[[pd.DataFrame], pd.DataFrame], form: str, tmp_path: Path
) -> None:
    assert len(MUTATIONS) >= 30
    frame = edit(batch())
    if form == "parquet":  # a column of one type
        frame = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    with pytest.raises(ContractBroken, match=rf"column {name}\b"):
        source_batch.read(SALES, written(frame, tmp_path / f"batch.{form}"))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [("distance", "1.1e290", r"at most 1e\+290"), ("weight", "-9223372036854775808", r"above -2\^63")],
)
def test_numbers_that_the_stream_refuses_are_refused_with_their_batch(
    name: str, value: str, rule: str, tmp_path: Path
) -> None:
    with pytest.raises(ContractBroken, match=rf"column {name}\b.*{rule}"):
        source_batch.read(SALES, written(holds(name, value)(batch()), tmp_path / "batch.csv"))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_good_batch_comes_in_the_contracts_order_and_types(form: str, tmp_path: Path) -> None:
    frame = batch()[[*reversed(batch().columns)]].assign(
        weight=pd.array([5, None, 7, None], dtype="Int64"), note=["a", None, "c", None], gift=[True, None, None, False]
    )
    found = source_batch.read(SALES, written(frame.assign(undeclared=1), tmp_path / f"batch.{form}"))
    assert list(found.columns) == list(SALES.columns)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == {
        **dict.fromkeys(("sale_id", "buyer", "note", "code", "channel", "payment"), "object"),
        **dict.fromkeys(("sold_at", "told_at"), "datetime64[us, UTC]"),
        **dict.fromkeys(("amount", "distance"), "float64"),
        **dict.fromkeys(("items", "serial"), "int64"),
        "weight": "Int64",
        "gift": "boolean",
    }
    assert found["weight"].tolist() == [5, pd.NA, 7, pd.NA]
    assert found["note"].tolist() == ["a", None, "c", None]


def test_the_first_rows_are_named_with_file_and_line(tmp_path: Path) -> None:
    good, bad = batch(), batch().assign(amount=[1.0, -1.0, 2.0, -3.0], buyer=["b", "c", None, "d"])
    written(good, tmp_path / "a.csv")
    written(bad, tmp_path / "b.csv")
    with pytest.raises(ContractBroken) as caught:
        source_batch.read(SALES.model_copy(update={"tables": source().tables}), tmp_path)
    error = caught.value
    assert "a batch of sales@1 1.0.0" in error.message
    assert "column buyer: not filled, in 1 row, such as b.csv:4 (nothing)" in error.got
    assert (
        "column amount: not at least 0 and at most 100, in 2 rows, such as -1.0 (b.csv:3), -3.0 (b.csv:5)" in error.got
    )
    assert "serial: not different from all others, in 8 rows" in error.got
    assert "contracts/sales" in error.fix


def test_a_batch_without_a_file_numbers_its_rows() -> None:
    with pytest.raises(ContractBroken, match=r"-4\.0 \(row 1\)"):
        source_batch.checked(SALES, holds("amount", -4.0)(batch()), shown="what the stream holds")


def test_a_whole_number_beyond_doubles_stays_whole_beside_a_missing_one() -> None:
    frame = batch().assign(weight=pd.Series([2**60 + 1, None, 3, 4], dtype=object))
    assert source_batch.checked(SALES, frame, shown="a batch")["weight"].tolist() == [2**60 + 1, pd.NA, 3, 4]


def test_an_empty_batch_is_one_of_no_rows_and_lacks_no_column(tmp_path: Path) -> None:
    assert source_batch.read(SALES, written(batch()[:0], tmp_path / "none.csv")).empty
    with pytest.raises(ContractBroken, match="amount"):
        source_batch.read(SALES, written(batch().drop(columns="amount")[:0], tmp_path / "less.csv"))


def test_a_time_without_a_zone_is_in_utc_where_the_contract_asks_for_none(tmp_path: Path) -> None:
    path = written(holds("told_at", "2026-09-01T10:00:05")(batch()), tmp_path / "batch.csv")
    assert source_batch.read(SALES, path)["told_at"][0] == pd.Timestamp("2026-09-01T10:00:05Z")


def test_rows_with_one_primary_key_are_versions_of_one_event(tmp_path: Path) -> None:
    path = written(batch().assign(sale_id="s1"), tmp_path / "batch.csv")
    assert len(source_batch.read(SALES, path)) == 4


def test_the_pattern_of_a_contract_takes_no_longer_for_any_text() -> None:
    sly = source(lambda document, columns: columns["channel"].update(logicalTypeOptions={"pattern": "^(a+)+$"}))
    frame = batch().assign(channel="a" * 5000 + "!")
    with pytest.raises(ContractBroken, match="channel"):
        source_batch.checked(sly, frame, shown="a batch")


def test_the_words_of_types_are_the_readers() -> None:
    assert table.TIME == "TIME" and table.UTC == "UTC"
    assert contract.breaches(source_batch.schema(SALES), source_batch.checked(SALES, batch(), shown="it")) == ()
