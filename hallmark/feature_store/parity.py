"""Parity: features as they were served beside those of the offline store, recomputed as of the read by the plan that training sets are made with."""
# ruff: noqa: S608 (names are quoted and values are literals of their kind: plan.quoted, plan.text)

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.declaration import feature_view
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import DeclarationError
from hallmark.feature_store import erasure, offline, sources, state
from hallmark.feature_store.backfill import typed
from hallmark.feature_store.causes import Cause, History, Served, same
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED
from hallmark.feature_store.plan import quoted, text
from hallmark.feature_store.tiles import LEAST, TYPES, Event, Plan

if TYPE_CHECKING:
    from hallmark.artifacts.signature import ViewUse
    from hallmark.feature_store.lookups import Lookup
    from hallmark.feature_store.place import FeatureStore
    from hallmark.settings import Settings

BEHIND = timedelta(minutes=15)
"""For how long what is served may be newer than the offline store: streams bring it there each ten minutes (place.py)."""
_TIME = "_read_at"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Compared(NamedTuple):
    """One value beside the one that is recomputed. cause: why they differ; "" where they are the same.

    newest: the entity's newest event as the server knew it, in microseconds, 0 for none.   events, latest: of the offline store, how many
    events of the entity were known at the read, and when the newest of them happened; counted where they were asked for.
    """

    lookup: Lookup
    view: str
    column: str
    entity: int | str
    served: Any
    expected: Any
    cause: Cause | str
    newest: int
    events: int | None = None
    latest: int | None = None


def judge(
    lookups: Sequence[Lookup],
    uses: Sequence[ViewUse],
    place: FeatureStore,
    settings: Settings,
    *,
    explain: bool = False,
    tell: Callable[[str, int, int], None] = lambda _, __, ___: None,
) -> list[Compared]:
    """Every value of views that these lookups have, of one model whose views are `uses`; those that were not read are left out.

    explain: count the events of each.   tell: what is under way, how many are done, of how many.
    `NotFound` where the offline store has no source of a view.
    """
    found: list[Compared] = []
    for use in uses:
        reference = use.view.reference
        mine = [each for each in lookups if each.was_read and each.entities.get(reference) is not None]
        if mine:
            tell(f"{reference}: recomputing", 0, len(mine))
            found += _View(use, place, settings).compared(mine, explain=explain, tell=tell)
    return found


