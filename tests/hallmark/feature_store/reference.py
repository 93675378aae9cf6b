"""The meaning of a feature view in a loop over its events: what every execution is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hallmark.declaration.feature_view import FUTURE, Column, FeatureView
from tests.hallmark.feature_store.sql_meanings import completed

Row = Mapping[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def features(view: FeatureView, rows: Sequence[Row], entity: Any, at: datetime) -> dict[str, Any]:
    """Every column of `view` for the entity at a time, from the source's rows, in whatever order they stand."""
    when, known, ident = view.event_time, view.known_at, view.event_id
    if view.expressions:
        rows = [completed(view, row) for row in rows]

    def greatness(row: Row) -> list[Any]:
        return [row[known], row[when], *((row[name] is not None, row[name]) for name in view.reads)]

    events: dict[Any, Row] = {}
    for row in rows:
        if row[known] < at and row[when] <= row[known] + FUTURE:
            had = events.get(row[ident])
            events[row[ident]] = row if had is None or greatness(row) > greatness(had) else had
    mine = [row for row in events.values() if row[view.entity] == entity and row[when] < at]
    if not mine or max(row[when] for row in mine) < at - view.ttl:
        mine = []
    found: dict[str, Any] = {}
    for name in view.computed:
        column, begin = view.columns[name], at - view.window(name)
        if column.take != "last":
            begin -= (begin - EPOCH) % view.hop(name)
        found[name] = taken(
            column, [row for row in mine if row[when] >= begin and fulfils(column, row)], (when, known, ident)
        )
    for name, column in view.columns.items():
        if column.take == "ratio":
            above, below = found[str(column.of)], found[str(column.over)]
            found[name] = above / below if above is not None and below else None
    return {name: found[name] for name in view.columns}


def fulfils(column: Column, row: Row) -> bool:
    return all(row[name] in (one if isinstance(one, tuple) else (one,)) for name, one in column.allowed.items())


def taken(column: Column, rows: Sequence[Row], order: Sequence[str]) -> Any:
    if column.take == "count":
        return len(rows)
    if column.take == "last":
        return max(rows, key=lambda row: [row[name] for name in order])[str(column.term)] if rows else None
    values = [row[str(column.term)] for row in rows if row[str(column.term)] is not None]
    if (
        column.take in ("sum", "mean")
        and not any(isinstance(value, float) for value in values)
        and abs(sum(values)) >= 2**63
    ):
        return None
    if column.take in ("sum", "distinct"):
        return sum(values) if column.take == "sum" else len(set(values))
    if not values:
        return None
    return {"min": min, "max": max, "mean": lambda found: sum(found) / len(found)}[column.take](values)
