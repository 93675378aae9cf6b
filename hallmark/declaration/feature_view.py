"""Feature views: named columns of an entity, computed from the events of a source; `features/<view>/v<N>.yaml`.

One definition has three executions (hallmark/feature_store): SQL over the offline store, a stream of events, a merge at read.
What they all compute is said here, and in docs/decisions/0036.

A question asks for an entity at a time t. Rows that say they happened more than `FUTURE` after they were known are refused. Of the rows with
one event id that were known before t, the one known last is the event, whatever it says; of two known at the same time the one that
happened later, then the one that is greater in the columns that the view reads, by name, null smallest. An event counts when it
happened before t, is of the entity, and fulfils the column's conditions, from the begin of the column's window on: floor(t - window, hop), a
multiple of the hop since 1970, and of `last` t - window to the microsecond. Where the entity's newest event happened before t - ttl, none counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from hallmark.declaration import versioned
from hallmark.declaration.expression import SCHEMA, Expression, Sql, read, written
from hallmark.declaration.tenant import Owner
from hallmark.declaration.versioned import parted as parted
from hallmark.section import Duration, Section, spelled
from hallmark.settings import Settings

FUTURE = timedelta(minutes=5)
"""An event that says it happened more than this after it was known is refused."""
HOPS = tuple(timedelta(seconds=each) for each in (86400, 3600, 300, 60, 1))
"""Lengths of tiles, in which events are added up before they are read."""
PARTS = 24
"""A window has at least so many tiles."""
Take = Literal["count", "sum", "min", "max", "mean", "last", "distinct", "ratio"]
Scalar = bool | int | float | str
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Conditions = Mapping[str, Scalar | tuple[Scalar, ...]]
"""The value, or one of the values, that columns have."""


class _ConditionsOrSql:
    """How a `where` is read and written: a mistake in one of its two ways is told of that one alone."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        conditions = handler.generate_schema(Conditions)

        def either(value: Any, conditions: core_schema.ValidatorFunctionWrapHandler) -> Any:
            return read(value) if isinstance(value, str | list | tuple) else conditions(value)

        def dumped(value: Any, conditions: SerializerFunctionWrapHandler, info: core_schema.SerializationInfo) -> Any:
            if not isinstance(value, Expression):
                return conditions(value)
            return written(value) if info.mode == "json" else value

        return core_schema.no_info_wrap_validator_function(
            either,
            conditions,
            serialization=core_schema.wrap_serializer_function_ser_schema(dumped, info_arg=True, schema=conditions),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema["schema"]), SCHEMA]}  # type: ignore[typeddict-item]


class Column(Section):
    """One feature.

    take:    how it is computed. count: events. last: the value of the newest event, by event time, known-at time, event id, a null too.
             distinct: different values. ratio: one column of the view by another, null where the other is 0 or null.
    of:      the column of the source; of a ratio, a column of the view. Nulls are left out, as in SQL, but by `last`.
    sql:     in its place, an expression over the columns of a row of the source (hallmark/declaration/expression.py).
    over:    of a ratio, what it is divided by.
    where:   only events whose columns have this value, or one of these; or a condition in SQL that is true of them.
    window:  how far back; the view's ttl where there is none.
    default: its value where no event counts and missing values have one: 0 of count, sum and distinct, else none is given.
    """

    take: Take
    of: str | None = None
    sql: Sql | None = None
    over: str | None = None
    where: Annotated[Conditions | Expression, _ConditionsOrSql] = Field(default={})
    window: Duration | None = None
    default: Scalar | None = None
    description: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Column:
        if self.of is not None and self.sql is not None:
            raise ValueError("`of` and `sql` both say what the aggregate takes: leave one out")
        if self.take == "ratio" and self.sql is not None:
            raise ValueError("a ratio is of two columns of the view: name one in `of`, and give that one the `sql`")
        if (self.term is None) != (self.take == "count"):
            raise ValueError(
                f"count is of events and takes no `{'of' if self.of else 'sql'}`: leave it out, or `take: distinct`"
                if self.term
                else f"{self.take} needs `of`: name the column that it is of, or write an expression in `sql`"
            )
        if (self.over is not None) != (self.take == "ratio"):
            raise ValueError("`over` belongs to a ratio, and a ratio needs it: name the column to divide by")
        if self.take == "ratio" and (self.window or self.where):
            raise ValueError(
                "a ratio has the windows and conditions of its two columns: leave out `window` and `where`"
            )
        if self.window is not None and self.window < timedelta(seconds=PARTS):
            raise ValueError(f"a window is at least {PARTS}s: make it longer, or leave it out")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `sql` where there is none: so a view without SQL is written, and named by digests, as before there was any."""
        found: dict[str, Any] = write(self)
        if self.sql is None:
            found.pop("sql", None)
        return found

    @property
    def term(self) -> str | None:
        """What it takes of an event: a column of the source, or the text of an expression; of a ratio, a column of the view."""
        return self.of if self.sql is None else self.sql.text

    @property
    def allowed(self) -> Conditions:
        """Its conditions: the value, or values, of columns of the source, or that an expression is true."""
        return {self.where.text: True} if isinstance(self.where, Expression) else self.where

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The SQL of its value and of its condition, where it has some."""
        return tuple(each for each in (self.sql, self.where) if isinstance(each, Expression))

    @property
    def empty(self) -> int | None:
        """The value where no event counts: 0 of what adds up, none of what there is none of."""
        return 0 if self.take in ("count", "sum", "distinct") else None


