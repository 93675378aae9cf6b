"""Erasure of a person from all that a feature store keeps on this machine, and the record that stays of it.

Rows that name the person go, and older versions of the same events, or a version that was corrected would count again. What is left is what
would be there had these rows never come. Streams go first and stores of rows last, so what is still to be done can be read from what
is still there: killed anywhere, the same erasure begins anew, and ends as one that was not killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark import files
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.source import Source
from hallmark.errors import Conflict
from hallmark.feature_store import dead_letters, erasure_records, snapshots, sources, tile_stream
from hallmark.feature_store.log import FileLog, Log, Record
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.tiles import instant
from hallmark.section import Frozen

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.feature_store.online.store import OnlineStore
    from hallmark.feature_store.stream import Stream
    from hallmark.feature_store.tiles import Event

_KEY = erasure_records.KEY
_READ_AT_ONCE = 10_000
_AROUND = "[0-9A-Za-z_-]"
Clock = tuple[str, str]
"""The columns with the known-at time and the event time of a row, as a view names them."""


class Count(Frozen):
    """How many of something a part of the store holds of a person."""

    where: str
    what: str
    count: int


class Erasure(Frozen):
    """What was erased: the record that stays.

    person:   by column, a digest of the value that only the holder of this store's key can make.   by: who erased.
    sources:  by source, the new digest of each snapshot that had a row of the person, by its old one.   training: of each training set.
    entities: by view, whose features are others since: digests as those of the person.
    left:     online stores that were in use before this one: what they hold of the person goes when they are taken up again.
    """

    person: Mapping[str, str]
    by: str
    begun: datetime
    ended: datetime | None = None
    counts: tuple[Count, ...] = ()
    sources: Mapping[str, Mapping[str, str]] = {}
    training: Mapping[str, str] = {}
    entities: Mapping[str, tuple[str, ...]] = {}
    left: tuple[str, ...] = ()

    def successors(self) -> Iterator[tuple[str, str]]:
        """Old digests, each with its new one."""
        for pairs in (*self.sources.values(), self.training):
            yield from pairs.items()


class Found(Frozen):
    """What is held of a person. also: rows with the same value in a personal column that was not named, by source and column."""

    counts: tuple[Count, ...]
    also: Mapping[str, int]


@dataclass(frozen=True)
class SourcePlace:
    """Where the rows of a source lie, and the views that are computed from them."""

    contract: Source
    offline: sources.Place
    log: Path
    views: tuple[FeatureView, ...]


@dataclass(frozen=True)
class TilePlace:
    """Where the tiles lie that Flink adds up of a view whose entity a person is: their log, of files, and the state of the job that reads it."""

    view: FeatureView
    log: Path
    state: Path


@dataclass(frozen=True)
class StorePlace:
    """The parts of a feature store. folder: of the records. streams: views with a state here, which
    `stream` opens where no job runs on it, and `taken` for as long as that gives it up. left: where online stores are that were in use
    before. told: is called once a record stands in `folder`. training: folders of training sets."""

    folder: Path
    sources: tuple[SourcePlace, ...]
    tiles: tuple[TilePlace, ...]
    streams: tuple[FeatureView, ...]
    stream: Callable[[FeatureView], contextlib.AbstractContextManager[tuple[Stream, Log]]]
    taken: Callable[[FeatureView], contextlib.AbstractContextManager[tuple[Stream, Log]]]
    online: Callable[[], OnlineStore]
    told: Callable[[], object]
    left: tuple[str, ...]
    training: tuple[Path, ...]


def records(folder: Path) -> list[Erasure]:
    """All erasures, the oldest first. One that did not come to its end has none, unless it goes on now: run it again."""
    paths = (*folder.glob("2*.json"), *folder.glob(".*.json"))
    found = [Erasure.model_validate_json(path.read_text(encoding="utf-8")) for path in paths]
    return sorted(found, key=lambda each: each.begun)


def _keyed(folder: Path) -> Iterator[tuple[bytes, Erasure]]:
    """Each erasure with the key of the machine that erased."""
    for path in (*folder.glob("2*.json"), *folder.glob(".*.json")):
        if (held := erasure_records.key_of(folder, path)).is_file():
            yield (
                bytes.fromhex(held.read_text(encoding="ascii")),
                Erasure.model_validate_json(path.read_text(encoding="utf-8")),
            )


def followed(folder: Path, digest: str) -> list[str]:
    """The digests that came in the place of one after the other, the newest last; only `digest` itself where none did."""
    after = dict(pair for each in records(folder) for pair in each.successors())
    found = [digest]
    while (following := after.get(found[-1])) is not None and following not in found:
        found.append(following)
    return found


def changed(folder: Path, view: str) -> Callable[[int | str], float]:
    """Up to when an entity's features in a view may be those of before an erasure, in microseconds: -inf where none changed them, inf while it goes on."""
    until: dict[str, float] = {}
    keys = set[bytes]()
    for key, each in _keyed(folder):
        at = each.ended.timestamp() * 1e6 if each.ended else math.inf
        until.update({digest: max(at, until.get(digest, at)) for digest in each.entities.get(view, ())})
        keys |= {key} if view in each.entities else set()
    return lambda entity: max((until.get(_digest(key, view, entity), -math.inf) for key in keys), default=-math.inf)


