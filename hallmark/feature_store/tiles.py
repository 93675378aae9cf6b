"""Tiles of one entity: its events, added up by hop, as a view's columns need them (docs/decisions/0036).

A question at time t comes after all that is known: t > known_at of every event here. So an event that happened by then has happened
before every t, and goes into its tiles; one that says it happened after the newest known-at time (a clock that is ahead, by
`FUTURE` at most) is kept by itself, for it does not count until t has passed it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.declaration import expression
from hallmark.declaration.column_type import COLUMN_TYPES, StreamType
from hallmark.declaration.expression import Expression
from hallmark.declaration.feature_view import FUTURE, Column, FeatureView
from hallmark.declaration.source import Datatype
from hallmark.errors import DeclarationError
from hallmark.feature_store.aggregates import AGGREGATES, BROKEN, Partial

if TYPE_CHECKING:
    from hallmark.feature_store.row_sql import RowSql

Type = StreamType
Event = tuple[Any, ...]
"""A row's values of the columns that the view reads, in their order, then of its SQL; times in microseconds since 1970."""
TYPES: Mapping[Datatype, Type] = {name: each.stream for name, each in COLUMN_TYPES.items()}
"""What a contract's types are called here."""
DATATYPES: Mapping[Type, Datatype] = {kind: datatype for datatype, kind in TYPES.items()}
NUMBERS = (*(each.stream for each in COLUMN_TYPES.values() if each.is_number), "bool")
"""A truth value adds up as 0 or 1 where a view is made by hand; contracts let none."""
LEAST, MOST = -(2**63), 2**63 - 1
LARGEST = 1e290
"""A float beyond this is refused: no sum of accepted ones leaves the range of a double."""
FUTURE_US = FUTURE // timedelta(microseconds=1)
_MICROSECOND = timedelta(microseconds=1)


class Unreadable(ValueError):
    """A row is not what its types say; the text names column, expected and got."""


class Measure(NamedTuple):
    """An aggregate kept in the tiles of a hop: of which value (-1: none), under which condition."""

    kind: str
    of: int
    condition: int


class Place(NamedTuple):
    """Where a column's partials are: measure `measure` of hop number `hop`."""

    hop: int
    measure: int


def demand_entity(view: FeatureView, kind: Type, value: Any) -> None:
    """`DeclarationError` where a value is no entity of a view whose entity's column is of this type."""
    if (type(value) is int and LEAST < value <= MOST) if kind == "int64" else isinstance(value, str):
        return
    expected = "a whole number of 64 bits" if kind == "int64" else "a text"
    fixes = {("int64", str): "write the number without quotes", ("text", int): "write it as a text, in quotes"}
    raise DeclarationError(
        f"{view.reference}: this is no {view.entity}",
        expected=f"{expected}, as the contract {view.source} says",
        got=f"{type(value).__name__} {value!r}"[:200],
        fix=fixes.get((kind, type(value)), "see what the column holds where it comes from"),
    )


def microseconds(value: timedelta) -> int:
    """A duration as a whole number."""
    return value // _MICROSECOND


