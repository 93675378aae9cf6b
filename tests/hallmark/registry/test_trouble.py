"""The registry while somebody else holds it, or it is not there, or two promote at once (faults 14 and 15)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.request import urlopen

import pytest

from hallmark.artifacts.model_card import ModelCard
from hallmark.errors import Conflict, Unavailable
from hallmark.registry.store import CHALLENGER, CHAMPION, Registry
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
Make = Callable[[str], tuple[Path, ModelCard]]


def calls(registry: Registry) -> list[Callable[[], object]]:
    """Every call that promote, rollback, release and the watch make."""
    return [
        lambda: registry.resolve("toy", 1),
        lambda: registry.resolve("toy", CHALLENGER),
        lambda: registry.model_card("toy", 1),
        lambda: registry.versions("toy"),
        lambda: registry.correlated("toy", "a" * 32),
        lambda: registry.correlate("toy", 1, "a" * 32),
        lambda: registry.alias("toy", CHAMPION, 1),
        lambda: registry.alias("toy", CHAMPION, 1, expected=None),
    ]


def all_fail_soon(settings: Settings) -> None:
    """All of them, at the same time, since each waits as long as it may."""

    def fails(call: Callable[[], object]) -> float:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="the registry does not answer; nothing was changed"):
            call()
        return time.monotonic() - began

    asked = [*calls(Registry(settings)), *calls(Registry(settings))]
    with ThreadPoolExecutor(len(asked)) as pool:
        assert max(pool.map(fails, asked)) < 5


HOLD = """
import sqlite3, sys
link = sqlite3.connect(sys.argv[1], isolation_level=None)
link.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_fault_14_a_registry_that_another_process_has_locked_fails_cleanly(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    registry.register(*make("two"))
    registry.alias("toy", CHAMPION, 2)
    before = registry.versions("toy")
    command = [sys.executable, "-c", HOLD, str(settings.state / "mlflow.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        all_fail_soon(settings)
        holder.communicate("\n")
    assert registry.versions("toy") == before
    registry.alias("toy", CHAMPION, 1, expected=2)


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen(128)
        yield quiet.getsockname()[1]


def test_fault_14_a_tracking_server_that_is_down_or_silent_fails_cleanly(settings: Settings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    all_fail_soon(settings.model_copy(update={"tracking": f"http://127.0.0.1:{port}"}))
    with silent() as port:
        all_fail_soon(settings.model_copy(update={"tracking": f"http://127.0.0.1:{port}"}))


def test_a_champion_is_moved_only_from_where_it_was_expected(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    registry.register(*make("two"))
    registry.alias("toy", CHAMPION, 1, expected=None)
    with pytest.raises(Conflict, match="moved by somebody else") as caught:
        registry.alias("toy", CHAMPION, 2, expected=None)
    assert (caught.value.expected, caught.value.got) == ("no version", "version 1")
    with pytest.raises(Conflict):
        registry.alias("toy", CHAMPION, 2, expected=2)
    assert registry.resolve("toy", CHAMPION).version == 1
    registry.alias("toy", CHAMPION, 2, expected=1)
    assert [(row.version, row.aliases) for row in registry.versions("toy")] == [(2, (CHAMPION,)), (1, ())]


def test_a_promotion_is_whole_where_the_registry_goes_away_right_after_it(
    settings: Settings, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    registry = Registry(settings)
    registry.register(*make("one"))
    client = registry._client()

    def gone(*_: object) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(client, "delete_registered_model_alias", gone)
    registry.alias("toy", CHAMPION, 1, expected=None)
    assert registry.versions("toy")[0].aliases == (CHAMPION,)


RACE = """
import os, sys
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
from hallmark.errors import Conflict
from hallmark.registry.store import Registry
from hallmark.settings import Settings

def race(asked, told):
    registry = Registry(Settings.load())
    registry.versions("toy")
    print("ready", file=told, flush=True)
    for line in asked:
        expected, version = map(int, line.split())
        try:
            registry.alias("toy", "champion", version, expected=expected)
            print("won", file=told, flush=True)
        except Conflict:
            print("lost", file=told, flush=True)

ends = [int(end) for end in sys.argv[1:]]
for asked, told in zip(ends[::2], ends[1::2]):
    if not os.fork():  # a process each, and one import of MLflow for all of them
        race(os.fdopen(asked), os.fdopen(told, "w"))
        os._exit(0)
sys.exit(sum(os.wait()[1] for _ in ends[::2]))
"""
RACERS, ROUNDS = 4, 100
Racer = tuple[TextIO, TextIO]


@pytest.mark.slow
def test_fault_15_of_four_promotions_at_once_one_wins_a_hundred_times(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    for text in "abcde":
        registry.register(*make(text))
    registry.alias("toy", CHAMPION, 1)
    (settings.root / "domains").mkdir(exist_ok=True)
    environment = {**os.environ, **settings.environment()}
    asked, told = ([os.pipe() for _ in range(RACERS)] for _ in range(2))
    theirs = [end for (reads, _), (_, writes) in zip(asked, told, strict=True) for end in (reads, writes)]
    process = subprocess.Popen([sys.executable, "-c", RACE, *map(str, theirs)], env=environment, pass_fds=theirs)
    for end in theirs:
        os.close(end)
    racers = [
        (os.fdopen(writes, "w", buffering=1), os.fdopen(reads))
        for (_, writes), (reads, _) in zip(asked, told, strict=True)
    ]

    def hear(racer: Racer) -> str:
        return racer[1].readline().strip()

    try:
        assert [hear(racer) for racer in racers] == ["ready"] * RACERS
        champion, wins = 1, [0] * RACERS
        for turn in range(ROUNDS):
            order = [racers[(turn + n) % RACERS] for n in range(RACERS)]  # nobody is always asked first
            wanted = {id(racer): (champion + n) % 5 + 1 for n, racer in enumerate(racers)}
            for racer in order:
                racer[0].write(f"{champion} {wanted[id(racer)]}\n")
            told = [hear(racer) for racer in racers]
            assert sorted(told) == ["lost"] * (RACERS - 1) + ["won"], (turn, told)
            winner = told.index("won")
            champion, wins[winner] = wanted[id(racers[winner])], wins[winner] + 1
            assert registry.resolve("toy", CHAMPION).version == champion
        assert sum(wins) == ROUNDS
    finally:
        for racer in racers:
            for end in racer:
                end.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.slow
def test_a_real_tracking_server_promotes_and_fails_cleanly_when_it_stops_to_answer(
    settings: Settings, make: Make
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", settings.tracking, "--workers", "1"]
    command += ["--port", str(port), "--artifacts-destination", str(settings.state / "artifacts")]
    url = f"http://127.0.0.1:{port}"
    remote = settings.model_copy(update={"tracking": url})
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Without the eight processes that MLflow starts beside it for jobs of its own.
    environment = {**os.environ, **settings.environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, start_new_session=True, env=environment, **quiet)
    try:
        until = time.monotonic() + 60
        while not _healthy(url):
            assert time.monotonic() < until and server.poll() is None
            time.sleep(0.2)
        registry = Registry(remote)
        assert [registry.register(*make(text)) for text in ("one", "two")] == [1, 2]
        registry.alias("toy", CHAMPION, 1, expected=None)
        with pytest.raises(Conflict):
            registry.alias("toy", CHAMPION, 2, expected=None)
        registry.alias("toy", CHAMPION, 2, expected=1)
        registry.correlate("toy", 1, "a" * 32)
        assert registry.correlated("toy", "a" * 32) == 1
        os.killpg(server.pid, signal.SIGSTOP)  # it takes connections, and never answers
        all_fail_soon(remote)
        os.killpg(server.pid, signal.SIGCONT)
        assert registry.resolve("toy", CHAMPION).version == 2
    finally:
        os.killpg(server.pid, signal.SIGCONT)
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whoever_comes_while_a_registry_is_being_set_up_waits(tmp_path: Path) -> None:
    """MLflow makes its file first and its tables later: what comes between would make them a second time."""
    code = """if True:
        import sys, time
        from pathlib import Path
        import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store, mlflow.tracking
        from hallmark.registry.store import Registry
        from hallmark.settings import Settings
        settings, late = Settings.load(), float(sys.argv[1])
        Path(settings.state, f"ready-{late}").touch()
        while late and not Path(settings.state, "mlflow.db").exists() or len(list(settings.state.glob("ready-*"))) < 4:
            time.sleep(0.001)
        time.sleep(late)
        Registry(settings)._client()
    """
    state = tmp_path / "state"
    state.mkdir()
    environment = {**os.environ, "HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(state)}
    children = [
        subprocess.Popen([sys.executable, "-c", code, late], env=environment, stderr=subprocess.PIPE, text=True)
        for late in ("0", "0.05", "0.3", "0.8")
    ]
    told = [child.communicate(timeout=200)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 4, told
