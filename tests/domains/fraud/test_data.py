"""The fraud contract: what the marketplace draws keeps it; whatever is done to it stops before training (faults.md, row 24)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.fraud import data
from domains.fraud.features import FIELDS
from hallmark.artifacts import views
from hallmark.data import contract, dataset
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken
from hallmark.feature_store import sources
from hallmark.settings import Settings
from hallmark.training import source

START = datetime(2026, 7, 1, tzinfo=UTC)
END = START + timedelta(days=1)
NOW = datetime(2026, 9, 1, tzinfo=UTC)

Change = Callable[[pd.DataFrame, str, "np.ndarray[tuple[int], np.dtype[np.int64]]"], pd.DataFrame]

SENT = views.sent(domains.load("fraud"), FIELDS)
"""What callers send: buyer, device and address in place of what views know of them."""
ALL = (*(field.name for field in SENT), "order_id", "ordered_at", "fraud", "charged_back_at")
OPTIONAL = ("charged_back_at", "device_id")
NUMBERS = tuple(field.name for field in SENT if field.minimum is not None)
FLOATS = tuple(field.name for field in SENT if field.datatype == "FP64")
INTS = tuple(field.name for field in SENT if field.datatype == "INT64")
TEXTS = tuple(field.name for field in SENT if field.categories)
TRUTHS = tuple(field.name for field in SENT if field.datatype == "BOOL")
BY_NAME = {field.name: field for field in FIELDS}


@pytest.fixture(autouse=True, scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state folder whose feature store holds the events of these orders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALLMARK_STATE", str(tmp_path_factory.mktemp("state")))
        events = data.events(data.ORDERS, start=START - timedelta(days=94), end=END, seed=7)
        sources.append(sources.place(Settings.load(), data.ORDERS), events, source=data.ORDERS, batch="all")
        yield


@cache
def orders() -> pd.DataFrame:
    """150 orders, some of them fraud."""
    frame = source.load("fraud", source=source.SYNTHETIC, start=START, end=END, seed=7)
    return pd.concat((frame[frame.fraud == 1][:30], frame[frame.fraud == 0][:120])).reset_index(drop=True)


def placed(frame: pd.DataFrame, column: str, rows: object, value: object) -> pd.DataFrame:
    values = frame[column].astype(object)
    values.iloc[rows] = value  # type: ignore[call-overload]
    try:
        # None becomes False where a column can only be true or false: nothing would be missing then.
        frame[column] = values if value is None and frame[column].dtype == bool else values.astype(frame[column].dtype)
    except (TypeError, ValueError):
        frame[column] = values
    return frame


def frauds(frame: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.flatnonzero(frame.fraud.to_numpy())[:3]


CHANGES: dict[str, tuple[tuple[str, ...], Change]] = {
    "renamed": (ALL, lambda f, c, rows: f.rename(columns={c: c.upper()})),
    "dropped": (ALL, lambda f, c, rows: f.drop(columns=c)),
    "written as text": (
        (*NUMBERS, *TRUTHS, "fraud"),
        lambda f, c, rows: f.assign(**{c: f[c].map(lambda v: f"{v} EUR")}),
    ),
    "retyped to float": (INTS, lambda f, c, rows: f.assign(**{c: f[c] + 0.5})),
    "retyped to int": (TRUTHS, lambda f, c, rows: f.assign(**{c: f[c].astype("int64")})),
    "retyped to number": (TEXTS, lambda f, c, rows: f.assign(**{c: f[c].map(len)})),
    "ids as numbers": (("order_id",), lambda f, c, rows: f.assign(**{c: range(len(f))})),
    "nulled": ([each for each in ALL if each not in OPTIONAL], lambda f, c, rows: placed(f, c, rows, None)),
    "below the range": (NUMBERS, lambda f, c, rows: placed(f, c, rows, BY_NAME[c].minimum - 1)),
    "above the range": (NUMBERS, lambda f, c, rows: placed(f, c, rows, BY_NAME[c].maximum + 1)),
    "infinite": (FLOATS, lambda f, c, rows: placed(f, c, rows, np.inf)),
    "minus infinite": (FLOATS, lambda f, c, rows: placed(f, c, rows, -np.inf)),
    "another unit": (("amount", "shipping_distance_km"), lambda f, c, rows: f.assign(**{c: f[c] * 1e6})),
    "an unknown category": (TEXTS, lambda f, c, rows: placed(f, c, rows, "submarines")),
    "another spelling": (TEXTS, lambda f, c, rows: f.assign(**{c: f[c].str.upper()})),
    "an empty category": (TEXTS, lambda f, c, rows: placed(f, c, rows, "")),
    "an empty name": (("order_id", "buyer_id", "device_id", "ip"), lambda f, c, rows: placed(f, c, rows, "  ")),
    "twice the same": (("order_id",), lambda f, c, rows: placed(f, c, rows, f[c].iloc[(rows[0] + 1) % len(f)])),
    "every row twice": (("order_id",), lambda f, c, rows: pd.concat((f, f), ignore_index=True)),
    "a label of 2": (("fraud",), lambda f, c, rows: placed(f, c, rows, 2)),
    "labels as truths": (("fraud",), lambda f, c, rows: f.assign(**{c: f[c] == 1})),
    "naive times": (("ordered_at", "charged_back_at"), lambda f, c, rows: f.assign(**{c: f[c].dt.tz_localize(None)})),
    "times as numbers": (("ordered_at",), lambda f, c, rows: f.assign(**{c: f[c].astype("int64")})),
    "times as text": (("ordered_at",), lambda f, c, rows: f.assign(**{c: f[c].dt.strftime("%d.%m.%Y")})),
    "times to come": (("ordered_at",), lambda f, c, rows: placed(f, c, rows, pd.Timestamp(NOW) + pd.Timedelta("2h"))),
    "charged before the order": (
        ("charged_back_at",),
        lambda f, c, rows: placed(f, c, frauds(f), pd.Timestamp(START) - pd.Timedelta(days=2)),
    ),
    "charged months later": (
        ("charged_back_at",),
        lambda f, c, rows: placed(f, c, frauds(f), pd.Timestamp(START) + pd.Timedelta(days=90)),
    ),
    "a fraud nobody charged back": (("charged_back_at",), lambda f, c, rows: placed(f, c, frauds(f), pd.NaT)),
    "charged back and no fraud": (("charged_back_at",), lambda f, c, rows: placed(f, "fraud", frauds(f), 0)),
}


TAKEN = {"retyped to int", "ids as numbers", "labels as truths"}
"""Changes of a file that lose nothing, so that the reader undoes them: B15 and N5 of what users brought."""


def arrives(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Training's view of a team's own file with `frame` in it."""
    path = folder / "orders.parquet"
    dataset.write(frame, path)
    loaded = source.load("fraud", source=str(path), start=START, end=END, seed=0, now=NOW)
    contract.check(data.contract(), loaded, "orders.parquet")
    return loaded


