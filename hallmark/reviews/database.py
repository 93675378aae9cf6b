"""What the queue needs of a database: transactions, a lock on rows that skips those that others have, and its tables."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from hallmark import extras
from hallmark.errors import DeclarationError, Unavailable

PATIENCE = 10.0
"""Seconds that a statement may wait for others."""
FORMS = "sqlite:///file.db (sqlite:////folder/file.db from the root), or postgresql://user@host:5432/database"

TABLES = """
CREATE TABLE IF NOT EXISTS cases (
  id TEXT PRIMARY KEY, domain TEXT NOT NULL, source TEXT NOT NULL, opened {REAL} NOT NULL, due {REAL} NOT NULL,
  digest TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lanes (
  number {SERIAL}, domain TEXT NOT NULL, not_by TEXT NOT NULL, UNIQUE (domain, not_by));
CREATE TABLE IF NOT EXISTS reviews (
  number {SERIAL}, case_id TEXT NOT NULL REFERENCES cases, round INTEGER NOT NULL, lane INTEGER NOT NULL REFERENCES lanes (number),
  value {REAL} NOT NULL, urgent {REAL} NOT NULL, state TEXT NOT NULL DEFAULT 'open', token TEXT, who TEXT, claimed {REAL}, lease {REAL},
  UNIQUE (case_id, round));
CREATE INDEX IF NOT EXISTS reviews_value ON reviews (lane, value DESC, number) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS reviews_urgent ON reviews (lane, urgent, number) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS reviews_lease ON reviews (lease) WHERE state = 'claimed';
CREATE INDEX IF NOT EXISTS reviews_who ON reviews (who) WHERE state = 'claimed';
CREATE UNIQUE INDEX IF NOT EXISTS reviews_token ON reviews (token);
CREATE TABLE IF NOT EXISTS verdicts (
  number {SERIAL}, case_id TEXT NOT NULL REFERENCES cases, round INTEGER NOT NULL, who TEXT NOT NULL, body TEXT NOT NULL, at {REAL} NOT NULL,
  final {REAL} NOT NULL, settled INTEGER NOT NULL DEFAULT 0, undone {REAL}, sent {REAL});
CREATE UNIQUE INDEX IF NOT EXISTS verdicts_one ON verdicts (case_id, round) WHERE undone IS NULL;
CREATE INDEX IF NOT EXISTS verdicts_unsettled ON verdicts (final) WHERE settled = 0 AND undone IS NULL;
CREATE INDEX IF NOT EXISTS verdicts_unsent ON verdicts (number) WHERE sent IS NULL AND undone IS NULL;
CREATE TABLE IF NOT EXISTS history (
  number {SERIAL}, at {REAL} NOT NULL, case_id TEXT NOT NULL, round INTEGER NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL, told TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS history_case ON history (case_id, number);
CREATE TABLE IF NOT EXISTS salt (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL);
INSERT INTO salt (one, value) VALUES (1, '{SALT}') ON CONFLICT (one) DO NOTHING;
"""
"""A lane is what one person may take as well as another: a domain, and for second opinions who gave the first. `verdicts_one` keeps two
verdicts of one case out, whatever anybody does. `salt` is what the queue draws by, made once."""

Values = Mapping[str, Any]


class Session(Protocol):
    """One transaction; names in a statement are :name."""

    def all(self, sql: str, **values: Any) -> Sequence[Sequence[Any]]:
        """Every row that a statement finds."""
        ...

    def run(self, sql: str, **values: Any) -> int:
        """How many rows a statement changed."""
        ...


class Database(Protocol):
    """Where the queue is kept."""

    lock: str
    """Ends a SELECT whose rows nobody else shall take."""

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[Session]:
        """All or nothing; `Unavailable` where the database does not do it.

        durable: on the disk before it returns; else a crash of the database may forget it, whole, and nothing that was durable after it.
        """
        ...

    def heads(self, order: str, where: str) -> str:
        """A SELECT, as r, of the first open reviews of each lane of :lanes, in this order and where this holds; what is selected goes at {}."""
        ...

    def listed(self, numbers: Sequence[int]) -> Any:
        """Numbers as the :lanes of `heads`."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class OneConnection:
    """What both databases have: one connection at most, which the threads of a process use in turn. where: as errors name it."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._open: Any = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """`Unavailable` where another thread keeps it too long."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise down(self._where, TimeoutError("another thread has it"))
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """See `Database`."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def tables(*, real: str, serial: str) -> str:
    """`TABLES` in a database's words, and the salt that they are made with, if none is there."""
    return TABLES.format(REAL=real, SERIAL=serial, SALT=secrets.token_hex(32))


def connect(address: str) -> Database:
    """The database at an address; none is asked yet. `DeclarationError` where that is none."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "sqlite" and not parts.netloc and parts.path.strip("/"):
            from hallmark.reviews.sqlite import SQLite

            return SQLite(unquote(parts.path.removeprefix("/")))
        if parts.scheme in ("postgresql", "postgres") and parts.hostname and parts.path.strip("/"):
            if parts.password is not None:
                raise DeclarationError(
                    "the address of the reviews has a password in it",
                    expected="none: other processes could read it",
                    got=f"{parts.scheme}://{parts.username}:…@{parts.hostname}",
                    fix="put it into a file that PGPASSFILE names, or into PGPASSWORD",
                )
            from hallmark.reviews.postgres import Postgres

            return Postgres(address)
    except ModuleNotFoundError as error:
        raise extras.not_installed(error, what="queue of reviews", otherwise="take sqlite:///file.db") from error
    raise DeclarationError(
        "this is no address of a queue of reviews",
        expected=FORMS,
        got=f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.scheme else repr(address[:100]),
        fix="set HALLMARK_REVIEWS to one of them, or to nothing",
    )


def down(where: str, error: BaseException) -> Unavailable:
    """What is told where a database does not answer."""
    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Unavailable(
        "the queue of reviews does not answer",
        expected=f"{where}, within {PATIENCE:.0f} s",
        got=told,
        fix="see that it runs, and that its disk has room; the next call tries again",
    )
