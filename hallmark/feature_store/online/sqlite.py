"""Online store in a SQLite file: for one machine, where several processes write and read it at once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path

from hallmark.errors import DeclarationError, Unavailable
from hallmark.feature_store.online import store
from hallmark.feature_store.online.keys import EntityKey, Key, checked, prefix
from hallmark.feature_store.online.store import Row

BATCH = 2000
"""Rows of a transaction, so that other writers get their turn."""
PURGE_SECONDS = 60.0
"""How often a writer drops rows that nobody may read any more."""
_TABLES = """
CREATE TABLE IF NOT EXISTS online (key BLOB PRIMARY KEY, value BLOB NOT NULL, expires INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS online_expires ON online (expires) WHERE expires IS NOT NULL;
"""
_READ = "SELECT value FROM online WHERE key = ?"
_WRITE = """
INSERT INTO online (key, value, expires) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires WHERE excluded.value > online.value
"""
_PURGE = "DELETE FROM online WHERE rowid IN (SELECT rowid FROM online WHERE expires < ? LIMIT 10000)"


class SQLiteStore:
    """Rows in the table `online` of a file in WAL mode, so that readers never wait for writers; not for network drives."""

    def __init__(
        self,
        path: Path,
        *,
        namespace: str,
        read_seconds: float = store.READ_SECONDS,
        write_seconds: float = store.WRITE_SECONDS,
    ) -> None:
        """The file is made by the first call; `DeclarationError` where its folder is not there."""
        if not path.absolute().parent.is_dir():
            raise DeclarationError(
                "the folder of the online store is not there",
                expected=f"a folder {path.absolute().parent}",
                got="none",
                fix="make it, or name another file",
            )
        self._path = path  # as it is given: one from the working directory holds where that is moved
        self._namespace = checked(namespace)
        self._reader = _Connection(self._path, read_seconds)
        self._writer = _Connection(self._path, write_seconds)
        self._purge_at = 0.0

    def read(self, keys: Sequence[Key]) -> list[Row | None]:
        """See `OnlineStore`; in one transaction, so from one state of the file."""
        if not keys:
            return []
        wanted = [(key, prefix(self._namespace, key.view) + key.entity) for key in keys]
        with self._reader.transaction("BEGIN") as connection:
            found = [connection.execute(_READ, (name,)).fetchone() for _, name in wanted]
        return [store.unpacked(key, value[0]) if value else None for (key, _), value in zip(wanted, found, strict=True)]

    async def aread(self, keys: Sequence[Key]) -> list[Row | None]:
        """`read` itself: it takes microseconds, less than to hand it to a thread."""
        return self.read(keys)

    def write(self, rows: Iterable[Row], *, keep: Mapping[str, timedelta] | None = None) -> int:
        """See `OnlineStore`."""
        values = (
            (prefix(self._namespace, key.view) + key.entity, value, store.droppable(key, value, keep))
            for key, value in store.newest(rows).items()
        )
        taken = 0
        while batch := list(islice(values, BATCH)):
            with self._writer.transaction("BEGIN IMMEDIATE") as connection:
                before = connection.total_changes
                connection.executemany(_WRITE, batch)
                taken += connection.total_changes - before
                if time.monotonic() >= self._purge_at:
                    connection.execute(_PURGE, (int(time.time() * 1000),))
                    self._purge_at = time.monotonic() + PURGE_SECONDS
        return taken

    def erase(self, entity: EntityKey, views: Iterable[str]) -> int:
        """See `OnlineStore`."""
        names = [(prefix(self._namespace, view) + entity,) for view in views]
        with self._writer.transaction("BEGIN IMMEDIATE") as connection:
            before = connection.total_changes
            connection.executemany("DELETE FROM online WHERE key = ?", names)
            return connection.total_changes - before

    def scrub(self) -> None:
        """See `OnlineStore`; writes the file anew, and waits `write_seconds` for those who read it."""
        if not self._path.is_file():
            return
        with self._writer.transaction("") as connection:
            connection.execute("VACUUM")
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("locked by those who read it, so what was erased is still in its log")

    def scan(self, view: str) -> Iterator[list[Row]]:
        """See `OnlineStore`; sorted by entity key, each page from a state of its own."""
        begin = prefix(self._namespace, view)
        last, end = begin, begin[:-1] + bytes([begin[-1] + 1])
        while True:
            with self._writer.transaction("BEGIN") as connection:
                page = connection.execute(
                    "SELECT key, value FROM online WHERE key > ? AND key < ? ORDER BY key LIMIT 1000", (last, end)
                ).fetchall()
            if not page:
                return
            yield [store.unpacked(Key(view, EntityKey(name[len(begin) :])), value) for name, value in page]
            last = page[-1][0]

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()

    async def aclose(self) -> None:
        """Close the file."""
        self.close()


class _Connection:
    """A connection that one thread at a time has, opened when it is needed: in a forked process, after an error, where the file is another."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._inherited: list[sqlite3.Connection] = []
        self._new()

    def _new(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    @contextmanager
    def transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which is rolled back where anything fails; `Unavailable` where SQLite does. begin: "" for none."""
        if self._process != os.getpid():
            if self._open is not None:
                self._inherited.append(self._open)  # closing it here would take the locks of the process that opened it
            self._new()
        if not self._lock.acquire(timeout=self._seconds):
            raise self._down(TimeoutError("another thread has the file"))
        try:
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            self._drop()
            raise self._down(error) from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close it; the next transaction opens it again."""
        if self._process == os.getpid():
            with self._lock:
                self._drop()

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and self._file == _identity(self._path):
            return self._open
        self._drop()
        opened = sqlite3.connect(self._path, timeout=self._seconds, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(opened)
        except BaseException:
            opened.close()
            raise
        self._open, self._file = opened, _identity(self._path)
        return opened

    def _prepare(self, opened: sqlite3.Connection) -> None:
        until = time.monotonic() + self._seconds
        while opened.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                opened.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # SQLite does not wait here for another process that does the same
                if time.monotonic() > until:
                    raise
                time.sleep(0.005)
        opened.execute("PRAGMA synchronous = NORMAL")
        if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'online_expires'").fetchone():
            opened.executescript(_TABLES)

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _down(self, error: BaseException) -> Unavailable:
        locked = "locked" in str(error) or isinstance(error, TimeoutError)
        fix = "see who holds it, such as with fuser" if locked else "see that it is a SQLite file on a disk with room"
        return store.down(str(self._path), self._seconds, error, fix=f"{fix}; the next call tries again")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file, None where it is gone: SQLite would read on in a file that was deleted."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
