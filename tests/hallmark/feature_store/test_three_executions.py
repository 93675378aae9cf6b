"""One random stream, three executions: SQL over the offline rows, tiles folded from events, and what the stream's payload merges to at read."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hallmark.feature_store import offline
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.stream import encoded
from hallmark.feature_store.tiles import MOST, Plan, Tiles
from tests.hallmark.feature_store.drawn import BUYERS, START, TYPES, instants, moment, rows, view, views
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.reference import features
from tests.hallmark.feature_store.test_stream import SCHEMA, Memory, drain, job
from tests.hallmark.feature_store.test_tiles import QUIET, accepted, agree, events, us
from tests.seeds import how_many


def judged(data: st.DataObject) -> None:
    """Rows in disorder, some twice, late by days, ahead of their time and too far ahead, corrected; a question after all of them."""
    declared, given_ = data.draw(views()), data.draw(rows())
    summed = sum(abs(each["amount"] or 0) for each in given_)
    # What events ahead would bring back below 64 bits stays null in a payload.
    assume(summed <= MOST or all(each["happened"] <= each["known"] for each in given_))
    twice = data.draw(st.lists(st.sampled_from(given_), max_size=5)) if given_ else []
    arriving = data.draw(st.permutations([*given_, *twice]))
    at = data.draw(instants(max(accepted(given_), default=START)))
    plan = Plan(declared, TYPES)
    payload, store = Payload(plan), Online()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = Memory([encoded(each) for each in arriving])
        with closing(job(folder / "state", log, store, declared)) as stream:
            drain(stream, data.draw(st.sampled_from((1, 3, 100))))
        pq.write_table(pa.Table.from_pylist(arriving, SCHEMA), folder / "rows.parquet")
        asked = pa.table({"buyer": list(BUYERS), "at": pa.array([at] * len(BUYERS), pa.timestamp("us", "UTC"))})
        pq.write_table(asked, folder / "asked.parquet")
        parts = offline.training_frame(
            folder / "asked.parquet",
            [declared],
            {declared.source: [folder / "rows.parquet"]},
            folder / "frame",
            time="at",
        )
        frame = pa.concat_tables([pq.read_table(part) for part in parts]).to_pylist()
    found = events(plan, given_)
    for buyer, sql in zip(BUYERS, frame, strict=True):
        mine = [event for event in found if event[plan.entity] == buyer]
        fold = payload.values(payload.encode(Tiles(plan, mine)) if mine else None, us(at))
        merged = payload.values(store.payload(declared.reference, buyer, us(at)), us(at))
        expected = features(declared, given_, buyer, at)
        told = [
            us(value) if isinstance(value, datetime) else value for value in (sql[each] for each in declared.columns)
        ]
        for execution in (told, fold, merged):
            agree(declared, expected, execution)
    store.close()


MOST_ROWS = [  # of each: amounts, and their sum
    ([MOST, 1], None),
    ([-MOST, -1], None),
    ([MOST, 5, -9], MOST - 4),
    ([-MOST], -MOST),
    ([MOST, MOST, -MOST, -MOST, MOST, -MOST], 0),
    ([2**62] * 8, None),
]


@pytest.mark.parametrize("crowd", [0, 2_000_000])
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize(("amounts", "total"), MOST_ROWS)
def test_a_sum_that_64_bits_do_not_hold_is_null_in_all_three(
    amounts: list[int], total: int | None, ahead: int, crowd: int, tmp_path: Path
) -> None:
    """`ahead`: that many of the rows happened two minutes after they were known."""
    columns = {
        **{"total": {"take": "sum", "of": "amount"}, "mean": {"take": "mean", "of": "amount"}},
        **{"n": {"take": "count"}, "share": {"take": "ratio", "of": "total", "over": "n"}},
    }
    declared = view(columns, ttl=3600)
    given_ = []
    for number, amount in enumerate(amounts):
        happened = moment(number)
        known = happened - timedelta(seconds=120 if number >= len(amounts) - ahead else 0)
        more = {"price": None, "gift": None, "card": None, "paid": None}
        given_.append({"order": number, "buyer": "a", "happened": happened, "known": known, "amount": amount, **more})
    at, plan = moment(300), Plan(declared, TYPES)
    payload = Payload(plan)
    expected = features(declared, given_, "a", at)
    mean = None if total is None else total / len(amounts)
    assert expected == {"total": total, "mean": mean, "n": len(amounts), "share": mean}
    pq.write_table(pa.Table.from_pylist(given_, SCHEMA), tmp_path / "rows.parquet")
    asked = pa.table({"buyer": ["a"], "at": pa.array([at], pa.timestamp("us", "UTC"))})
    pq.write_table(asked, tmp_path / "asked.parquet")
    sources = {declared.source: [tmp_path / "rows.parquet"]}
    limits = offline.Limits(threads=1, crowd=crowd)
    parts = offline.training_frame(
        tmp_path / "asked.parquet", [declared], sources, tmp_path / "frame", time="at", limits=limits
    )
    (sql,) = pq.read_table(parts[0]).to_pylist()
    encoded_ = payload.encode(Tiles(plan, events(plan, given_)))
    agree(declared, expected, [sql[name] for name in declared.columns])
    agree(declared, expected, payload.values(encoded_, us(at)))
    agree(
        declared,
        expected,
        [column[0] if valid[0] else None for column, valid in payload.table([encoded_], us(at)).values()],
    )


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(st.data())
def test_sql_is_the_fold_of_tiles_is_the_merge_at_read(data: st.DataObject) -> None:
    judged(data)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1800)
@settings(max_examples=how_many(100, 400), deadline=None, suppress_health_check=QUIET)
@given(st.data())
def test_sql_is_the_fold_of_tiles_is_the_merge_at_read_in_many_cases(data: st.DataObject) -> None:
    judged(data)