def stopped(frame: pd.DataFrame, folder: Path, column: str) -> None:
    with pytest.raises(ContractBroken) as caught:
        arrives(frame, folder)
    assert f"column {column}:" in caught.value.message or f"column {column} " in caught.value.message, str(caught.value)
    assert caught.value.exit_code == 3 and caught.value.expected and caught.value.got and caught.value.fix


@pytest.mark.slow
def test_untouched_orders_arrive_as_they_were(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(arrives(orders(), tmp_path), orders())


@pytest.mark.slow
def test_what_the_marketplace_draws_keeps_the_contract() -> None:
    for shift in (None, "new_fraud_pattern", "season"):
        end = START + timedelta(days=5)
        frame = source.load("fraud", source=source.SYNTHETIC, start=START, end=end, seed=3, shift=shift)
        assert contract.breaches(data.contract(), frame) == ()
        assert set(frame.category) <= set(BY_NAME["category"].categories or ())


@pytest.mark.slow
def test_each_of_these_changes_is_stopped_and_its_column_named(tmp_path: Path) -> None:
    cases = [(name, column) for name, (columns, _) in CHANGES.items() for column in columns if name not in TAKEN]
    assert len(CHANGES) >= 29 and len(cases) >= 120
    passed = []
    for name, column in cases:
        try:
            stopped(CHANGES[name][1](orders().copy(), column, np.array([3, 40, 99])), tmp_path, column)
        except pytest.fail.Exception:
            passed.append((name, column))
    assert passed == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TAKEN))
