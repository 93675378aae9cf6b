"""Types of a view's columns, and what a view asks of its source that its contract does not give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from hallmark.declaration import expression
from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.expression import Expression, Unsuited
from hallmark.declaration.feature_view import Column, Conditions, FeatureView, Scalar
from hallmark.declaration.source import Datatype, Property, Source
from hallmark.errors import DeclarationError

Fault = Literal["lacking", "aggregate", "clock", "event_id", "entity", "value", "sql"]
NUMBERS: tuple[Datatype, ...] = tuple(name for name, each in COLUMN_TYPES.items() if each.is_number)
_KEYS: tuple[Datatype, ...] = ("INT64", "BYTES")
_TAKES: Mapping[str, tuple[Datatype, ...]] = {
    "distinct": ("BOOL", "INT64", "FP64", "BYTES", "TIME"),
    "last": ("BOOL", "INT64", "FP64", "BYTES", "TIME"),
    "sum": NUMBERS,
    "mean": NUMBERS,
    "ratio": NUMBERS,
    "min": (*NUMBERS, "TIME"),
    "max": (*NUMBERS, "TIME"),
}
_GIVES: Mapping[str, Datatype] = {"count": "INT64", "distinct": "INT64", "mean": "FP64", "ratio": "FP64"}
"""Of these the type is always the same; of the others it is the column's."""
_WORDS: Mapping[Datatype, str] = {name: each.words for name, each in COLUMN_TYPES.items()}


class ViewFault(NamedTuple):
    """What a view cannot have of its source: the key in the view, and why, with the fix at its end."""

    fault: Fault
    path: tuple[str, ...]
    text: str


def view_types(view: FeatureView, source: Source) -> dict[str, Datatype]:
    """The type of every column of `view`, in its order; `DeclarationError` with everything that its source does not give.

    count, distinct: INT64. mean, ratio: FP64. sum: INT64 of integers, FP64 of numbers. min, max, last: the column's own.
    """
    if found := list(faults(view, source)):
        first, more = found[0], found[1:]
        raise DeclarationError(
            f"{view.reference}: {'.'.join(first.path)}",
            expected=f"what {source.reference} {source.version} gives",
            got=first.text + "".join(f"\n  also {'.'.join(each.path)}: {each.text}" for each in more),
            fix=f"mend features/{view.name}/v{view.version}.yaml",
        )
    return {name: _type(column, _taken(column, source)) for name, column in view.columns.items()}


def term_types(view: FeatureView, source: Source) -> dict[str, Datatype]:
    """The types of the columns of the source that a view reads, and of its expressions by their text; the view has no `faults`."""
    types = {name: each.datatype for name, each in source.columns.items()}
    return {name: types[name] for name in view.reads} | {
        each.text: expression.datatype(each, types) for each in view.expressions
    }


def faults(view: FeatureView, source: Source) -> Iterator[ViewFault]:
    """Everything that `view` asks for and `source` does not give."""
    yield from _named(view, source)
    for name, column in view.columns.items():
        yield from _column(view, source, name, column)


def _named(view: FeatureView, source: Source) -> Iterator[ViewFault]:
    """The columns that the view names beside its features."""
    for key in ("event_time", "known_at"):
        column = source.columns.get(getattr(view, key))
        if column is None:
            yield _lacking(source, getattr(view, key), key)
        elif column.datatype != "TIME" or not column.required:
            got = "may be missing" if column.datatype == "TIME" else f"is {_WORDS[column.datatype]}"
            yield ViewFault("clock", (key,), f"{column.name} {got}: name a required timestamp")
    if view.event_id not in source.columns:
        yield _lacking(source, view.event_id, "event_id")
    elif view.event_id != source.key:
        text = (
            f"{view.event_id} is not the primary key of {source.reference}: name {source.key or 'one, once it has one'}"
        )
        yield ViewFault("event_id", ("event_id",), text)
    entity = source.columns.get(view.entity)
    if entity is None:
        yield _lacking(source, view.entity, "entity")
    elif entity.datatype not in _KEYS:
        text = f"{view.entity} is {_WORDS[entity.datatype]}, by which nobody is asked for: name a string or an integer"
        yield ViewFault("entity", ("entity",), text)


