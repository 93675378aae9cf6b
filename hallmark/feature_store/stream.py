"""The stream: reads a source's rows from a log, and writes what is true of each changed entity to an online store.

A batch is one transaction: versions of events, offsets, and which entities are owed a payload. Payloads are made and written after it, and an
entity is owed until a later transaction says that it was written. Killed anywhere, the job owes a payload too many, never one too few.

A payload's stamp is (as of, consumed), and the store keeps the payload with the greater one. `as of` is the newest known-at time of all that
the view has seen, or the time of its backfill if that is later; `consumed` counts the records that the state has read. Neither falls
when a correction takes an entity's newest event away, and a state that is lost and filled again as of now outdoes what it wrote before.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hallmark import metrics
from hallmark.declaration.feature_view import FUTURE, FeatureView
from hallmark.errors import Conflict, Unavailable
from hallmark.feature_store.dead_letters import DeadLetters
from hallmark.feature_store.log import Log, Record
from hallmark.feature_store.online.keys import Key, entity_key, entity_of
from hallmark.feature_store.online.store import OnlineStore, Row
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.state import State
from hallmark.feature_store.tiles import FUTURE_US, LEAST, Event, Plan, Tiles, Type, Unreadable
from hallmark.files import held
from hallmark.metrics import Family

if TYPE_CHECKING:
    import pyarrow as pa

_PURGED_AT_ONCE = 20_000
_WRITTEN_AT_ONCE = 5_000
_PAUSE = 0.05
"""Seconds to wait for more rows where a batch was not full: a transaction costs much more than a row."""
_PATIENCE = 1.0
STATE = "state.sqlite"
WANTED = "wanted.lock"
"""The file that who wants a state holds, until the job that runs on it has given it up, and as long as it is wanted."""


class Written(NamedTuple):
    """A payload for the online store. expires: from then on, in microseconds, no question sees anything in it."""

    view: str
    entity: int | str
    payload: bytes
    stamp: tuple[int, int]
    expires: int


class _Filling(NamedTuple):
    """A backfill under way: as of when, how many parts are in the state, and where the log is read from once it is done."""

    as_of: int
    done: int
    offsets: Mapping[str, int]


class Store(Protocol):
    """An online store: of one view and entity it keeps the payload with the greatest stamp."""

    def write(self, rows: Sequence[Written]) -> None:
        """Take payloads; `Unavailable` where it cannot. Taking one twice changes nothing."""
        ...

    def erase(self, view: str, entity: int | str) -> None:
        """Have nothing of an entity any more; `Unavailable` where it cannot."""
        ...

    def outdated(self, view: str) -> Iterable[int | str]:
        """Entities of which it may hold what erasures took out while another store stood in its place; `Unavailable` where it cannot say."""
        ...

    def scrub(self) -> None:
        """Leave nothing in its files of what erasures took out."""
        ...


Outdated = Callable[[str], Callable[[int | str], bool] | None]
"""By view, which entities erasures changed; None where none did."""


class Published:
    """Payloads in the online store that servers read. outdated: which rows may be those of before an erasure, in a store that is taken up again."""

    def __init__(
        self, store: OnlineStore, views: Sequence[FeatureView], *, outdated: Outdated = lambda _: None
    ) -> None:
        self._store = store
        self._keep = {view.reference: view.ttl + FUTURE for view in views}
        self._changed = outdated

    def write(self, rows: Sequence[Written]) -> None:
        """Take payloads."""
        made = [Row(Key(each.view, entity_key(each.entity)), *each.stamp, each.payload) for each in rows]
        self._store.write(made, keep=self._keep)

    def erase(self, view: str, entity: int | str) -> None:
        """Have nothing of an entity any more."""
        self._store.erase(entity_key(entity), [view])

    def outdated(self, view: str) -> Iterator[int | str]:
        """Entities with a row that an erasure may have changed, of all rows of the view."""
        if (changed := self._changed(view)) is None:
            return
        for page in self._store.scan(view):
            for row in page:
                entity = entity_of(row.key.entity)
                if not isinstance(entity, bytes) and changed(entity):
                    yield entity

    def scrub(self) -> None:
        """Leave nothing in the store's files of what erasures took out, where there were any."""
        if any(self._changed(view) is not None for view in self._keep):
            self._store.scrub()


