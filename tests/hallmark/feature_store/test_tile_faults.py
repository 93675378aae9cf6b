"""A job on Flink's tiles whose store is down for a minute, whose tiles come late, and which is killed, ends where an undisturbed one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hallmark.feature_store import tile_stream
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.place import Answer, FeatureStore
from hallmark.feature_store.tile_stream import TileStream
from hallmark.settings import Settings
from tests.hallmark.feature_store import killing
from tests.hallmark.feature_store.drawn import TYPES
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.killing import POINTS, Killed, killed_at_each_point, left_by
from tests.hallmark.feature_store.online.conftest import RedisServer
from tests.hallmark.feature_store.test_flink import ALL, recorded
from tests.hallmark.feature_store.test_following import free_port, until
from tests.hallmark.feature_store.test_stream import Memory
from tests.seeds import how_many

ROOT = Path(__file__).parents[3]
VIEW = "buyer_orders@1"
LOG = f"{VIEW}-tiles"
DAY = 86_400_000_000
BUYERS = ["anna", "bob", "carl"]


def script() -> list[bytes]:
    """Flink's own records of a random stream, some of them twice, and three that are no tiles."""
    found = recorded()
    return [*found[:90], b"{", *found[60:200], b'{"entity": 7}', *found[200:], *found[-9:], b"[]"]


def trap(job: TileStream, point: str, after: int, kill: Callable[[], None], store: Any, log: Any) -> None:
    """Has `kill` called the nth time that the job comes to a point."""
    at, execute = killing.trap(point, after, kill, store, log), job._run

    def running(statement: str, *values: Any) -> Any:
        if statement != "COMMIT":
            return execute(statement, *values)
        at("commit")
        found = execute(statement)
        at("committed")
        return found

    job._run = running  # type: ignore[assignment]


def opened(folder: Path, store: Online, log: Any) -> TileStream:
    return TileStream(ALL, TYPES, log=log, store=store, folder=folder, address="kept")  # type: ignore[arg-type]


def drain(job: TileStream) -> None:
    while job.step(20):
        pass


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder, store = tmp_path_factory.mktemp("undisturbed"), Online()
    with closing(opened(folder, store, Memory(script()))) as job:
        drain(job)
    assert len(store.all()) >= 2 and len(left_by(folder, store)[1].splitlines()) == 3
    return left_by(folder, store)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("after", [1, 3, 7])
def test_an_end_anywhere_between_write_and_commit_leaves_the_same(
    point: str, after: int, tmp_path: Path, undisturbed: Any
) -> None:
    def kill() -> None:
        raise Killed

    store, log = Online(tmp_path / "online.sqlite"), Memory(script())
    job = opened(tmp_path / "state", store, log)
    trap(job, point, after, kill, store, log)
    with pytest.raises(Killed):
        drain(job)
    job._letters.close()
    job._holds.close()
    store = Online(tmp_path / "online.sqlite")
    with closing(opened(tmp_path / "state", store, Memory(script()))) as job:
        drain(job)
    assert left_by(tmp_path / "state", store) == undisturbed


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.hallmark.feature_store import test_tile_faults as t
folder, point, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store, log = t.Online(folder / "online.sqlite"), t.FileLog(folder / "log")
job = t.opened(folder / "state", store, log)
if point:
    t.trap(job, point, after, lambda: os.kill(os.getpid(), signal.SIGKILL), store, log)