def outdated(folder: Path, view: FeatureView) -> Callable[[int | str], bool] | None:
    """Whose rows of a view an erasure took out or changed, for a store that was not in use meanwhile; None where none did."""
    found = set[str]()
    keys = set[bytes]()
    for key, each in _keyed(folder):
        mine = {*each.entities.get(view.reference, ())} | (
            {each.person[view.entity]} if view.entity in each.person else set()
        )
        found |= mine
        keys |= {key} if mine else set()
    if not found:
        return None

    def changed(entity: int | str) -> bool:
        named = {_digest(key, name, entity) for key in keys for name in (view.reference, view.entity)}
        return bool(found & named)

    return changed


@dataclass
class _Rows:
    """The rows of one source that go.

    latest:  by event, the newest known-at and event time of a row that names the person, by clock.
    touched: by view, the entities in whose features rows that go may have counted; known once these are counted.
    """

    place: SourcePlace
    person: Mapping[str, str]
    latest: dict[Any, dict[Clock, tuple[int, int]]] = field(default_factory=dict)
    touched: dict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))

    @property
    def clocks(self) -> list[Clock]:
        return sorted({(view.known_at, view.event_time) for view in self.place.views})

    @property
    def read(self) -> list[str]:
        """The columns that say which rows go."""
        wanted = [*self.person, self.place.contract.key, *(name for clock in self.clocks for name in clock)]
        return [name for name in self.place.contract.columns if name in wanted]

    def names(self, row: Mapping[str, Any]) -> bool:
        """True of a row that has one of the person's values in its column."""
        return any(row.get(name) is not None and _same(row[name], value) for name, value in self.person.items())

    def note(self, row: Mapping[str, Any]) -> None:
        """Remember the event of a row that names the person."""
        ident = row.get(self.place.contract.key or "")
        if isinstance(ident, str | int):
            had = self.latest.setdefault(ident, {})
            for clock in self.clocks:
                if (at := _at(row, clock)) is not None:
                    had[clock] = max(at, had.get(clock, at))

    def takes(self, row: Mapping[str, Any]) -> bool:
        """True of a row that goes: it names the person, or is an older version of an event that did."""
        if self.names(row):
            return True
        ident = row.get(self.place.contract.key or "")
        newest = self.latest.get(ident) if isinstance(ident, str | int) else None
        return newest is not None and any(
            (at := _at(row, clock)) is not None and at <= last for clock, last in newest.items()
        )

    def kept(self, table: pa.Table) -> pa.Table:
        """The rows of a segment that stay."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not table.num_rows:
            return table
        asked = _naming(table, self.person)
        if self.latest:  # of a source with a key
            events = table.column(self.place.contract.key)
            kind = int if pa.types.is_integer(events.type) else str
            idents = pa.array([each for each in self.latest if isinstance(each, kind)], events.type)
            asked = pc.or_(asked, pc.is_in(events, idents))
        places = pc.indices_nonzero(asked)
        gone = {at for at, row in zip(places.to_pylist(), self.of(table.take(places)), strict=True) if self.takes(row)}
        return table.filter(pa.array([at not in gone for at in range(table.num_rows)])) if gone else table

    def of(self, table: pa.Table) -> list[dict[str, Any]]:
        """Rows with what says whether they go, times in microseconds."""
        import pyarrow as pa

        lists = {}
        for name in self.read:
            if name in table.column_names:
                column = table.column(name)
                lists[name] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]

    def touch(self, table: pa.Table, left: pa.Table) -> None:
        """Remember whose rows a segment has and what stays of it has not."""
        for view in self.place.views:
            if left is table or view.entity not in table.column_names:
                continue
            rows, stay = (Counter(each.column(view.entity).to_pylist()) for each in (table, left))
            self.touched[view.reference] |= {*(rows - stay)} - {None}

    def touch_record(self, record: Record) -> None:
        """Remember whose row a record is."""
        row = _decoded(record.value) or {}
        for view in self.place.views:
            if isinstance(entity := row.get(view.entity), str | int):
                self.touched[view.reference].add(entity)

    def erased(self, record: Record) -> bool:
        """True of a record of the log that goes."""
        row = _decoded(record.value)
        if row is not None:
            return self.takes(row)
        return _mentions(record.value.decode("utf-8", "replace"), self.person)


class Eraser:
    """Erases one person. person: by column, the value that names them; entities: the same in the types of the columns."""

    def __init__(self, store: StorePlace, person: Mapping[str, str], entities: Mapping[str, int | str]) -> None:
        self._store = store
        self._person = person
        self._entities = entities

    def look(self, *, tell: Callable[[str], None]) -> Found:
        """What is held of the person, of streams that nobody runs now; nothing is changed and nobody waits."""
        with contextlib.ExitStack() as stack:
            streams = {}
            for view in self._store.streams:
                try:
                    streams[view.reference] = stack.enter_context(self._store.stream(view))[0]
                except Conflict:
                    tell(f"{view.reference}: its stream runs, so its events are not counted")
            logs = {each.contract.reference: stack.enter_context(FileLog(each.log)) for each in self._store.sources}
            rows = self._rows(logs)
            return self._found(rows, self._events(rows, streams), streams, logs)

    def run(
        self, *, by: str, tell: Callable[[str], None], captures: Callable[[], Sequence[Count]] = tuple
    ) -> tuple[Found, Erasure | None]:
        """Erase all of it; what was found, and the record, none where nothing was.

        captures: erases what servers have captured of the person, once nobody can read it from the store any more, and says how much.
        A job that follows a view gives way until the end. `Conflict` where another or an ingest has these sources, `Unavailable` where the online store does not answer: then run it again.
        """
        self._store.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            streams, logs = self._alone(stack)
            digests = self._digests()
            name = hashlib.sha256(" ".join(digests.values()).encode()).hexdigest()[:32]
            pending = self._store.folder / f".{name}.json"
            rows = self._rows(logs)
            events = self._events(rows, streams)
            found = self._found(rows, events, streams, logs)
            if pending.is_file():
                record = Erasure.model_validate_json(pending.read_text(encoding="utf-8"))
            else:
                record = Erasure(
                    person=digests,
                    by=by,
                    begun=datetime.now(UTC),
                    counts=found.counts,
                    entities=_digested(_key(self._store.folder), rows.values()),
                    left=self._store.left,
                )
                if not any(each.count for each in found.counts):
                    return found, self._captured(record, captures, tell, pending)
                files.replace(pending, record.model_dump_json(indent=1))
            for reference, stream in streams.items():
                tell(f"stream {reference}")
                stream.erase(events[reference], letters=self._letter)
            for source, each in rows.items():
                tell(f"log of {source}")
                for partition in logs[source].partitions():
                    logs[source].erase(partition, each.erased)
            for place in self._store.tiles:
                tell(f"tiles of {place.view.reference}")
                self._tiles(place)
            record = self._stored(rows, pending, record, tell)
            tell("online store")
            self._online()
            return found, self._captured(record, captures, tell, pending)

    def _alone(self, stack: contextlib.ExitStack) -> tuple[dict[str, Stream], dict[str, FileLog]]:
        """The streams and logs of these sources, which nobody else runs or writes until the end."""
        try:
            stack.enter_context(files.locked(self._store.folder / ".lock", patience=0.0))
        except TimeoutError as error:
            raise Conflict(
                "another erasure runs", expected="one at a time", got=str(error), fix="wait for its end"
            ) from error
        streams = {view.reference: stack.enter_context(self._store.taken(view))[0] for view in self._store.streams}
        if stopped := [reference for reference, stream in streams.items() if stream.unfinished is not None]:
            raise Conflict(
                f"the backfill of {stopped[0]} was stopped, and goes on with the rows that are stored now",
                expected="its end",
                got="some of them read",
                fix=f"`hallmark features backfill {stopped[0]}`, and then this again",
            )
        for tiles in self._store.tiles:
            if tiles.state.is_dir():
                stack.enter_context(tile_stream.alone(tiles.state))
        logs = {}
        for each in self._store.sources:
            logs[each.contract.reference] = stack.enter_context(FileLog(each.log, patience=60.0))
            for partition in logs[each.contract.reference].partitions():
                logs[each.contract.reference].append(partition, [])
        return streams, logs

    def _digests(self) -> dict[str, str]:
        """By column, what stands for the value in the record: of a short id a plain hash could be turned back by trying all."""
        key = _key(self._store.folder)
        return {name: _digest(key, name, value) for name, value in sorted(self._person.items())}

    def _rows(self, logs: Mapping[str, FileLog]) -> dict[str, _Rows]:
        """Of each source, which rows go."""
        import pyarrow.parquet as pq

        found = {}
        for place in self._store.sources:
            mine = found[place.contract.reference] = _Rows(place, self._person)
            for path in _segments(place.offline):
                there = [name for name in mine.read if name in pq.read_schema(path).names]
                table = pq.read_table(path, columns=there)
                for row in mine.of(table.filter(_naming(table, self._person))):
                    mine.note(row)
            for record in _records(logs[place.contract.reference]):
                told = _decoded(record.value)
                if told is not None and mine.names(told):
                    mine.note(told)
        return found

    def _events(self, rows: Mapping[str, _Rows], streams: Mapping[str, Stream]) -> dict[str, list[list[Event]]]:
        """Of each stream, the events that go."""
        return {
            reference: stream.naming(lambda view, row: rows[view.source].takes(row))
            for reference, stream in streams.items()
        }

    def _found(
        self,
        rows: Mapping[str, _Rows],
        events: Mapping[str, list[list[Event]]],
        streams: Mapping[str, Stream],
        logs: Mapping[str, FileLog],
    ) -> Found:
        counts: list[Count] = []
        also: Counter[str] = Counter()

        def count(where: str, what: str, number: int) -> None:
            counts.append(Count(where=where, what=what, count=number))

        for source, mine in rows.items():
            gone = 0
            for table in map(_table, _segments(mine.place.offline)):
                left = mine.kept(table)
                mine.touch(table, left)
                gone += table.num_rows - left.num_rows
                for name in {*mine.place.contract.personal} - {*self._person}:
                    named = [left.filter(_naming(left, {name: value})).num_rows for value in {*self._person.values()}]
                    also[f"{source} {name}"] += sum(named)
            count(f"offline store of {source}", "rows", gone)
            blanked = [record for record in _records(logs[source]) if mine.erased(record)]
            for record in blanked:
                mine.touch_record(record)
            count(f"log of {source}", "records", len(blanked))
        for reference, found in events.items():
            entities = [streams[reference].entities(number, each) for number, each in enumerate(found)]
            count(f"stream of {reference}", "events", sum(map(len, found)))
            count(f"stream of {reference}", "entities computed again", sum(map(len, entities)))
            count(f"stream of {reference}", "dead letters", streams[reference].refused(self._letter))
        for place in self._store.tiles:
            where = f"tiles of {place.view.reference}"
            if place.log.is_dir():
                with FileLog(place.log) as log:
                    count(where, "records", sum(self._is_tile(place.view, record) for record in _records(log)))
            count(where, "dead letters", dead_letters.count(place.state, self._tile_letter))
            count(where, "tiles", tile_stream.held(place.state, self._entities[place.view.entity]))
        with contextlib.closing(self._store.online()) as online:
            for view in self._views:
                key = Key(view.reference, entity_key(self._entities[view.entity]))
                count(f"online store: {view.reference}", "rows", sum(row is not None for row in online.read([key])))
        for root in self._store.training:
            for digest in snapshots.digests(root):
                tables = [_table(path) for path in snapshots.read(root, digest)[1]]
                if number := sum(table.num_rows - self._asked(table).num_rows for table in tables):
                    count(f"training set {digest}", "rows", number)
            for path in snapshots.files_in(root):
                table = _table(path)
                count(f"training set {path}", "rows", table.num_rows - self._asked(table).num_rows)
        return Found(counts=tuple(counts), also={name: number for name, number in sorted(also.items()) if number})

    def _stored(
        self, rows: Mapping[str, _Rows], pending: Path, record: Erasure, tell: Callable[[str], None]
    ) -> Erasure:
        """Erase from the offline stores and the training sets; the record with every new digest, which stands in `pending` before it is one."""
        held = [record]

        def noted(**more: Mapping[str, Any]) -> None:
            held[0] = held[0].model_copy(
                update={name: {**getattr(held[0], name), **each} for name, each in more.items()}
            )
            files.replace(pending, held[0].model_dump_json(indent=1))

        for source, mine in rows.items():
            tell(f"offline store of {source}")
            if _segments(mine.place.offline):
                before = held[0].sources.get(source, {})
                sources.erase(
                    mine.place.offline,
                    mine.kept,
                    noted=lambda pairs, name=source, had=before: noted(sources={name: {**had, **pairs}}),  # type: ignore[misc]
                )
        after = {old: new for pairs in held[0].sources.values() for old, new in pairs.items()}
        for root in self._store.training:
            for digest in snapshots.digests(root):
                tell(f"training set {digest}")
                snapshots.erase(
                    root,
                    digest,
                    self._asked,
                    sources=after,
                    noted=lambda new, old=digest: noted(training={old: new}),  # type: ignore[misc]
                )
            for path in snapshots.files_in(root):
                tell(f"training set {path}")
                snapshots.erase_file(path, self._asked)
        return held[0]

    def _tiles(self, place: TilePlace) -> None:
        """Erase the person's own tiles, of the log first: a job that begins anew reads blanks."""
        if place.log.is_dir():
            with FileLog(place.log, patience=60.0) as log:
                for partition in log.partitions():
                    log.erase(partition, lambda record: self._is_tile(place.view, record))
        tile_stream.erase(place.state, self._entities[place.view.entity], letters=self._tile_letter)

    def _is_tile(self, view: FeatureView, record: Record) -> bool:
        """True of a record with a tile of the person, also where it says what the tile was before."""
        row = _decoded(record.value)
        if row is None:
            return _mentions(record.value.decode("utf-8", "replace"), self._person)
        told = (row, row.get("before"), row.get("after"))
        return any(isinstance(each, dict) and each.get("entity") == self._entities[view.entity] for each in told)

    def _online(self) -> None:
        """Erase what lies in the online store under the person's own key, of streams that run elsewhere too."""
        with contextlib.closing(self._store.online()) as online:
            for view in self._views:
                online.erase(entity_key(self._entities[view.entity]), [view.reference])
            online.scrub()

    def _captured(
        self,
        record: Erasure,
        captures: Callable[[], Sequence[Count]],
        tell: Callable[[str], None],
        pending: Path,
    ) -> Erasure | None:
        """Erase captures; the record with their counts, none where there was nothing anywhere."""
        tell("captures of servers")
        record = record.model_copy(update={"counts": (*record.counts, *captures())})
        return self._ended(pending, record) if any(each.count for each in record.counts) else None

    def _ended(self, pending: Path, record: Erasure) -> Erasure:
        """Give the record its name, which is the same however often this is begun."""
        record = record.model_copy(update={"ended": datetime.now(UTC)})
        name = f"{record.begun:%Y-%m-%dT%H-%M-%S-%f}.json"
        files.replace(self._store.folder / name, record.model_dump_json(indent=1))
        pending.unlink(missing_ok=True)
        self._store.told()
        return record

    @property
    def _views(self) -> list[FeatureView]:
        """The views whose entity the person is."""
        return [view for each in self._store.sources for view in each.views if view.entity in self._entities]

    def _asked(self, table: pa.Table) -> pa.Table:
        """The rows of a training set that stay, without the value in what views say of others, such as the last buyer of a device."""
        import pyarrow as pa
        import pyarrow.compute as pc

        gone = _naming(table, self._person)
        left = table.filter(pc.invert(gone)) if pc.any(gone).as_py() else table
        for place, field_ in enumerate(left.schema):
            if pa.types.is_string(field_.type) or pa.types.is_large_string(field_.type):
                same = pc.is_in(left.column(place), pa.array(sorted({*self._person.values()}), field_.type))
                if pc.any(same).as_py():
                    left = left.set_column(place, field_, pc.if_else(same, None, left.column(place)))
        return left

    def _letter(self, letter: Mapping[str, Any]) -> bool:
        """True of a dead letter that names the person."""
        row = _decoded(str(letter["row"]).encode())
        if row is not None and any(_same(row.get(name), value) for name, value in self._person.items()):
            return True
        return _mentions(f"{letter['reason']}\n{letter['row'] if row is None else ''}", self._person)

    def _tile_letter(self, letter: Mapping[str, Any]) -> bool:
        """True of a dead letter of a job on tiles that has one of the values anywhere: what is no tile may name them by any column."""
        return _mentions(f"{letter['reason']}\n{letter['row']}", self._person)


