"""A person leaves all that the feature store keeps, killed anywhere, and what is left is the world in which they never were."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark import files
from hallmark.declaration import feature_view
from hallmark.errors import Conflict, DeclarationError
from hallmark.feature_store import erasure, offline, place, snapshots, sources
from hallmark.feature_store.online.address import location
from hallmark.feature_store.online.sqlite import SQLiteStore
from hallmark.feature_store.online.store import Row
from hallmark.feature_store.place import FeatureStore
from hallmark.feature_store.state import State
from hallmark.feature_store.stream import Published, encoded
from hallmark.settings import Settings
from tests.hallmark.cli.test_features import DAY, HOUR, NOW, ROOT, batch, order
from tests.hallmark.feature_store import drawn, test_stream, test_tiles
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.online.conftest import RedisServer
from tests.seeds import how_many

WHO = "m4711erase"
VIEWS = ["buyer_orders@1", "device@1", "ip_orders@1"]
AT = NOW + timedelta(minutes=5)
PEOPLE = ["anna", "bob", "carl", WHO]
IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.9"]
DEVICES = ["d1", "d2", "d9"]


def corrected(row: dict[str, Any], **other: Any) -> dict[str, Any]:
    """The same order, known an hour later."""
    return {**row, "known_at": row["known_at"] + timedelta(minutes=30), **other}


ANNAS = order(20, "anna", ago=3 * HOUR, device_id="d2")
THEIRS = order(21, WHO, ago=4 * HOUR)
FIRST = [
    order(1, "anna", ago=40 * DAY),
    order(2, "anna", ago=2 * DAY, card="c2"),
    order(3, WHO, ago=3 * DAY, ip="10.0.0.9", device_id="d9"),
    order(4, WHO, ago=HOUR / 2, card="c7"),
    order(5, "bob", ago=HOUR / 2, card=None),
    ANNAS,
    THEIRS,
]
SECOND = [
    order(6, "carl", ago=HOUR / 3, ip="10.0.0.2"),
    corrected(ANNAS, buyer_id=WHO),  # it was never anna's
    corrected(THEIRS, buyer_id="bob"),  # it was never theirs
    order(7, WHO, ago=HOUR / 6, ip="10.0.0.2", device_id="d2"),
]
THIRD = [order(8, "anna", ago=HOUR / 12), order(9, "carl", ago=HOUR / 12, device_id="d9")]
WITHOUT = {
    "first": [each for each in FIRST if each["buyer_id"] != WHO and each is not ANNAS],
    "second": [each for each in SECOND if each["buyer_id"] != WHO],
}


def settings_of(folder: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder / "state")})


def filled(folder: Path, first: list[dict[str, Any]], second: list[dict[str, Any]]) -> FeatureStore:
    """A store with both batches: the first by a backfill, the second by its streams."""
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(settings_of(folder))
    store.ingest("orders@1", Path(batch(folder, "first", first)))
    store.apply(VIEWS)
    store.ingest("orders@1", Path(batch(folder, "second", second)))
    store.catch_up(VIEWS)
    (folder / "first.parquet").unlink()
    (folder / "second.parquet").unlink()
    return store


def erase(store: FeatureStore, **more: Any) -> tuple[erasure.Found, erasure.Erasure | None]:
    return store.eraser({"buyer_id": WHO}, **more).run(by="tests", tell=lambda _: None)


def known(store: FeatureStore) -> dict[str, Any]:
    """All that a request could get, and all that is stored."""
    found: dict[str, Any] = {}
    for view, entities in zip(VIEWS, (PEOPLE, DEVICES, IPS), strict=True):
        found[view] = {each: store.read(view, [each], at=AT)[0] for each in entities}
        with contextlib.closing(store._online()) as online:
            found[f"{view} keys"] = sorted(row.key for page in online.scan(view) for row in page)
    held = sources.snapshot(store.offline("orders@1"))
    found["rows"] = sorted(str(row) for path in held.files() for row in pq.read_table(path).to_pylist())
    with store._log("orders@1") as log:
        found["log"] = sorted(record.value for record in log.read("0", 0, 1000) if not record.erased)
    return found


def bytes_of(store: FeatureStore) -> Iterator[tuple[Path, bytes]]:
    """Every file as it lies there, and what a Parquet file says unpacked: values, dictionaries, statistics."""
    for path in sorted(store._folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            yield path, repr(file.read().to_pydict()).encode()
            groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
            yield (
                path,
                repr([group.column(at).statistics for group in groups for at in range(group.num_columns)]).encode(),
            )


def naming(store: FeatureStore) -> list[str]:
    return sorted({path.name for path, content in bytes_of(store) if WHO.encode() in content})


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return known(filled(tmp_path_factory.mktemp("without"), WITHOUT["first"], WITHOUT["second"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    filled(folder, FIRST, SECOND)
    return folder


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> FeatureStore:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return FeatureStore(settings_of(tmp_path))


def test_what_is_left_is_the_world_without_them(store: FeatureStore, without: dict[str, Any], tmp_path: Path) -> None:
    assert naming(store) and store.read("device@1", ["d1"], at=AT)[0].values == {"device_accounts": 4}
    found, record = erase(store)
    assert record is not None and naming(store) == []
    assert known(store) == without
    held = {each.where: each.count for each in found.counts if each.what in ("rows", "records")}
    assert held == {**{"offline store of orders@1": 6, "log of orders@1": 6, "online store: buyer_orders@1": 1}}, (
        "four that name them, one of theirs that was corrected, and anna's that never was hers"
    )
    sources.snapshot(store.offline("orders@1")).verify()


def test_streams_go_on_as_if_they_had_never_been(store: FeatureStore, tmp_path: Path) -> None:
    erase(store)
    other = filled(tmp_path / "other", WITHOUT["first"], WITHOUT["second"])
    for each in (store, other):
        each.ingest("orders@1", Path(batch(tmp_path, "third", THIRD)))
        each.catch_up(VIEWS)
    assert known(store) == known(other)


def test_a_second_erasure_finds_nothing_and_changes_nothing(store: FeatureStore) -> None:
    erase(store)
    before = {path: path.read_bytes() for path, _ in bytes_of(store) if path.suffix in (".parquet", ".json", ".log")}
    found, record = erase(store)
    assert record is None and not any(each.count for each in found.counts)
    assert {path: path.read_bytes() for path in before} == before


def test_the_record_names_nobody_and_leads_to_the_new_digests(store: FeatureStore, tmp_path: Path) -> None:
    held = sources.snapshot(store.offline("orders@1"))
    first = dataclasses.replace(
        held, manifest=held.manifest.model_copy(update={"segments": held.manifest.segments[:1]})
    )
    erase(store)
    (record,) = erasure.records(store.erasures)
    now = sources.snapshot(store.offline("orders@1"))
    assert erasure.followed(store.erasures, held.digest)[-1] == now.digest
    assert len(erasure.followed(store.erasures, first.digest)) == 2, "a model card may name any snapshot of before"
    assert set(record.person) == {"buyer_id"} and record.person["buyer_id"].startswith("hmac-sha256:")
    assert WHO not in "".join(path.read_text() for path in store.erasures.iterdir() if path.is_file())
    assert (store.erasures / "key").stat().st_mode & 0o077 == 0
    store.eraser({"buyer_id": "bob"}).run(by="tests", tell=lambda _: None)
    again = sources.snapshot(store.offline("orders@1"))
    assert erasure.followed(store.erasures, held.digest) == [held.digest, now.digest, again.digest]


def test_a_batch_that_was_erased_from_is_still_the_batch(store: FeatureStore, tmp_path: Path) -> None:
    frame = sources.snapshot(store.offline("orders@1")).files()[0]
    rows, batch_of = pq.read_table(frame), sources.snapshot(store.offline("orders@1")).manifest.segments[0].batch
    erase(store)
    assert not sources.append(store.offline("orders@1"), rows, source="orders@1", batch=batch_of)
    assert naming(store) == []


def test_training_sets_lose_their_rows_and_every_mention(store: FeatureStore, tmp_path: Path) -> None:
    root = tmp_path / "sets"
    declared = feature_view.load("buyer_orders@1", settings_of(tmp_path))
    held = sources.snapshot(store.offline("orders@1"))
    asked = pa.table(
        {
            "buyer_id": ["anna", WHO, "bob"],
            "last_buyer": [WHO, "x", None],
            "x": [1.0, float("nan"), 3.0],
            "at": [AT] * 3,
        }
    )
    pq.write_table(asked, tmp_path / "asked.parquet")
    parts = offline.training_frame(
        tmp_path / "asked.parquet", [declared], {"orders@1": held.files()}, tmp_path / "frame", time="at"
    )
    old = snapshots.write(parts, root, time="at", views=[declared], sources={"orders@1": held.digest})
    untouched = snapshots.write(
        [Path(shutil.copy(parts[0], tmp_path / "p.parquet"))], root, time="at", views=[], sources={}
    )
    _, record = erase(store, training=[root])
    assert record is not None and set(record.training) == {old, untouched}
    new = erasure.followed(store.erasures, old)[-1]
    training, _ = snapshots.read(root, new)
    assert training.sources == {"orders@1": sources.snapshot(store.offline("orders@1")).digest}
    frame = snapshots.frame(root, new)
    assert frame["buyer_id"].tolist() == ["anna", "bob"] and frame["last_buyer"].isna().all()
    assert WHO not in training.text() and [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    assert sorted(snapshots.digests(root)) == sorted({new, erasure.followed(store.erasures, untouched)[-1]})


def test_what_nobody_can_read_as_a_row_goes_where_it_names_them(store: FeatureStore) -> None:
    broken = [f'{{"buyer_id": "{WHO}", '.encode(), b'{"buyer_id": "anna", ', json.dumps({"buyer_id": [WHO]}).encode()]
    with store._log("orders@1") as log:
        log.append("0", broken)
    store.catch_up(VIEWS)
    assert any("dead_letters" in name for name in naming(store))
    found, _ = erase(store)
    assert {each.where: each.count for each in found.counts if each.what == "dead letters"} == {
        **{f"stream of {view}": 2 for view in VIEWS},
        "tiles of buyer_orders@1": 0,
    }
    assert naming(store) == []
    letters = [
        json.loads(line) for line in (store._state("device@1") / "dead_letters-0.jsonl").read_text().splitlines()
    ]
    assert [each["row"] for each in letters] == [broken[1].decode()], "those of others stay"


def test_their_tiles_go_and_a_job_reads_on_over_the_blanks(store: FeatureStore) -> None:
    job, at = store.job("buyer_orders@1"), int(AT.timestamp() * 1e6)
    hop = len(job.plan.hops) - 1
    empty = {name: 1 if "COUNT(" in taken else None for name, _, taken in job._outputs(hop)}
    row = {**empty, "width": job.plan.hops[hop], "tile": at // job.plan.hops[hop], "known": at, "happened": at}

    def held() -> list[int]:
        with store.tiles("buyer_orders@1") as tiles:
            while tiles.step():
                pass
            return [len(tiles._tiles(who).by_hop[hop]) for who in (WHO, "bob")]

    with store._log("buyer_orders@1-tiles") as log:
        log.append(
            "0",
            [
                json.dumps({"op": "c", "before": None, "after": {**row, "entity": each}}).encode()
                for each in (WHO, "bob")
            ]
            + [json.dumps({"entity": each}).encode() for each in (WHO, "bob")],
        )
    assert held() == [1, 1] and any("dead_letters" in name for name in naming(store))
    with store.tiles("buyer_orders@1"), pytest.raises(Conflict, match="another job runs"):
        erase(store)
    assert erasure.records(store.erasures) == []
    found, _ = erase(store)
    assert {each.what: each.count for each in found.counts if each.where == "tiles of buyer_orders@1"} == {
        "records": 2,
        "tiles": 1,
        "dead letters": 1,
    }
    assert naming(store) == [] and held() == [0, 1]
    letters = (store._folder / "tiles" / "buyer_orders@1" / "dead_letters-0.jsonl").read_text()
    assert json.loads(letters)["row"] == json.dumps({"entity": "bob"}), "those of others stay"
    (store._folder / "tiles" / "buyer_orders@1" / "tiles.sqlite").unlink()
    assert held() == [0, 1], "read from the begin of the log"


def test_another_column_with_the_same_value_is_told_and_stays(store: FeatureStore, tmp_path: Path) -> None:
    store.ingest("orders@1", Path(batch(tmp_path, "sold", [order(30, "anna", ago=DAY, seller_id=WHO)])))
    found, _ = erase(store)
    assert found.also == {"orders@1 seller_id": 1} and naming(store) != []
    both, _ = store.eraser({"buyer_id": WHO, "seller_id": WHO}).run(by="tests", tell=lambda _: None)
    assert both.also == {}
    store.catch_up(VIEWS)
    assert naming(store) == []


def test_a_stream_that_follows_gives_way_and_goes_on(
    store: FeatureStore, tmp_path: Path, without: dict[str, Any]
) -> None:
    stop, failed = threading.Event(), []

    def follow() -> None:
        try:
            store.follow(lambda: VIEWS, stop)
        except BaseException as error:  # noqa: BLE001  told below
            failed.append(error)

    job = threading.Thread(target=follow)
    job.start()
    try:
        for view in VIEWS:
            while not files.held(store._state(view) / "state.sqlite.lock"):
                time.sleep(0.01)
        _, record = erase(store)
        assert record is not None and naming(store) == [] and known(store) == without
        store.ingest("orders@1", Path(batch(tmp_path, "third", THIRD)))
        until = time.monotonic() + 20
        while store.read("buyer_orders@1", ["carl"], at=AT)[0].values["buyer_orders_30d"] < 2:
            assert time.monotonic() < until and not failed
            time.sleep(0.02)
    finally:
        stop.set()
        job.join()
    assert not failed


def test_nobody_is_erased_beside_a_job_that_keeps_its_state(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_PATIENCE", 0.1)
    view = feature_view.load("device@1", store._settings)
    with store._stream(view), pytest.raises(Conflict, match="another job runs"):
        erase(store)
    with files.locked(store.erasures / ".lock", patience=1), pytest.raises(Conflict, match="another erasure"):
        erase(store)
    assert naming(store) != []
    stop = threading.Event()
    job = threading.Thread(target=store.follow, args=(lambda: VIEWS, stop))
    job.start()
    try:
        locks = [store.state(each).with_name("state.sqlite.lock") for each in VIEWS]
        while not all(map(files.held, locks)):
            time.sleep(0.01)
        with store._log("orders@1") as log:
            log.append("0", [])
        found = store.eraser({"buyer_id": WHO}).look(tell=lambda _: None)
        assert {each.where: each.count for each in found.counts}["log of orders@1"] == 6, "to look holds up nobody"
    finally:
        stop.set()
        job.join()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.kill()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_store_that_is_taken_up_again_has_nothing_of_who_was_erased_meanwhile(
    store: FeatureStore,
    without: dict[str, Any],
    kind: str,
    redis: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = store if kind == "sqlite" else FeatureStore(store._settings, url=redis)
    second = FeatureStore(store._settings, url=f"sqlite:///{tmp_path}/second.db")
    first.apply(VIEWS)
    second.apply(VIEWS)
    _, record = erase(second)
    assert record is not None and location(first.url) in record.left and location(second.url) not in record.left
    assert any(WHO.encode() in row.key.entity for row in rows_of(first)), "nobody has reached it"

    write, seen = Published.write, list[str]()

    def watching(self: Published, rows: Any) -> None:
        seen.append(first.stage("device@1").name)
        write(self, rows)
        assert not any(WHO.encode() in row.key.entity for row in rows_of(first))
        raise KeyboardInterrupt

    monkeypatch.setattr(Published, "write", watching)
    for view in VIEWS:
        with contextlib.suppress(KeyboardInterrupt):
            first.apply([view])
    monkeypatch.undo()
    assert {first.stage(each).name for each in VIEWS} == {"filling"} and {*seen} == {"filling"}
    first.apply(VIEWS)
    assert {first.stage(each).name for each in VIEWS} == {"applied"}
    assert known(first) == without, "nor what was counted of them alone: d9's last buyer, their address"
    assert kind == "redis" or naming(first) == []


def test_who_comes_again_after_their_erasure_is_in_a_store_that_is_taken_up_again(
    store: FeatureStore, tmp_path: Path
) -> None:
    second = FeatureStore(store._settings, url=f"sqlite:///{tmp_path}/second.db")
    second.apply(VIEWS)
    erase(second)
    second.ingest("orders@1", Path(batch(tmp_path, "again", [order(40, WHO, ago=HOUR / 20)])))
    second.catch_up(VIEWS)
    store.apply(VIEWS)
    assert known(store) == known(second) and store.read(VIEWS[0], [WHO], at=AT)[0].values["buyer_orders_30d"] == 1


def rows_of(store: FeatureStore) -> list[Row]:
    with contextlib.closing(store._online()) as online:
        return [row for view in VIEWS for page in online.scan(view) for row in page]


def test_what_is_no_person_and_what_nobody_declares_is_refused(store: FeatureStore) -> None:
    with pytest.raises(DeclarationError, match="order_id names no person"):
        store.eraser({"order_id": "o1"})
    (store._folder / "streams" / "device@7").mkdir()
    with pytest.raises(Conflict, match="device@7 is here and nobody declares it"):
        erase(store)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1800)
@settings(max_examples=how_many(100, 2000), deadline=None, suppress_health_check=test_tiles.QUIET)
@given(st.data())
def test_a_stream_that_a_buyer_was_erased_from_is_the_reference_without_them(data: st.DataObject) -> None:
    """Any view, rows and order of arrival; what comes after the erasure too. Older versions of a row that names them go with it."""
    declared, given_rows = data.draw(drawn.views()), data.draw(drawn.rows())
    who, cut = data.draw(st.sampled_from(drawn.BUYERS)), data.draw(st.integers(0, len(given_rows)))
    before, after = given_rows[:cut], given_rows[cut:]
    named: dict[Any, list[Any]] = {}
    for each in before:
        if each["buyer"] == who:
            named.setdefault(each["order"], []).append((each["known"], each["happened"]))

    def gone(order: Any, known: Any, happened: Any, buyer: Any) -> bool:
        return buyer == who or any((known, happened) <= each for each in named.get(order, ()))

    kept = [each for each in before if not gone(each["order"], each["known"], each["happened"], each["buyer"])]
    at = data.draw(drawn.instants(max(test_tiles.accepted(given_rows), default=drawn.START)))
    log, store = test_stream.Memory([encoded(each) for each in before]), Online()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(test_stream.job(Path(folder), log, store, declared)) as stream:
            test_stream.drain(stream, data.draw(st.sampled_from((1, 3, 100))))
        with contextlib.closing(test_stream.job(Path(folder), log, store, declared)) as stream:
            past = {order: [tuple(map(test_tiles.us, each)) for each in found] for order, found in named.items()}
            events = stream.naming(
                lambda _, row: (
                    row["buyer"] == who
                    or any((row["known"], row["happened"]) <= each for each in past.get(row["order"], ()))
                )
            )
            stream.erase(events, letters=lambda _: False)
            store.erase(declared.reference, who)
            test_stream.holds(declared, kept, store, at)
            log.content["0"] += [encoded(each) for each in after]
            test_stream.drain(stream)
    test_stream.holds(declared, [*kept, *after], store, at)
    store.close()


# Kills: a real process, which is gone at once wherever it is


def trap(at: int, told: Callable[[int], None]) -> None:
    """Kills this process before or after the nth change of a file or database; else tells how many there were."""
    left = [at, 0]

    def point() -> None:
        left[1] += 1
        if left[1] == left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            point()
            found = original(*given, **named)
            point()
            return found

        setattr(owner, name, wrapped)

    for owner, name in (
        *((Path, each) for each in ("replace", "unlink", "rename")),
        *((State, each) for each in ("commit", "scrub")),
        *((SQLiteStore, each) for each in ("write", "erase", "scrub")),
        (shutil, "rmtree"),
    ):
        around(owner, name)
    told(left[1])
    trap.count = left  # type: ignore[attr-defined]


def killed(folder: Path, at: int) -> int:
    """Erase in a process that is killed at a point; the number of points where there are fewer."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            trap(at, lambda _: None)
            erase(FeatureStore(settings_of(folder)), training=[folder / "sets"])
            os.write(writing, str(trap.count[1]).encode())  # type: ignore[attr-defined]
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        told = stream.read()
    assert told or os.WTERMSIG(status) == signal.SIGKILL
    return int(told or 0)


