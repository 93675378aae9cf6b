"""The queue in PostgreSQL: for people on several machines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions

from hallmark.reviews.database import PATIENCE, OneConnection, down, tables

_NAMED = re.compile(r":([a-z_]+)")
_SCHEMA = 0x68616C6C
"""Number of the lock under which one process at a time makes the tables."""
_APPENDED = """
CREATE OR REPLACE FUNCTION history_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'history is only added to'; END $$;
CREATE OR REPLACE TRIGGER history_kept BEFORE UPDATE OR DELETE ON history FOR EACH ROW EXECUTE FUNCTION history_kept();
"""
_CHOICE = 16
"""Reviews of a lane among which one is taken that nobody else is just taking."""


class Postgres(OneConnection):
    """A database, by its address as libpq takes it; the password is libpq's to find."""

    lock = " FOR UPDATE SKIP LOCKED"

    def __init__(self, address: str) -> None:
        super().__init__(address)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[_Session]:
        """See `Database`."""
        with self._turn():
            try:
                connection = self._connection()
                with connection, connection.cursor() as cursor:
                    if not durable:
                        cursor.execute("SET LOCAL synchronous_commit TO OFF")
                    yield _Session(cursor)
            except psycopg2.Error as error:
                if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
                    self._drop()
                raise down(self._where, error) from error

    def heads(self, order: str, where: str) -> str:
        """See `Database`; several a lane, for others choose at the same time."""
        return (
            "SELECT {} FROM unnest(CAST(:lanes AS bigint[])) AS wanted (lane) CROSS JOIN LATERAL"  # noqa: S608
            " (SELECT each.number, each.urgent, each.value FROM reviews AS each WHERE each.lane = wanted.lane AND each.state = 'open'"
            f" AND {where} ORDER BY {order} LIMIT {_CHOICE}) AS r"
        )

    def listed(self, numbers: Sequence[int]) -> list[int]:
        """See `Database`."""
        return list(numbers)

    def _connection(self) -> psycopg2.extensions.connection:
        if self._open is None or self._open.closed:
            opened = psycopg2.connect(
                self._where,
                connect_timeout=int(PATIENCE),
                application_name="hallmark reviews",
                options=f"-c statement_timeout={PATIENCE:.0f}s",
            )
            try:
                with opened, opened.cursor() as cursor:
                    cursor.execute("SELECT to_regclass('salt')")
                    if cursor.fetchone() == (None,):
                        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA,))
                        cursor.execute(tables(real="DOUBLE PRECISION", serial="BIGSERIAL PRIMARY KEY") + _APPENDED)
            except BaseException:
                opened.close()
                raise
            self._open = opened
        found: psycopg2.extensions.connection = self._open
        return found


class _Session:
    def __init__(self, cursor: psycopg2.extensions.cursor) -> None:
        self._cursor = cursor

    def all(self, sql: str, **values: Any) -> list[Any]:
        """See `Session`."""
        self._cursor.execute(_named(sql), values)
        return list(self._cursor.fetchall())

    def run(self, sql: str, **values: Any) -> int:
        """See `Session`."""
        self._cursor.execute(_named(sql), values)
        return int(self._cursor.rowcount)


def _named(sql: str) -> str:
    return _NAMED.sub(r"%(\1)s", sql)