def counted(table: pa.Table, person: Mapping[str, str]) -> int:
    """How many rows of a training set name the person, or have their value in any text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = _naming(table, person)
    for field_ in table.schema:
        if pa.types.is_string(field_.type) or pa.types.is_large_string(field_.type):
            values = pa.array(sorted({*person.values()}), field_.type)
            found = pc.or_(found, pc.is_in(table.column(field_.name), values).combine_chunks())
    return int(pc.sum(found).as_py() or 0)


def _key(folder: Path) -> bytes:
    """The key of a store's records, made where there is none."""
    path = folder / _KEY
    if not path.is_file():
        draft = path.with_name(f".{_KEY}")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32), encoding="ascii")
        draft.replace(path)
    return bytes.fromhex(path.read_text(encoding="ascii"))


def _digest(key: bytes, name: str, value: int | str) -> str:
    return f"hmac-sha256:{hmac.digest(key, f'{name}={value}'.encode(), 'sha256').hex()}"


def _digested(key: bytes, rows: Iterable[_Rows]) -> dict[str, tuple[str, ...]]:
    """By view, what stands in the record for the entities that were touched, in an order that says nothing of them."""
    touched = sorted((view, found) for each in rows for view, found in each.touched.items() if found)
    return {view: tuple(sorted(_digest(key, view, entity) for entity in found)) for view, found in touched}


