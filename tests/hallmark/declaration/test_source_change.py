"""Changes of a data contract are classed as readers meet them, and what is classed compatible is readable."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyodcs
import pytest
import yaml
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hallmark.declaration.source import Property, Source
from hallmark.declaration.source_change import changes, misnumbered, worst
from hallmark.feature_store import source_batch
from tests.hallmark.declaration.contract_changes import CASES, CONTRACT, Case, contract, source

NAMED = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@NAMED
def test_a_change_is_classed(case: Case) -> None:
    found = changes(source(), source(case.edit))
    assert worst(found) == case.kind
    assert any(each.refuses_writers for each in found) == case.refuses_writers
    assert found and all(each.before != each.after and each.reason for each in found)
    assert case.stops is None or any(f"properties.{case.stops}" in each.path for each in found)


def test_there_are_thirty_of_them_of_every_class() -> None:
    assert len(CASES) >= 30 and {case.kind for case in CASES} == {"breaking", "compatible", "none"}
    assert len({case.name for case in CASES}) == len(CASES)


def test_nothing_has_changed_between_a_contract_and_itself() -> None:
    assert changes(source(), source()) == ()
    assert worst(()) == "none"


# pyodcs and datacontract-cli ask whether data of the old contract keeps the new one, which is what writers ask. Readers ask the other way round.
DIFFERENT = {
    "a required column is added": "breaks writers, who do not send it; nobody reads it yet",
    "a column may not be missing": "breaks writers who leave it empty; readers are promised more",
    "a column may be missing": "no writer minds; a reader that was promised a value meets a null",
}


@NAMED
def test_pyodcs_agrees_where_it_has_an_opinion_but_where_it_asks_writers(case: Case) -> None:
    old, new = (pyodcs.parse(yaml.safe_dump(each)) for each in (CONTRACT, contract(case.edit)))
    report = pyodcs.diff(old["contract"], new["contract"])
    said = {each["kind"] for each in report["changes"]} - {"unchanged"}
    if not said:
        return
    theirs = "breaking" if "breaking" in said else "compatible"
    ours = worst(changes(source(), source(case.edit)))
    assert (theirs != ours) == (case.name in DIFFERENT), report["changes"]


def test_what_pyodcs_has_an_opinion_on() -> None:
    """Names, types and `required`; a range, set, pattern, key or zone that changes is nothing to it."""
    spoken = []
    for case in CASES:
        old, new = (pyodcs.parse(yaml.safe_dump(each))["contract"] for each in (CONTRACT, contract(case.edit)))
        if {each["kind"] for each in pyodcs.diff(old, new)["changes"]} - {"unchanged"}:
            spoken.append(case.name)
    assert set(DIFFERENT) < set(spoken) and len(spoken) == 16


@NAMED
def test_both_contracts_are_of_the_standard(case: Case) -> None:
    made = contract(case.edit)
    report = pyodcs.parse_and_validate(yaml.safe_dump(made))
    assert pyodcs.is_valid(report), report


def numbered(version: str, case_name: str = "") -> Source:
    case = next((each for each in CASES if each.name == case_name), None)
    document = contract(case.edit) if case else contract()
    return Source.model_validate({**document, "version": version})


@pytest.mark.parametrize(
    ("case", "version", "least"),
    [
        ("a maximum is raised", "1.1.0", "2.0.0"),
        ("a maximum is raised", "2.0.0", None),
        ("a maximum is lowered", "1.0.1", "1.1.0"),
        ("a maximum is lowered", "1.1.0", None),
        ("a description is written", "1.0.0", None),
        ("a description is written", "0.9.0", "1.0.0"),
    ],
)
def test_the_version_follows_the_class(case: str, version: str, least: str | None) -> None:
    assert misnumbered(numbered("1.0.0"), numbered(version, case)) == least


def test_a_rename_is_guessed_in_the_reason() -> None:
    case = next(each for each in CASES if each.name == "a required column is renamed")
    lost = next(each for each in changes(source(), source(case.edit)) if each.path == "properties.amount")
    assert "price" in lost.reason


# Random contracts, a random change of each, and a batch with every value of a small world that keeps the changed one.

START = datetime(2026, 1, 1, tzinfo=UTC)
WORLD: dict[str, tuple[Any, ...]] = {
    "string": ("", "a", "ab", "abc", "b", "B9"),
    "integer": (-1, 0, 1, 2, 3, 4),
    "number": (-1.0, 0.0, 0.5, 1.0, 2.0, 2.5, 3.0),
    "boolean": (True, False),
    "timestamp": tuple(START + timedelta(hours=12 * n) for n in range(-1, 8)),
}
LIMITS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "string": {
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(1, 3),
        "pattern": st.sampled_from(["^a", "^[a-z]*$"]),
    },
    **{
        kind: {key: st.sampled_from(values) for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")}
        for kind, values in {
            "integer": [0, 1, 2],
            "number": [0, 0.5, 1, 2],
            "timestamp": [(START + timedelta(days=n)).isoformat() for n in range(3)],
        }.items()
    },
    "boolean": {},
}


@st.composite
def described(draw: st.DrawFn) -> dict[str, Any]:
    """A column, with limits."""
    kind = draw(st.sampled_from([*LIMITS]))
    limits = draw(st.fixed_dictionaries({}, optional=LIMITS[kind]))
    found = {"name": "it", "logicalType": kind, "required": draw(st.booleans()), "logicalTypeOptions": limits}
    return found | draw(closed(kind))


def closed(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """No closed set, or one of values of the world."""
    if kind in ("boolean", "timestamp"):
        return st.just({})
    sets = st.lists(st.sampled_from(WORLD[kind]), min_size=1, unique=True)
    rule = sets.map(lambda values: [{"metric": "invalidValues", "arguments": {"validValues": values}, "mustBe": 0}])
    return st.just({}) | st.just({}) | st.fixed_dictionaries({"quality": rule})


@st.composite
def changed(draw: st.DrawFn, column: dict[str, Any]) -> dict[str, Any]:
    """The column after one change of one key."""
    kind = column["logicalType"]
    key = draw(st.sampled_from([*column["logicalTypeOptions"], *LIMITS[kind], "required", "quality"]))
    if key == "required":
        return {**column, "required": not column["required"]}
    if key == "quality":
        return {name: value for name, value in column.items() if name != "quality"} | draw(closed(kind))
    limits = {name: value for name, value in column["logicalTypeOptions"].items() if name != key}
    if key not in column["logicalTypeOptions"] or draw(st.integers(0, 3)):
        limits[key] = draw(LIMITS[kind][key])
    return {**column, "logicalTypeOptions": limits}


def made(properties: list[dict[str, Any]]) -> Source:
    document = contract()
    document["schema"] = [{"name": "sales", "properties": properties}]
    return Source.model_validate(document)


def keeps(column: Property, value: Any) -> bool:
    """Is this value one of the column's, by the words of the contract?"""
    limits, given = column.logical_type_options, column.bound
    least, most = limits.min_length or 0, 99 if limits.max_length is None else limits.max_length
    return (
        (given("minimum") is None or value >= given("minimum"))
        and (given("maximum") is None or value <= given("maximum"))
        and (given("exclusive_minimum") is None or value > given("exclusive_minimum"))
        and (given("exclusive_maximum") is None or value < given("exclusive_maximum"))
        and (column.values is None or value in column.values)
        and (column.logical_type != "string" or least <= len(value) <= most)
        and (limits.pattern is None or bool(re.search(limits.pattern, value)))
    )


