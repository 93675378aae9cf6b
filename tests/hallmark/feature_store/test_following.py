"""Streams that run side by side: until they are told to stop, until one fails, and what Prometheus and the kubelet hear of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hallmark.errors import NotFound, Unavailable
from hallmark.feature_store.following import SILENT, Following
from hallmark.feature_store.log import FileLog, Record
from hallmark.feature_store.stream import Stream, Written, encoded
from hallmark.settings import Settings
from tests.hallmark.feature_store.drawn import moment
from tests.hallmark.feature_store.test_stream import DAYS, HOURS, Memory, job
from tests.hallmark.feature_store.test_tiles import row

ROOT = Path(__file__).parents[3]
Make = Callable[..., Following]


class Kept:
    """An online store that keeps what it is given; down while `down` is set."""

    def __init__(self) -> None:
        self.rows: list[Written] = []
        self.down = threading.Event()

    def write(self, rows: Sequence[Written]) -> None:
        if self.down.is_set():
            raise Unavailable("the store is down")
        self.rows += rows


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Stream] = []

    def build(days: Any, hours: Any, store: Kept) -> Following:
        made.extend(job(tmp_path / each.name, log, store, each) for each, log in ((DAYS, days), (HOURS, hours)))
        return Following({"days@1": made[0], "hours@1": made[1]})

    yield build
    for each in made:
        each.close()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def running(streams: Following, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=streams.run, args=(stop,))
    thread.start()
    return thread


def test_they_go_on_until_told_to_stop(make: Make) -> None:
    store, stop = Kept(), threading.Event()
    days, hours = Memory([encoded(row(1, 0))]), Memory([encoded(row(1, 0)), encoded(row(2, 1))])
    streams = make(days, hours, store)
    thread = running(streams, stop)
    until(lambda: {each.view for each in store.rows} == {"days@1", "hours@1"})
    days.content["0"].append(encoded(row(3, 2)))
    until(lambda: 'hallmark_stream_rows_total{view="days@1",fate="applied"} 2' in streams.text())
    stop.set()
    thread.join()
    text = streams.text()
    assert text.count("# TYPE hallmark_stream_owed gauge") == 1 and "hallmark_stream_owed 0" in text
    assert f"hallmark_stream_payloads_total {len(store.rows)}" in text, "of both together"
    happened = moment(1).timestamp()
    assert f'watermark_timestamp_seconds{{source="{DAYS.source}",partition="0"}} {happened!r}' in text, "the later one"


def test_where_one_cannot_go_on_all_end_with_its_error(make: Make) -> None:
    class Gone(Memory):
        def read(self, partition: str, offset: int, limit: int) -> list[Record]:
            raise NotFound("the log no longer has record 7")

    with pytest.raises(NotFound, match="record 7"):
        make(Memory([encoded(row(1, 0))]), Gone(), Kept()).run(threading.Event())


def test_a_store_that_is_down_is_no_reason_to_start_anew_and_a_batch_that_hangs_is(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hallmark.feature_store.stream._PATIENCE", 0.01)
    store, stop, hangs, held = Kept(), threading.Event(), threading.Event(), threading.Event()
    store.down.set()

    class Slow(Memory):
        def read(self, partition: str, offset: int, limit: int) -> list[Record]:
            if hangs.is_set():
                held.wait(20)
            return super().read(partition, offset, limit)

    streams = make(Memory([encoded(row(1, 0))]), Slow([encoded(row(1, 0))]), store)
    thread = running(streams, stop)
    until(lambda: "hallmark_stream_owed 2" in streams.text() and "stalls_total 0" not in streams.text())
    now = time.monotonic
    assert streams.alive
    store.down.clear()
    hangs.set()
    time.sleep(0.1)
    monkeypatch.setattr("hallmark.feature_store.stream.time.monotonic", lambda: now() + SILENT + 1)
    alive = streams.alive
    monkeypatch.undo()
    held.set()
    stop.set()
    thread.join()
    assert not alive


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_command_runs_as_a_pod_runs_it_and_ends_by_sigterm(tmp_path: Path) -> None:
    """As manifests/platform/features.yaml starts it: views by name, a state that is empty, a port for probes."""
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path)})
    port, at = free_port(), datetime.now(UTC) - timedelta(hours=1)
    order = {"order_id": "o1", "buyer_id": "anna", "device_id": "d1", "ip": "10.0.0.1", "card_id": "c1"}
    times = {"ordered_at": at, "known_at": at + timedelta(seconds=1)}
    with FileLog(tmp_path / "features" / "log" / "orders@1") as log:
        log.append("0", [encoded(order | times)])
    command = [sys.executable, "-m", "hallmark.cli", "features", "run", "--follow", f"--metrics-port={port}"]
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "buyer_orders@1", "device@1"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )

    def asked(path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            return ""

    try:
        until(lambda: asked("/live") == "alive\n")
        until(lambda: "hallmark_stream_payloads_total 2" in asked("/metrics"))
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143 and "stopped by SIGTERM" in told and "Traceback" not in told
    read = [sys.executable, "-m", "hallmark.cli", "features", "read", "buyer_orders@1", "anna", "-o", "json"]
    done = subprocess.run(read, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["buyer_orders_30d"] == 1