def _segments(offline: sources.Place) -> list[Path]:
    held = sources.there(offline)
    return held.files() if held else []


def _table(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path)


def _records(log: FileLog) -> Iterator[Record]:
    for partition in log.partitions():
        offset = log.begin(partition)
        while found := log.read(partition, offset, _READ_AT_ONCE):
            yield from (each for each in found if not each.erased)
            offset = found[-1].offset + 1


def _naming(table: pa.Table, person: Mapping[str, str]) -> pa.Array:
    """Where a row has one of the person's values in its column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pa.chunked_array([pa.repeat(False, table.num_rows)])
    for name, value in person.items():
        if name in table.column_names:
            found = pc.or_(found, pc.fill_null(pc.equal(table.column(name).cast(pa.large_string()), value), False))
    return found.combine_chunks()


def _decoded(value: bytes) -> dict[str, Any] | None:
    """A row; none where it is no JSON object."""
    import msgspec

    try:
        found = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _same(found: Any, value: str) -> bool:
    """Is it the value, as text or number? Of what is neither: does it hold it?"""
    if isinstance(found, str | int):
        return str(found) == value
    return found is not None and _mentions(repr(found), {"": value})


def _mentions(text: str, person: Mapping[str, str]) -> bool:
    """Does a text that nobody can read as a row have one of the values as a word?"""
    return any(re.search(f"(?<!{_AROUND}){re.escape(value)}(?!{_AROUND})", text) for value in person.values())


def _at(row: Mapping[str, Any], clock: Clock) -> tuple[int, int] | None:
    """When a row was known and when it happened, in microseconds; none where it does not say so."""
    try:
        known, happened = instant(row.get(clock[0])), instant(row.get(clock[1]))
    except (TypeError, ValueError, OverflowError):
        return None
    return None if known is None or happened is None else (known, happened)
