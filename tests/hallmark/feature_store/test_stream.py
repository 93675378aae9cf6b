"""The stream leaves what the reference says, in every order of arrival, after every kill, and shows how old it is."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import Conflict, Refused, Unavailable
from hallmark.feature_store.log import Record
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.state import State
from hallmark.feature_store.stream import Stream, Written, encoded
from hallmark.feature_store.tiles import LEAST, Plan
from tests.hallmark.feature_store import killing
from tests.hallmark.feature_store.drawn import BUYERS, START, TYPES, instants, moment, rows, view, views
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.killing import POINTS, Killed, killed_at_each_point, left_by
from tests.hallmark.feature_store.reference import features
from tests.hallmark.feature_store.test_tiles import FEW, MANY, accepted, agree, row, us
from tests.seeds import how_many

SCHEMA = pa.schema(
    {
        **{
            "buyer": pa.string(),
            "happened": pa.timestamp("us", "UTC"),
            "known": pa.timestamp("us", "UTC"),
            "order": pa.int64(),
        },
        **{
            "amount": pa.int64(),
            "price": pa.float64(),
            "gift": pa.bool_(),
            "card": pa.string(),
            "paid": pa.timestamp("us", "UTC"),
        },
    }
)
LATER = 4e9
DAYS = view(
    {"n": {"take": "count", "window": "30d"}, "cards": {"take": "distinct", "of": "card"}}, ttl=90 * 86_400, name="days"
)
HOURS = view({"n": {"take": "count", "window": "1h"}, "total": {"take": "sum", "of": "amount"}}, ttl=7200, name="hours")


class Memory:
    """A log in memory."""

    def __init__(self, *partitions: Sequence[bytes]) -> None:
        self.content = {str(number): list(each) for number, each in enumerate(partitions or [()])}

    def partitions(self) -> list[str]:
        return list(self.content)

    def begin(self, partition: str) -> int:
        return 0

    def read(self, partition: str, offset: int, limit: int) -> list[Record]:
        return [
            Record(offset + number, each)
            for number, each in enumerate(self.content[partition][offset : offset + limit])
        ]


def job(
    folder: Path,
    log: Any,
    store: Any,
    *declared: FeatureView,
    clock: Callable[[], float] = lambda: LATER,
    cached: int = 50_000,
) -> Stream:
    return Stream(declared or (DAYS, HOURS), TYPES, log=log, store=store, folder=folder, clock=clock, cached=cached)


def drain(stream: Stream, limit: int = 1000) -> None:
    while stream.step(limit):
        pass


def holds(declared: FeatureView, given: Sequence[Mapping[str, Any]], store: Online, at: datetime) -> None:
    payload = Payload(Plan(declared, TYPES))
    for buyer in BUYERS:
        got = payload.values(store.payload(declared.reference, buyer, us(at)), us(at))
        agree(declared, features(declared, given, buyer, at), got)


def said(store: Online, *declared: FeatureView) -> list[tuple[str, int | str, bytes]]:
    """The payloads that hold an event."""
    payloads = {each.reference: Payload(Plan(each, TYPES)) for each in declared}
    return [each for each in store.all() if payloads[each[0]].known(each[2])[0] != LEAST]


def judged(data: st.DataObject) -> None:
    declared, given = data.draw(views()), data.draw(rows())
    at = data.draw(instants(max(accepted(given), default=START)))
    arriving = data.draw(
        st.permutations([*given, *data.draw(st.lists(st.sampled_from(given), max_size=5))] if given else [])
    )
    cut = data.draw(st.integers(0, len(arriving)))
    log, store = Memory(*[[encoded(each) for each in part] for part in (arriving[:cut], arriving[cut:])]), Online()
    limit, cached = data.draw(st.sampled_from((1, 3, 100))), data.draw(st.sampled_from((1, 100)))
    as_of = data.draw(st.sampled_from([None, *(each["known"] for each in given)]))
    steps, restarts = data.draw(st.integers(0, 4)), data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        with closing(job(Path(folder), log, store, declared, cached=cached)) as stream:
            if as_of is not None:
                stream.fill(pa.Table.from_pylist(given, SCHEMA), as_of=us(as_of))
                holds(declared, [each for each in given if each["known"] < as_of], store, as_of)
            for _ in range(steps if restarts else len(arriving) + 1):
                stream.step(limit)
        with closing(job(Path(folder), log, store, declared, cached=cached)) as stream:
            drain(stream, limit)
    holds(declared, given, store, at)
    store.close()


@FEW
@given(st.data())
def test_a_stream_in_any_order_is_the_reference(data: st.DataObject) -> None:
    judged(data)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1800)
@MANY
@given(st.data())
def test_a_stream_in_any_order_is_the_reference_in_many_cases(data: st.DataObject) -> None:
    judged(data)


@settings(FEW, max_examples=25)
@given(rows(), st.data())
def test_every_order_of_arrival_leaves_the_same_bytes(given: list[dict[str, Any]], data: st.DataObject) -> None:
    """Of what is not late: ttl is longer than all of it lasts. An entity that a correction emptied may not have been there at all."""
    found, limit = [], data.draw(st.sampled_from((1, 4)))
    for order in (given, data.draw(st.permutations(given))):
        store = Online()
        folder = tempfile.TemporaryDirectory()
        with folder, closing(job(Path(folder.name), Memory([encoded(each) for each in order]), store, DAYS)) as stream:
            drain(stream, limit)
        found.append(said(store, DAYS))
        store.close()
    assert found[0] == found[1]


def test_a_backfill_leaves_the_bytes_of_the_stream(tmp_path: Path) -> None:
    given = [
        row(n, n * 7000, delay=n % 3, card=f"c{n % 5}", amount=n, buyer=BUYERS[n % 3], price=n / 3) for n in range(200)
    ]
    stores = [Online(), Online(), Online()]
    log = Memory([encoded(each) for each in given])
    streamed = job(tmp_path / "streamed", log, stores[0])
    drain(streamed, 7)
    filled = job(tmp_path / "filled", Memory(), stores[1])
    counts = filled.fill(pa.Table.from_pylist(given, SCHEMA), as_of=us(moment(10**9)))
    both = job(tmp_path / "both", log, stores[2])
    both.fill(pa.Table.from_pylist(given, SCHEMA), as_of=us(given[120]["known"]))
    drain(both)
    found = [said(store, DAYS, HOURS) for store in stores]
    assert found[0] == found[1] == found[2] and len(found[0]) == 5, "the last hours hold two buyers"
    assert counts["days@1"]["applied"] == 200 and counts["hours@1"]["late"] > 0
    with pytest.raises(Conflict, match="filled once"):
        both.fill(pa.Table.from_pylist(given, SCHEMA), as_of=us(moment(10**9)))
    for each in (streamed, filled, both):
        each.close()


def test_a_backfill_refuses_what_the_stream_refuses(tmp_path: Path) -> None:
    given = [row(1, 0), row(2, 301, delay=-301), {**row(3, 5), "known": None}, row(4, 9), row(4, 9)]
    table, as_of = pa.Table.from_pylist(given, SCHEMA), us(moment(9999))
    naive = table.set_column(1, "happened", table.column("happened").cast(pa.timestamp("us")))
    with closing(job(tmp_path, Memory(), Online())) as stream:
        with pytest.raises(Refused, match="has no column amount"):
            stream.fill(table.drop_columns("amount"), as_of=as_of)
        with pytest.raises(Refused, match="column happened"):
            stream.fill(naive, as_of=as_of)
        counts = stream.fill(table, as_of=as_of)
    assert counts["hours@1"] == {"unreadable": 1, "future": 1, "late": 0, "applied": 2, "corrected": 0, "repeated": 1}


def test_a_correction_moves_an_event_to_another_entity(tmp_path: Path) -> None:
    store, log = Online(), Memory()
    stream = job(tmp_path, log, store)
    given = [row(1, 0, amount=5, buyer="a"), row(2, 10, amount=7, buyer="a")]
    moved = [
        {**row(2, 10, amount=9, buyer="b"), "known": moment(20)},
        {**row(1, 0, amount=5, buyer="b"), "known": moment(20)},
    ]
    for part in (given, moved[:1], moved[1:]):
        log.content["0"] += [encoded(each) for each in part]
        stream.step()
        given += [each for each in part if each not in given]
        holds(HOURS, given, store, moment(21))
        holds(DAYS, given, store, moment(21))
    assert stream.fates["hours@1", "corrected"] == 2
    assert store.payload("hours@1", "a", us(moment(7000))), "an empty payload outlives what it takes the place of"
    stream.close()


def test_what_is_refused_is_counted_and_kept_with_its_reason(tmp_path: Path) -> None:
    now = us(moment(100)) / 1e6
    wrong = {"amount": "7", "order": 4}
    given = [row(1, 0), row(2, 301, delay=-301), row(3, 500, delay=1), {**row(4, 0), **wrong}]
    log = Memory([*(encoded(each) for each in given), b"{", b"\xff", encoded({"order": 1})])
    stream = job(tmp_path, log, Online(), HOURS, clock=lambda: now)
    drain(stream, 2)
    stream.close()
    assert stream.fates == {
        ("hours@1", each): n
        for each, n in {"applied": 1, "corrected": 0, "repeated": 0, "future": 1, "clock": 1, "unreadable": 4}.items()
    }
    letters = [
        json.loads(line) for line in (tmp_path / "dead_letters-0.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [(each["offset"], each["fate"]) for each in letters] == [
        (1, "future"),
        (2, "clock"),
        *((n, "unreadable") for n in (3, 4, 5, 6)),
    ]
    assert letters[2]["reason"] == "amount: expected int64, got '7'" and json.loads(letters[2]["row"])["order"] == 4


def test_a_late_row_changes_nothing_and_a_late_correction_is_not_forgotten(tmp_path: Path) -> None:
    """The newer version is of a time long past; the older one comes after it, and must not count."""
    older = row(1, 0, amount=1)
    newer = {**row(1, -(10**7), amount=1), "known": moment(5)}
    given = [row(2, 6, amount=2), newer, older, row(3, -(10**6), amount=3)]
    store = Online()
    stream = job(tmp_path, Memory([encoded(each) for each in given]), store, HOURS)
    drain(stream, 1)
    stream.close()
    holds(HOURS, given, store, moment(10))
    assert stream.fates["hours@1", "late"] == 1 and stream.fates["hours@1", "repeated"] == 1


def test_the_state_does_not_grow_without_bound(tmp_path: Path) -> None:
    store, log = Online(), Memory()
    stream = job(tmp_path, log, store, HOURS)
    sizes = []
    for hour in range(60):
        log.content["0"] += [
            encoded(row(hour * 100 + n, hour * 3600 + n, amount=1, buyer=f"b{hour}-{n}")) for n in range(100)
        ]
        drain(stream)
        sizes.append((stream.versions("hours@1"), len(stream._cached)))
    assert max(sizes[10:]) <= (500, 500) and sizes[-1][0] <= max(each for each, _ in sizes[:10]) + 100
    stream.close()
    gone = [each for each in store.all() if store.payload(each[0], each[1], us(moment(60 * 3600)))]
    assert 0 < len(gone) <= 300, "an entity whose events have left every window expires"


def test_the_age_of_the_newest_event_grows_while_the_source_stalls(tmp_path: Path) -> None:
    now = [us(moment(60)) / 1e6]
    log = Memory([encoded(row(1, 0)), encoded(row(2, 30, delay=1))], [encoded(row(3, 10))])
    stream = job(tmp_path, log, Online(), HOURS, clock=lambda: now[0])

    def shown(name: str) -> list[float]:
        return [
            float(line.split()[-1])
            for line in stream.metrics().splitlines()
            if line.startswith(f"hallmark_stream_{name}")
        ]

    assert shown("event_age_seconds") == []
    drain(stream)
    assert shown("event_age_seconds") == [30] and shown("freshness_seconds") == [900]
    assert shown("watermark_timestamp_seconds") == [us(moment(30)) / 1e6, us(moment(10)) / 1e6]
    now[0] += 1000
    stream.step()
    assert shown("event_age_seconds") == [1030], "the job runs, and nothing comes"
    stream.close()
    stream = job(tmp_path, log, Online(), HOURS, clock=lambda: now[0])
    assert shown("event_age_seconds") == [1030], "a restart makes nothing younger"
    assert 'hallmark_stream_rows_total{view="hours@1",fate="applied"} 3' in stream.metrics()
    stream.close()


def test_a_store_that_does_not_answer_gets_everything_later(tmp_path: Path) -> None:
    class Down:
        def write(self, rows: Sequence[Written]) -> None:
            raise Unavailable("the store is down")

    log = Memory([encoded(row(1, 0, amount=1))])
    stream = job(tmp_path, log, Down())
    with pytest.raises(Unavailable):
        stream.step()
    log.content["0"].append(encoded(row(2, 1, amount=2)))
    with pytest.raises(Unavailable):
        stream.step()
    assert "hallmark_stream_owed 2" in stream.metrics()
    stream.close()
    store = Online()
    stream = job(tmp_path, log, store)
    drain(stream)
    stream.close()
    holds(HOURS, [row(1, 0, amount=1), row(2, 1, amount=2)], store, moment(2))


def test_run_goes_on_after_an_outage_until_it_is_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hallmark.feature_store.stream._PATIENCE", 0.01)
    stop, written, failures = threading.Event(), [], [1, 1, 1]

    class Flaky:
        def write(self, rows: Sequence[Written]) -> None:
            if failures:
                failures.pop()
                raise Unavailable("the store is down")
            written.extend(rows)
            stop.set()

    stream = job(tmp_path, Memory([encoded(row(1, 0))]), Flaky())
    stream.run(stop)
    assert len(written) == 2 and "hallmark_stream_stalls_total 3" in stream.metrics()
    stream.close()


def test_one_job_a_state_and_one_set_of_views(tmp_path: Path) -> None:
    stream = job(tmp_path, Memory(), Online(), HOURS)
    with pytest.raises(Conflict, match="another job runs") as held:
        job(tmp_path, Memory(), Online(), HOURS)
    assert "hallmark up" in held.value.fix
    stream.close()
    with pytest.raises(Refused, match="state of other views"):
        job(tmp_path, Memory(), Online(), DAYS)


def test_an_interrupted_batch_leaves_a_job_that_goes_on(tmp_path: Path, undisturbed: Any) -> None:
    """Ctrl-C just before and just after a commit, and a disk that is full for a while: the same object goes on."""
    store, log = Online(), Memory(script())
    stream = job(tmp_path, log, store)
    for point in ("commit", "committed"):
        for after in range(1, 4):

            def kill() -> None:
                raise KeyboardInterrupt

            undo = trap(point, after, kill, store, log)
            try:
                with pytest.raises(KeyboardInterrupt):
                    drain(stream, 2)
            finally:
                undo()
    drain(stream, 4)
    stream.close()
    assert left_by(tmp_path, store) == undisturbed


def test_metrics_are_read_from_another_thread(tmp_path: Path) -> None:
    stream, shown = job(tmp_path, Memory([encoded(row(1, 0))]), Online(), HOURS), []
    drain(stream)
    reader = threading.Thread(target=lambda: shown.append(stream.metrics()))
    reader.start()
    reader.join()
    assert 'hallmark_stream_versions{view="hours@1"} 1' in shown[0]
    stream.close()


def test_dead_letters_begin_another_file_and_drop_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hallmark.feature_store.dead_letters.LARGEST", 500)
    stream = job(tmp_path, Memory([b"{"] * 60), Online(), HOURS)
    drain(stream, 1)
    stream.close()
    paths = sorted(tmp_path.glob("dead_letters-*.jsonl"), key=lambda path: int(path.stem.partition("-")[2]))
    assert 4 <= len(paths) <= 5 and paths[0].name != "dead_letters-0.jsonl"
    offsets = [json.loads(line)["offset"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    assert offsets == list(range(offsets[0], 60))


def script(number: int = 20) -> list[bytes]:
    """Rows in two batches of ten and more: corrections, a change of entity, one refused."""
    found = [row(n, n, amount=n, card=f"c{n % 4}", buyer=BUYERS[n % 3]) for n in range(number)]
    found += [
        {**row(n, n, amount=n + 100, buyer=BUYERS[(n + 1) % 3]), "known": moment(number + n)}
        for n in range(0, number, 3)
    ]
    return [*(encoded(each) for each in found), b"{", *(encoded(row(n, n + 60, amount=1)) for n in range(100, 112))]


def trap(point: str, after: int, kill: Callable[[], None], store: Any, log: Any) -> Any:
    """Calls `kill` the nth time that the job comes to a point; gives what undoes it."""
    commit, write, read = State.commit, store.write, log.read
    at = killing.trap(point, after, kill, store, log)

    def committing(self: State) -> None:
        at("commit")
        commit(self)
        at("committed")

    State.commit = committing  # type: ignore[method-assign]

    def undo() -> None:
        State.commit, store.write, log.read = commit, write, read  # type: ignore[method-assign]

    return undo


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder, store = tmp_path_factory.mktemp("undisturbed"), Online()
    stream = job(folder, Memory(script()), store)
    drain(stream, 4)
    stream.close()
    return left_by(folder, store)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("after", [2, 3, 5, 8])
def test_an_end_anywhere_between_write_and_commit_leaves_the_same(
    point: str, after: int, tmp_path: Path, undisturbed: Any
) -> None:
    """The process is left where it is, without a word to its state: only what has reached the files goes on."""
    store, log = Online(), Memory(script())

    def kill() -> None:
        raise Killed

    stream = job(tmp_path, log, store)
    undo = trap(point, after, kill, store, log)
    try:
        with pytest.raises(Killed):
            drain(stream, 4)
    finally:
        undo()
    stream._state.close()
    stream._letters.close()
    stream = job(tmp_path, log, store)
    drain(stream, 4)
    stream.close()
    assert left_by(tmp_path, store) == undisturbed


CHILD = """
import os, signal, sys
from pathlib import Path
from hallmark.feature_store.log import FileLog
from tests.hallmark.feature_store import test_stream as t
folder, point, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store, log = t.Online(folder / "online.sqlite"), FileLog(folder / "log")
if point:
    t.trap(point, after, lambda: os.kill(os.getpid(), signal.SIGKILL), store, log)
stream = t.job(folder / "state", log, store)
t.drain(stream, 4)
stream.close()
"""


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1800)
def test_killed_at_fifty_points_it_ends_in_the_same_state(tmp_path: Path, undisturbed: Any) -> None:
    """Ten times at each of the five points; thrice in `make slow`."""
    killed_at_each_point(tmp_path, CHILD, script(), undisturbed, times=how_many(3, 10))