def test_b15_a_change_of_type_that_loses_nothing_is_undone_by_the_reader(tmp_path: Path, name: str) -> None:
    columns, change = CHANGES[name]
    for column in columns:
        arrived = arrives(change(orders().copy(), column, np.array([3])), tmp_path)
        if name == "ids as numbers":
            assert arrived[column].tolist() == [str(row) for row in range(len(arrived))]
            arrived[column] = orders()[column]
        pd.testing.assert_frame_equal(arrived, orders())


@pytest.mark.slow
@settings(max_examples=60)
@given(
    case=st.sampled_from(
        [(name, column) for name, (columns, _) in CHANGES.items() for column in columns if name != "times to come"]
    ),
    rows=st.lists(st.integers(0, 149), min_size=1, max_size=149, unique=True),
)
def test_no_row_is_a_place_to_hide(case: tuple[str, str], rows: list[int]) -> None:
    name, column = case
    changed = CHANGES[name][1](orders().copy(), column, np.array(rows))
    assert column in {breach.column for breach in contract.breaches(data.contract(), changed)}


@pytest.mark.parametrize(
    ("change", "column", "rule", "count"),
    [
        ("below the range", "amount", "from 0.5 to 100000", 3),
        ("an unknown category", "category", "one of accessories, bags", 3),
        ("nulled", "hour", "filled", 3),
        ("nulled", "buyer_id", "filled", 3),
        ("twice the same", "order_id", "different from all others", 4),
        ("a label of 2", "fraud", "one of 0, 1", 3),
        ("charged months later", "charged_back_at", "after ordered_at and within 30 days of it", 3),
        ("a fraud nobody charged back", "charged_back_at", "there where fraud is 1 and nowhere else", 3),
        ("dropped", "express", "there", 150),
        ("written as text", "amount", "a number (float64)", 150),
    ],
)
def test_a_breach_names_column_rule_and_count_of_rows(change: str, column: str, rule: str, count: int) -> None:
    rows = np.array([3, 40, 99])
    found = contract.breaches(data.contract(), CHANGES[change][1](orders().copy(), column, rows))
    mine = [breach for breach in found if breach.column == column]
    assert any(breach.rule.startswith(rule) for breach in mine), found
    assert mine[0].rows == count


def test_all_breaches_come_at_once() -> None:
    frame = orders().copy()
    for change, column in (("below the range", "amount"), ("an unknown category", "category"), ("dropped", "hour")):
        frame = CHANGES[change][1](frame, column, np.array([1, 2]))
    with pytest.raises(ContractBroken) as caught:
        contract.check(data.contract(), frame, "september.parquet")
    text = str(caught.value)
    assert "september.parquet breaks its contract" in text and "and 2 more" in text
    assert all(f"column {name}" in text for name in ("amount", "category", "hour"))


def test_a_csv_arrives_as_the_parquet_does(tmp_path: Path) -> None:
    orders().to_csv(tmp_path / "orders.csv", index=False)
    arrived = source.load("fraud", source=str(tmp_path / "orders.csv"), start=START, end=END, seed=0, now=NOW)
    contract.check(data.contract(), arrived, "orders.csv")
    declared = [*ALL, *(field.name for field in FIELDS if field.name not in ALL)]
    pd.testing.assert_frame_equal(arrived[declared], orders()[declared])


def test_a_csv_with_one_bad_cell_names_its_column_and_counts_it(tmp_path: Path) -> None:
    frame = orders().copy().astype({"amount": object, "express": object})
    frame.loc[7, "amount"] = "twelve"
    frame.loc[[8, 9], "express"] = "maybe"
    frame.to_csv(tmp_path / "orders.csv", index=False)
    with pytest.raises(ContractBroken) as caught:
        data.read(tmp_path / "orders.csv")
    assert "column amount: not a number (float64), in 1 row, such as 'twelve' (orders.csv:9)" in caught.value.got
    assert "column express: not true or false, in 2 rows, such as 'maybe' (orders.csv:10)" in caught.value.got
