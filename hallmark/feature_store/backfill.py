"""Backfill: the events of a whole table at once, as a stream of its rows would have left them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.errors import Refused
from hallmark.feature_store.tiles import FUTURE_US, LARGEST, LEAST, Event, Plan, Type

if TYPE_CHECKING:
    import pyarrow as pa


class Rows(NamedTuple):
    """events: the versions that count, by entity and event time.   refused: fate, number of the row and reason.

    known, newest: the greatest known-at and event time of the accepted rows.   late, repeated: how many rows changed nothing.
    """

    events: list[Event]
    refused: list[tuple[str, int, str]]
    known: int
    newest: int
    late: int
    repeated: int


def read(plan: Plan, table: pa.Table, *, as_of: int) -> Rows:
    """The events of the rows known before `as_of`; `Refused` where a column is missing or of another type."""
    import numpy as np

    columns = [typed(plan, table, name, kind) for name, kind in zip(plan.view.reads, plan.types, strict=True)]
    when, known = (_numbers(columns[at]) for at in (plan.when, plan.known))
    filled = np.ones(len(table), dtype=bool)
    for at in (plan.when, plan.known, plan.ident):
        filled &= columns[at].is_valid().to_numpy(zero_copy_only=False)
    readable, refused = filled.copy(), []
    for name, kind, column in zip(plan.view.reads, plan.types, columns, strict=True):
        unfit = _unfit(column, kind)
        refused += [
            ("unreadable", int(row), f"{name}: expected {kind}, got another")
            for row in np.flatnonzero(unfit & readable)
        ]
        readable &= ~unfit
    reason = f"{plan.view.event_time}, {plan.view.known_at} and {plan.view.event_id} are never null"
    refused += [("unreadable", int(row), reason) for row in np.flatnonzero(~filled)]
    asked = readable & (known < as_of)
    future = asked & (when > known + FUTURE_US)
    refused += [("future", int(row), "it happened more than 5m after it was known") for row in np.flatnonzero(future)]
    accepted = asked & ~future
    newest_known = int(known[accepted].max()) if accepted.any() else LEAST
    kept = accepted & (known >= plan.kept(newest_known)) if accepted.any() else accepted
    chosen = np.flatnonzero(kept)
    lists = [column.take(chosen).to_pylist() for column in columns]
    for at, kind in enumerate(plan.types):
        if kind == "float64":
            lists[at] = [None if value is None else value + 0.0 for value in lists[at]]
    latest: dict[Any, Event] = {}
    ident = plan.ident
    for event in plan.whole(list(zip(*lists, strict=True))):
        had = latest.setdefault(event[ident], event)
        if had is not event and plan.greatness(event) > plan.greatness(had):
            latest[event[ident]] = event
    events = sorted(
        latest.values(), key=lambda event: (event[plan.entity] is not None, event[plan.entity], event[plan.when])
    )
    return Rows(
        events,
        refused,
        newest_known,
        int(when[accepted].max()) if accepted.any() else LEAST,
        int((accepted & ~kept).sum()),
        len(chosen) - len(events),
    )


def typed(plan: Plan, table: pa.Table, name: str, kind: Type) -> Any:
    """A column in the type that the source has; whole numbers where it has times."""
    import pyarrow as pa
    import pyarrow.types as of

    if name not in table.column_names:
        raise Refused(
            f"{plan.view.source} has no column {name}",
            expected=", ".join(plan.view.reads),
            got=", ".join(table.column_names),
        )
    column = table.column(name).combine_chunks()
    if of.is_dictionary(column.type):
        column = column.dictionary_decode()
    fits = {
        "int64": of.is_integer, "float64": lambda each: of.is_floating(each) or of.is_integer(each), "bool": of.is_boolean,
        "text": lambda each: of.is_string(each) or of.is_large_string(each),
        "time": lambda each: of.is_timestamp(each) and each.tz is not None,
    }  # fmt: skip
    if not (fits[kind](column.type) or of.is_null(column.type)):
        raise Refused(
            f"column {name} is not what the contract says", expected="a time with a zone" if kind == "time" else kind, got=str(column.type),
            fix="cast it in the query that reads it, where nothing is lost",
        )  # fmt: skip
    if kind == "time":
        # safe=False: a part of a microsecond is cut off
        return column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return column.cast(
        {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "text": pa.large_string()}[kind]
    )


def _numbers(column: Any) -> Any:
    return column.fill_null(0).to_numpy(zero_copy_only=False)


def _unfit(column: Any, kind: Type) -> Any:
    """Where a value is of its type, and none that a payload can hold."""
    import numpy as np

    if kind == "float64":
        return ~(np.abs(_numbers(column)) <= LARGEST)
    if kind in ("int64", "time"):
        return _numbers(column) == LEAST
    return np.zeros(len(column), dtype=bool)