class Plan:
    """A view as its executions need it: columns by number, durations in microseconds, each aggregate once.

    types: of the source's columns; those that the view reads are needed.
    """

    def __init__(self, view: FeatureView, types: Mapping[str, Type]) -> None:
        lacking = [name for name in view.reads if name not in types]
        if lacking:
            raise DeclarationError(
                f"{view.reference} reads what {view.source} does not have",
                expected="columns of " + ", ".join(sorted(types)),
                got=", ".join(lacking),
                fix="mend the view, or add the columns to the contract",
            )
        self.view = view
        self.types: tuple[Type, ...] = tuple(types[name] for name in view.reads)
        types = dict(types) | {
            each.text: types.get(each.text) or _sql_type(view, each, types) for each in view.expressions
        }
        self.terms: tuple[str, ...] = (*view.reads, *(each.text for each in view.expressions))
        """What a whole event holds: the columns that the view reads, then its expressions."""
        self.term_types: tuple[Type, ...] = tuple(types[name] for name in self.terms)
        place = {name: number for number, name in enumerate(self.terms)}
        self.entity, self.when = place[view.entity], place[view.event_time]
        self.known, self.ident = place[view.known_at], place[view.event_id]
        self.ttl = microseconds(view.ttl)
        self.kinds: dict[str, Type] = {name: self._kind(name, column, types) for name, column in view.columns.items()}
        self.hops = tuple(sorted({microseconds(view.hop(name)) for name in view.computed}))
        self.conditions: list[tuple[tuple[int, frozenset[Any]], ...]] = [()]
        self.measures = [[Measure("count", -1, 0)] for _ in self.hops]
        """Of each hop; the first counts the events of a tile."""
        self.places: dict[str, Place] = {}
        for name in view.computed:
            self.places[name] = self._placed(name, view.columns[name], place)
        self._steps = [
            [
                (number, each, AGGREGATES[each.kind], each.kind in ("count", "last"))
                for number, each in enumerate(measures)
            ]
            for measures in self.measures
        ]

    def _kind(self, name: str, column: Column, types: Mapping[str, Type]) -> Type:
        """Type of a column of the view; `DeclarationError` where its aggregate is not defined on what it is of."""
        roles = {self.view.event_time: ("time",), self.view.known_at: ("time",)}
        for each, allowed in {
            **roles,
            self.view.event_id: ("int64", "text"),
            self.view.entity: ("int64", "text"),
        }.items():
            if types[each] not in allowed:
                raise DeclarationError(
                    f"{self.view.reference}: {each} has a type that cannot be this",
                    expected=" or ".join(allowed), got=types[each], fix="name another column",
                )  # fmt: skip
        if timed := [each for each in column.allowed if types[each] == "time"]:
            raise DeclarationError(
                f"{self.view.reference}: columns.{name}.where compares a time", expected="a number, text, true or false",
                got=", ".join(timed), fix="leave it out",
            )  # fmt: skip
        if isinstance(column.where, Expression) and types[column.where.text] != "bool":
            raise DeclarationError(
                f"{self.view.reference}: columns.{name}.where is no condition", expected="SQL that is true or false",
                got=f"{column.where.text}, which is {types[column.where.text]}", fix="compare it with something",
            )  # fmt: skip
        if column.take in ("count", "distinct"):
            return "int64"
        of = self.view.columns[str(column.of)] if column.take == "ratio" else None
        parts = (
            [self._kind(str(each), self.view.columns[str(each)], types) for each in (column.of, column.over)]
            if of
            else []
        )
        kind: Type = "float64"
        kind = types[str(column.term)] if of is None else next((each for each in parts if each not in NUMBERS), kind)
        if column.take in ("sum", "mean", "ratio") and kind not in NUMBERS:
            raise DeclarationError(
                f"{self.view.reference}: columns.{name} is a {column.take} of {column.term}",
                expected="a number", got=kind, fix="take count, distinct, min, max or last of it",
            )  # fmt: skip
        if column.take in ("mean", "ratio"):
            return "float64"
        if column.take == "sum" and kind == "bool":
            return "int64"
        return kind

    def _placed(self, name: str, column: Column, place: Mapping[str, int]) -> Place:
        condition = tuple(
            (place[each], frozenset(value if isinstance(value, tuple) else (value,)))
            for each, value in sorted(column.allowed.items())
        )
        if condition not in self.conditions:
            self.conditions.append(condition)
        of = -1 if column.term is None else place[column.term]
        kind: str = column.take
        if kind in ("sum", "mean"):
            kind = "float_sum" if self.term_types[of] == "float64" else "int_sum"
        measure = Measure(kind, of, self.conditions.index(condition))
        hop = self.hops.index(microseconds(self.view.hop(name)))
        if measure not in self.measures[hop]:
            self.measures[hop].append(measure)
        return Place(hop, self.measures[hop].index(measure))

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that differ for another definition or other types: a payload of one is not read as the other's."""
        said = {
            "view": self.view.model_dump(mode="json", exclude={"owner", "description", "freshness"}),
            "types": self.term_types,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()[:16]

    @cached_property
    def windows(self) -> dict[str, tuple[int, int]]:
        """Window and hop of each computed column; the hop of `last`, whose begin is exact, is 1."""
        return {
            name: (
                microseconds(self.view.window(name)),
                1 if self.view.columns[name].take == "last" else microseconds(self.view.hop(name)),
            )
            for name in self.view.computed
        }

    def horizon(self, known: int) -> int:
        """What happened before this changes no answer to a question after `known`."""
        begins = (known - window - (known - window) % hop for window, hop in self.windows.values())
        return min(known - self.ttl, *begins)

    def kept(self, known: int) -> int:
        """Of a row known before this, no version of its event can change an answer to a question after `known`."""
        return self.horizon(known) - FUTURE_US

    def event(self, row: Mapping[str, Any]) -> Event:
        """The values of a row that the view reads, without those of its SQL (`whole`); `Unreadable` where one is not of its type."""
        try:
            event = tuple([_READ[kind](row[name]) for name, kind in zip(self.view.reads, self.types, strict=True)])
        except KeyError as error:
            raise Unreadable(f"there is no column {error.args[0]}") from None
        except (TypeError, ValueError, OverflowError):
            name, kind = next(
                each for each in zip(self.view.reads, self.types, strict=True) if not _fits(row[each[0]], each[1])
            )
            raise Unreadable(f"{name}: expected {kind}, got {row[name]!r:.80}") from None
        if event[self.when] is None or event[self.known] is None or event[self.ident] is None:
            raise Unreadable(f"{self.view.event_time}, {self.view.known_at} and {self.view.event_id} are never null")
        return event

    def demand_entity(self, value: Any) -> None:
        """`DeclarationError` where a value is none of the entity's column: 7 and "7" are two, and one of them is nobody's."""
        demand_entity(self.view, self.types[self.entity], value)

    def whole(self, events: Sequence[Event]) -> list[Event]:
        """Events with the values of the view's SQL behind those that it reads; whole ones are made anew."""
        own = len(self.types)
        if self._sql is None:
            return [event[:own] for event in events] if events and len(events[0]) > own else list(events)
        columns = dict(zip(self.view.reads, zip(*events, strict=True), strict=False)) if events else {}
        derived = zip(*self._sql.values(columns), strict=True) if events else ()
        return [(*event[:own], *more) for event, more in zip(events, derived, strict=True)]

    @cached_property
    def _sql(self) -> RowSql | None:
        from hallmark.feature_store.row_sql import RowSql

        types = {name: DATATYPES[kind] for name, kind in zip(self.view.reads, self.types, strict=True)}
        return RowSql(self.view.expressions, types) if self.view.expressions else None

    def is_future(self, event: Event) -> bool:
        """True of a row that says it happened too long after it was known."""
        return bool(event[self.when] > event[self.known] + FUTURE_US)

    def greatness(self, event: Event) -> tuple[Any, ...]:
        """Of two versions of one event, the one whose greatness is greater counts."""
        # what SQL gives follows from what stands before it, and decides nothing
        return (event[self.known], event[self.when], tuple([(each is not None, each) for each in event]))

    def order(self, event: Event) -> tuple[int, int, Any]:
        """What the newest event is newest by."""
        return (event[self.when], event[self.known], event[self.ident])

    def fulfilled(self, event: Event) -> list[bool]:
        """Each condition of the view: does the event fulfil it?"""
        if len(self.conditions) == 1:
            return _ALWAYS
        return [all(event[at] in values for at, values in condition) for condition in self.conditions]

    def empty(self, hop: int) -> list[Partial]:
        """The partials of a tile without events."""
        return [AGGREGATES[each.kind].empty() for each in self.measures[hop]]

    def add(self, partials: list[Partial], event: Event, *, hop: int, fulfilled: Sequence[bool]) -> None:
        """Add one event to the partials of its tile."""
        order = (event[self.when], event[self.known], event[self.ident])
        for number, (_, of, condition), aggregate, takes_null in self._steps[hop]:
            if fulfilled[condition]:
                value = event[of] if of >= 0 else None
                if takes_null or value is not None:
                    partials[number] = aggregate.add(partials[number], value, order)

    def remove(self, partials: list[Partial], event: Event, *, hop: int) -> bool:
        """Take one event out of the partials of its tile; False where they must be made again from the others."""
        order, fulfilled = self.order(event), self.fulfilled(event)
        for number, (_, of, condition), aggregate, takes_null in self._steps[hop]:
            value = event[of] if of >= 0 else None
            if fulfilled[condition] and (takes_null or value is not None):
                left = aggregate.remove(partials[number], value, order)
                if left is BROKEN:
                    return False
                partials[number] = left
        return True

    def fold(self, events: Iterable[Event], hop: int) -> list[Partial]:
        """The partials of some events."""
        partials = self.empty(hop)
        for event in events:
            self.add(partials, event, hop=hop, fulfilled=self.fulfilled(event))
        return partials

    def merge(self, one: list[Partial], other: Sequence[Partial], hop: int) -> list[Partial]:
        """The partials of the events of both; `one` is changed."""
        for number, measure in enumerate(self.measures[hop]):
            one[number] = AGGREGATES[measure.kind].merge(one[number], other[number])
        return one


class Tiles:
    """What is known of one entity.

    known:  the greatest known-at time of its events.   passed: the greatest event time of those that are in tiles.
    by_hop: tiles of each hop by number, event time // hop.   ahead: the events that happened after `known`, and are in none.
    """

    __slots__ = ("ahead", "by_hop", "known", "passed", "plan")

    def __init__(self, plan: Plan, events: Sequence[Event] = ()) -> None:
        self.plan = plan
        self.known = self.passed = LEAST
        self.by_hop: list[dict[int, list[Partial]]] = [{} for _ in plan.hops]
        self.ahead: list[Event] = []
        self.add(events)

    @property
    def is_empty(self) -> bool:
        """True where the entity has no event."""
        return self.known == LEAST

    def add(self, events: Sequence[Event]) -> None:
        """Add events that are not in it."""
        if not events:
            return
        plan = self.plan
        self.known = max(self.known, *(event[plan.known] for event in events))
        waiting, self.ahead = self.ahead, []
        for event in (*waiting, *events):
            if event[plan.when] > self.known:
                self.ahead.append(event)
                continue
            self.passed = max(self.passed, event[plan.when])
            fulfilled = plan.fulfilled(event)
            for number, hop in enumerate(plan.hops):
                tiles, at = self.by_hop[number], event[plan.when] // hop
                if at not in tiles:
                    tiles[at] = plan.empty(number)
                plan.add(tiles[at], event, hop=number, fulfilled=fulfilled)

    def remove(self, events: Iterable[Event]) -> set[tuple[int, int]]:
        """Take out events that are in tiles; gives hop and number of the tiles that must be made again."""
        broken = set()
        for event in events:
            for hop, length in enumerate(self.plan.hops):
                number = event[self.plan.when] // length
                partials = self.by_hop[hop].get(number)
                if partials is None or (hop, number) in broken:
                    continue
                if not self.plan.remove(partials, event, hop=hop):
                    broken.add((hop, number))
                elif partials[0] <= 0:
                    del self.by_hop[hop][number]
        return broken

    @property
    def newest(self) -> int:
        """The greatest event time."""
        ahead: list[int] = [event[self.plan.when] for event in self.ahead]
        return max([self.passed, *ahead])

    def replace(self, hop: int, number: int, events: Sequence[Event]) -> None:
        """Make a tile anew from all its events, some of which have been corrected."""
        counted = [event for event in events if event[self.plan.when] <= self.known]
        if counted:
            self.by_hop[hop][number] = self.plan.fold(counted, hop)
        else:
            self.by_hop[hop].pop(number, None)

    def forget(self, before: int) -> None:
        """Drop the tiles that end before a time."""
        for number, hop in enumerate(self.plan.hops):
            tiles = self.by_hop[number]
            if tiles and min(tiles) < before // hop:
                self.by_hop[number] = {at: partials for at, partials in tiles.items() if at >= before // hop}


def _sql_type(view: FeatureView, sql: Expression, types: Mapping[str, Type]) -> Type:
    """The type of an expression that nobody has told yet."""
    try:
        return TYPES[expression.datatype(sql, {name: DATATYPES[types[name]] for name in sql.columns})]
    except ValueError as error:
        raise DeclarationError(
            f"{view.reference}: SQL has no meaning over {view.source}", expected="what docs/features.md lists", got=str(error),
            fix="mend the SQL in the view",
        ) from error  # fmt: skip


def _whole(value: Any) -> int | None:
    if value is None or (type(value) is int and LEAST < value <= MOST):
        return value  # type: ignore[no-any-return]
    raise ValueError


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) in (int, float) and abs(value) <= LARGEST:
        return float(value) + 0.0  # -0.0 is 0.0
    raise ValueError


def _truth(value: Any) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise ValueError


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        value.encode()  # half a surrogate pair has no UTF-8
        return value
    raise ValueError


def instant(value: Any) -> int | None:
    """A time of a row in microseconds: ISO 8601 with its zone, whole microseconds, or a datetime; `ValueError` where it is none of them."""
    if type(value) is int:
        return _whole(value)
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return (value - _EPOCH) // _MICROSECOND
    raise ValueError


def value_of(value: Any, kind: Type) -> Any:
    """A value of a row as its type has it, times in microseconds; `Unreadable` where it is of another."""
    try:
        return _READ[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"expected {kind}, got {value!r:.80}") from None


def _fits(value: Any, kind: Type) -> bool:
    try:
        _READ[kind](value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


_ALWAYS = [True]
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_READ: dict[Type, Any] = {"int64": _whole, "float64": _number, "bool": _truth, "text": _text, "time": instant}
