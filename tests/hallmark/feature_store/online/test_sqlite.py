"""SQLite in particular: readers beside a writer, a file that goes away, one that is none, old rows that are dropped."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from hallmark.errors import DeclarationError, Unavailable
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.online.sqlite import PURGE_SECONDS, SQLiteStore
from hallmark.feature_store.online.store import Row
from tests.hallmark.feature_store.online.conftest import environment

ROWS = [Row(Key("v@1", entity_key(number)), number, number, b"x") for number in range(300)]
KEYS = [each.key for each in ROWS]


def test_readers_do_not_wait_for_a_writer_and_a_writer_gives_up(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "online.db", namespace="fraud", write_seconds=0.2)
    store.write(ROWS)
    other = sqlite3.connect(tmp_path / "online.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM online")
    assert store.read(KEYS) == ROWS
    began = time.monotonic()
    with pytest.raises(Unavailable, match="locked") as caught:
        store.write(ROWS)
    assert 0.15 < time.monotonic() - began < 2 and "who holds it" in caught.value.fix
    assert store.read(KEYS) == ROWS
    other.execute("ROLLBACK")
    other.close()
    assert store.write([Row(KEYS[0], 999, 1, b"")]) == 1
    store.close()


def test_a_file_that_nobody_may_read_now_costs_the_time_given(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "online.db", namespace="fraud", read_seconds=0.1)
    store.write(ROWS)
    store.close()
    other = sqlite3.connect(tmp_path / "online.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(Unavailable, match="locked"):
        store.read(KEYS)
    assert time.monotonic() - began < 2
    other.close()
    assert store.read(KEYS) == ROWS
    store.close()


def test_what_was_erased_or_replaced_is_in_no_file_any_more(tmp_path: Path) -> None:
    def left() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir() if b"secret" in path.read_bytes())

    store = SQLiteStore(tmp_path / "online.db", namespace="fraud", write_seconds=0.2)
    store.scrub()
    assert list(tmp_path.iterdir()) == [], "a file that is not there is not made"
    store.write([each._replace(payload=b"secret" * 40) for each in ROWS])
    store.write([each._replace(event_time=999) for each in ROWS[:150]])
    for key in KEYS[150:]:
        store.erase(key.entity, [key.view])
    assert left()
    other = sqlite3.connect(tmp_path / "online.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM online LIMIT 1").fetchone()
    with pytest.raises(Unavailable, match="locked"):
        store.scrub()
    other.execute("COMMIT")
    store.scrub()
    assert left() == [] and len(store.read(KEYS[:150])) == 150
    other.close()
    store.close()


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """SQLite goes on in a deleted file, and would serve its rows for ever."""
    file = tmp_path / "online.db"
    store = SQLiteStore(file, namespace="fraud")
    store.write(ROWS)
    assert store.read(KEYS[:1]) == ROWS[:1]
    for each in tmp_path.glob("online.db*"):
        each.unlink()
    assert store.read(KEYS[:1]) == [None]
    other = SQLiteStore(file, namespace="fraud")
    other.write([Row(KEYS[0], 1, 1, b"new")])
    assert store.read(KEYS[:1]) == [Row(KEYS[0], 1, 1, b"new")]
    other.close()
    store.close()


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "online.db").write_bytes(b"not a database" * 100)
    store = SQLiteStore(tmp_path / "online.db", namespace="fraud")
    with pytest.raises(Unavailable, match="not a database") as caught:
        store.read(KEYS)
    assert "SQLite file" in caught.value.fix
    (tmp_path / "online.db").unlink()
    assert store.read(KEYS[:1]) == [None]
    store.close()


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="folder of the online store"):
        SQLiteStore(tmp_path / "nowhere" / "online.db", namespace="fraud")


def test_rows_of_no_more_use_are_dropped_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(tmp_path / "online.db", namespace="fraud")
    now = int(time.time() * 1_000_000)
    keep = {"v@1": timedelta(days=2)}
    ended, used = Row(KEYS[0], now - 4 * 86_400_000_000, 1, b""), Row(KEYS[1], now - 86_400_000_000, 1, b"")
    store.write(ROWS[2:4])
    store.write([ended, used], keep=keep)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + PURGE_SECONDS + 1)
    store.write([])
    store.write([Row(KEYS[5], 1, 1, b"")])
    assert store.read(KEYS[:4]) == [None, used, *ROWS[2:4]]
    store.close()


def test_threads_share_a_store_and_each_reads_its_own(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "online.db", namespace="fraud", read_seconds=5)
    store.write(ROWS)

    def reads(begin: int) -> bool:
        return all(store.read(KEYS[begin : begin + 20]) == ROWS[begin : begin + 20] for _ in range(30))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads, range(0, 160, 20)))
    store.close()


def test_a_batch_is_read_from_one_state_of_the_file(tmp_path: Path) -> None:
    store, writer = (SQLiteStore(tmp_path / "online.db", namespace="fraud", read_seconds=5) for _ in range(2))
    writer.write([Row(key, 0, 0, b"") for key in KEYS])
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: [writer.write([Row(key, step, 0, b"") for key in KEYS]) for step in range(1, 40)])
        states = set()
        while not done.done():
            states.add(frozenset(each.event_time for each in store.read(KEYS) if each))
    assert done.result() == [len(KEYS)] * 39 and {len(state) for state in states} == {1}
    store.close()
    writer.close()


FORKED = """
import os, sys
from pathlib import Path
from hallmark.feature_store.online.sqlite import SQLiteStore
store = SQLiteStore(Path(sys.argv[1]), namespace="fraud", read_seconds=5)
store.read([])
list(store.scan("v@1"))
inherited = store._writer._open
if (child := os.fork()) == 0:
    list(store.scan("v@1"))
    store.close()
    os._exit(int(store._writer._open is inherited or inherited.total_changes != 0))
assert os.waitpid(child, 0)[1] == 0
inherited.execute("SELECT count(*) FROM online").fetchone()
store.close()
"""


def test_a_forked_process_neither_uses_nor_closes_the_connections_it_inherits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path / "online.db")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
