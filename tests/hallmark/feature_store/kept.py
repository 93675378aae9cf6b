"""An online store in memory or in a file, by the rule of every store: the greatest stamp wins, of equal ones the greater payload."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from hallmark.feature_store.stream import Written

_WRITE = """
INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (view, entity) DO UPDATE
SET payload = excluded.payload, stamp0 = excluded.stamp0, stamp1 = excluded.stamp1, expires = excluded.expires
WHERE (excluded.stamp0, excluded.stamp1, excluded.payload) > (stamp0, stamp1, payload)
"""


class Online:
    """Rows by view and entity."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (view, entity, payload, stamp0, stamp1, expires, PRIMARY KEY (view, entity)) WITHOUT ROWID"
        )

    def write(self, rows: Sequence[Written]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany(
            _WRITE, [(each.view, each.entity, each.payload, *each.stamp, each.expires) for each in rows]
        )
        self._connection.execute("COMMIT")

    def erase(self, view: str, entity: int | str) -> None:
        self._connection.execute("DELETE FROM rows WHERE view = ? AND entity = ?", (view, entity))

    def outdated(self, view: str) -> tuple[int | str, ...]:
        return ()

    def scrub(self) -> None:
        """No erasure is recorded beside it."""

    def payload(self, view: str, entity: int | str, at: int) -> bytes | None:
        """What is there at a time: what has expired is gone, as in a store that drops it."""
        query = "SELECT payload FROM rows WHERE view = ? AND entity = ? AND expires > ?"
        found = self._connection.execute(query, (view, entity, at)).fetchone()
        return found[0] if found else None

    def all(self) -> list[tuple[str, int | str, bytes]]:
        return self._connection.execute("SELECT view, entity, payload FROM rows ORDER BY view, entity").fetchall()

    def close(self) -> None:
        self._connection.close()