def every(source: Source) -> pd.DataFrame:
    """A batch in which each column has every value of the world that it may have."""
    may = {
        name: [value for value in WORLD[each.logical_type] if keeps(each, value)] + ([] if each.required else [None])
        for name, each in source.columns.items()
    }
    rows = max(map(len, may.values()))
    return pd.DataFrame(
        {
            name: pd.Series([values[n % len(values)] for n in range(rows)], dtype=object)
            for name, values in may.items()
            if values
        }
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_keeps_a_compatible_contract_is_readable_under_the_old_one(data: st.DataObject) -> None:
    """And what keeps the old one is taken where the change refuses no writers."""
    before = data.draw(described())
    after = [
        data.draw(changed(before)),
        *([{"name": "more", "logicalType": "string"}] if data.draw(st.booleans()) else []),
    ]
    try:
        old, new = made([before]), made(after)
    except ValueError:
        reject()  # limits that leave nothing
    found = changes(old, new)
    for one, other, may_refuse in (
        (new, old, worst(found) == "breaking"),
        (old, new, any(each.refuses_writers for each in found)),
    ):
        batch = every(one)
        if set(batch.columns) < set(one.columns):
            continue  # a required column of which the world has no value
        source_batch.checked(one, batch, shown="the batch")
        if not may_refuse:
            source_batch.checked(other, batch, shown="the batch")
