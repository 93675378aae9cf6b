"""Changes of a source: of its contract, and of what it then writes; how each is classed, and the column that stops a batch of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import yaml

from hallmark.declaration.source import Source
from hallmark.declaration.source_change import ChangeClass

Document = dict[str, Any]
CONTRACT: Document = yaml.safe_load("""
apiVersion: v3.1.0
kind: DataContract
id: sales
name: sales
version: 1.0.0
status: active
description: {purpose: Sales.}
team: {name: checkout, members: [{username: checkout@hallmark.example, role: owner}]}
schema:
- name: sales
  properties:
  - {name: sale_id, logicalType: string, required: true, primaryKey: true, logicalTypeOptions: {maxLength: 10}}
  - {name: sold_at, logicalType: timestamp, required: true,
     logicalTypeOptions: {timezone: true, minimum: "2020-01-01T00:00:00Z"}}
  - {name: told_at, logicalType: timestamp, required: true}
  - {name: buyer, logicalType: string, required: true, classification: personal}
  - {name: amount, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, maximum: 100}}
  - {name: distance, logicalType: number, required: true}
  - {name: items, logicalType: integer, required: true, logicalTypeOptions: {exclusiveMinimum: 0}}
  - {name: serial, logicalType: integer, required: true, unique: true}
  - {name: weight, logicalType: integer}
  - {name: note, logicalType: string, logicalTypeOptions: {maxLength: 20}}
  - {name: code, logicalType: string, logicalTypeOptions: {pattern: "^[a-z]+$"}}
  - {name: channel, logicalType: string}
  - {name: gift, logicalType: boolean}
  - name: payment
    logicalType: string
    required: true
    quality: [{metric: invalidValues, arguments: {validValues: [card, wallet]}, mustBe: 0}]
""")
ROWS = 4


def batch() -> pd.DataFrame:
    """A batch that keeps the contract, and is valid under every tightening among the changes."""
    return pd.DataFrame(
        {
            "sale_id": [f"s{n}" for n in range(ROWS)],
            "sold_at": [f"2026-09-0{n + 1}T10:00:00Z" for n in range(ROWS)],
            "told_at": [f"2026-09-0{n + 1}T10:00:05Z" for n in range(ROWS)],
            "buyer": [f"b{n}" for n in range(ROWS)],
            "amount": [12.5, 20.0, 30.0, 40.0],
            "distance": [1.5, 3.0, 0.25, 7.0],
            "items": [1, 2, 3, 4],
            "serial": [10, 11, 12, 13],
            "weight": [5, 6, 7, 8],
            "note": ["a", "b", "c", "d"],
            "code": ["ab", "cd", "ef", "gh"],
            "channel": ["app", "web", "app", "web"],
            "gift": [True, False, True, False],
            "payment": ["card"] * ROWS,
        }
    )


class Case(NamedTuple):
    """A change.  stops: the column that a batch of the changed source is refused for; none where what it writes looks as before."""

    name: str
    edit: Callable[[Document, dict[str, Document]], object]
    kind: ChangeClass
    written: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    stops: str | None = None
    refuses_writers: bool = False


def contract(edit: Callable[[Document, dict[str, Document]], object] = lambda document, columns: None) -> Document:
    """The contract once `edit`ed, as a document."""
    made = copy.deepcopy(CONTRACT)
    edit(made, {each["name"]: each for each in made["schema"][0]["properties"]})
    return made


def source(edit: Callable[[Document, dict[str, Document]], object] = lambda document, columns: None) -> Source:
    """The contract once `edit`ed."""
    return Source.model_validate(contract(edit))


def _added(column: Document) -> Callable[[Document, dict[str, Document]], object]:
    return lambda document, columns: document["schema"][0]["properties"].append(column)


def _removed(name: str) -> Callable[[Document, dict[str, Document]], object]:
    return lambda document, columns: document["schema"][0]["properties"].remove(columns[name])


def _changed(name: str, /, **keys: Any) -> Callable[[Document, dict[str, Document]], object]:
    return lambda document, columns: columns[name].update(keys)


def _options(name: str, **options: Any) -> Callable[[Document, dict[str, Document]], object]:
    return _changed(name, logicalTypeOptions=options)


def _set(name: str, *values: Any) -> Callable[[Document, dict[str, Document]], object]:
    return _changed(name, quality=[{"metric": "invalidValues", "arguments": {"validValues": [*values]}, "mustBe": 0}])


def _without(name: str, key: str) -> Callable[[Document, dict[str, Document]], object]:
    return lambda document, columns: columns[name].pop(key)


def _moved_key(document: Document, columns: dict[str, Document]) -> None:
    del columns["sale_id"]["primaryKey"]
    columns["serial"]["primaryKey"] = True


def _holds(name: str, *values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The batch with these values first in a column."""
    return lambda frame: frame.assign(**{name: [*values, *frame[name].tolist()[len(values) :]]})