def cleanse(store: Store, view: str, kept: Container[Any]) -> None:
    """Erase what erasures took out of a view while another store stood in the place of this one, but of entities that are written anew."""
    for entity in [each for each in store.outdated(view) if each not in kept]:
        store.erase(view, entity)


class Stream:
    """The job of some views of one source.

    types:  of the source's columns.   folder: its state and its dead letters.   clock: seconds since 1970.
    cached: how many entities it keeps in memory beside the state.   address: names the store; where its state was last written to
    another, or not to its end, all entities are owed.
    """

    def __init__(
        self,
        views: Sequence[FeatureView],
        types: Mapping[str, Type],
        *,
        log: Log,
        store: Store,
        folder: Path,
        clock: Callable[[], float] = time.time,
        cached: int = 50_000,
        address: str = "",
    ) -> None:
        self._plans = [Plan(view, types) for view in sorted(views, key=lambda view: view.reference)]
        self._payloads = [Payload(plan) for plan in self._plans]
        self._log, self._store, self._clock = log, store, clock
        self._cached: OrderedDict[tuple[int, Any], Tiles] = OrderedDict()
        self._most = cached
        self._folder, self._address = folder, address
        self._payloads_written = self._stalls = 0
        self._turned = time.monotonic()
        self._state = State(folder / STATE, self._plans)
        self._restore()

    def _restore(self) -> None:
        marks = self._state.marks()
        self._cached.clear()
        self._versions = [self._state.count(number) for number in range(len(self._plans))]
        self._offsets = {name[7:]: int(value) for name, value in marks.items() if name.startswith("offset/")}
        self._watermarks = {name[10:]: value for name, value in marks.items() if name.startswith("watermark/")}
        self._known = [marks.get(f"known/{plan.view.reference}", LEAST) for plan in self._plans]
        self._as_of = [marks.get(f"as_of/{plan.view.reference}", LEAST) for plan in self._plans]
        self._newest = [marks.get(f"newest/{plan.view.reference}", LEAST) for plan in self._plans]
        self._purged = [marks.get(f"purged/{plan.view.reference}", LEAST) for plan in self._plans]
        self._consumed = marks.get("consumed", 0)
        self._erasing = bool(marks.get("erasing", 0))
        filling = json.loads(marks.get("filling", "null"))
        self._filling = None if filling is None else _Filling(*filling)
        self._fates: Counter[tuple[str, str]] = Counter()
        for name, value in marks.items():
            if name.startswith("fate/"):
                _, view, fate = name.split("/")
                self._fates[view, fate] = value
        self._letters = DeadLetters(self._folder, marks.get("letters", "0 0"))
        self._owed = dict.fromkeys(self._state.owed())
        self._whole: str = marks.get("store", "")
        self._arrived = False
        if self.is_elsewhere:
            for number in range(len(self._plans)):
                self._owed |= dict.fromkeys(self._state.entities(number))
        self._paid: list[tuple[int, Any]] = []

    # One batch

    def step(self, limit: int = 1000) -> int:
        """Read up to `limit` records of each partition, apply them, write what they change; gives how many records there were."""
        self.publish()
        batches = {name: self._read(name, limit) for name in self._log.partitions()}
        count = sum(map(len, batches.values()))
        if count:
            with self._batch():
                self._apply([(name, record) for name, batch in batches.items() for record in batch])
                for name, batch in batches.items():
                    if batch:
                        self._offsets[name] = batch[-1].offset + 1
                self._consumed += count
        self._write()
        return count

    def run(self, stop: threading.Event, *, limit: int = 1000) -> None:
        """Go on until told to stop; a store that does not answer is asked again."""
        while not stop.is_set():
            self._turned = time.monotonic()
            if held(self._folder / WANTED):
                self._give_way(stop)
                continue
            try:
                if self.step(limit) < limit:
                    stop.wait(_PAUSE)
            except Unavailable:
                self._stalls += 1
                stop.wait(_PATIENCE)

    def _give_way(self, stop: threading.Event) -> None:
        """Leave the state to who wants it, and go on from what it says afterwards."""
        self.close()
        while not stop.is_set():
            with contextlib.suppress(Conflict):
                if not held(self._folder / WANTED):
                    self._state = State(self._folder / STATE, self._plans)
                    self._restore()
                    return
            stop.wait(_PAUSE)

    def _read(self, partition: str, limit: int) -> Sequence[Record]:
        if partition not in self._offsets:
            self._offsets[partition] = self._log.begin(partition)
        return self._log.read(partition, self._offsets[partition], limit)

    @contextlib.contextmanager
    def _batch(self) -> Iterator[None]:
        """One transaction. Where it fails, or is interrupted, memory is what the state says then."""
        try:
            with self._state.transaction():
                yield
                self._state.owe(self._owed)
                self._state.settle(each for each in self._paid if each not in self._owed)
                letters = self._letters.flush()
                self._state.mark(self._marks() | {"letters": letters})
            self._paid = []
            self._letters.committed()
        except BaseException:
            self._letters.close()
            self._restore()
            raise

    def _marks(self) -> dict[str, Any]:
        marks: dict[str, Any] = {"consumed": self._consumed, "erasing": self._erasing}
        marks["filling"] = json.dumps(self._filling)
        marks["store"] = self._whole
        marks |= {f"offset/{name}": str(value) for name, value in self._offsets.items()}
        marks |= {f"watermark/{name}": value for name, value in self._watermarks.items()}
        for number, plan in enumerate(self._plans):
            of_view = {"known": self._known, "as_of": self._as_of, "newest": self._newest, "purged": self._purged}
            marks |= {f"{name}/{plan.view.reference}": values[number] for name, values in of_view.items()}
        return marks | {f"fate/{view}/{fate}": value for (view, fate), value in self._fates.items()}

    def _apply(self, records: Sequence[tuple[str, Record]]) -> None:
        import msgspec

        rows: list[tuple[str, Record, Any]] = []
        for partition, record in records:
            if record.erased:
                for plan in self._plans:
                    self._fates[plan.view.reference, "erased"] += 1
                continue
            try:
                row = msgspec.json.decode(record.value)
            except msgspec.DecodeError as error:
                row = str(error)
            rows.append((partition, record, row))
        latest = int(self._clock() * 1e6) + FUTURE_US
        for number, plan in enumerate(self._plans):
            kept = plan.kept(self._known[number]) if self._known[number] != LEAST else LEAST
            taken = [
                event for each in rows if (event := self._taken(number, *each, kept=kept, latest=latest)) is not None
            ]
            self._change(number, plan.whole(taken))
            self._purge(number)

    def _taken(self, number: int, partition: str, record: Record, row: Any, *, kept: int, latest: int) -> Event | None:
        """The event of a row; none where it is refused or too late to change anything."""
        plan = self._plans[number]
        try:
            if not isinstance(row, dict):
                raise Unreadable(f"no JSON object: {row!r:.80}")
            event = plan.event(row)
        except Unreadable as error:
            self._refused(number, "unreadable", str(error), partition, record)
            return None
        when, known = event[plan.when], event[plan.known]
        if plan.is_future(event):
            self._refused(number, "future", "it happened more than 5m after it was known", partition, record)
            return None
        if known > latest:
            self._refused(number, "clock", "it was known more than 5m from now", partition, record)
            return None
        self._known[number] = max(self._known[number], known)
        self._newest[number] = max(self._newest[number], when)
        self._watermarks[partition] = max(self._watermarks.get(partition, LEAST), when)
        if known < kept:
            self._fates[plan.view.reference, "late"] += 1
            return None
        return event

    def _refused(self, number: int, fate: str, reason: str, partition: str, record: Record) -> None:
        view = self._plans[number].view.reference
        self._fates[view, fate] += 1
        shown = record.value.decode("utf-8", "replace")
        self._letters.add(
            {
                "view": view,
                "partition": partition,
                "offset": record.offset,
                "fate": fate,
                "reason": reason,
                "row": shown,
            }
        )

    def _change(self, number: int, events: Sequence[Event]) -> None:
        """Let events count, and the versions that they replace no more."""
        plan, view = self._plans[number], self._plans[number].view.reference
        greatest: dict[Any, Event] = {}
        for event in events:
            had = greatest.get(event[plan.ident])
            if had is None or plan.greatness(event) > plan.greatness(had):
                greatest[event[plan.ident]] = event
        added: list[Event] = []
        replaced: list[Event] = []
        for ident, event in greatest.items():
            had = self._state.version(number, ident) if self._versions[number] else None
            if had is None or plan.greatness(event) > plan.greatness(had):
                added.append(event)
                replaced += [had] if had is not None else []
        self._fates[view, "applied"] += len(added) - len(replaced)
        self._fates[view, "corrected"] += len(replaced)
        self._fates[view, "repeated"] += len(events) - len(added)
        self._state.put(number, added, instead=replaced)
        self._versions[number] += len(added) - len(replaced)
        self._retile(number, added, replaced)

    def _retile(self, number: int, added: Sequence[Event], replaced: Sequence[Event]) -> None:
        plan = self._plans[number]
        more: dict[Any, list[Event]] = defaultdict(list)
        less: dict[Any, list[Event]] = defaultdict(list)
        for events, by_entity in ((added, more), (replaced, less)):
            for event in events:
                if event[plan.entity] is not None:
                    by_entity[event[plan.entity]].append(event)
        for entity in dict.fromkeys((*more, *less)):
            self._owed[number, entity] = None
            tiles = self._cached.get((number, entity))
            if tiles is None:
                continue
            gone = less.get(entity, ())
            if any(event[plan.known] >= tiles.known or event[plan.when] >= tiles.passed for event in gone):
                del self._cached[number, entity]  # its newest times may fall: it is read again, whole
                continue
            tiles.add(more.get(entity, ()))
            for hop, at in tiles.remove(gone):
                length = plan.hops[hop]
                tiles.replace(hop, at, self._state.of(number, entity, at * length, (at + 1) * length))

    def _tiles(self, number: int, entity: Any) -> Tiles:
        key = (number, entity)
        tiles = self._cached.get(key)
        if tiles is None:
            tiles = self._cached[key] = Tiles(self._plans[number], self._state.of(number, entity))
            if len(self._cached) > self._most:
                self._cached.popitem(last=False)
        else:
            self._cached.move_to_end(key)
        return tiles

    def _purge(self, number: int) -> None:
        """Drop versions that can change nothing any more, some at a time."""
        plan = self._plans[number]
        before = plan.kept(self._known[number])
        if self._known[number] == LEAST or before - self._purged[number] < min(plan.hops[0], plan.ttl // 24):
            return
        purged = self._state.purge(number, before, _PURGED_AT_ONCE)
        self._versions[number] -= purged
        if purged < _PURGED_AT_ONCE:
            self._purged[number] = before
        for key in [key for key, tiles in self._cached.items() if key[0] == number and tiles.known < before]:
            del self._cached[key]

    # The online store

    @property
    def is_elsewhere(self) -> bool:
        """Whether this online store has yet to get all that the state holds."""
        return self._whole != self._address

    def publish(self) -> None:
        """Write what a run before this one left unwritten; `Conflict` where a backfill was stopped before its end."""
        if self.unfinished is not None:
            views = ", ".join(plan.view.reference for plan in self._plans)
            raise Conflict(
                f"the backfill of {views} was stopped before its end", expected="all rows that count", got="some of them",
                fix="`hallmark features backfill` goes on with it",
            )  # fmt: skip
        self._write()

    def _write(self) -> None:
        """Write the payloads that are owed. A store that is taken up first loses what erasures took out while it was not in use."""
        if self.is_elsewhere and not self._arrived:
            for number, plan in enumerate(self._plans):
                kept = {entity for mine, entity in self._owed if mine == number}
                cleanse(self._store, plan.view.reference, kept)
            self._arrived = True
        owed = list(self._owed)
        for begin in range(0, len(owed), _WRITTEN_AT_ONCE):
            part = owed[begin : begin + _WRITTEN_AT_ONCE]
            self._turned = time.monotonic()
            gone = [each for each in part if self._erasing and self._tiles(*each).is_empty]
            for number, entity in gone:
                self._store.erase(self._plans[number].view.reference, entity)
            self._store.write([self._row(number, entity) for number, entity in part if (number, entity) not in gone])
            self._payloads_written += len(part)
            self._paid += part
            for each in part:
                del self._owed[each]
        if self.is_elsewhere:
            self._store.scrub()
            with self._batch():
                self._whole = self._address

    def _row(self, number: int, entity: Any) -> Written:
        plan, tiles = self._plans[number], self._tiles(number, entity)
        tiles.forget(plan.horizon(tiles.known))
        # An empty payload takes the place of one that says more, so it stays for as long as that could be read.
        newest = self._known[number] + FUTURE_US if tiles.is_empty else tiles.newest
        return Written(
            plan.view.reference,
            entity,
            self._payloads[number].encode(tiles),
            (max(self._known[number], self._as_of[number]), self._consumed),
            newest + plan.ttl + 1,
        )

    # Backfill

    @property
    def is_new(self) -> bool:
        """True where no row was ever seen."""
        return not self._consumed and self._filling is None and all(known == LEAST for known in self._known)

    @property
    def unfinished(self) -> int | None:
        """As of when a backfill was begun that was stopped before its end: nothing of it is published, and the log is not read."""
        return self._filling.as_of if self._filling else None

    def fill(
        self, table: pa.Table, *, as_of: int, offsets: Mapping[str, int] | None = None
    ) -> Mapping[str, Mapping[str, int]]:
        """Fill an empty state with all rows known before `as_of` (microseconds), and write every entity's payload.

        offsets: where the stream goes on in each partition, at or before the first row that is known later; else at its begin. Rows that
        are in both count once. Gives the count of rows by view and fate. `Conflict` where the state is not empty.
        """
        if not self.is_new:
            raise Conflict(
                "a state is filled once, when it is empty", expected="no record read, no row seen", got=f"{self._consumed} records read",
                fix="name another folder, fill that, and run the job on it",
            )  # fmt: skip
        self.backfill([[table]], as_of=as_of, offsets=offsets)
        return {
            plan.view.reference: {fate: n for (view, fate), n in self._fates.items() if view == plan.view.reference}
            for plan in self._plans
        }

    def backfill(
        self, parts: Sequence[Iterable[pa.Table]], *, as_of: int, offsets: Mapping[str, int] | None = None
    ) -> None:
        """Fold in all rows of `parts` known before `as_of`, each part whole or not at all, then write what they changed.

        Rows that the state has count once. One that was stopped goes on after the last whole part, as of the time and with the offsets
        that it began with: give it the same parts again, or more behind them. offsets: as in `fill`; leave them out where the log was read.
        """
        filling = self._filling or _Filling(as_of, 0, dict(offsets or {}))
        if self.is_new:
            self._whole = ""
        for done in range(filling.done, len(parts)):
            with self._batch():
                for table in parts[done]:
                    self._fold(table, filling.as_of)
                self._filling = filling = filling._replace(done=done + 1)
        with self._batch():
            self._offsets |= filling.offsets
            self._filling = None
        self._write()

    def _fold(self, table: pa.Table, as_of: int) -> None:
        from hallmark.feature_store.backfill import read

        for number, plan in enumerate(self._plans):
            rows, view = read(plan, table, as_of=as_of), plan.view.reference
            self._as_of[number] = max(self._as_of[number], as_of)
            self._known[number] = max(self._known[number], rows.known)
            self._newest[number] = max(self._newest[number], rows.newest)
            for fate, row, reason in rows.refused:
                self._fates[view, fate] += 1
                place = {"view": view, "partition": "backfill", "offset": row}
                shown = table.slice(row, 1).to_pylist()[0]
                self._letters.add({**place, "fate": fate, "reason": reason, "row": _shown(shown)})
            self._fates[view, "late"] += rows.late
            self._fates[view, "repeated"] += rows.repeated
            self._change(number, rows.events)

    # Erasure

    def naming(self, named: Callable[[FeatureView, Mapping[str, Any]], bool]) -> list[list[Event]]:
        """Of each view, in the order of their names, the events of which `named` is true: of the columns that the view reads, times in microseconds."""
        return [
            [
                event
                for event in self._state.events(number)
                if named(plan.view, dict(zip(plan.view.reads, event, strict=False)))
            ]
            for number, plan in enumerate(self._plans)
        ]

    def entities(self, number: int, events: Iterable[Event]) -> set[Any]:
        """The entities whose features events of a view count in."""
        return {event[self._plans[number].entity] for event in events} - {None}

    def refused(self, letters: Callable[[Mapping[str, Any]], bool]) -> int:
        """How many dead letters this is true of."""
        return self._letters.count(letters)

    def erase(self, events: Sequence[Sequence[Event]], *, letters: Callable[[Mapping[str, Any]], bool]) -> None:
        """Have it as if events of each view had never come: in the state, in the online store, and among the dead letters.

        letters: true of those that go.
        Killed anywhere and done again, it ends in the same state; what is in between, a job may go on with.
        """
        with self._batch():
            for number, gone in enumerate(events):
                self._state.put(number, [], instead=gone)
                self._versions[number] -= len(gone)
                self._retile(number, [], gone)
            # What is written now has to outdo what was written before, though no newer row has come.
            self._consumed += any(events)
            # From here to the end an entity of which nothing is left goes, also where another job writes it.
            self._erasing = True
        self._write()
        self._letters.erase(letters)
        with self._batch():
            self._erasing = False
        self._state.scrub()

    # What others see

    def metrics(self) -> str:
        """Its metrics in Prometheus's text format, from any thread. Ages grow while nothing comes, whether or not the job runs."""
        return "".join(metrics.exposed(family, samples) for family, samples in self.samples())

    def samples(self) -> list[tuple[Family, Iterable[tuple[Mapping[str, object], float]]]]:
        """Its metrics by family, each sample with its labels."""
        now = self._clock()
        views = [plan.view.reference for plan in self._plans]
        seen = [(view, at) for view, at in zip(views, self._newest, strict=True) if at != LEAST]
        of, source = metrics.STREAM, self._plans[0].view.source
        return [
            (
                of["rows_total"],
                [({"view": view, "fate": fate}, n) for (view, fate), n in sorted(dict(self._fates).items())],
            ),
            (of["event_age_seconds"], [({"view": view}, max(0.0, now - at / 1e6)) for view, at in seen]),
            (
                of["freshness_seconds"],
                [({"view": plan.view.reference}, plan.view.freshness.total_seconds()) for plan in self._plans],
            ),
            (
                of["watermark_timestamp_seconds"],
                [
                    ({"source": source, "partition": name}, at / 1e6)
                    for name, at in sorted(dict(self._watermarks).items())
                ],
            ),
            (of["versions"], [({"view": view}, n) for view, n in zip(views, self._versions, strict=True)]),
            (of["payloads_total"], [({}, self._payloads_written)]),
            (of["owed"], [({}, len(self._owed))]),
            (of["stalls_total"], [({}, self._stalls)]),
            (
                of["overflows_total"],
                [({"view": view}, each.overflows) for view, each in zip(views, self._payloads, strict=True)],
            ),
        ]

    @property
    def silence(self) -> float:
        """Seconds since it last began a batch or a write, from any thread: they grow where it hangs, and not where a store does not answer."""
        return time.monotonic() - self._turned

    @property
    def fates(self) -> Mapping[tuple[str, str], int]:
        """Rows by view and what became of them."""
        return dict(self._fates)

    def versions(self, view: str) -> int:
        """How many versions of events the state holds for a view."""
        return self._versions[[plan.view.reference for plan in self._plans].index(view)]

    def close(self) -> None:
        """Note what has been written, and give up the state."""
        try:
            if self._paid:
                with self._batch():
                    pass
        finally:
            self._letters.close()
            self._state.close()


def _shown(row: Mapping[str, Any]) -> str:
    """A row of a table as a dead letter shows it, whatever its values are."""
    return json.dumps(
        dict(row),
        default=lambda value: value.isoformat() if hasattr(value, "isoformat") else str(value),
        ensure_ascii=False,
    )


def encoded(row: Mapping[str, Any]) -> bytes:
    """A row as a record of the log: JSON, times in ISO 8601 with their zone."""
    return json.dumps(dict(row), default=lambda value: value.isoformat(), ensure_ascii=False, allow_nan=False).encode()
