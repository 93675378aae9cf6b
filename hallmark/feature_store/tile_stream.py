"""The stream of a view whose events Flink adds up (flink.py): reads its tiles from a log, and writes each changed entity's payload.

A record holds the whole of a tile, so a repeated one changes nothing, and of a tile the newest counts. Tiles, offsets, counters, dead
letters and the entities that are owed a payload change in one transaction, as in stream.py. A record that is no tile is a dead letter: its
entity is served as it was until Flink writes the tile again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hallmark import metrics
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import Conflict, DeclarationError, Refused, Unavailable
from hallmark.feature_store.dead_letters import DeadLetters
from hallmark.feature_store.flink import Job, log_of
from hallmark.feature_store.log import Log, Record
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.state import Applied
from hallmark.feature_store.stream import Store, Written, cleanse
from hallmark.feature_store.tiles import FUTURE_US, LEAST, Plan, Tiles, Type
from hallmark.files import locked
from hallmark.metrics import Family

_SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tiles (entity NOT NULL, width INTEGER, tile INTEGER, content BLOB, PRIMARY KEY (entity, width, tile)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tiles_time ON tiles (width, tile);
CREATE TABLE IF NOT EXISTS owed (entity PRIMARY KEY) WITHOUT ROWID;
"""
STATE = "tiles.sqlite"
_WRITTEN_AT_ONCE = 5_000
_PAUSE, _PATIENCE = 0.05, 1.0