class FeatureView(Section):
    """A version of a view. What it computes never changes under its version: a change is a new file with the next number.

    entity:     the column of the source that says whose feature it is.   source: a data contract, name@version.
    event_time: the column with the time when an event happened.   known_at: with the time when we learnt of it.
    event_id:   the column that names an event; rows known later correct those known earlier.
    freshness:  how far the source's newest event may lie back before somebody is told.
    ttl:        how long an event counts at most, not less than any window.
    """

    name: Identifier
    version: Annotated[int, Field(ge=1)]
    owner: Owner
    description: str
    entity: Identifier
    source: Annotated[str, Field(pattern=versioned.REFERENCE)]
    event_time: Identifier
    known_at: Identifier
    event_id: Identifier
    freshness: Duration
    ttl: Duration
    columns: Annotated[dict[Identifier, Column], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> FeatureView:
        if self.entity in self.columns:
            raise ValueError(f"columns.{self.entity} has the name of the entity: choose another")
        for name, column in self.columns.items():
            if column.window is not None and column.window > self.ttl:
                raise ValueError(
                    f"columns.{name} looks back {spelled(column.window)} and ttl is {spelled(self.ttl)}:"
                    " make ttl at least as long as every window"
                )
            for other in (column.of, column.over) if column.take == "ratio" else ():
                if other not in self.columns or self.columns[str(other)].take in ("ratio", "last"):
                    raise ValueError(
                        f"columns.{name} is a ratio of {other}: name a column of this view that is a number"
                    )
        return self

    @property
    def reference(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    def window(self, name: str) -> timedelta:
        """How far back a column looks."""
        return self.columns[name].window or self.ttl

    def hop(self, name: str) -> timedelta:
        """Length of a column's tiles: the largest of `HOPS` that `PARTS` of fit into its window."""
        return hop(self.window(name))

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """The columns that are computed from events; the others are ratios of these."""
        return tuple(name for name, column in self.columns.items() if column.take != "ratio")

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The columns of the source that the view reads, sorted."""
        read = {self.entity, self.event_time, self.known_at, self.event_id}
        for name in self.computed:
            column = self.columns[name]
            read |= {*filter(None, [column.of]), *(each for sql in column.expressions for each in sql.columns)}
            read |= {*([] if isinstance(column.where, Expression) else column.where)}
        return tuple(sorted(read))

    @cached_property
    def expressions(self) -> tuple[Expression, ...]:
        """The SQL of its columns, each once, sorted: of a row of the source they give more, which are read as its columns are."""
        return tuple(sorted({each for column in self.columns.values() for each in column.expressions}))


def hop(window: timedelta) -> timedelta:
    """Length of the tiles of a window: the largest of `HOPS` that `PARTS` of fit into it."""
    return next(each for each in HOPS if each * PARTS <= window or each == HOPS[-1])


def references(settings: Settings) -> list[str]:
    """name@version of every declared view, sorted."""
    return versioned.references(settings.features)


def newest(settings: Settings) -> list[str]:
    """name@version of the newest version of every declared view, sorted."""
    return list({each.partition("@")[0]: each for each in references(settings)}.values())


def load(reference: str, settings: Settings | None = None) -> FeatureView:
    """The view name@version; `DeclarationError` names file, line, key, expected and got."""
    settings = settings or Settings.load()
    return versioned.load(FeatureView, reference, settings.features, settings, noun="feature view")


def json_schema() -> str:
    """The JSON Schema of a view, for editors."""
    return versioned.json_schema(FeatureView, "hallmark/declaration/feature_view.py")
