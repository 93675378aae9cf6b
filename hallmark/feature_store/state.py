"""State of a stream, in one SQLite file: the versions of events that may still matter, how far each partition is read, what is unwritten.

All of it changes in one transaction a batch. So what was read twice after a kill counts once, and an entity whose payload has not
reached the online store is known to be owed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hallmark.errors import Conflict, Refused
from hallmark.feature_store.tiles import LEAST, Event, Plan
from hallmark.files import locked

FORMAT = 1
NOBODY = b""
"""The entity of an event whose entity is null."""
_SCHEMA = """
CREATE TABLE marks (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE events (
    view INTEGER NOT NULL, entity NOT NULL, happened INTEGER NOT NULL, id NOT NULL, known INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (view, entity, happened, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_id ON events (view, id);
CREATE INDEX events_known ON events (view, known);
CREATE TABLE owed (view INTEGER NOT NULL, entity NOT NULL, PRIMARY KEY (view, entity)) WITHOUT ROWID;
"""


class State:
    """The state of the views of one job; `Conflict` where another process has it, `Refused` where it is of other views."""

    def __init__(self, path: Path, plans: Sequence[Plan]) -> None:
        import msgspec

        path.parent.mkdir(parents=True, exist_ok=True)
        self._holds = contextlib.ExitStack()
        try:
            self._holds.enter_context(locked(path.with_name(f"{path.name}.lock"), patience=0.0))
        except TimeoutError as error:
            raise Conflict(
                f"another job runs on {path}",
                expected="one job a state",
                got="a held lock",
                fix="let it: `hallmark up` and `features run --follow` keep their views up to date; or end it",
            ) from error
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(tuple).decode
        self._plans = plans
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._holds.callback(self._connection.close)
        self._run = self._connection.execute
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "temp_store=MEMORY"):
            self._run(f"PRAGMA {pragma}")
        made = f"{FORMAT} " + " ".join(plan.digest.hex() for plan in plans)
        with self.transaction():
            if not self._run("SELECT 1 FROM sqlite_master WHERE name = 'marks'").fetchone():
                for statement in _SCHEMA.split(";"):
                    self._run(statement)
                self._run("INSERT INTO marks VALUES ('made', ?)", (made,))
        if self.marks()["made"] != made:
            found = self.marks()["made"]
            self.close()
            raise Refused(
                f"{path} is the state of other views", expected=made, got=found,
                fix="name another state for these views, and fill it with a backfill",
            )  # fmt: skip

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done in it is there whole or not at all."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self.commit()
        except BaseException:
            if self._connection.in_transaction:
                self._run("ROLLBACK")
            raise

    def commit(self) -> None:
        """End the transaction."""
        self._run("COMMIT")

    def marks(self) -> dict[str, Any]:
        """The values that are kept by name."""
        return dict(self._run("SELECT name, value FROM marks").fetchall())

    def mark(self, marks: dict[str, Any]) -> None:
        """Keep some values by name."""
        self._connection.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", list(marks.items()))

    def version(self, view: int, ident: Any) -> Event | None:
        """The version of an event that counts."""
        found = self._run("SELECT content FROM events WHERE view = ? AND id = ?", (view, ident)).fetchone()
        return self._decode(found[0]) if found else None

    def put(self, view: int, events: Iterable[Event], *, instead: Iterable[Event] = ()) -> None:
        """Add versions, after dropping those that they replace."""
        plan = self._plans[view]
        gone = [(view, event[plan.ident]) for event in instead]
        if gone:
            self._connection.executemany("DELETE FROM events WHERE view = ? AND id = ?", gone)
        rows = [
            (
                view,
                _entity(event[plan.entity]),
                event[plan.when],
                event[plan.ident],
                event[plan.known],
                self._encode(event),
            )
            for event in events
        ]
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)

    def of(self, view: int, entity: Any, begin: int | None = None, end: int = 0) -> list[Event]:
        """The events of an entity, all or those from `begin` to before `end`."""
        where, values = "view = ? AND entity = ?", (view, entity)
        if begin is not None:
            where, values = f"{where} AND happened >= ? AND happened < ?", (view, entity, begin, end)  # type: ignore[assignment]
        found = self._run(f"SELECT content FROM events WHERE {where}", values).fetchall()  # noqa: S608  names are ours
        return [self._decode(each) for (each,) in found]

    def events(self, view: int) -> Iterator[Event]:
        """All versions that it holds for a view, in no order; nothing is to be changed meanwhile."""
        for (content,) in self._run("SELECT content FROM events WHERE view = ?", (view,)):
            yield self._decode(content)

    def scrub(self) -> None:
        """Leave nothing in the file of what was deleted or replaced."""
        self._run("PRAGMA temp_store=FILE")
        self._run("VACUUM")
        self._run("PRAGMA temp_store=MEMORY")
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    def purge(self, view: int, before: int, most: int) -> int:
        """Drop up to `most` versions known before a time; gives how many."""
        plan = "SELECT entity, happened, id FROM events WHERE view = ? AND known < ? LIMIT ?"
        found = self._run(plan, (view, before, most)).fetchall()
        self._connection.executemany(
            "DELETE FROM events WHERE view = ? AND entity = ? AND happened = ? AND id = ?",
            [(view, *each) for each in found],
        )
        return len(found)

    def owe(self, owed: Iterable[tuple[int, Any]]) -> None:
        """Note entities whose payloads are to be written."""
        self._connection.executemany("INSERT OR IGNORE INTO owed VALUES (?, ?)", owed)

    def settle(self, written: Iterable[tuple[int, Any]]) -> None:
        """Forget those that have been written."""
        self._connection.executemany("DELETE FROM owed WHERE view = ? AND entity = ?", written)

    def owed(self) -> list[tuple[int, Any]]:
        """Entities whose payloads are to be written."""
        return self._run("SELECT view, entity FROM owed").fetchall()

    def entities(self, view: int) -> list[tuple[int, Any]]:
        """All entities of a view that have a version of an event."""
        found = self._run("SELECT DISTINCT view, entity FROM events WHERE view = ?", (view,)).fetchall()
        return [each for each in found if each[1] != NOBODY]

    def count(self, view: int) -> int:
        """How many versions it holds."""
        return int(self._run("SELECT count(*) FROM events WHERE view = ?", (view,)).fetchone()[0])

    def close(self) -> None:
        """Give up file and lock."""
        self._holds.close()


class Applied(NamedTuple):
    """How far a job has come, as its state says. Where there is no state (the job runs elsewhere) all of it is unknown, and none.

    known:    the greatest known-at time of all rows that it has seen.   newest: the greatest event time.
    versions: of some events, the version that counts.
    owes:     whether the entity's payload has yet to be written.   fates: rows by what became of them.
    filling:  of one that is being filled, or was stopped while it was: as of when, and how many parts are in.
    store:    the online store that has all payloads, empty before.
    """

    known: int
    newest: int
    versions: Mapping[Any, Event]
    owes: bool
    fates: Mapping[str, int]
    filling: tuple[int, int] | None = None
    store: str = ""


def peek(path: Path, plan: Plan, *, entity: Any = None, idents: Sequence[Any] = ()) -> Applied | None:
    """The state of a job of one view, read beside the job that has it; none where there is none of this view."""
    import msgspec

    if not path.is_file():
        return None
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
        run = connection.execute
        try:
            marks = dict(run("SELECT name, value FROM marks").fetchall())
        except sqlite3.OperationalError:  # it is being made
            return None
        if marks.get("made") != f"{FORMAT} {plan.digest.hex()}":
            return None
        view = plan.view.reference
        query, decode = "SELECT content FROM events WHERE view = 0 AND id = ?", msgspec.msgpack.Decoder(tuple).decode
        found = {ident: decode(row[0]) for ident in idents if (row := run(query, (ident,)).fetchone())}
        owes = run("SELECT 1 FROM owed WHERE view = 0 AND entity = ?", (_entity(entity),)).fetchone() is not None
    fates = {name.rpartition("/")[2]: int(n) for name, n in marks.items() if name.startswith(f"fate/{view}/")}
    begun = json.loads(marks.get("filling", "null"))
    filling = None if begun is None else (int(begun[0]), int(begun[1]))
    known, newest = (marks.get(f"{name}/{view}", LEAST) for name in ("known", "newest"))
    return Applied(known, newest, found, owes, fates, filling, marks.get("store", ""))


def versions(path: Path) -> int:
    """How many versions of events the state at a path holds, 0 where there is none; read beside the job that has it."""
    if not path.is_file():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def _entity(value: Any) -> Any:
    return NOBODY if value is None else value