class TileStream:
    """The job of one view. types: of the source's columns.   folder: its state and its dead letters.   clock: seconds since 1970.
    address: names the store; where the state was last written to another, or not to its end, all entities are owed.

    `Conflict` where another process has the state, `Refused` where it is of another view or definition.
    """

    def __init__(
        self,
        view: FeatureView,
        types: Mapping[str, Type],
        *,
        log: Log,
        store: Store,
        folder: Path,
        clock: Callable[[], float] = time.time,
        address: str = "",
    ) -> None:
        self._job = Job(view, types)
        self._plan, self._payload = self._job.plan, Payload(self._job.plan)
        self._log, self._store, self._clock = log, store, clock
        self._folder, self._address = folder, address
        self._payloads_written = self._stalls = 0
        self._turned = time.monotonic()
        self._hops = {width: number for number, width in enumerate(self._plan.hops)}
        folder.mkdir(parents=True, exist_ok=True)
        self._holds = contextlib.ExitStack()
        self._holds.enter_context(alone(folder))
        self._connection = sqlite3.connect(folder / STATE, isolation_level=None, check_same_thread=False)
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
        (self._held,) = self._run("SELECT COUNT(*) FROM tiles").fetchone()
        self._letters = DeadLetters(self._folder, self._marks.get("letters", "0 0"))
        self._arrived = False
        if self.is_elsewhere:
            found = self._run("SELECT DISTINCT entity FROM tiles").fetchall()
            self._owed |= dict.fromkeys(each for (each,) in found)

    def step(self, limit: int = 1000) -> int:
        """Read up to `limit` records of each partition, keep their tiles, write what they change; gives how many records there were."""
        self._write()
        batches = {name: self._read(name, limit) for name in self._log.partitions()}
        count = sum(map(len, batches.values()))
        if count:
            with self._transaction():
                for name, batch in batches.items():
                    for record in batch:
                        self._keep(name, record)
                        self._marks[f"offset/{name}"] = str(record.offset + 1)
                self._marks["consumed"] = self._marks.get("consumed", 0) + count
                self._forget()
        self._write()
        return count

    def run(self, stop: threading.Event, *, limit: int = 1000) -> None:
        """Go on until told to stop; a store that does not answer is asked again."""
        while not stop.is_set():
            self._turned = time.monotonic()
            try:
                if self.step(limit) < limit:
                    stop.wait(_PAUSE)
            except Unavailable:
                self._stalls += 1
                stop.wait(_PATIENCE)

    def _read(self, partition: str, limit: int) -> Sequence[Record]:
        offset = self._marks.get(f"offset/{partition}")
        return self._log.read(partition, self._log.begin(partition) if offset is None else int(offset), limit)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One batch, with what is owed after it. Where it fails, or is interrupted, memory is what the state says then."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("DELETE FROM owed")
            self._connection.executemany("INSERT INTO owed VALUES (?)", [(each,) for each in self._owed])
            self._marks["letters"] = self._letters.flush()
            self._connection.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", self._marks.items())
            self._run("COMMIT")
            self._letters.committed()
        except BaseException:
            if self._connection.in_transaction:
                self._run("ROLLBACK")
            self._letters.close()
            self._restore()
            raise

    def _keep(self, partition: str, record: Record) -> None:
        """Keep the tile of a record. Flink may write what a tile held before too, as `before`; that is passed over."""
        import msgspec

        if record.erased:
            self._count("erased")
            return
        try:
            row = msgspec.json.decode(record.value)
            row = row["after"] if "op" in row else row
            if row is None:
                self._count("repeated")
                return
            entity, width, tile = row["entity"], row["width"], row["tile"]
            self._plan.demand_entity(entity)
            self._job.partials(self._hops[width], row)
            ahead = self._job.ahead(row)
            empty = not row["m0"] and not ahead
            known = max([_time(row["known"]), *(each[self._plan.known] for each in ahead)])
            happened = max([_time(row["happened"]), *(each[self._plan.when] for each in ahead)])
            if type(tile) is not int:
                raise TypeError(f"tile {tile!r}")
        except (msgspec.DecodeError, DeclarationError, KeyError, TypeError, ValueError) as error:
            self._refused(partition, record, error)
            return
        limit = self._horizon(width)
        self._marks["known"] = max(self._marks.get("known", LEAST), known)
        for name in ("newest", f"watermark/{partition}"):
            self._marks[name] = max(self._marks.get(name, LEAST), happened)
        if limit is not None and tile < limit:
            self._count("late")
            return
        self._count(self._put((entity, width, tile), None if empty else msgspec.json.encode(row)))

    def _put(self, key: tuple[Any, int, int], content: bytes | None) -> str:
        """Have this in the place of a tile, None for nothing; what became of it."""
        found = self._run("SELECT content FROM tiles WHERE entity = ? AND width = ? AND tile = ?", key).fetchone()
        had = None if found is None else found[0]
        if had == content:
            return "repeated"
        if content is None:
            self._run("DELETE FROM tiles WHERE entity = ? AND width = ? AND tile = ?", key)
        else:
            self._run("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)", (*key, content))
        self._held += (content is not None) - (had is not None)
        self._owed[key[0]] = None
        return "applied" if had is None else "corrected"

    def _refused(self, partition: str, record: Record, error: Exception) -> None:
        self._count("unreadable")
        view = self._plan.view.reference
        reason = (
            f"no tile of {view} ({type(error).__name__}: {' '.join(str(error).split())}): expected what this version of the view writes by"
            " `hallmark features flink`; give each version a log of its own"
        )
        letter = {"view": view, "partition": partition, "offset": record.offset, "fate": "unreadable", "reason": reason}
        self._letters.add({**letter, "row": record.value.decode("utf-8", "replace")})

    def _count(self, fate: str) -> None:
        self._marks[f"fate/{fate}"] = self._marks.get(f"fate/{fate}", 0) + 1

    def _horizon(self, width: int) -> int | None:
        """The number of the first tile of a width that can still change an answer; none before anything is known."""
        known = self._marks.get("known", LEAST)
        return None if known == LEAST else self._plan.horizon(known) // width

    def _forget(self) -> None:
        """Drop the tiles that can change no answer any more."""
        for width in self._plan.hops:
            if (limit := self._horizon(width)) is not None:
                self._held -= self._run("DELETE FROM tiles WHERE width = ? AND tile < ?", (width, limit)).rowcount

    @property
    def is_elsewhere(self) -> bool:
        """Whether this online store has yet to get all that the state holds."""
        return str(self._marks.get("store", "")) != self._address

    def _write(self) -> None:
        """Write the payloads that are owed. A store that is taken up first loses what erasures took out while it was not in use."""
        if self.is_elsewhere and not self._arrived:
            cleanse(self._store, self._plan.view.reference, self._owed.keys())
            self._arrived = True
        owed = list(self._owed)
        for begin in range(0, len(owed), _WRITTEN_AT_ONCE):
            part = owed[begin : begin + _WRITTEN_AT_ONCE]
            self._turned = time.monotonic()
            self._store.write([self._row(entity) for entity in part])
            self._payloads_written += len(part)
            for entity in part:
                del self._owed[entity]
        if self.is_elsewhere:
            self._store.scrub()
            with self._transaction():
                self._marks["store"] = self._address

    def _row(self, entity: Any) -> Written:
        plan, known = self._plan, self._marks.get("known", LEAST)
        tiles = self._tiles(entity)
        tiles.forget(plan.horizon(tiles.known))
        newest = known + FUTURE_US if tiles.is_empty else tiles.newest
        stamp = (known, self.consumed)
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

    # What others see

    def metrics(self) -> str:
        """Its metrics in Prometheus's text format, from any thread; the same as those of a stream that adds up by itself."""
        return "".join(metrics.exposed(family, samples) for family, samples in self.samples())

    def samples(self) -> list[tuple[Family, Iterable[tuple[Mapping[str, object], float]]]]:
        """Its metrics by family, each sample with its labels: rows and versions are tiles, and the log is that of the tiles."""
        marks, view, of = dict(self._marks), self._plan.view, metrics.STREAM
        mine, newest = {"view": view.reference}, marks.get("newest", LEAST)
        fates = sorted((name[5:], count) for name, count in marks.items() if name.startswith("fate/"))
        seen = sorted((name[10:], at) for name, at in marks.items() if name.startswith("watermark/") and at != LEAST)
        age = [] if newest == LEAST else [(mine, max(0.0, self._clock() - newest / 1e6))]
        return [
            (of["rows_total"], [({**mine, "fate": fate}, count) for fate, count in fates]),
            (of["event_age_seconds"], age),
            (of["freshness_seconds"], [(mine, view.freshness.total_seconds())]),
            (
                of["watermark_timestamp_seconds"],
                [({"source": log_of(view), "partition": name}, at / 1e6) for name, at in seen],
            ),
            (of["versions"], [(mine, self._held)]),
            (of["payloads_total"], [({}, self._payloads_written)]),
            (of["owed"], [({}, len(self._owed))]),
            (of["stalls_total"], [({}, self._stalls)]),
            (of["overflows_total"], [(mine, self._payload.overflows)]),
        ]

    @property
    def silence(self) -> float:
        """Seconds since it last began a batch or a write, from any thread: they grow where it hangs, and not where a store does not answer."""
        return time.monotonic() - self._turned

    def close(self) -> None:
        """Give up the state; what is still owed is written by the next job."""
        self._letters.close()
        self._holds.close()


