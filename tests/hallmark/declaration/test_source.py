"""A contract is read within its subset of the standard, and a mistake is named with file, line and key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyodcs
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from hallmark.data.exact import TIME
from hallmark.declaration import feature_view, source, versioned
from hallmark.declaration.source import DATATYPES, Source
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from tests.hallmark.declaration.contract_changes import CONTRACT, contract

ROOT = Path(__file__).parents[3]
OURS = Settings.load({"HALLMARK_ROOT": str(ROOT)})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("domains", "contracts/sales"):
        (tmp_path / name).mkdir(parents=True)
    return Settings.load({"HALLMARK_ROOT": str(tmp_path)})


def written(settings: Settings, text: str, place: str = "sales/v1.yaml") -> None:
    path = settings.contracts / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("reference", source.references(OURS))
def test_our_own_contracts_are_of_the_standard(reference: str) -> None:
    found = source.load(reference, OURS)
    path = OURS.contracts / found.name / f"v{found.major}.yaml"
    report = pyodcs.parse_and_validate(path.read_text(encoding="utf-8"))
    assert pyodcs.is_valid(report), report
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), json.loads(source.json_schema()))


def test_every_view_reads_a_declared_source() -> None:
    named = {feature_view.load(each, OURS).source for each in feature_view.references(OURS)}
    assert named and named <= set(source.references(OURS))


def test_orders_say_what_is_personal() -> None:
    orders = source.load("orders@1", OURS)
    assert {"buyer_id", "ip", "card_id", "device_id", "seller_id"} == set(orders.personal)
    assert orders.key == "order_id" and DATATYPES["timestamp"] == TIME


def test_a_contract_is_loaded(settings: Settings) -> None:
    written(settings, yaml.safe_dump(CONTRACT))
    found = source.load("sales@1", settings)
    assert (found.reference, found.major, found.key, found.personal) == ("sales@1", 1, "sale_id", ("buyer",))
    assert found.columns["payment"].values == ("card", "wallet")
    assert found.columns["items"].low == (1, False)
    assert source.references(settings) == ["sales@1"]


def test_one_that_is_not_there_is_named_with_those_that_are(settings: Settings) -> None:
    written(settings, yaml.safe_dump(CONTRACT))
    with pytest.raises(DeclarationError, match=r"one of sales@1") as caught:
        source.load("sale@1", settings)
    assert "contracts/sale/v1.yaml" in caught.value.fix


@pytest.mark.parametrize("reference", ["sales", "sales@", "sales@0", "Sales@1", "sales@1\n", "../sales@1"])
def test_what_names_no_version_is_refused(reference: str, settings: Settings) -> None:
    with pytest.raises(DeclarationError, match="name@version"):
        source.load(reference, settings)


def test_the_place_of_a_file_says_its_name_and_version(settings: Settings) -> None:
    written(settings, yaml.safe_dump({**CONTRACT, "version": "2.0.0"}))
    with pytest.raises(DeclarationError, match="sales@1, as the file's place says"):
        source.load("sales@1", settings)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("logicalType: number, required: true}", "logicalType: float, required: true}", 21, "logicalType"),
        ("logicalType: number, required: true}", "logicalType: number, tags: [x]}", 21, "no such key"),
        ("status: active", "status: live", 6, "status"),
        ("version: 1.0.0", "version: 1.0", 5, "version"),
        ("apiVersion: v3.1.0", "apiVersion: v3.2.0", 1, "apiVersion"),
        ("role: owner", "role: steward", 8, "nobody answers"),
        ("status: active", "status: active\nstatus: draft", 7, "each key once"),
        ("status: active", "status: active\nservers: []", 7, "servers"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, line: int, said: str, settings: Settings) -> None:
    text = """apiVersion: v3.1.0
kind: DataContract
id: sales
name: sales
version: 1.0.0
status: active
description: {purpose: Sales.}
team: {name: checkout, members: [{username: checkout@hallmark.example, role: owner}]}
schema:
- name: sales
  physicalType: topic
  properties:
  - name: sale_id
    logicalType: string
    required: true
    primaryKey: true
  - name: at
    logicalType: timestamp
    required: true
  # the amount
  - {name: amount, logicalType: number, required: true}
