"""The feature store of one place: each source's log and offline store, each view's stream, and the online store, below one folder or by address."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hallmark import files
from hallmark.declaration import feature_view, source
from hallmark.declaration.feature_view import FUTURE, FeatureView
from hallmark.declaration.view_types import view_types
from hallmark.errors import Conflict, DeclarationError, HallmarkError, NotFound, Unavailable
from hallmark.feature_store import archive, erasure_records, log_address, snapshots, source_batch, sources
from hallmark.feature_store.archive import Archive, Archived
from hallmark.feature_store.erasure import Eraser, SourcePlace, StorePlace, TilePlace, outdated
from hallmark.feature_store.following import Following
from hallmark.feature_store.log import FIRST, FileLog, Log
from hallmark.feature_store.online.address import connect, location
from hallmark.feature_store.online.keys import SHARED, Key, entity_key
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.state import Applied as JobState
from hallmark.feature_store.state import peek, versions
from hallmark.feature_store.stream import STATE, WANTED, Published, Stream, encoded
from hallmark.feature_store.tiles import LEAST, TYPES, Plan, Type
from hallmark.files import digest_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from hallmark.declaration.source import Datatype, Source
    from hallmark.feature_store.flink import Job
    from hallmark.feature_store.kafka import KafkaLog
    from hallmark.feature_store.kinesis import KinesisLog
    from hallmark.feature_store.online.store import OnlineStore, Row
    from hallmark.feature_store.tile_stream import TileStream
    from hallmark.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SYNTHETIC = "synthetic "
"""Begins the name of a batch whose events were made up."""
_AT_ONCE = 10_000
_PATIENCE = 30.0
"""Seconds that a batch waits for another that comes in."""
_LOOK = 2.0
"""Seconds between looks for views to follow."""
_ARCHIVE, _ROUNDS, _LEAST_ROWS = 60.0, 10, 10_000
"""Seconds between looks for what is to come into the offline store; one in so many takes whatever there is, the others only so many rows."""
_QUIET = 3.0
"""Seconds without a record after which a log that is read over a network counts as read to its end."""


class Ingested(NamedTuple):
    """A batch that was offered: its rows, whether it was new, and how many rows have times that a view's stream refuses, by view."""

    rows: int
    new: bool
    refused: Mapping[str, int]


class Stage(NamedTuple):
    """How far a view has come: it has no stream here, not all of it is in the online store yet, or all is.

    done, total: of a view that is being filled, how many of the events that it is filled from are in; 0 of 0 before that is known.
    """

    name: Literal["declared", "filling", "applied"]
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.done:,} of {self.total:,} events)" if self.total else self.name


class Applied(NamedTuple):
    """A view whose stream is there: whether the online store got it now, and how many events count in it; none where another process runs it."""

    view: str
    made: bool
    events: int | None


class Freshness(NamedTuple):
    """How new a view is. newest: when its newest event happened, none where none came in.   age: since then.

    fresh: whether that is within what the view allows; none where no job keeps the view up to date here, or no event came in.
    """

    newest: datetime | None
    age: timedelta | None
    fresh: bool | None


class Answer(NamedTuple):
    """What the online store says of an entity: values by column, and when its newest event happened, none where there is none."""

    values: dict[str, Any]
    newest: datetime | None