def _time(value: Any) -> int:
    """A time of a tile, which a tile that only has events ahead of their time has not."""
    if value is None:
        return LEAST
    if type(value) is not int:
        raise TypeError(f"time {value!r}")
    return value


def peek(folder: Path, plan: Plan) -> Applied | None:
    """How far the job in a folder has come, read beside it; none where there is none of this view. Rows are tiles."""
    if not (folder / STATE).is_file():
        return None
    with contextlib.closing(sqlite3.connect(f"file:{folder / STATE}?mode=ro", uri=True, timeout=5.0)) as connection:
        marks = dict(connection.execute("SELECT name, value FROM marks").fetchall())
    if marks.get("made") != plan.digest.hex():
        return None
    fates = {name[5:]: int(count) for name, count in marks.items() if name.startswith("fate/")}
    known, newest = (int(marks.get(name, LEAST)) for name in ("known", "newest"))
    return Applied(known, newest, {}, owes=False, fates=fates, store=marks.get("store", ""))


def held(folder: Path, entity: int | str) -> int:
    """How many tiles of an entity the state in a folder has; a job may run on it."""
    if not (folder / STATE).is_file():
        return 0
    with contextlib.closing(sqlite3.connect(folder / STATE)) as connection:
        (found,) = connection.execute("SELECT COUNT(*) FROM tiles WHERE entity = ?", (entity,)).fetchone()
        return int(found)


def erase(folder: Path, entity: int | str, *, letters: Callable[[Mapping[str, Any]], bool]) -> None:
    """Leave nothing of an entity in the state in a folder, which is `alone`. letters: true of the dead letters that go."""
    if (folder / STATE).is_file():
        with contextlib.closing(sqlite3.connect(folder / STATE, isolation_level=None)) as connection:
            for table in ("tiles", "owed"):
                connection.execute(f"DELETE FROM {table} WHERE entity = ?", (entity,))  # noqa: S608  one of these two
            counted = connection.execute("SELECT value FROM marks WHERE name = 'letters'").fetchone()
            kept = DeadLetters(folder, counted[0] if counted else "0 0")
            kept.erase(letters)
            connection.execute("INSERT OR REPLACE INTO marks VALUES ('letters', ?)", (kept.flush(),))
            kept.close()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the state in a folder, which is there; `Conflict` where another job runs on it."""
    busy = Conflict(f"another job runs on {folder}", expected="one job a state", got="a held lock", fix="end it")
    with locked(folder / f"{STATE}.lock", patience=0.0, otherwise=busy):
        yield


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