"""
    assert old in text
    written(settings, text)
    source.load("sales@1", settings)
    written(settings, text.replace(old, new))
    with pytest.raises(DeclarationError) as caught:
        source.load("sales@1", settings)
    assert f"contracts/sales/v1.yaml:{line}: " in str(caught.value) and said in str(caught.value)
    assert "`" not in caught.value.got


Edit = Callable[[dict[str, Any], dict[str, dict[str, Any]]], object]


def column(name: str, /, **keys: Any) -> Edit:
    return lambda document, columns: columns[name].update(keys)


def limits(name: str, **options: Any) -> Edit:
    return column(name, logicalTypeOptions=options)


def closed(name: str, values: list[Any], **more: Any) -> Edit:
    rule = {"metric": "invalidValues", "arguments": {"validValues": values}, "mustBe": 0}
    return column(name, quality=[{**rule, **more}])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (column("amount", logicalType="date"), "logicalType"),
        (column("amount", logicalType="array"), "logicalType"),
        (column("amount", name="Amount"), "name"),
        (column("amount", name="buyer"), "declared twice"),
        (column("amount", primaryKey=True), "both primary keys"),
        (column("sale_id", required=False), "names nothing"),
        (column("amount", classification="secret"), "classification"),
        (column("amount", required="yes"), "required"),
        (limits("gift", minimum=0), "says nothing of a boolean"),
        (limits("note", minimum=0), "says nothing of a string"),
        (limits("amount", maxLength=3), "says nothing of a number"),
        (limits("amount", multipleOf=3), "multipleOf"),
        (limits("amount", minimum="0"), "one of type number"),
        (limits("amount", minimum=True), "minimum"),
        (limits("amount", minimum=float("nan")), "one of type number"),
        (limits("items", minimum=0.5), "one of type integer"),
        (limits("sold_at", minimum="2020-01-01T00:00:00"), "with its zone"),
        (limits("sold_at", minimum="soon"), "with its zone"),
        (limits("amount", minimum=3, maximum=2), "no value at all"),
        (limits("amount", minimum=3, exclusiveMaximum=3), "no value at all"),
        (limits("items", exclusiveMinimum=3, exclusiveMaximum=4), "no value at all"),
        (limits("note", minLength=3, maxLength=2), "no value at all"),
        (limits("note", pattern="(a)\\1"), "goes back"),
        (limits("note", pattern="a(?!b)"), "goes back"),
        (limits("note", pattern="("), "no regular expression"),
        (closed("gift", ["a"]), "no closed set"),
        (closed("amount", ["a"]), "values of type number"),
        (closed("note", ["a", "a"]), "twice"),
        (closed("note", []), "validValues"),
        (closed("note", ["a"], mustBe=1), "mustBe"),
        (closed("note", ["a"], metric="nullValues"), "metric"),
        (lambda document, columns: document["schema"].append(document["schema"][0]), "schema"),
        (lambda document, columns: document["schema"][0].update(properties=[]), "properties"),
        (lambda document, columns: document.update(id="a b"), "id"),
        (lambda document, columns: document.pop("team"), "team"),
    ],
)
def test_what_is_outside_of_the_subset_is_refused(edit: Edit, said: str, settings: Settings) -> None:
    written(settings, yaml.safe_dump(contract(edit), sort_keys=False))
    with pytest.raises(DeclarationError) as caught:
        source.load("sales@1", settings)
    assert said in str(caught.value) and "contracts/sales/v1.yaml:" in str(caught.value)
    assert caught.value.fix.endswith("mend contracts/sales/v1.yaml") and ": " not in caught.value.fix


@pytest.mark.parametrize("text", ["", "- a", "a: [", "a: *b", "a: 1\n---\nb: 2", "\x00", "? {a: b}\n: c"])
def test_what_is_no_mapping_is_refused_in_words(text: str, settings: Settings) -> None:
    written(settings, text)
    with pytest.raises(DeclarationError, match=r"contracts/sales/v1\.yaml"):
        source.load("sales@1", settings)


@settings_of_hypothesis(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CONTRACT, "name"]), inner, max_size=4)
        ),
        max_leaves=6,
    )
)
def test_nothing_but_a_declaration_error_comes_of_any_document(data: Any) -> None:
    from hallmark.section import validated

    given_ = {**contract(), **data} if isinstance(data, dict) else data
    try:
        validated(Source, given_, "it")
    except DeclarationError as error:
        assert error.message.startswith("it")


def test_dates_stay_texts_and_places_name_versions(settings: Settings) -> None:
    written(settings, yaml.safe_dump(CONTRACT).replace("'2020-01-01T00:00:00Z'", "2020-01-01T00:00:00Z"))
    assert source.load("sales@1", settings).columns["sold_at"].low[0] is not None
    assert versioned.place("contracts/sales/v12.yaml") == "sales@12"
    assert versioned.place("contracts/contract.schema.json") is versioned.place("v1.yaml") is None
