"""Causes of a feature that was served otherwise than it is recomputed: the one fault that gives the very value that was served.

Each is tried on the entity's own rows: without those that came last, without corrections of the same event time, as of its last write. What
gives the served value is told apart further by what the online store holds now, and by what the stream's state says it has applied.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import islice
from typing import Any, Literal, NamedTuple

from hallmark.errors import Refused
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.state import Applied
from hallmark.feature_store.tiles import LEAST, Event, Plan, Tiles

Cause = Literal["late", "ttl", "type", "transform", "race", "equal_time_correction", "erased", "ahead", "unknown"]
CAUSES: dict[Cause, str] = {
    "late": "the row was known, and had not reached the online store",
    "ttl": "served past its time, or dropped before it",
    "type": "the same value in another type or precision",
    "transform": "computed otherwise than the view is declared",
    "race": "an older row stands in the online store in the place of a newer one",
    "equal_time_correction": "a correction with the same event time was skipped online",
    "erased": "rows of a person counted in it who was erased since, so nobody can compute it again",
    "ahead": "the server knew of an event that the offline store has not yet",
    "unknown": "no known fault gives what was served",
}
"""What each means."""
CLOSE = 1e-9
"""Relative difference of floats that are equal."""
_ROWS = 64
"""Rows of an entity that may be missing at the end, or one of so many alone."""
_FOLDED = 200_000
"""Rows that are added up for one cause at most, over all that is tried: of a very busy entity the likeliest is tried alone."""
_FOREVER = timedelta(days=36_500)


class Served(NamedTuple):
    """A value of one view as it was served. at: when it was read; newest: the entity's newest event as the server knew it, 0 for none."""

    column: str
    value: Any
    expected: Any
    default: Any
    at: int
    newest: int


class _State(NamedTuple):
    """What some of an entity's rows give at a time, and which rows these lack."""

    values: dict[str, Any]
    newest: int
    missing: tuple[Event, ...]


def same(served: Any, expected: Any, *, default: Any = None) -> bool:
    """Whether a value is the expected one, of its type; for null stands the default too."""
    if expected is None:
        return served is None or (default is not None and same(served, default))
    if type(served) is not type(expected):
        return False
    if isinstance(served, float):
        return math.isclose(served, expected, rel_tol=CLOSE, abs_tol=1e-12)
    return bool(served == expected)