def ends_alike(whole: Path, folder: Path, at: int, without: Mapping[str, Any]) -> bool:
    """False where the process was not killed, since there are fewer points."""
    shutil.copytree(whole, folder)
    store = FeatureStore(settings_of(folder))
    pq.write_table(pa.table({"buyer_id": ["anna", WHO], "at": [AT] * 2}), folder / "asked.parquet")
    old = snapshots.write([folder / "asked.parquet"], folder / "sets", time="at", views=[], sources={})
    digest = sources.snapshot(store.offline("orders@1")).digest
    if killed(folder, at):
        return False
    assert not any(each.ended for each in erasure.records(store.erasures)) or not naming(store)
    store.catch_up(VIEWS)  # a stream that goes on in between hurts nothing
    erase(store, training=[folder / "sets"])
    assert naming(store) == [], at
    assert known(store) == without, at
    (record,) = erasure.records(store.erasures)
    assert erasure.followed(store.erasures, digest)[-1] == sources.snapshot(store.offline("orders@1")).digest, at
    assert record.counts and [erasure.followed(store.erasures, old)[-1]] == snapshots.digests(folder / "sets"), at
    return True


@pytest.mark.slow
def test_killed_anywhere_and_run_again_it_ends_alike(whole: Path, tmp_path: Path, without: dict[str, Any]) -> None:
    for at in (6, 20, 41):
        assert ends_alike(whole, tmp_path / str(at), at, without)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(600)
def test_killed_at_every_point_it_ends_alike(whole: Path, tmp_path: Path, without: dict[str, Any]) -> None:
    at = 1
    while ends_alike(whole, tmp_path / str(at), at, without):
        at += how_many(3, 1)
    assert at > 40