class _View:
    """One view of a model, as it is declared today: what is not declared any more is what the model took along."""

    def __init__(self, use: ViewUse, place: FeatureStore, settings: Settings) -> None:
        self._use, self._place = use, place
        self._pinned = Plan(use.view, {name: TYPES[kind] for name, kind in use.types.items()})
        self._view, self._plan = self._declared(settings)
        self._held = sources.snapshot(place.offline(self._view.source))

    def _declared(self, settings: Settings) -> tuple[FeatureView, Plan]:
        try:
            view = feature_view.load(self._use.view.reference, settings)
            return view, self._place.plan(view)
        except DeclarationError:
            return self._use.view, self._pinned

    def compared(
        self, lookups: Sequence[Lookup], *, explain: bool, tell: Callable[[str, int, int], None]
    ) -> list[Compared]:
        reference = self._view.reference
        columns = [name for name in self._use.fields if name in self._view.columns]
        expected = self._expected(lookups, columns)
        wrong = {
            place
            for place, each in enumerate(lookups)
            if explain
            or any(
                not same(each.values.get(name), expected[name][place], default=self._default(name)) for name in columns
            )
        }
        histories = self._histories([lookups[place] for place in sorted(wrong)])
        found = []
        erased = erasure.changed(self._place.erasures, reference)
        causes: dict[tuple[Any, ...], Cause] = {}
        for place, each in enumerate(lookups):
            if place in wrong:
                tell(f"{reference}: looking for causes", place, len(lookups))
            entity, newest = each.entities[reference], max(0, each.newest.get(reference, 0))
            assert entity is not None  # noqa: S101  `judge` leaves the others out
            history = histories.get(entity)
            events, latest = _counted(history, each) if explain and history else (None, None)
            for name in columns:
                served, wanted = each.values.get(name), expected[name][place]
                cause: str = ""
                if same(served, wanted, default=self._default(name)):
                    pass
                elif each.read_at < erased(entity):
                    cause = "erased"
                elif history is not None and self._is_ahead(each, newest, history):
                    cause = "ahead"
                else:
                    given = Served(name, served, wanted, self._default(name), each.read_at, newest)
                    alike = (
                        entity,
                        name,
                        served,
                        wanted,
                        newest,
                    )  # a hot entity differs in many answers for one reason
                    if alike not in causes:
                        causes[alike] = histories[entity].cause(given)
                    cause = causes[alike]
                found.append(Compared(each, reference, name, entity, served, wanted, cause, newest, events, latest))
        return found

    def _is_ahead(self, lookup: Lookup, newest: int, history: History) -> bool:
        """Whether an answer of the last minutes knew of a newer event than the offline store: nobody can compute it yet."""
        if lookup.at < datetime.now(UTC) - BEHIND:
            return False
        return newest > max((row[self._plan.when] for row in history.rows), default=0)

    def _default(self, name: str) -> Any:
        """What the server gives where the store says nothing (inference_services/runtime/lookup.py)."""
        column = self._use.view.columns[name]
        default = column.empty if column.default is None else column.default
        return float(default) if default is not None and self._pinned.kinds[name] == "float64" else default

    def _expected(self, lookups: Sequence[Lookup], columns: Sequence[str]) -> dict[str, list[Any]]:
        import pandas as pd
        import pyarrow.parquet as pq

        last = _EPOCH + max(each.read_at for each in lookups) * _MICROSECOND
        asked = pd.DataFrame(
            {
                self._view.entity: [each.entities[self._view.reference] for each in lookups],
                _TIME: pd.to_datetime([each.read_at for each in lookups], unit="us", utc=True).as_unit("us"),
            }
        )
        files = self._held.files(column=self._view.known_at, before=last) or self._held.files()
        with tempfile.TemporaryDirectory(prefix="parity_") as folder:
            parts = offline.training_frame(
                asked, [self._view], {self._view.source: files}, Path(folder) / "frame", time=_TIME
            )
            found: dict[str, list[Any]] = {name: [] for name in columns}
            for part in parts:
                table = pq.read_table(part, columns=list(columns))
                for name in columns:
                    found[name] += [_plain(value) for value in table.column(name).to_pylist()]
        return found

    def _histories(self, lookups: Sequence[Lookup]) -> dict[int | str, History]:
        """What is known of the entities of lookups. The online store is read first: of what comes meanwhile the offline store has more."""
        entities = list(
            dict.fromkeys(entity for each in lookups if (entity := each.entities[self._view.reference]) is not None)
        )
        if not entities:
            return {}
        path = self._place.state(self._view.reference)
        stored = dict(zip(entities, self._place.rows(self._view.reference, entities), strict=True))
        whole = state.peek(path, self._plan)
        reached = self._reached() if whole is None else whole.known
        rows = _arrivals(self._held.files(), self._plan, entities)
        found = {}
        for entity in entities:
            row, mine = stored[entity], rows.get(entity, [])
            idents = list(dict.fromkeys(event[self._plan.ident] for event in mine))
            applied = None if whole is None else state.peek(path, self._plan, entity=entity, idents=idents)
            payload = None if row is None else row.payload
            found[entity] = History(self._plan, self._pinned, entity, mine, payload, applied, reached)
        return found

    def _reached(self) -> int:
        """How far a stream has come that runs elsewhere: the greatest known-at time that some rows which it wrote are stamped with."""
        store = connect(self._place.url, namespace=SHARED)
        try:
            page = next(iter(store.scan(self._view.reference)), [])
            return max((row.event_time for row in page), default=LEAST)
        finally:
            store.close()


def _arrivals(files: Sequence[Path], plan: Plan, entities: Sequence[int | str]) -> Mapping[Any, list[Event]]:
    """By entity every version of each event that ever was the entity's, in the order in which they came in."""
    import duckdb
    import pyarrow as pa

    ident, entity = quoted(plan.view.event_id), quoted(plan.view.entity)
    source = f"read_parquet([{', '.join(text(str(path)) for path in files)}], filename = true, file_row_number = true)"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("wanted", pa.table({"whose": list(entities)}))
        table = connection.sql(f"""SELECT {", ".join(map(quoted, plan.view.reads))}, filename, file_row_number FROM {source}
            WHERE {ident} IN (SELECT {ident} FROM {source} WHERE {entity} IN (SELECT whose FROM wanted))""").to_arrow_table()
    columns = [
        typed(plan, table, name, kind).to_pylist() for name, kind in zip(plan.view.reads, plan.types, strict=True)
    ]
    place = {str(path): number for number, path in enumerate(files)}
    came = [place[name] for name in table.column("filename").to_pylist()]
    order = sorted(zip(came, table.column("file_row_number").to_pylist(), range(len(came)), strict=True))
    events = plan.whole([tuple(column[at] for column in columns) for _, _, at in order])
    owners: dict[Any, set[Any]] = {}
    for event in events:
        owners.setdefault(event[plan.ident], set()).add(event[plan.entity])
    found: dict[Any, list[Event]] = {each: [] for each in entities}
    for event in events:
        for owner in owners[event[plan.ident]]:
            if owner in found:
                found[owner].append(event)
    return found


def _counted(history: History, lookup: Lookup) -> tuple[int, int]:
    """How many events of the entity were known at a read, and when the newest of them happened (0: never)."""
    plan, latest = history.plan, {}
    for row in sorted(history.rows, key=history.plan.greatness):
        if row[plan.known] < lookup.read_at and not plan.is_future(row):
            latest[row[plan.ident]] = row
    times = [row[plan.when] for row in latest.values() if row[plan.entity] == history.entity]
    return len(times), max(times, default=0)


def _plain(value: Any) -> Any:
    """A value of the offline store as a server gives it: times in whole microseconds."""
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value