MINIMUM = "2020-01-01T00:00:00Z"
CASES: tuple[Case, ...] = (
    Case(
        "an optional column is added",
        _added({"name": "city", "logicalType": "string"}),
        "compatible",
        lambda frame: frame.assign(city=None),
        refuses_writers=True,
    ),
    Case(
        "a required column is added",
        _added({"name": "city", "logicalType": "string", "required": True}),
        "compatible",
        lambda frame: frame.assign(city="Lisbon"),
        refuses_writers=True,
    ),
    Case("a required column is removed", _removed("amount"), "breaking", lambda f: f.drop(columns="amount"), "amount"),
    Case("an optional column is removed", _removed("note"), "breaking", lambda f: f.drop(columns="note"), "note"),
    Case(
        "a required column is renamed",
        _changed("amount", name="price"),
        "breaking",
        lambda frame: frame.rename(columns={"amount": "price"}),
        "amount",
        refuses_writers=True,
    ),
    Case(
        "an optional column is renamed",
        _changed("channel", name="origin"),
        "breaking",
        lambda frame: frame.rename(columns={"channel": "origin"}),
        "channel",
        refuses_writers=True,
    ),
    Case(
        "a number becomes a text",
        _changed("amount", logicalType="string", logicalTypeOptions={}),
        "breaking",
        _holds("amount", "12.50 EUR"),
        "amount",
        refuses_writers=True,
    ),
    Case(
        "a text becomes a number",
        _changed("sale_id", logicalType="number", logicalTypeOptions={}),
        "breaking",
        refuses_writers=True,
    ),
    Case(
        "a whole number becomes a number",
        _changed("weight", logicalType="number"),
        "breaking",
        _holds("weight", 1.5),
        "weight",
    ),
    Case(
        "a number becomes a whole number",
        _changed("distance", logicalType="integer"),
        "breaking",
        lambda frame: frame.assign(distance=[2**53 + 1, 2, 3, 4]),
        "distance",
        refuses_writers=True,
    ),
    Case(
        "a time becomes a text",
        _changed("sold_at", logicalType="string", logicalTypeOptions={}),
        "breaking",
        _holds("sold_at", "yesterday"),
        "sold_at",
        refuses_writers=True,
    ),
    Case(
        "a truth becomes a text",
        _changed("gift", logicalType="string"),
        "breaking",
        _holds("gift", "perhaps"),
        "gift",
        refuses_writers=True,
    ),
    Case("a text becomes a truth", _changed("channel", logicalType="boolean"), "breaking", refuses_writers=True),
    Case("a column may be missing", _changed("buyer", required=False), "breaking", _holds("buyer", None), "buyer"),
    Case("a column may not be missing", _changed("weight", required=True), "compatible", refuses_writers=True),
    Case(
        "a minimum is lowered", _options("amount", minimum=-5, maximum=100), "breaking", _holds("amount", -1), "amount"
    ),
    Case("a minimum is raised", _options("amount", minimum=1, maximum=100), "compatible", refuses_writers=True),
    Case(
        "a maximum is raised", _options("amount", minimum=0, maximum=200), "breaking", _holds("amount", 150), "amount"
    ),
    Case("a maximum is lowered", _options("amount", minimum=0, maximum=50), "compatible", refuses_writers=True),
    Case("a maximum is taken away", _options("amount", minimum=0), "breaking", _holds("amount", 1e6), "amount"),
    Case("a maximum is set", _options("distance", maximum=9), "compatible", refuses_writers=True),
    Case(
        "a minimum is itself shut out",
        _options("amount", exclusiveMinimum=0, maximum=100),
        "compatible",
        refuses_writers=True,
    ),
    Case("a minimum is itself let in", _options("items", minimum=0), "breaking", _holds("items", 0), "items"),
    Case("a minimum is written another way", _options("items", minimum=1), "none"),
    Case(
        "a closed set grows",
        _set("payment", "card", "wallet", "invoice"),
        "breaking",
        _holds("payment", "invoice"),
        "payment",
    ),
    Case("a closed set shrinks", _set("payment", "card"), "compatible", refuses_writers=True),
    Case(
        "a closed set changes a value",
        _set("payment", "card", "cash"),
        "breaking",
        _holds("payment", "cash"),
        "payment",
        refuses_writers=True,
    ),
    Case("a closed set is opened", _without("payment", "quality"), "breaking", _holds("payment", "coins"), "payment"),
    Case("a set is closed", _set("channel", "app", "web"), "compatible", refuses_writers=True),
    Case("a closed set is told in another order", _set("payment", "wallet", "card"), "none"),
    Case(
        "a pattern changes",
        _options("code", pattern="^[A-Za-z]+$"),
        "breaking",
        _holds("code", "AB"),
        "code",
        refuses_writers=True,
    ),
    Case("a pattern is taken away", _options("code"), "breaking", _holds("code", "12 34"), "code"),
    Case("a pattern is set", _options("note", maxLength=20, pattern="^[a-z]"), "compatible", refuses_writers=True),
    Case("a text may be longer", _options("note", maxLength=40), "breaking", _holds("note", "x" * 30), "note"),
    Case("a text may only be shorter", _options("note", maxLength=10), "compatible", refuses_writers=True),
    Case("a text has a least length", _options("note", maxLength=20, minLength=1), "compatible", refuses_writers=True),
    Case(
        "a column is no longer unique", _changed("serial", unique=False), "breaking", _holds("serial", 10, 10), "serial"
    ),
    Case("a column becomes unique", _changed("items", unique=True), "compatible", refuses_writers=True),
    Case("the primary key moves", _moved_key, "breaking"),
    Case(
        "times lose their zone",
        _options("sold_at", minimum=MINIMUM),
        "breaking",
        _holds("sold_at", "2026-09-01T10:00:00"),
        "sold_at",
    ),
    Case("times get a zone", _options("told_at", timezone=True), "compatible", refuses_writers=True),
    Case(
        "times go further back",
        _options("sold_at", timezone=True, minimum="2010-01-01T00:00:00Z"),
        "breaking",
        _holds("sold_at", "2012-01-01T00:00:00Z"),
        "sold_at",
    ),
    Case(
        "a bound is told in another zone",
        _options("sold_at", timezone=True, minimum="2020-01-01T02:00:00+02:00"),
        "none",
    ),
    Case("a description is written", _changed("amount", description="EUR"), "none"),
    Case("a column is classified", _changed("note", classification="personal"), "none"),
    Case("a physical type is named", _changed("amount", physicalType="DECIMAL(10,2)"), "none"),
    Case("columns change places", lambda document, columns: document["schema"][0]["properties"].reverse(), "none"),
    Case("another team writes it", lambda document, columns: document["team"].update(name="payments"), "none"),
    Case("it is deprecated", lambda document, columns: document.update(status="deprecated"), "none"),
    Case("the table is renamed", lambda document, columns: document["schema"][0].update(name="orders"), "breaking"),
    Case("the source is renamed", lambda document, columns: document.update(name="orders"), "breaking"),
)
