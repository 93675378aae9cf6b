"""The queue in a SQLite file: for one machine, where several processes use it at once."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hallmark.files import locked
from hallmark.reviews.database import PATIENCE, OneConnection, down, tables

_APPENDED = "".join(
    f"CREATE TRIGGER IF NOT EXISTS history_no_{verb} BEFORE {verb} ON history BEGIN SELECT RAISE(ABORT, 'history is only added to'); END;\n"
    for verb in ("UPDATE", "DELETE")
)
_PAUSE = 0.005


class SQLite(OneConnection):
    """A file in WAL mode; a verdict is on the disk before it is acknowledged. Not for network drives."""

    lock = ""  # a transaction that writes has the whole file

    def __init__(self, path: str | Path) -> None:
        super().__init__(str(Path(path)))
        self._path = Path(path)
        self._next = self._path.with_name(f"{self._path.name}-turn")
        """Held by whoever is next: without it, one who has just written is again before those who wait, and they may never be."""

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[_Session]:
        """See `Database`."""
        with self._turn():
            try:
                connection = self._connection()
                with locked(self._next, patience=PATIENCE, otherwise=TimeoutError("others are before us")):
                    _begin(connection)
                try:
                    yield _Session(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
                if not isinstance(error, sqlite3.IntegrityError):
                    self._drop()
                raise down(self._where, error) from error

    def heads(self, order: str, where: str) -> str:
        """See `Database`; one a lane, for nobody else is choosing now."""
        return (
            "SELECT {} FROM json_each(:lanes) AS lane JOIN reviews AS r ON r.number ="  # noqa: S608
            " (SELECT each.number FROM reviews AS each WHERE each.lane = lane.value AND each.state = 'open'"
            f" AND {where} ORDER BY {order} LIMIT 1)"
        )

    def listed(self, numbers: Sequence[int]) -> str:
        """See `Database`; as JSON."""
        return json.dumps(list(numbers))

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            opened = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(opened)
            except BaseException:
                opened.close()
                raise
            self._open = opened
        found: sqlite3.Connection = self._open
        return found

    def _prepare(self, opened: sqlite3.Connection) -> None:
        until = time.monotonic() + PATIENCE
        while opened.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                opened.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # SQLite does not wait here for another process that does the same
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
        opened.execute("PRAGMA synchronous = FULL")
        opened.execute("PRAGMA foreign_keys = ON")
        made = "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('history_no_DELETE', 'salt')"
        if opened.execute(made).fetchone() != (2,):
            whole = tables(real="REAL", serial="INTEGER PRIMARY KEY AUTOINCREMENT") + _APPENDED
            opened.executescript(f"BEGIN IMMEDIATE; {whole} COMMIT;")
        opened.execute("PRAGMA busy_timeout = 0")


def _begin(connection: sqlite3.Connection) -> None:
    """Begin to write. SQLite's own wait asks ever more seldom, so that whoever waits longest comes last."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.0005, 0.0015))  # noqa: S311 - a wait


class _Session:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, **values: Any) -> list[Any]:
        """See `Session`."""
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, **values: Any) -> int:
        """See `Session`."""
        return self._connection.execute(sql, values).rowcount
