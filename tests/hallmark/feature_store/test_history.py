"""Histories of views: the newest row at or before a question is what the reference loop answers it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.declaration import source
from hallmark.feature_store import history
from hallmark.feature_store.offline import Limits
from hallmark.settings import Settings
from tests.hallmark.feature_store.offline_cases import MICRO, SCHEMA, SOURCE, START, Case, case, differences, row, view
from tests.seeds import how_many

ROOT = Path(__file__).parents[3]
CONTRACT = source.load(SOURCE, Settings.load({"HALLMARK_ROOT": str(ROOT)}))
HOUR = timedelta(hours=1)
SEEDS = st.integers(0, 2**32)


def written(one: Case, *, until: Any, rows: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = one.rows if rows is None else rows
        pq.write_table(pa.Table.from_pylist(kept, schema=SCHEMA), folder / "rows.parquet")
        limits = Limits(threads=1, folder=folder)
        count = history.write(
            one.view, CONTRACT, [folder / "rows.parquet"], folder / "history.parquet", until=until, limits=limits
        )
        found: list[dict[str, Any]] = pq.read_table(folder / "history.parquet").to_pylist()
    assert count == len(found)
    return found


def answered(one: Case, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the newest row at or before each question says."""
    nothing = {name: column.empty for name, column in one.view.columns.items()}
    answers = []
    for asked in one.questions:
        mine = [each for each in found if each["buyer_id"] == asked["buyer_id"] and each[history.SINCE] <= asked["at"]]
        answers.append(max(mine, key=lambda each: each[history.SINCE]) if mine else nothing)
    return answers


def check(seed: int) -> None:
    one = case(seed)
    until = max((each["at"] for each in one.questions), default=START)
    found = written(one, until=until)
    assert not differences(one.expected(), answered(one, found), one)
    assert len({(each["buyer_id"], each[history.SINCE]) for each in found}) == len(found)
    assert all(each[history.KNOWN] == each[history.SINCE] <= until for each in found)

    earlier = START + (until - START) / 2
    then = written(one, until=earlier, rows=[each for each in one.rows if each["known_at"] < earlier])
    moments = {(each["buyer_id"], each[history.SINCE]) for each in found + then if each[history.SINCE] <= earlier}
    both = replace(one, questions=[{"buyer_id": buyer, "at": at} for buyer, at in moments])
    assert not differences(answered(both, found), answered(both, then), both), "what is known later changes no past"


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_the_newest_row_at_or_before_a_question_answers_it(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1800)
@settings(max_examples=how_many(60, 300), deadline=None)
@given(SEEDS)
def test_the_newest_row_at_or_before_any_question_answers_it(seed: int) -> None:
    check(seed)


def test_a_row_stands_where_something_arrives_and_where_time_changes_a_value() -> None:
    columns = {"c": {"take": "count", "window": "1h"}, "l": {"take": "last", "of": "card"}}
    rows = [
        row("o1", "a", START, START + MICRO),
        row("o2", "a", START - 2 * HOUR, START + 3 * HOUR),
        row("o3", None, START, START),
    ]
    one = Case(view(columns, "2h"), rows, [])
    found = written(one, until=START + 30 * HOUR)
    assert [(each[history.SINCE] - START, each["c"], each["l"]) for each in found] == [
        (2 * MICRO, 1, "m"),
        (HOUR + timedelta(minutes=1), 0, "m"),
        (2 * HOUR + MICRO, 0, None),
        (3 * HOUR + MICRO, 0, None),
    ], "known, out of the window, too old, and the late row, which is too old itself"
    assert written(one, until=START + HOUR) == found[:1]


def test_each_window_time_to_live_and_correction_has_its_own_moment() -> None:
    late, told = START + timedelta(seconds=30), START + timedelta(minutes=10)
    columns = {"c": {"take": "count", "window": "1h"}, "d": {"take": "count", "window": "2h"}}
    rows = [row("o1", "a", late, late), row("o2", "a", START, START), row("o2", "b", START, told)]
    found = written(Case(view(columns, "2h"), rows, []), until=START + 30 * HOUR)
    assert [(each["buyer_id"], each[history.SINCE], each["c"], each["d"]) for each in found] == [
        ("a", START + MICRO, 1, 1),
        ("a", late + MICRO, 2, 2),
        ("a", told + MICRO, 1, 1),
        ("b", told + MICRO, 1, 1),
        ("a", START + HOUR + timedelta(minutes=1), 0, 1),
        ("b", START + HOUR + timedelta(minutes=1), 0, 1),
        ("b", START + 2 * HOUR + MICRO, 0, 0),
        ("a", late + 2 * HOUR + MICRO, 0, 0),
    ]


def test_a_source_without_rows_has_a_history_without_rows(tmp_path: Path) -> None:
    columns = {"c": {"take": "count"}, "s": {"take": "sum", "of": "amount"}, "l": {"take": "last", "of": "ordered_at"}}
    path = tmp_path / "history.parquet"
    assert history.write(view(columns), CONTRACT, [], path, until=START) == 0
    moment = pa.timestamp("us", "UTC")
    assert pq.read_schema(path).remove_metadata() == pa.schema(
        {"buyer_id": pa.string(), history.SINCE: moment, history.KNOWN: moment}
        | {"c": pa.int64(), "s": pa.float64(), "l": moment}
    )
