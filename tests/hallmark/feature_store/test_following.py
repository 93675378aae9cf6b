"""Streams that one process runs: what Prometheus and the kubelet hear of them, and their end by a signal."""

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
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hallmark.errors import Unavailable
from hallmark.feature_store.following import SILENT, Following
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.stream import Written, encoded
from hallmark.settings import Settings
from tests.hallmark.feature_store.drawn import moment
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.test_stream import DAYS, HOURS, Memory, drain, job
from tests.hallmark.feature_store.test_tiles import row

ROOT = Path(__file__).parents[3]


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_metrics_of_several_streams_are_those_of_one_program(tmp_path: Path) -> None:
    seen = Following()
    assert seen.alive, "none runs yet: their states are read"
    first, both = [encoded(row(1, 0))], [encoded(row(1, 0)), encoded(row(2, 1))]
    days = job(tmp_path / "days", Memory(first), Online(), DAYS)
    hours = job(tmp_path / "hours", Memory(both), Online(), HOURS)
    with closing(days), closing(hours):
        for each in (days, hours):
            seen.take(each)
            drain(each)
        text = seen.text()
    for view, rows in (("days@1", 1), ("hours@1", 2)):
        assert f'hallmark_stream_rows_total{{view="{view}",fate="applied"}} {rows}\n' in text
    assert text.count("# TYPE hallmark_stream_owed gauge") == 1 and "\nhallmark_stream_owed 0\n" in text
    payloads = [
        int(line.split()[1]) for line in text.splitlines() if line.startswith("hallmark_stream_payloads_total ")
    ]
    assert len(payloads) == 1 and payloads[0] >= 2, "of both together"
    behind = moment(0).timestamp()
    assert f'watermark_timestamp_seconds{{source="{DAYS.source}",partition="0"}} {behind!r}\n' in text
    assert 'partition="0"' in text and text.count("watermark_timestamp_seconds{") == 1, "that of the stream behind"


def test_a_store_that_is_down_is_no_reason_to_start_anew_and_a_batch_that_hangs_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hallmark.feature_store.stream._PATIENCE", 0.0)
    now, stop, seen, lived = time.monotonic, threading.Event(), Following(), list[bool]()
    late = [0.0]
    monkeypatch.setattr("hallmark.feature_store.stream.time.monotonic", lambda: now() + late[0])

    class Down:
        def write(self, rows: Sequence[Written]) -> None:
            lived.append(seen.alive)
            late[0] += SILENT / 2  # each try
            if len(lived) == 5:
                late[0] += SILENT  # this one hangs
                lived.append(seen.alive)
                stop.set()
            raise Unavailable("the store is down")

    with closing(job(tmp_path, Memory([encoded(row(1, 0))]), Down(), HOURS)) as stream:
        seen.take(stream)
        stream.run(stop)
    assert lived == [True] * 5 + [False]


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
