"""A source's folder: each batch once, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hallmark import files
from hallmark.errors import Conflict, ContractBroken, NotFound
from hallmark.feature_store import sources

START = datetime(2026, 3, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[3]


def batch(day: int, rows: int = 3) -> pd.DataFrame:
    at = [START + timedelta(days=day, hours=hour) for hour in range(rows)]
    return pd.DataFrame({"order_id": [f"o{day}x{n}" for n in range(rows)], "ordered_at": at, "amount": 1.0 * day})


def put(folder: Path, day: int, **more: Any) -> bool:
    return sources.append(folder, batch(day), **{"source": "orders@1", "batch": f"day-{day}", **more})


def ids(folder: Path) -> list[str]:
    return [each for path in sources.snapshot(folder).files() for each in pq.read_table(path)["order_id"].to_pylist()]


def test_a_batch_is_appended_once(tmp_path: Path) -> None:
    assert [put(tmp_path, 0), put(tmp_path, 1), put(tmp_path, 0)] == [True, True, False]
    held = sources.snapshot(tmp_path)
    assert (held.rows, len(ids(tmp_path))) == (6, 6)
    held.verify()


def test_other_rows_under_a_known_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path, 0)
    before = sources.snapshot(tmp_path)
    with pytest.raises(Conflict, match="with other rows"):
        put(tmp_path, 1, batch="day-0")
    assert sources.snapshot(tmp_path) == before


def test_a_snapshot_does_not_see_what_is_appended_later(tmp_path: Path) -> None:
    put(tmp_path, 0)
    held = sources.snapshot(tmp_path)
    digest = held.digest
    put(tmp_path, 1)
    assert (held.rows, held.digest, len(held.files())) == (3, digest, 1)
    assert sources.snapshot(tmp_path).digest != digest


def test_the_same_batches_have_the_same_digest_anywhere(tmp_path: Path) -> None:
    for name in ("one", "other"):
        put(tmp_path / name, 0)
        put(tmp_path / name, 1)
    assert sources.snapshot(tmp_path / "one").digest == sources.snapshot(tmp_path / "other").digest


def test_files_are_chosen_by_time(tmp_path: Path) -> None:
    for day in range(4):
        put(tmp_path, day)
    held, day = sources.snapshot(tmp_path), timedelta(days=1)
    end = START + day + timedelta(hours=2)
    assert len(held.files(column="ordered_at", since=START + day)) == 3
    assert len(held.files(column="ordered_at", since=end)) == 3
    assert len(held.files(column="ordered_at", since=end + timedelta(microseconds=1))) == 2
    assert len(held.files(column="ordered_at", before=START + day)) == 1
    assert len(held.files(column="ordered_at", since=START + day, before=START + 2 * day)) == 1
    assert len(held.files()) == 4


def test_times_become_microseconds_of_utc_and_naive_or_finer_ones_are_refused(tmp_path: Path) -> None:
    berlin = batch(0).assign(ordered_at=batch(0)["ordered_at"].dt.tz_convert("Europe/Berlin"))
    sources.append(tmp_path, berlin, source="orders@1", batch="berlin")
    path = sources.snapshot(tmp_path).files()[0]
    assert pq.read_schema(path).field("ordered_at").type == pa.timestamp("us", "UTC")
    assert pq.read_table(path)["ordered_at"].to_pylist() == list(batch(0)["ordered_at"])
    with pytest.raises(ContractBroken, match="no time zone"):
        naive = batch(1).assign(ordered_at=batch(1)["ordered_at"].dt.tz_localize(None))
        sources.append(tmp_path, naive, source="orders@1", batch="naive")
    with pytest.raises(ContractBroken, match="finer than a microsecond"):
        fine = batch(1)["ordered_at"].dt.as_unit("ns") + pd.Timedelta(1, "ns")
        sources.append(tmp_path, batch(1).assign(ordered_at=fine), source="orders@1", batch="fine")
    assert sources.snapshot(tmp_path).rows == 3


def test_a_batch_that_breaks_its_contract_leaves_nothing(tmp_path: Path) -> None:
    def check(table: pa.Table) -> pa.Table:
        raise ContractBroken("orders: amount is below 0")

    with pytest.raises(ContractBroken, match="below 0"):
        put(tmp_path / "source", 0, check=check)
    with pytest.raises(NotFound):
        sources.snapshot(tmp_path / "source")
    put(tmp_path / "source", 0, check=lambda table: table.slice(0, 2))
    assert sources.snapshot(tmp_path / "source").rows == 2


def test_a_batch_with_other_columns_or_of_another_source_is_refused(tmp_path: Path) -> None:
    put(tmp_path, 0)
    with pytest.raises(ContractBroken, match="does not fit"):
        sources.append(tmp_path, batch(1).assign(amount=1), source="orders@1", batch="whole")
    with pytest.raises(ContractBroken, match="does not fit"):
        put(tmp_path, 1, source="orders@2")
    assert sources.snapshot(tmp_path).rows == 3


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    put(tmp_path, 0)
    path = sources.snapshot(tmp_path).files()[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContractBroken, match="batch day-0"):
        sources.snapshot(tmp_path).verify()


def test_appends_at_once_all_arrive(tmp_path: Path) -> None:
    threads = [threading.Thread(target=put, args=(tmp_path, day % 4)) for day in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids(tmp_path)) == sorted(each for day in range(4) for each in batch(day)["order_id"])


def test_an_append_does_not_wait_for_ever(tmp_path: Path) -> None:
    put(tmp_path, 0)
    with files.locked(tmp_path / ".lock", patience=1), pytest.raises(Conflict, match="another process appends"):
        put(tmp_path, 1, patience=0.05)


@pytest.mark.parametrize("place", ["draft", "segment", "manifest"])
def test_an_error_in_an_append_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    put(tmp_path, 0)
    before = sources.snapshot(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if place == "manifest":
            patch.setattr(files, "replace", full)
        elif place == "segment":
            patch.setattr(sources, "_settle", full)
        else:
            patch.setattr(sources, "written", full)
        with pytest.raises(OSError, match="No space"):
            put(tmp_path, 1)
    assert sources.snapshot(tmp_path) == before
    assert put(tmp_path, 1)
    assert len(ids(tmp_path)) == 6
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".parquet"]) == 2


KILLED = """
import sys, pathlib
from tests.hallmark.feature_store.test_sources import put
folder = pathlib.Path(sys.argv[1])
for day in range(1, 1000):
    put(folder, day)
    print(day, flush=True)
"""


@pytest.mark.slow
def test_a_killed_append_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    """The process is killed at another moment each time; what it said is there, and whole, and the next append works."""
    for turn in range(20):
        folder = tmp_path / str(turn)
        put(folder, 0)
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        assert process.stdout is not None
        said = [process.stdout.readline()]
        time.sleep(0.003 * turn)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        held = sources.snapshot(folder)
        held.verify()
        days = len(held.manifest.segments) - 1
        assert days - int(said[-1]) in (0, 1)
        assert ids(folder) == [each for day in range(days + 1) for each in batch(day)["order_id"]]
        assert put(folder, 2000)
        assert not put(folder, days)
        assert len([path for path in folder.iterdir() if path.suffix == ".parquet"]) == days + 2
