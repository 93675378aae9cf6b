"""The feature store of one place: each source's log and offline store, each view's stream, and the online store, below one folder or by address."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.declaration import feature_view, source
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.view_types import view_types
from hallmark.errors import Conflict, DeclarationError, NotFound
from hallmark.feature_store import log_address, source_batch, sources
from hallmark.feature_store.log import FileLog, Log
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED, Key, entity_key
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.stream import Published, Stream, encoded
from hallmark.feature_store.tiles import LEAST, TYPES, Plan, Type
from hallmark.files import digest_file

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.declaration.source import Source
    from hallmark.feature_store.flink import Job
    from hallmark.feature_store.kafka import KafkaLog
    from hallmark.feature_store.kinesis import KinesisLog
    from hallmark.feature_store.online.store import OnlineStore
    from hallmark.feature_store.tile_stream import TileStream
    from hallmark.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AT_ONCE = 10_000
_QUIET = 3.0
"""Seconds without a record after which a log that is read over a network counts as read to its end."""


class Ingested(NamedTuple):
    """A batch that was offered: its rows, and whether it was new."""

    rows: int
    new: bool


class Applied(NamedTuple):
    """A view whose stream is there: whether it was made now, and how many events count in it then."""

    view: str
    made: bool
    events: int


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

    def ingest(self, reference: str, path: Path) -> Ingested:
        """Take a batch of a source, whole and once: into its log, for streams, and into its offline store, for training.

        `ContractBroken` with columns, rows and lines where it breaks the source's contract; then nothing of it is taken.
        """
        contract = source.load(reference, self._settings)
        frame = source_batch.read(contract, path)
        batch, held = _digest(path), self._held(reference)
        if held is not None and any(each.batch == batch for each in held.manifest.segments):
            return Ingested(len(frame), new=False)
        with self._log(
            reference
        ) as log:  # first, since a row that comes twice counts once, and one that is missing does not
            for at in range(0, len(frame), _AT_ONCE):
                rows = frame.iloc[at : at + _AT_ONCE]
                log.append(None, [encoded(row) for row in _records(rows)])
        sources.append(self.offline(reference), frame, source=reference, batch=batch)
        return Ingested(len(frame), new=True)

    def offline(self, reference: str) -> Path:
        """The folder of a source's offline store."""
        return self._folder / "offline" / reference

    def apply(self, references: Sequence[str], *, tell: Callable[[str], None] = lambda _: None) -> list[Applied]:
        """Have a stream for each of these views, filled with all that the offline store holds.

        Then it goes on at the end of the log where rows come in by `ingest` alone, and at its begin where others write to it too:
        rows that both have count once. `Refused` where a view is another than the one that was applied under its version.
        """
        found = []
        for reference in references:
            view = feature_view.load(reference, self._settings)
            tell(f"{reference}: all events of {view.source}")
            known = self._state(reference).is_dir()
            table = None if known else self._table(view)
            with self._stream(view) as (stream, log):
                made = not known or not stream.versions(reference)
                if made and (table := table or self._table(view)) is not None:
                    with contextlib.suppress(Conflict):  # records were read, and none of them counted
                        stream.fill(table, as_of=_now(), offsets=_ends(log))
                found.append(Applied(reference, made, stream.versions(reference)))
        return found

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

    def follow(self, references: Sequence[str], stop: threading.Event) -> None:
        """Keep views up to date until told to stop."""
        with contextlib.ExitStack() as stack:
            streams = [
                stack.enter_context(self._stream(feature_view.load(reference, self._settings)))[0]
                for reference in references
            ]
            threads = [threading.Thread(target=each.run, args=(stop,), name="stream", daemon=True) for each in streams]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def tiles(self, reference: str) -> Iterator[TileStream]:
        """The stream of a view whose events Flink adds up: it reads the tiles that Flink writes."""
        from hallmark.feature_store.flink import log_of
        from hallmark.feature_store.tile_stream import TileStream

        view = feature_view.load(reference, self._settings)
        folder = self._folder / "tiles" / reference
        with contextlib.closing(self._online()) as store, self._log(log_of(view)) as log:
            stream = TileStream(view, self._types(view), log=log, store=Published(store, [view]), folder=folder)
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
        payload, when = Payload(Plan(view, self._types(view))), _now() if at is None else (at - _EPOCH) // _MICROSECOND
        with contextlib.closing(self._online()) as store:
            rows = store.read([Key(reference, entity_key(each)) for each in entities])
        found = []
        for row in rows:
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

    def newest(self, view: FeatureView) -> datetime | None:
        """When the newest event of the view's source happened, of all that were ingested here."""
        held = self._held(view.source)
        if held is None:
            return None
        times = [each.times[view.event_time][1] for each in held.manifest.segments if view.event_time in each.times]
        return max(times, default=None)

    def _held(self, reference: str) -> sources.Snapshot | None:
        """What the offline store has of a source; none before its first batch."""
        folder = self.offline(reference)
        return sources.snapshot(folder) if (folder / sources.MANIFEST).is_file() else None

    def _online(self) -> OnlineStore:
        if self.url.startswith("sqlite:///"):
            self._folder.mkdir(parents=True, exist_ok=True)
        return connect(self.url, namespace=SHARED)

    def _log(self, reference: str) -> FileLog | KafkaLog | KinesisLog:
        """The log of a source."""
        folder = self._folder / "log" / reference
        return log_address.connect(self._address, reference) if self._address else FileLog(folder)

    def _state(self, reference: str) -> Path:
        return self._folder / "streams" / reference

    def _types(self, view: FeatureView) -> dict[str, Type]:
        """Types of the columns of a view's source; `DeclarationError` where the view asks for what it does not give."""
        contract = source.load(view.source, self._settings)
        view_types(view, contract)
        return {name: TYPES[each.datatype] for name, each in contract.columns.items()}

    @contextlib.contextmanager
    def _stream(self, view: FeatureView) -> Iterator[tuple[Stream, Log]]:
        folder = self._state(view.reference)
        with contextlib.closing(self._online()) as store, self._log(view.source) as log:
            stream = Stream([view], self._types(view), log=log, store=Published(store, [view]), folder=folder)
            with contextlib.closing(stream):
                yield stream, log

    def _table(self, view: FeatureView) -> pa.Table | None:
        """All rows of a view's source; none where none were ingested, and its log may have some."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        held = self._held(view.source)
        if held is None and self._address:
            return None
        if held is None:
            raise NotFound(
                f"there are no rows of {view.source}",
                expected="a batch at least, from which the view is filled",
                got="none",
                fix=f"`hallmark features ingest {view.source} FILE`",
            )
        parts = [pq.read_table(path, columns=list(view.reads)) for path in held.files()]
        return pa.concat_tables(parts)


def entity_of(view: FeatureView, contract: Source, text: str) -> int | str:
    """An entity as a person writes it, in the type of its column."""
    if contract.columns[view.entity].datatype != "INT64":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise DeclarationError(
            f"{text!r} is no {view.entity}", expected=f"a whole number, as {view.source} has it", got=repr(text)
        ) from error


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


def _ends(log: Log) -> dict[str, int]:
    """The offset after the newest record of each partition, of a log that no one else writes to; else none."""
    found: dict[str, int] = {}
    if not isinstance(log, FileLog):
        return found
    for partition in log.partitions():
        found[partition] = log.begin(partition)
        while records := log.read(partition, found[partition], 100_000):
            found[partition] = records[-1].offset + 1
    return found


def _now() -> int:
    return time.time_ns() // 1000