def _column(view: FeatureView, source: Source, name: str, column: Column) -> Iterator[ViewFault]:
    place = ("columns", name)
    if column.take == "ratio":
        for key, other in (("of", column.of), ("over", column.over)):
            part = _part(view.columns[str(other)], source)
            if part is not None and part not in NUMBERS:
                yield ViewFault(
                    "aggregate", (*place, key), f"{other} is {_WORDS[part]}: name a column that is a number"
                )
        return
    if column.of is not None and column.of not in source.columns:
        yield _lacking(source, column.of, *place, "of")
    taken, kind = _taken(column, source), _part(column, source)
    if column.sql is not None:
        yield from _expression(column.sql, source, *place, "sql")
    if taken is not None and taken not in _TAKES[column.take]:
        fitting = ", ".join(take for take, types in _TAKES.items() if taken in types and take != "ratio")
        text = f"{column.take} of {column.term}, which is {_WORDS[taken]}: take {fitting} of it"
        yield ViewFault("aggregate", (*place, "take"), text)
    if isinstance(column.where, Expression):
        yield from _expression(column.where, source, *place, "where", condition=True)
    else:
        yield from _conditions(column.where, source, *place, "where")
    if column.default is not None and kind is not None and not _is(kind, column.default):
        text = f"{column.default!r} is no value of a feature that is {_WORDS[kind]}: write one, or leave it out"
        yield ViewFault("value", (*place, "default"), text)


def _conditions(where: Conditions, source: Source, *place: str) -> Iterator[ViewFault]:
    for key, given in where.items():
        condition = source.columns.get(key)
        if condition is None:
            yield _lacking(source, key, *place, key)
            continue
        for value in given if isinstance(given, tuple) else (given,):
            if reason := _never(condition, value):
                yield ViewFault("value", (*place, key), f"{key} is never {value!r}: {reason}")


def _expression(sql: Expression, source: Source, *place: str, condition: bool = False) -> Iterator[ViewFault]:
    """What is wrong with SQL over the columns of this source."""
    lacking = [name for name in sql.columns if name not in source.columns]
    for name in lacking:
        yield _lacking(source, name, *place)
    if lacking:
        return
    try:
        if expression.parsed(sql.text) != sql:
            yield ViewFault("sql", place, f"{sql.text} is written as what was read: write the SQL as a text")
            return
        kind = expression.datatype(sql, {name: source.columns[name].datatype for name in sql.columns})
    except Unsuited as error:
        yield ViewFault("sql", place, str(error))
        return
    except ValueError as error:
        yield ViewFault("sql", place, f"{error}: write the SQL as a text")
        return
    if condition and kind != "BOOL":
        yield ViewFault(
            "sql", place, f"{sql.text} is {_WORDS[kind]}: write a condition, such as {sql.text} IS NOT NULL"
        )


def _lacking(source: Source, name: str, *path: str) -> ViewFault:
    have = ", ".join(source.columns)
    return ViewFault("lacking", path, f"{source.reference} has no column {name}: name one of {have}")


def _taken(column: Column, source: Source) -> Datatype | None:
    """The type of what a column takes of an event; none where it takes nothing of the source, or what is not there."""
    if column.sql is not None:
        try:
            return expression.datatype(column.sql, {name: each.datatype for name, each in source.columns.items()})
        except (KeyError, ValueError):
            return None
    taken = source.columns.get(column.of or "")
    return None if taken is None else taken.datatype


def _type(column: Column, taken: Datatype | None) -> Datatype:
    found = _GIVES.get(column.take) or taken
    assert found is not None  # noqa: S101  a column whose type is unknown is a fault
    return found


def _part(column: Column, source: Source) -> Datatype | None:
    taken = _taken(column, source)
    return _type(column, taken) if column.take in _GIVES or taken is not None else None


def _never(column: Property, value: Scalar) -> str:
    """Why a column never has this value; empty where it may."""
    if column.datatype == "TIME" or not _is(column.datatype, value):
        return f"it is {_WORDS[column.datatype]}, so write {_spelling(column)}"
    if column.values is not None and value not in column.values:
        return f"name one of {', '.join(map(str, column.values))}"
    return ""


def _spelling(column: Property) -> str:
    return {"BOOL": "true or false", "INT64": "a whole number", "FP64": "a number", "BYTES": "a text in quotes"}.get(
        column.datatype, "a window, since no condition is about a time"
    )


def _is(kind: Datatype, value: Any) -> bool:
    if kind == "BOOL" or isinstance(value, bool):
        return kind == "BOOL" and isinstance(value, bool)
    if kind == "INT64":
        return isinstance(value, int)
    if kind == "FP64":
        return isinstance(value, int | float)
    return kind == "BYTES" and isinstance(value, str)