@dataclass(frozen=True)
class History:
    """All that is known of one entity of one view.

    plan:    of the view as it is declared.   pinned: of the view as the model has it.
    rows:    every version of each event that ever was the entity's, as they came in.
    stored:  its payload in the online store now, none where there is none.   applied: the stream's state, where it is at hand.
    reached: the greatest known-at time of which it is known that the stream has come so far.
    """

    plan: Plan
    pinned: Plan
    entity: Any
    rows: Sequence[Event]
    stored: bytes | None
    applied: Applied | None
    reached: int

    def cause(self, served: Served) -> Cause:
        """The fault that gives the value that was served."""
        if _of_another_type(served.value, served.expected):
            return "type"
        if self._is_of_another_definition(served):
            return "transform"
        nothing = _named(self._payload, self._payload.nothing)[served.column]
        if same(served.expected, nothing) and self._is_past(served):
            return "ttl"
        if same(served.value, nothing, default=served.default) and (found := self._dropped(served)):
            return found
        if found := self._without_rows(served):
            return found
        if self._is_past(served):
            return "ttl"
        return "transform" if self._is_told_otherwise(served) else "unknown"

    def folded(self, rows: Sequence[Event], at: int, *, plan: Plan | None = None) -> tuple[dict[str, Any], int]:
        """Every column at a time of what was known before it, and when the newest event happened (0: never)."""
        plan = plan or self.plan
        payload = self._payload if plan is self.plan else Payload(plan)
        latest: dict[Any, Event] = {}
        for row in rows:
            if row[plan.known] < at and not plan.is_future(row):
                had = latest.get(row[plan.ident])
                if had is None or plan.greatness(row) > plan.greatness(had):
                    latest[row[plan.ident]] = row
        mine = [row for row in latest.values() if row[plan.entity] == self.entity]
        if not mine:
            return _named(payload, payload.nothing), 0
        tiles = Tiles(plan, mine)
        return _named(payload, payload.values(payload.encode(tiles), at)), max(0, tiles.newest)

    @cached_property
    def _payload(self) -> Payload:
        return Payload(self.plan)

    def _seen(self, at: int) -> list[Event]:
        return [row for row in self.rows if row[self.plan.known] < at and not self.plan.is_future(row)]

    # Another definition

    def _is_of_another_definition(self, served: Served) -> bool:
        """The model's view, or the one that wrote the payload, is none that is declared."""
        if self.stored is not None and self.stored[: len(self._payload.mark)] != self._payload.mark:
            return True
        if self.pinned.digest == self.plan.digest or self.pinned.view.reads != self.plan.view.reads:
            return self.pinned.digest != self.plan.digest
        rows = self.rows if self.pinned.terms == self.plan.terms else self.pinned.whole(self.rows)
        values, _ = self.folded(rows, served.at, plan=self.pinned)
        return served.column in values and same(served.value, values[served.column], default=served.default)

    def _is_told_otherwise(self, served: Served) -> bool:
        """The store has all that was known at the read, and was not written since: what is wrong is how a value is made of it."""
        if self.stored is None:
            return False
        values, newest = self.folded(self.rows, served.at)
        told = self._told(served.at)
        return (
            told is not None
            and newest == served.newest
            and self._payload.known(self.stored)[1] < served.at
            and (
                same(told[served.column], values[served.column])
                or same(served.value, told[served.column], default=served.default)
            )
        )

    # Time to live

    def _is_past(self, served: Served) -> bool:
        """The value is that of the entity's last write, or that of no time to live."""
        seen = self._seen(served.at)
        if not seen:
            return False
        written = max(row[self.plan.known] for row in seen) + 1
        tries: list[Callable[[], tuple[dict[str, Any], int]]] = [
            lambda: self.folded(seen, written),
            lambda: self.folded(seen, served.at, plan=self._unlimited),
        ]
        return any(same(served.value, make()[0][served.column], default=served.default) for make in tries)

    @cached_property
    def _unlimited(self) -> Plan:
        """The view without a time to live; columns that have no window look back for ever."""
        types = dict(zip(self.plan.terms, self.plan.term_types, strict=True))
        return Plan(self.plan.view.model_copy(update={"ttl": _FOREVER}), types)

    def _dropped(self, served: Served) -> Cause | None:
        """Nothing was served of an entity of which much is known: was its row dropped before its time?"""
        values, newest = self.folded(self.rows, served.at)
        if same(served.value, values[served.column]) or not newest:
            return None
        if served.newest:
            return "ttl" if served.newest == newest else None
        if self.stored is not None:
            return None
        return "ttl" if self._is_applied(self._seen(served.at)) else "late"

    # Rows that the online store lacked

    def _without_rows(self, served: Served) -> Cause | None:
        """Late, race or a skipped correction, where the entity's other rows give what was served."""
        skipped = self._skipping(served.at)
        corrected = skipped is not None and self._gives(skipped, served)
        most = max(8, _FOLDED // max(1, len(self.rows)))
        tried = islice(self._lacking(served.at), most)
        lacking = next((each for each in tried if self._gives(each, served)), None)
        missing = skipped.missing if corrected and skipped else lacking.missing if lacking else ()
        if not missing:
            return None
        if self._is_right_now(served):
            return "late"
        if self._is_applied(missing):
            return "race"
        came = max(row[self.plan.known] for row in missing) <= self.reached
        return "equal_time_correction" if corrected and came else "late"

    def _gives(self, state: _State, served: Served) -> bool:
        told = state.values[served.column]
        return state.newest == served.newest and same(served.value, told, default=served.default)

    def _skipping(self, at: int) -> _State | None:
        """Without corrections that happened when the row happened that they correct; none where there are none."""
        kept: list[Event] = []
        gone: list[Event] = []
        versions: dict[Any, Event] = {}
        for row in sorted(self._seen(at), key=self.plan.greatness):
            had = versions.get(row[self.plan.ident])
            if had is not None and had[self.plan.when] == row[self.plan.when]:
                gone.append(row)
            else:
                kept.append(row)
                versions[row[self.plan.ident]] = row
        return _State(*self.folded(kept, at), tuple(gone)) if gone else None

    def _lacking(self, at: int) -> Iterator[_State]:
        """Without the rows that came last, then without those known last, then without one alone; the fewest first."""
        seen = self._seen(at)
        by_known = sorted(range(len(seen)), key=lambda place: seen[place][self.plan.known])
        tried: set[frozenset[int]] = set()
        ways = [
            *(range(len(seen) - count, len(seen)) for count in range(1, min(_ROWS, len(seen)) + 1)),
            *(by_known[-count:] for count in range(1, min(_ROWS, len(seen)) + 1)),
            *([place] for place in range(len(seen))[-_ROWS:]),
            range(len(seen)),
        ]
        for places in ways:
            if not places or (without := frozenset(places)) in tried:
                continue
            tried.add(without)
            kept = [row for place, row in enumerate(seen) if place not in without]
            yield _State(*self.folded(kept, at), tuple(seen[place] for place in sorted(without)))

    def _is_right_now(self, served: Served) -> bool:
        """Does the online store hold by now what is known, or more?"""
        newest = max(row[self.plan.known] for row in self.rows)
        stored = self._payload.known(self.stored)[1] if self.stored is not None else LEAST
        if stored > newest:
            return True
        at = max(served.at, newest + 1)
        told = self._told(at)
        return told is not None and same(told[served.column], self.folded(self.rows, at)[0][served.column])

    def _told(self, at: int) -> dict[str, Any] | None:
        """What the stored payload says at a time; none where it is of another definition."""
        try:
            return _named(self._payload, self._payload.values(self.stored, at))
        except Refused:
            return None

    def _is_applied(self, rows: Sequence[Event]) -> bool:
        """Has the stream applied these rows, and written what it owes? Without its state: has it come so far?"""
        if self.applied is None:
            return bool(max(row[self.plan.known] for row in rows) <= self.reached)
        if self.applied.owes:
            return False
        kept, versions, greatness = self.plan.kept(self.reached), self.applied.versions, self.plan.greatness
        return all(
            row[self.plan.known] < kept
            or ((had := versions.get(row[self.plan.ident])) is not None and greatness(had) >= greatness(row))
            for row in rows
        )


def _named(payload: Payload, values: Sequence[Any]) -> dict[str, Any]:
    """Values by column, as a server has them: sums of floats are floats, of nothing too."""
    kinds = payload.plan.kinds
    return {
        name: float(value) if kinds[name] == "float64" and value is not None else value
        for name, value in zip(payload.columns, values, strict=True)
    }


def _of_another_type(served: Any, expected: Any) -> bool:
    """Whether it is the same value, cut to fewer digits or bits, or in another type."""
    if served is None or expected is None or same(served, expected):
        return False
    if type(served) is not type(expected):
        try:
            return math.isclose(float(served), float(expected), rel_tol=1e-6)
        except (TypeError, ValueError, OverflowError):
            return str(served) == str(expected)
    if isinstance(expected, float):
        shorter = [round(expected, digits) for digits in range(2, 7)]
        shorter += [_packed(expected, code) for code in "fe"]
        return any(same(served, each) for each in shorter)
    if isinstance(expected, int) and not isinstance(expected, bool):
        wrapped = (expected + 2**31) % 2**32 - 2**31
        return served in (wrapped, int(float(expected)), int(_packed(float(expected), "f")))
    return False


def _packed(value: float, code: str) -> float:
    """A number as a shorter float holds it; itself where it cannot."""
    try:
        found: float = struct.unpack(code, struct.pack(code, value))[0]
    except OverflowError:
        return value
    return found
