"""What is folded into tiles and read from a payload is what the reference loop says, at every time after all that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.declaration.feature_view import FUTURE, FeatureView
from hallmark.errors import DeclarationError, Refused
from hallmark.feature_store.aggregates import AGGREGATES, total
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.tiles import LEAST, MOST, Event, Plan, Tiles, Unreadable
from tests.hallmark.feature_store.drawn import BUYERS, START, TYPES, instants, moment, rows, view, views
from tests.hallmark.feature_store.reference import EPOCH, features
from tests.seeds import how_many

MICROSECOND = timedelta(microseconds=1)
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
FEW = settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
MANY = settings(max_examples=how_many(300, 2000), deadline=None, suppress_health_check=QUIET)


def us(value: datetime) -> int:
    return (value - EPOCH) // MICROSECOND


def events(plan: Plan, given: Sequence[Mapping[str, Any]]) -> list[Event]:
    """The events of some rows: of each id the version that counts."""
    found: dict[Any, Event] = {}
    for event in plan.whole([plan.event(row) for row in given]):
        had = found.get(event[plan.ident])
        if not plan.is_future(event) and (had is None or plan.greatness(event) > plan.greatness(had)):
            found[event[plan.ident]] = event
    return list(found.values())


def accepted(given: Sequence[Mapping[str, Any]]) -> list[datetime]:
    return [row["known"] for row in given if row["happened"] <= row["known"] + FUTURE]


def same(one: Any, other: Any) -> bool:
    """Equal, floats to 1e-9; a time and its microseconds too."""
    if isinstance(one, datetime):
        one = us(one)
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other) and (one is None) == (other is None) and isinstance(one, bool) == isinstance(other, bool)


def agree(view: FeatureView, expected: Mapping[str, Any], got: Sequence[Any]) -> None:
    found = dict(zip(view.columns, got, strict=True))
    assert list(found) == list(expected)
    wrong = {name: (expected[name], found[name]) for name in expected if not same(expected[name], found[name])}
    assert not wrong, {name: view.columns[name] for name in wrong}


def judged(data: st.DataObject) -> None:
    declared, given = data.draw(views()), data.draw(rows())
    plan = Plan(declared, TYPES)
    payload = Payload(plan)
    found = events(plan, given)
    known = max(accepted(given), default=START)
    at = data.draw(instants(known))
    stored = {}
    for buyer in BUYERS:
        mine = [event for event in found if event[plan.entity] == buyer]
        stored[buyer] = payload.encode(Tiles(plan, mine)) if mine else None
        expected = features(declared, given, buyer, at)
        agree(declared, expected, payload.values(stored[buyer], us(at)))
        shuffled = data.draw(st.permutations(mine))
        apart = Tiles(plan)
        for event in shuffled:
            apart.add([event])
        assert not mine or payload.encode(apart) == stored[buyer], "another order of arrival, other bytes"
    table = payload.table(list(stored.values()), us(at))
    for number, each in enumerate(stored.values()):
        single = payload.values(each, us(at))
        for name, value in zip(declared.columns, single, strict=True):
            column, valid = table[name]
            assert bool(valid[number]) == (value is not None), name
            assert value is None or same(
                value, column[number].item() if hasattr(column[number], "item") else column[number]
            )


@FEW
@given(st.data())
def test_tiles_merged_at_read_are_the_reference(data: st.DataObject) -> None:
    judged(data)


@pytest.mark.slow
@pytest.mark.many
@MANY
@given(st.data())
def test_tiles_merged_at_read_are_the_reference_in_many_cases(data: st.DataObject) -> None:
    judged(data)


@FEW
@given(views(), rows(), st.lists(st.integers(0, 3), min_size=25, max_size=25))
def test_partials_merge_in_every_grouping_and_order(
    declared: FeatureView, given: list[dict[str, Any]], parts: list[int]
) -> None:
    plan = Plan(declared, TYPES)
    found = events(plan, given)

    def finished(partials: Sequence[Any], hop: int) -> list[Any]:
        kinds = [measure.kind for measure in plan.measures[hop]]
        return [
            (each[0], total(kind, each)) if kind.endswith("_sum") else each
            for kind, each in zip(kinds, partials, strict=True)
        ]

    for hop in range(len(plan.hops)):
        whole = finished(plan.fold(found, hop), hop)

        def part(number: int, hop: int = hop) -> list[Any]:
            return plan.fold([event for event, each in zip(found, parts, strict=False) if each == number], hop)

        left = reduce(lambda one, other: plan.merge(one, other, hop), [part(number) for number in range(4)])
        right = plan.merge(
            part(3), plan.merge(plan.merge(plan.empty(hop), part(2), hop), plan.merge(part(1), part(0), hop), hop), hop
        )
        assert finished(left, hop) == whole == finished(right, hop)


def test_every_aggregate_has_a_partial() -> None:
    takes = {"count", "sum", "min", "max", "mean", "last", "distinct"}
    plan = Plan(
        view({take: {"take": take, **({} if take == "count" else {"of": "price"})} for take in takes}, ttl=60), TYPES
    )
    assert set(plan.places) == takes and {each.kind for each in plan.measures[0]} == set(AGGREGATES) - {"int_sum"}


def row(order: int, seconds: float, *, delay: float = 0, **more: Any) -> dict[str, Any]:
    happened = START + timedelta(seconds=seconds)
    found = {"order": order, "buyer": "a", "happened": happened, "known": happened + timedelta(seconds=delay)}
    return {**found, "amount": None, "price": None, "gift": None, "card": None, "paid": None, **more}


def read(declared: FeatureView, given: Sequence[Mapping[str, Any]], at: datetime) -> dict[str, Any]:
    plan = Plan(declared, TYPES)
    payload = Payload(plan)
    got = payload.values(payload.encode(Tiles(plan, events(plan, given))), us(at))
    agree(declared, features(declared, given, "a", at), got)
    return dict(zip(declared.columns, got, strict=True))


def test_a_window_begins_at_a_multiple_of_its_hop_and_ends_before_the_question() -> None:
    declared = view(
        {"n": {"take": "count", "window": "1h"}, "v": {"take": "last", "of": "amount", "window": "1h"}}, ttl=7200
    )
    given = [row(1, 0, amount=1), row(2, 59.999999, amount=2), row(3, 60, amount=3)]
    for at, count in (
        (moment(60, 1), 3),
        (moment(3659, 999_999), 3),
        (moment(3660), 1),
        (moment(3719, 999_999), 1),
        (moment(3720), 0),
    ):
        assert read(declared, given, at)["n"] == count
    assert read(declared, given, moment(3660))["v"] == 3 and read(declared, given, moment(3660, 1))["v"] is None


def test_an_event_that_is_ahead_counts_when_its_time_has_passed() -> None:
    columns = {
        "n": {"take": "count"},
        "cards": {"take": "distinct", "of": "card"},
        "least": {"take": "min", "of": "card"},
        "mean": {"take": "mean", "of": "price"},
        "v": {"take": "last", "of": "card"},
    }
    declared = view(columns, ttl=60)
    given = [
        row(1, 0, card="x", price=2.0),
        row(2, 299, delay=-299, card="x"),
        row(3, 299, delay=-298, card="b", price=4.0),
    ]
    assert read(declared, given, moment(2)) == {"n": 1, "cards": 1, "least": "x", "mean": 2.0, "v": "x"}
    assert read(declared, given, moment(299))["n"] == 0, "what is ahead does not make older events count again"
    assert read(declared, given, moment(299, 1)) == {"n": 2, "cards": 2, "least": "b", "mean": 4.0, "v": "b"}


def test_values_past_their_time_to_live_are_never_served() -> None:
    declared = view(
        {"n": {"take": "count"}, "total": {"take": "sum", "of": "amount"}, "v": {"take": "last", "of": "amount"}},
        ttl=86_400,
    )
    given = [row(1, 0, amount=7)]
    assert read(declared, given, moment(86_400)) == {"n": 1, "total": 7, "v": 7}
    assert read(declared, given, moment(86_400, 1)) == {"n": 0, "total": 0, "v": None}


def test_numbers_are_exact_and_no_sum_wraps() -> None:
    columns = {
        "total": {"take": "sum", "of": "amount"},
        "mean": {"take": "mean", "of": "amount"},
        "most": {"take": "max", "of": "amount"},
    }
    declared = view(columns, ttl=60)
    whole = [row(1, 0, amount=2**53 + 1), row(2, 1, amount=2**62)]
    assert read(declared, whole, moment(2)) == {
        "total": 2**53 + 1 + 2**62,
        "mean": (2**53 + 1 + 2**62) / 2,
        "most": 2**62,
    }
    plan = Plan(declared, TYPES)
    payload = Payload(plan)
    tiles = Tiles(plan, events(plan, [*whole, row(3, 1, amount=2**62)]))
    assert payload.values(payload.encode(tiles), us(moment(2))) == (None, None, 2**62) and payload.overflows > 0
    assert payload.values(payload.encode(tiles), us(moment(61))) == (None, None, 2**62)


def test_a_sum_of_floats_does_not_depend_on_the_order() -> None:
    declared = view({"total": {"take": "sum", "of": "price"}}, ttl=60)
    plan = Plan(declared, TYPES)
    payload = Payload(plan)
    prices = [1e16, 1.0, -1e16, 1e-3, 3.3]
    found = {
        payload.encode(Tiles(plan, events(plan, [row(number, 0, price=prices[at]) for number, at in enumerate(order)])))
        for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 2, 1, 3, 4])
    }
    assert len(found) == 1 and payload.values(found.pop(), us(moment(1))) == (math.fsum(prices),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 2**63), ("amount", LEAST), ("amount", True), ("amount", 1.0), ("amount", "1"), ("price", math.nan), ("price", math.inf),
        ("price", 1e300), ("price", "1"), ("gift", 1), ("card", 1), ("card", "\ud800"), ("happened", datetime(2026, 3, 1)),
        ("happened", "yesterday"), ("happened", None), ("known", None), ("order", None), ("order", "1"), ("buyer", 1),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_by_its_column(name: str, value: Any) -> None:
    columns = {each: {"take": "last", "of": each} for each in ("amount", "price", "gift", "card")}
    plan = Plan(view(columns, ttl=60), TYPES)
    with pytest.raises(Unreadable, match=name):
        plan.event({**row(1, 0), name: value})
    whole = row(1, 0)
    del whole["card"]
    with pytest.raises(Unreadable, match="no column card"):
        plan.event(whole)


def test_largest_and_least_values_are_read_back() -> None:
    columns = {
        f"{take}_{of}": {"take": take, "of": of}
        for take in ("min", "max", "last")
        for of in ("amount", "price", "card", "paid")
    }
    declared = view(columns, ttl=60)
    extremes = [
        row(1, 0, amount=MOST, price=1e290, card="", paid=moment(0, 1)),
        row(
            2,
            1,
            amount=LEAST + 1,
            price=-5e-324,
            card="\U0010ffff",
            paid=datetime.fromisoformat("1900-01-01T00:00:00Z"),
        ),
    ]
    assert read(declared, extremes, moment(2))["min_amount"] == LEAST + 1


def test_a_payload_of_another_version_or_a_part_of_one_is_refused() -> None:
    plan = Plan(view({"n": {"take": "count"}}, ttl=60), TYPES)
    payload = Payload(plan)
    whole = payload.encode(Tiles(plan, events(plan, [row(1, 0)])))
    other = Payload(Plan(view({"n": {"take": "count"}}, ttl=61), TYPES))
    assert payload.values(whole, us(moment(1))) == (1,)
    for reader, content in (
        (other, whole),
        (payload, whole[:-1]),
        (payload, whole[:9]),
        (payload, b""),
        (payload, whole + b"\0"),
    ):
        with pytest.raises(Refused, match="no payload of this version"):
            reader.values(content, us(moment(1)))


def test_newest_times_are_read_without_the_values() -> None:
    plan = Plan(view({"n": {"take": "count"}}, ttl=60), TYPES)
    payload = Payload(plan)
    tiles = Tiles(plan, events(plan, [row(1, 0), row(2, 100, delay=-90)]))
    assert payload.known(payload.encode(tiles)) == (us(moment(100)), us(moment(10)))


@pytest.mark.parametrize(
    "columns",
    [
        {"x": {"take": "sum", "of": "card"}}, {"x": {"take": "mean", "of": "paid"}}, {"x": {"take": "count", "where": {"paid": 1}}},
        {"y": {"take": "min", "of": "card"}, "x": {"take": "ratio", "of": "y", "over": "y"}},
    ],
)  # fmt: skip
def test_an_aggregate_that_its_type_does_not_have_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"columns\.x"):
        Plan(view(columns, ttl=60), TYPES)


def test_a_column_that_the_source_does_not_have_is_refused() -> None:
    with pytest.raises(DeclarationError, match="reads what") as caught:
        Plan(view({"x": {"take": "sum", "of": "absent"}}, ttl=60), TYPES)
    assert caught.value.got == "absent"
