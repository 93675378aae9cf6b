"""The stream of a view whose events Flink adds up (flink.py): reads its tiles from a log, and writes each changed entity's payload.

A record holds the whole of a tile, so a repeated one changes nothing, and of a tile the newest counts. Tiles, offsets and the entities
that are owed a payload change in one transaction, as in stream.py.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import Conflict, Refused, Unavailable
from hallmark.feature_store.flink import Job
from hallmark.feature_store.log import Log, Record
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.stream import Store, Written
from hallmark.feature_store.tiles import FUTURE_US, LEAST, Tiles, Type
from hallmark.files import locked

_SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tiles (entity NOT NULL, width INTEGER, tile INTEGER, content BLOB, PRIMARY KEY (entity, width, tile)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tiles_time ON tiles (width, tile);
CREATE TABLE IF NOT EXISTS owed (entity PRIMARY KEY) WITHOUT ROWID;
"""
_STATE = "tiles.sqlite"
_WRITTEN_AT_ONCE = 5_000
_PAUSE, _PATIENCE = 0.05, 1.0


class TileStream:
    """The job of one view. types: of the source's columns.   folder: its state.

    `Conflict` where another process has the state, `Refused` where it is of another view or definition.
    """

    def __init__(self, view: FeatureView, types: Mapping[str, Type], *, log: Log, store: Store, folder: Path) -> None:
        self._job = Job(view, types)
        self._plan, self._payload = self._job.plan, Payload(self._job.plan)
        self._log, self._store = log, store
        self._hops = {width: number for number, width in enumerate(self._plan.hops)}
        folder.mkdir(parents=True, exist_ok=True)
        self._holds = contextlib.ExitStack()
        self._holds.enter_context(alone(folder))
        self._connection = sqlite3.connect(folder / _STATE, isolation_level=None)
        self._holds.callback(self._connection.close)
        self._run = self._connection.execute
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            self._run(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        self._restore()
        made = self._plan.digest.hex()
        if self._marks.setdefault("made", made) != made:
            found = self._marks["made"]
            self.close()
            raise Refused(
                f"{folder} is the state of another view", expected=made, got=found,
                fix="remove it: the tiles are read again from the begin of their log",
            )  # fmt: skip

    def _restore(self) -> None:
        self._marks: dict[str, Any] = dict(self._run("SELECT name, value FROM marks").fetchall())
        self._owed = dict.fromkeys(each for (each,) in self._run("SELECT entity FROM owed").fetchall())

    def step(self, limit: int = 1000) -> int:
        """Read up to `limit` records of each partition, keep their tiles, write what they change; gives how many records there were."""
        self._write()
        batches = {name: self._read(name, limit) for name in self._log.partitions()}
        count = sum(map(len, batches.values()))
        if count:
            try:
                with self._transaction():
                    for name, batch in batches.items():
                        for record in batch:
                            self._keep(record)
                            self._marks[f"offset/{name}"] = str(record.offset + 1)
                    self._marks["consumed"] = self._marks.get("consumed", 0) + count
                    self._forget()
                    self._run("DELETE FROM owed")
                    self._connection.executemany("INSERT INTO owed VALUES (?)", [(each,) for each in self._owed])
                    self._connection.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", self._marks.items())
            except BaseException:
                self._restore()
                raise
        self._write()
        return count

    def run(self, stop: threading.Event, *, limit: int = 1000) -> None:
        """Go on until told to stop; a store that does not answer is asked again."""
        while not stop.is_set():
            try:
                if self.step(limit) < limit:
                    stop.wait(_PAUSE)
            except Unavailable:
                stop.wait(_PATIENCE)

    def _read(self, partition: str, limit: int) -> Sequence[Record]:
        offset = self._marks.get(f"offset/{partition}")
        return self._log.read(partition, self._log.begin(partition) if offset is None else int(offset), limit)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._run("ROLLBACK")
            raise

    def _keep(self, record: Record) -> None:
        """Keep the tile of a record. Flink may write what a tile held before too, as `before`; that is passed over."""
        import msgspec

        try:
            row = None if record.erased else msgspec.json.decode(record.value)
            row = row["after"] if row is not None and "op" in row else row
            if row is None:
                return
            entity, width, tile = row["entity"], row["width"], row["tile"]
            hop = self._hops[width]
            self._job.partials(hop, row)
            known, ahead = row["known"], self._job.ahead(row)
            empty = not row["m0"] and not ahead
            known = max([LEAST if known is None else known, *(each[self._plan.known] for each in ahead)])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise Refused(
                f"record {record.offset} is no tile of {self._plan.view.reference}",
                expected="what this version of the view writes by `hallmark features flink`",
                got=f"{type(error).__name__} {error}: {record.value[:200]!r}",
                fix="give each version of a view a log of its own, and remove what another wrote",
            ) from error
        if empty:
            self._run("DELETE FROM tiles WHERE entity = ? AND width = ? AND tile = ?", (entity, width, tile))
        else:
            content = msgspec.json.encode(row)
            self._run("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)", (entity, width, tile, content))
        self._marks["known"] = max(self._marks.get("known", LEAST), known)
        self._owed[entity] = None

    def _forget(self) -> None:
        """Drop the tiles that can change no answer any more."""
        if (known := self._marks.get("known", LEAST)) != LEAST:
            for width in self._plan.hops:
                self._run("DELETE FROM tiles WHERE width = ? AND tile < ?", (width, self._plan.horizon(known) // width))

    def _write(self) -> None:
        owed = list(self._owed)
        for begin in range(0, len(owed), _WRITTEN_AT_ONCE):
            part = owed[begin : begin + _WRITTEN_AT_ONCE]
            self._store.write([self._row(entity) for entity in part])
            for entity in part:
                del self._owed[entity]

    def _row(self, entity: Any) -> Written:
        plan, known = self._plan, self._marks.get("known", LEAST)
        tiles = self._tiles(entity)
        tiles.forget(plan.horizon(tiles.known))
        newest = known + FUTURE_US if tiles.is_empty else tiles.newest
        stamp = (known, self._marks["consumed"])
        return Written(plan.view.reference, entity, self._payload.encode(tiles), stamp, newest + plan.ttl + 1)

    def _tiles(self, entity: Any) -> Tiles:
        import msgspec

        tiles, ahead = Tiles(self._plan), []
        for width, number, content in self._run(
            "SELECT width, tile, content FROM tiles WHERE entity = ?", (entity,)
        ).fetchall():
            row = msgspec.json.decode(content)
            ahead += self._job.ahead(row)
            if row["m0"]:
                hop = self._hops[width]
                tiles.by_hop[hop][number] = self._job.partials(hop, row)
                tiles.known, tiles.passed = max(tiles.known, row["known"]), max(tiles.passed, row["happened"])
        tiles.add(ahead)
        return tiles

    @property
    def consumed(self) -> int:
        """How many records the state has read."""
        return int(self._marks.get("consumed", 0))

    def close(self) -> None:
        """Give up the state; what is still owed is written by the next job."""
        self._holds.close()


def held(folder: Path, entity: int | str) -> int:
    """How many tiles of an entity the state in a folder has; a job may run on it."""
    if not (folder / _STATE).is_file():
        return 0
    with contextlib.closing(sqlite3.connect(folder / _STATE)) as connection:
        (found,) = connection.execute("SELECT COUNT(*) FROM tiles WHERE entity = ?", (entity,)).fetchone()
        return int(found)


def erase(folder: Path, entity: int | str) -> None:
    """Leave nothing of an entity in the state in a folder, which is `alone`."""
    if (folder / _STATE).is_file():
        with contextlib.closing(sqlite3.connect(folder / _STATE, isolation_level=None)) as connection:
            for table in ("tiles", "owed"):
                connection.execute(f"DELETE FROM {table} WHERE entity = ?", (entity,))  # noqa: S608  one of these two
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the state in a folder, which is there; `Conflict` where another job runs on it."""
    try:
        with locked(folder / f"{_STATE}.lock", patience=0.0):
            yield
    except TimeoutError as error:
        raise Conflict(
            f"another job runs on {folder}", expected="one job a state", got="a held lock", fix="end it"
        ) from error


def caught_up(stream: TileStream, *, quiet: float = 3.0) -> int:
    """Read on until nothing came for some seconds; gives how many records there were."""
    count, until = 0, time.monotonic() + quiet
    while (read := stream.step()) or time.monotonic() < until:
        count += read
        if read:
            until = time.monotonic() + quiet
        else:
            time.sleep(_PAUSE)
    return count


def follow(streams: Sequence[TileStream], stop: threading.Event) -> None:
    """Keep views up to date until told to stop; the error of the first that cannot go on."""
    failed: list[BaseException] = []

    def run(stream: TileStream) -> None:
        try:
            stream.run(stop)
        except BaseException as error:  # noqa: BLE001  told in the main thread
            failed.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(each,), daemon=True) for each in streams]
    for thread in threads:
        thread.start()
    try:
        stop.wait()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