class FeatureStore:
    """Sources and views that `settings` declare. Rows come in by `ingest`, views into being by `apply`, and up to date by `run`.

    url: of the online store; that of the settings, or a SQLite file in the state folder.
    log: address of the sources' event logs; that of the settings, or files in the state folder where it is empty.
    """

    def __init__(self, settings: Settings, *, url: str | None = None, log: str | None = None) -> None:
        self._settings = settings
        self._folder = settings.state / "features"
        self.url = url or settings.feature_store
        self._address = settings.feature_log if log is None else log
        self._offline: dict[str, sources.Place] = {}

    def ingest(self, reference: str, path: Path, *, synthetic: bool = False) -> Ingested:
        """Take a batch of a source, whole and once: into its log, for streams, and into its offline store, for training.

        synthetic: its events were made up, which its name says from then on.

        `ContractBroken` with columns, rows and lines where it breaks the source's contract; then nothing of it is taken.
        """
        contract = source.load(reference, self._settings)
        frame = source_batch.read(contract, path)
        batch = f"{_SYNTHETIC}{_digest(path)}" if synthetic else _digest(path)
        table = source_batch.table(contract, frame)
        refused = self._refused(contract, frame)
        with self._log(reference) as log:
            if isinstance(log, FileLog):
                log.append(FIRST, [])  # from here on nobody else writes
            held = self._held(reference)
            if held is not None and any(each.batch == batch for each in held.manifest.segments):
                return Ingested(len(frame), new=False, refused=refused)
            with (
                archive.ingesting(log, self._log_folder(reference))
                if isinstance(log, FileLog)
                else contextlib.nullcontext()
            ):
                # The log first, since a row that comes twice counts once, and one that is missing does not.
                for at in range(0, len(frame), _AT_ONCE):
                    rows = frame.iloc[at : at + _AT_ONCE]
                    log.append(None, [encoded(row) for row in _records(rows)])
                # Before another writes: who holds the log's end finds both as one.
                sources.append(self.offline(reference), table, source=reference, batch=batch)
        return Ingested(len(frame), new=True, refused=refused)

    def _refused(self, contract: Source, frame: pd.DataFrame) -> dict[str, int]:
        """Rows that happened more than `FUTURE` after they were known, or were known more than `FUTURE` from now, by view."""
        found, latest = {}, datetime.now(UTC) + FUTURE
        times = {name for name, each in contract.columns.items() if each.datatype == "TIME"}
        for reference in feature_view.references(self._settings):
            with contextlib.suppress(
                DeclarationError
            ):  # a view that is none takes no rows, and a batch does not need it
                view = feature_view.load(reference, self._settings)
                if view.source == contract.reference and {view.event_time, view.known_at} <= times:
                    when, known = frame[view.event_time], frame[view.known_at]
                    if count := int(((when > known + FUTURE) | (known > latest)).sum()):
                        found[reference] = count
        return found

    def archive(self, reference: str) -> Archived:
        """Bring what a source's log holds into its offline store, but what is there; killed anywhere, the next time goes on."""
        with self._archive(reference) as found:
            return found.run()

    @contextlib.contextmanager
    def _archive(self, reference: str) -> Iterator[Archive]:
        contract = source.load(reference, self._settings)
        folder = None if self._address else self._log_folder(reference)
        with self._log(reference) as log:
            name = archive.elsewhere(self._address, reference) if folder is None else archive.named(folder)
            yield Archive(contract, self.offline(reference), log, name=name, ingested=folder)

    def _archiving(self, reference: str, stop: threading.Event, tell: Callable[[str], None]) -> None:
        """Bring a source's log into its offline store, each minute, or less often where little comes; a store that refuses is told once."""
        try:
            with self._archive(reference) as found:
                turn = 0
                while not stop.wait(_ARCHIVE):
                    turn += 1
                    with contextlib.suppress(Unavailable):
                        found.run(least=1 if turn % _ROUNDS == 0 else _LEAST_ROWS)
        except HallmarkError as error:
            tell(f"the log of {reference} does not come into the offline store from here: {error.message}")

    def offline(self, reference: str) -> sources.Place:
        """Where a source's offline store lies."""
        if reference not in self._offline:  # a client of S3 takes its time to make
            self._offline[reference] = sources.place(self._settings, reference)
        return self._offline[reference]

    def files(self, reference: str) -> list[Path]:
        """The Parquet files of a source's offline store; none before its first batch."""
        held = self._held(reference)
        return held.files() if held else []

    def real(self, references: Sequence[str]) -> list[str]:
        """Why synthetic events of these sources have no place here, a phrase each; none where the store is this machine's own and holds no others."""
        found = []
        where = location(self.url)
        if not Path(where.removeprefix("sqlite:///")).is_relative_to(self._settings.state.resolve()):
            found.append(f"the online store is {where}")
        if self._address:
            found.append(f"the events' log is in {self._address.partition('://')[0]}")
        for reference in references:
            held = self._held(reference)
            batches = [each for each in held.manifest.segments if not each.batch.startswith(_SYNTHETIC)] if held else []
            if rows := sum(each.rows for each in batches):
                found.append(f"{reference} holds {rows:,} events that are not known to be synthetic")
        return found

    def apply(
        self, references: Sequence[str], *, tell: Callable[[str, int, int], None] = lambda *_: None
    ) -> list[Applied]:
        """Have a stream for each of these views, filled with all that the offline store holds; one that is there is left as it is.
        An online store that another took the place of gets all that the stream holds.

        Then it goes on at the end of the log where rows come in by `ingest` alone, and at its begin where others write to it too:
        rows that both have count once.

        tell: is told the view, and how many rows of how many are read. `Refused` where a view is another than the one that was
        applied under its version.
        """
        found = []
        for reference in references:
            view = feature_view.load(reference, self._settings)
            known = self._state(reference).is_dir()
            if not known and not self._address:
                self._held_of(view)
            try:
                with self._stream(view) as (stream, _):
                    made = stream.is_elsewhere
                    made = self._fill(view, stream, tell=tell) or made
                    stream.publish()
                    found.append(Applied(reference, made or not known, stream.versions(reference)))
            except Conflict:
                if not known:
                    raise
                there = peek(self.state(reference), self.plan(view))
                if there is not None and there.store not in ("", location(self.url)):
                    raise Conflict(
                        f"another job keeps {reference} up to date, in another online store",
                        expected=location(self.url),
                        got=there.store,
                        fix="end that job (`hallmark up`, or `hallmark features run --follow`) first",
                    ) from None
                found.append(Applied(reference, made=False, events=None))  # it is followed, by `hallmark up` as a rule
        return found

    def backfill(
        self,
        reference: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tell: Callable[[str, int, int], None] = lambda *_: None,
    ) -> Applied:
        """Fill a view's stream from the offline store, beside all others; one that was stopped goes on.

        A stream that is filled takes what it lacks of the rows that became known from `since` on and before `until`; a new one needs all that
        count, which `DeclarationError` says where one of the two is given.
        """
        view = feature_view.load(reference, self._settings)
        self._held_of(view)
        there = self._state(reference).is_dir()
        with self._taken(view) if there else self._stream(view) as (stream, _):
            new = stream.is_new or stream.unfinished is not None
            if new and (since or until):
                raise DeclarationError(
                    f"{reference} is filled for the first time",
                    expected="all rows that count, whenever they became known",
                    got="a period",
                    fix="leave out --from and --to",
                )
            self._backfill(view, stream, since=since, until=until, tell=tell)
            return Applied(reference, new, stream.versions(reference))

    def _backfill(
        self,
        view: FeatureView,
        stream: Stream,
        *,
        since: datetime | None,
        until: datetime | None,
        tell: Callable[[str, int, int], None],
    ) -> None:
        new = stream.is_new or stream.unfinished is not None
        with self._log(view.source) as log:  # as one: a batch that came in between might be in neither
            # Others write to one that has an address, so there it is read from its begin.
            ends = {FIRST: log.append(FIRST, [])} if isinstance(log, FileLog) else None
            held = self._held_of(view)
        as_of = stream.unfinished or (_now() if until is None else (until - _EPOCH) // _MICROSECOND)
        begin = since or _EPOCH + max(0, self.plan(view).kept(as_of)) * _MICROSECOND
        paths = held.files(column=view.known_at, since=begin)
        total, done = sum(map(_rows, paths)), 0

        def rows(path: Path) -> Iterator[pa.Table]:
            nonlocal done
            for read, table in _groups(path, view, begin):
                yield table
                done += read
                tell(view.reference, done, total)

        stream.backfill([rows(path) for path in paths], as_of=as_of, offsets=ends if new else None)

    def applied(self) -> list[str]:
        """name@version of the views that have a stream, of those that are declared."""
        return [each for each in feature_view.references(self._settings) if self._state(each).is_dir()]

    def catch_up(self, references: Sequence[str]) -> int:
        """Bring views up to date with their sources' logs; how many records were read, once for each view.

        A log that others write to has no end: there it ends where nothing came for 3 seconds.
        """
        count = 0
        for reference in references:
            with self._stream(feature_view.load(reference, self._settings)) as (stream, log):
                patience = 0.0 if isinstance(log, FileLog) else _QUIET
                until = time.monotonic() + patience
                while (read := stream.step()) or time.monotonic() < until:
                    count += read
                    if read:
                        until = time.monotonic() + patience
                    else:
                        time.sleep(0.05)
        return count

    def follow(
        self,
        references: Callable[[], Sequence[str]],
        stop: threading.Event,
        *,
        seen: Following | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Keep views up to date until told to stop, those too that `references` names later; the first that fails ends all.

        Their sources' logs come into the offline stores meanwhile. tell: is told where one does not.

        A view that was not applied before is filled first with what the offline store holds, if anything. seen: takes the streams, for
        others to look at.
        """
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        running: dict[str, threading.Thread] = {}
        archiving: dict[str, threading.Thread] = {}

        def run(view: FeatureView) -> None:
            try:
                with self._stream(view) as (stream, _):
                    self._fill(view, stream)
                    if seen is not None:
                        seen.take(stream)
                    stream.run(stop)
                ended.put(None)
            except BaseException as error:  # noqa: BLE001  it is raised by who started this
                ended.put(error)

        failed: BaseException | None = None
        try:
            while not stop.is_set():
                for reference in references():
                    if reference not in running:
                        view = feature_view.load(reference, self._settings)
                        running[reference] = threading.Thread(target=run, args=(view,), name=reference, daemon=True)
                        running[reference].start()
                        if view.source not in archiving:
                            archiving[view.source] = threading.Thread(
                                target=self._archiving, args=(view.source, stop, tell), daemon=True
                            )
                            archiving[view.source].start()
                with contextlib.suppress(queue.Empty):
                    failed = ended.get(timeout=_LOOK)
                    stop.set()
        finally:  # ctrl-c too: a batch is ended, and noted, before its state is closed
            stop.set()
            for thread in (*running.values(), *archiving.values()):
                thread.join()
        if failed is not None:
            raise failed

    def eraser(self, person: Mapping[str, str], *, training: Sequence[Path] = ()) -> Eraser:
        """What erases a person, by columns and values, from all that is here, and from training sets below the folders `training`.

        `DeclarationError` where no contract says that a column is personal, or a folder holds no training set. `Conflict` where a stream of a view is here that nobody declares.
        """
        from hallmark.feature_store.flink import log_of

        contracts = [source.load(each, self._settings) for each in source.references(self._settings)]
        personal = sorted({name for each in contracts for name in each.personal})
        if odd := [name for name in person if name not in personal]:
            raise DeclarationError(
                f"{odd[0]} names no person",
                expected=f"a column that a contract calls personal: {', '.join(personal) or 'none is'}",
                got=odd[0],
                fix="write it in the contract, `classification: personal`, if it does",
            )
        views = [feature_view.load(each, self._settings) for each in feature_view.references(self._settings)]
        mine = [each for each in contracts if any(name in each.columns for name in person)]
        kinds = {name: each.columns[name].datatype for each in mine for name in person if name in each.columns}
        entities = {name: _entity(value, kinds[name], f"{value!r} is no {name}") for name, value in person.items()}
        self._known(views, contracts)
        for root in training:
            snapshots.demand(root)
        parts = [
            SourcePlace(
                each,
                self.offline(each.reference),
                self._folder / "log" / each.reference,
                tuple(view for view in views if view.source == each.reference),
            )
            for each in mine
        ]
        applied = [view for part in parts for view in part.views if self._state(view.reference).is_dir()]
        tiles = [
            TilePlace(view, self._folder / "log" / log_of(view), self._folder / "tiles" / view.reference)
            for part in parts
            for view in part.views
            if view.entity in entities
        ]
        here = StorePlace(
            self.erasures,
            tuple(parts),
            tuple(tiles),
            tuple(applied),
            self._stream,
            self._taken,
            self._online,
            lambda: self.erasures,
            tuple(each for each in self.stores() if each != location(self.url) and _may_be_there(each)),
            tuple(training),
        )
        return Eraser(here, person, entities)

    @property
    def erasures(self) -> Path:
        """The folder of the records of erasures, those of other machines too where they share the offline store."""
        folder = self._folder / "erasures"
        if self._settings.feature_offline:
            erasure_records.exchange(folder, sources.root(self._settings))
        return folder

    def stores(self) -> list[str]:
        """Where the online stores are that streams here have ever written to, without users and passwords."""
        return sorted(path.read_text(encoding="utf-8") for path in (self._folder / "stores").glob("[0-9a-f]*"))

    def _known(self, views: Sequence[FeatureView], contracts: Sequence[Source]) -> None:
        """Refuse where something is kept here of which nobody says what it holds."""
        from hallmark.feature_store.flink import log_of

        declared, mine = {each.reference for each in contracts}, {each.reference for each in views}
        logs = declared | {log_of(each) for each in views}
        known = {"streams": mine, "tiles": mine, "log": logs}
        held: list[tuple[str, sources.Place, set[str], str]] = [
            (path.name, path, references, kind)
            for kind, references in known.items()
            for path in sorted((self._folder / kind).glob("*@*"))
        ]
        held += [(each, self.offline(each), declared, "offline") for each in sources.references(self._settings)]
        for name, path, references, kind in held:
            if name not in references:
                raise Conflict(
                    f"{kind}/{name} is here and nobody declares it, so nobody can say what it holds of a person",
                    expected=", ".join(sorted(references)) or "none",
                    got=name,
                    fix=f"bring its declaration back, or remove {path}",
                )

    @contextlib.contextmanager
    def tiles(self, reference: str) -> Iterator[TileStream]:
        """The stream of a view whose events Flink adds up: it reads the tiles that Flink writes."""
        from hallmark.feature_store.flink import log_of
        from hallmark.feature_store.tile_stream import TileStream

        view = feature_view.load(reference, self._settings)
        folder = self._folder / "tiles" / reference
        with contextlib.closing(self._online()) as store, self._log(log_of(view)) as log:
            published, address = self._published(store, view), location(self.url)
            stream = TileStream(view, self._types(view), log=log, store=published, folder=folder, address=address)
            with contextlib.closing(stream):
                yield stream

    def job(self, reference: str) -> Job:
        """A view as a Flink SQL job."""
        from hallmark.feature_store.flink import Job

        view = feature_view.load(reference, self._settings)
        return Job(view, self._types(view))

    def read(self, reference: str, entities: Sequence[int | str], *, at: datetime | None = None) -> list[Answer]:
        """What a request at a time would get, now by default; `DeclarationError` for a time before the newest that is known of an entity."""
        view = feature_view.load(reference, self._settings)
        payload, when = Payload(self.plan(view)), _now() if at is None else (at - _EPOCH) // _MICROSECOND
        found = []
        for each in entities:
            payload.plan.demand_entity(each)
        for row in self.rows(reference, entities):
            newest, known = (LEAST, LEAST) if row is None else payload.known(row.payload)
            if known > when:
                raise DeclarationError(
                    f"the online store holds what is known now of {reference}, and not what was known at a time",
                    expected=f"a time after {_EPOCH + known * _MICROSECOND}",
                    got=str(_EPOCH + when * _MICROSECOND),
                    fix="`hallmark features join` reads any time from the offline store",
                )
            values = dict(zip(payload.columns, payload.values(None if row is None else row.payload, when), strict=True))
            found.append(Answer(values, None if newest == LEAST else _EPOCH + newest * _MICROSECOND))
        return found

    def payloads(self, reference: str) -> Iterator[bytes]:
        """The payloads of a view's entities in the online store, in no order."""
        with contextlib.closing(self._online()) as store:
            for page in store.scan(reference):
                yield from (row.payload for row in page)

    def holds(self, reference: str) -> bool:
        """Whether the online store has anything of a view; where it has nothing, a server may look through all of it."""
        return next(self.payloads(reference), None) is not None

    def rows(self, reference: str, entities: Sequence[int | str]) -> list[Row | None]:
        """What the online store holds of these entities, none of who is not there."""
        with contextlib.closing(self._online()) as store:
            return store.read([Key(reference, entity_key(each)) for each in entities])

    def plan(self, view: FeatureView) -> Plan:
        """A view as its executions need it; `DeclarationError` where it asks for what its source does not give."""
        return Plan(view, self._types(view))

    def state(self, reference: str) -> Path:
        """The file with the state of a view's stream here, which is not there where it runs elsewhere."""
        return self._state(reference) / STATE

    def stage(self, reference: str) -> Stage:
        """How far a view has come here: by its stream, or by the job that serves its tiles."""
        view = feature_view.load(reference, self._settings)
        found = self.job_of(view)
        if found is None:
            return Stage("filling" if self._state(reference).is_dir() else "declared")  # its state is being made
        if found.filling is not None:
            as_of, parts = found.filling
            begin = _EPOCH + max(0, self.plan(view).kept(as_of)) * _MICROSECOND
            rows = [_rows(path) for path in self._held_of(view).files(column=view.known_at, since=begin)]
            return Stage("filling", sum(rows[:parts]), sum(rows))
        if found.store != location(self.url):
            return Stage("filling", 0, versions(self.state(reference)))
        return Stage("applied")

    def job_of(self, view: FeatureView) -> JobState | None:
        """How far the job has come that keeps a view up to date here, on events or on Flink's tiles; none where it runs elsewhere."""
        from hallmark.feature_store import tile_stream

        plan = self.plan(view)
        found = peek(self.state(view.reference), plan)
        return found or tile_stream.peek(self._folder / "tiles" / view.reference, plan)

    def freshness(self, view: FeatureView, *, now: datetime) -> Freshness:
        """How new a view is: by its job's state, and where that has not come to its end yet, or lies elsewhere, by what was ingested."""
        applied = self.job_of(view)
        newest = self._ingested(view)
        # A stream that is filled reads only what still counts.
        if applied is not None and applied.newest != LEAST and applied.filling is None:
            newest = _EPOCH + applied.newest * _MICROSECOND
        age = None if newest is None else max(now - newest, timedelta(0))
        return Freshness(newest, age, None if applied is None or age is None else age <= view.freshness)

    def _ingested(self, view: FeatureView) -> datetime | None:
        """When the newest event of the view's source happened, of all that the offline store holds; none is newer than what is known."""
        held = self._held(view.source)
        span, known = (held.span(view.event_time), held.span(view.known_at)) if held else (None, None)
        return min(span[1], known[1] + FUTURE) if span and known else None

    def _held(self, reference: str) -> sources.Snapshot | None:
        """What the offline store has of a source; none before its first batch."""
        return sources.there(self.offline(reference))

    def _online(self) -> OnlineStore:
        if self.url.startswith("sqlite:///"):
            self._folder.mkdir(parents=True, exist_ok=True)
        return connect(self.url, namespace=SHARED)

    def _log(self, reference: str) -> FileLog | KafkaLog | KinesisLog:
        """The log of a source."""
        if self._address:
            return log_address.connect(self._address, reference)
        return FileLog(self._log_folder(reference), patience=_PATIENCE)

    def _log_folder(self, reference: str) -> Path:
        return self._folder / "log" / reference

    def _state(self, reference: str) -> Path:
        return self._folder / "streams" / reference

    def _types(self, view: FeatureView) -> dict[str, Type]:
        """Types of the columns of a view's source; `DeclarationError` where the view asks for what it does not give."""
        contract = source.load(view.source, self._settings)
        view_types(view, contract)
        return {name: TYPES[each.datatype] for name, each in contract.columns.items()}

    @contextlib.contextmanager
    def _taken(self, view: FeatureView) -> Iterator[tuple[Stream, Log]]:
        """The stream of a view that is applied, which a job that follows it gives up meanwhile; `Conflict` where one does not."""
        until = time.monotonic() + _PATIENCE
        wanted = self._state(view.reference) / WANTED
        with files.locked(wanted, patience=_PATIENCE), contextlib.ExitStack() as stack:
            while True:
                try:
                    found = stack.enter_context(self._stream(view))
                    break
                except Conflict:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.05)
            yield found

    @contextlib.contextmanager
    def _stream(self, view: FeatureView) -> Iterator[tuple[Stream, Log]]:
        folder = self._state(view.reference)
        with contextlib.closing(self._online()) as store, self._log(view.source) as log:
            published, address = self._published(store, view), location(self.url)
            stream = Stream([view], self._types(view), log=log, store=published, folder=folder, address=address)
            with contextlib.closing(stream):
                yield stream, log

    def _published(self, store: OnlineStore, view: FeatureView) -> Published:
        """The online store for a stream of a view; from now on it is one that erasures have to reach."""
        where = location(self.url)
        note = self._folder / "stores" / hashlib.sha256(where.encode()).hexdigest()[:16]
        if not note.is_file():
            files.replace(note, where)
        return Published(store, [view], outdated=self._outdated)

    def _outdated(self, reference: str) -> Callable[[int | str], bool] | None:
        """Whose rows of a view erasures have changed here, since the first."""
        return outdated(self.erasures, feature_view.load(reference, self._settings))

    def _held_of(self, view: FeatureView) -> sources.Snapshot:
        held = self._held(view.source)
        if held is None:
            raise NotFound(
                f"there are no rows of {view.source}",
                expected="a batch at least, from which the view is filled",
                got="none",
                fix=f"`hallmark features ingest {view.source} FILE`",
            )
        return held

    def _fill(
        self, view: FeatureView, stream: Stream, *, tell: Callable[[str, int, int], None] = lambda *_: None
    ) -> bool:
        """Fill a state that saw no row, or whose filling was stopped, with what the offline store holds; whether there was anything to fill."""
        if self._held(view.source) is None or not (stream.is_new or stream.unfinished is not None):
            return False
        self._backfill(view, stream, since=None, until=None, tell=tell)
        return True


def _may_be_there(store: str) -> bool:
    """False of an online store in a file that is gone."""
    return not store.startswith("sqlite:///") or Path(store.removeprefix("sqlite:///")).is_file()


def entity_of(view: FeatureView, contract: Source, text: str) -> int | str:
    """An entity as a person writes it, in the type of its column."""
    return _entity(text, contract.columns[view.entity].datatype, f"{text!r} is no {view.entity}")


def _entity(text: str, datatype: Datatype, wrong: str) -> int | str:
    if datatype != "INT64":
        return text
    if re.fullmatch("0|-?[1-9][0-9]{0,18}", text, re.ASCII) and -(2**63) < int(text) < 2**63:
        return int(text)
    raise DeclarationError(
        wrong,
        expected="a whole number of 64 bits, as its contract says",
        got=repr(text),
        fix="write its digits alone, such as 4711",
    )


def _records(frame: Any) -> list[dict[str, Any]]:
    """Rows with None for what is missing."""
    import pandas as pd

    return [
        {name: None if value is pd.NaT or value is pd.NA or value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _digest(path: Path) -> str:
    """Names a batch by its bytes."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256("\n".join(digest_file(each) for each in files).encode())
    return f"sha256:{whole.hexdigest()}"


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def _groups(path: Path, view: FeatureView, since: datetime) -> Iterator[tuple[int, pa.Table]]:
    """What a view reads of a file, so many rows at a time, of those that became known from a time on."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(1 << 17, columns=list(view.reads)):
        table = pa.Table.from_batches([batch])
        known = table.column(view.known_at)
        yield len(table), table.filter(pc.greater_equal(known, pa.scalar(since, known.type)))


def _now() -> int:
    return time.time_ns() // 1000