t.drain(job)
job.close()
"""


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1800)
def test_killed_at_any_point_it_ends_in_the_same_state(tmp_path: Path, undisturbed: Any) -> None:
    killed_at_each_point(tmp_path, CHILD, script(), undisturbed, times=how_many(2, 10))


# A process, and a Redis that is down


class Shop:
    """A place, whose tiles are told as Flink would."""

    def __init__(self, folder: Path, url: str) -> None:
        self.settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder)}).prepared()
        self.place, self.url = FeatureStore(self.settings, url=url), url

    def append(self, *tiles: bytes) -> None:
        with FileLog(self.settings.state / "features" / "log" / LOG) as log:
            log.append("0", list(tiles))

    def answers(self, at: datetime) -> list[Answer]:
        return self.place.read(VIEW, BUYERS, at=at)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.kill()


def tile(buyer: str, *, days: int, orders: int, cards: Sequence[str], known: datetime) -> bytes:
    """The tile of a day so many days before `known`'s: how many orders, paid with which cards."""
    at = int(known.timestamp() * 1e6)
    happened = at - days * DAY - 1_000_000
    row = {"entity": buyer, "width": DAY, "tile": happened // DAY, "known": at, "happened": happened, "ahead": None}
    row |= {"m0": orders, "m1": dict.fromkeys(cards, 1)}
    return json.dumps({"op": "u", "before": None, "after": row}).encode()


@pytest.mark.parametrize("outage", [2.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_a_store_that_is_down_late_tiles_and_a_kill_change_nothing_in_the_end(
    outage: float, tmp_path: Path, redis: RedisServer
) -> None:
    now = datetime.now(UTC) - timedelta(minutes=10)
    first = [tile(each, days=2, orders=2, cards=["c1"], known=now) for each in BUYERS]
    later = now + timedelta(minutes=1)
    second = [
        tile("anna", days=2, orders=1, cards=["c9"], known=later),  # corrected: happened as before, known later
        tile("bob", days=20, orders=4, cards=["c2", "c3"], known=later),  # twenty days late
        tile("carl", days=200, orders=9, cards=["c7"], known=later),  # too late to change anything
        b'{"entity": "anna"}',
        *first[1:2],  # twice
    ]
    shop, other = Shop(tmp_path / "shop", redis.url), Shop(tmp_path / "other", f"sqlite:///{tmp_path}/other.db")
    port = free_port()
    command = [sys.executable, "-m", "hallmark.cli", "features", "run", "--tiles", "--follow"]
    command += [f"--metrics-port={port}", f"--store={redis.url}", VIEW]
    environment = {**os.environ, **shop.settings.environment(), "PYTHONPATH": str(ROOT)}

    def started() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
        until(lambda: asked("/live") == "alive\n")
        return process

    def asked(path: str) -> str:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    def metric(name: str) -> float:
        lines = [line for line in asked("/metrics").splitlines() if line.startswith(f"hallmark_stream_{name}")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    shop.append(*first)
    process = started()
    try:
        until(lambda: metric("payloads_total") == 3)
        redis.kill()
        shop.append(*second)
        until(lambda: metric("stalls_total") >= 1 and metric("owed") == 2)
        time.sleep(outage)
        assert asked("/live") == "alive\n", "a store that is down is no reason to start anew"
        assert metric("stalls_total") >= 1 + outage / 2 and metric("payloads_total") == 3
        assert metric('rows_total{view="buyer_orders@1",fate="late"}') == 1
        assert metric('rows_total{view="buyer_orders@1",fate="unreadable"}') == 1
        process.kill()
        process.wait()
        redis.start()
        process = started()
        until(lambda: metric("payloads_total") >= 2 and metric("owed") == 0)
        assert metric('rows_total{view="buyer_orders@1"') == len(first) + len(second), "each record once"
        assert metric("event_age_seconds") >= 600, "by event time, whenever it came"
    finally:
        process.kill()
        process.wait()
    other.append(*first, *second)
    with other.place.tiles(VIEW) as tiles:
        assert tile_stream.caught_up(tiles, quiet=0.1) == len(first) + len(second)
    at = later + timedelta(minutes=6)
    assert shop.answers(at) == other.answers(at)
    values = [each.values for each in shop.answers(at)]
    assert values == [
        {"buyer_orders_30d": 1, "buyer_cards_90d": 1},
        {"buyer_orders_30d": 6, "buyer_cards_90d": 3},
        {"buyer_orders_30d": 2, "buyer_cards_90d": 1},
    ]
