"""The strict schemas that tests judge by: how upstream's definitions become them, and that what is kept is what is meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests import strict
from tests.schemas import refresh

HELD = sorted(strict.SCHEMAS.glob("*/*.json"))
PORT = {"type": "object", "description": "prose", "properties": {"number": {"type": "integer", "nullable": True}}}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "shop.example",
        "names": {"kind": "Shelf"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["metadata", "spec"],
                        "properties": {
                            "apiVersion": {"type": "string", "description": "prose"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "description": {"type": "string", "default": "="},
                                    "port": PORT,
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crds").mkdir()
    text = yaml.safe_dump(DEFINITION).replace("'='", "=")  # as upstream writes it
    (tmp_path / "crds" / "all.yaml").write_text(f"kind: ConfigMap\n---\n{text}")
    (tmp_path / "crds" / "patch.yaml").write_text("kind: CustomResourceDefinition\nspec: {group: shop.example}\n")
    return tmp_path


def faults(schema: dict[str, Any], spec: dict[str, Any]) -> list[str]:
    judged = jsonschema.Draft202012Validator(schema)
    return [error.message for error in judged.iter_errors({"metadata": {"any": 1}, "spec": spec})]


def test_a_definition_becomes_a_schema_that_refuses_what_it_does_not_name(folder: Path) -> None:
    ((name, schema),) = refresh.found(folder / "crds")
    assert name == "shop.example/shelf_v1" and schema["required"] == ["spec"]
    assert not faults(schema, {"port": {"number": None}, "labels": {"a": "b"}, "free": {"any": 1}, "description": "x"})
    assert len(faults(schema, {"port": {"numbr": 1}})) == 1, "an unknown field, however deep"
    assert len(faults(schema, {"labels": {"a": 1}, "prt": {}})) == 2
    assert len(refresh.strict(PORT)) == 3, "prose goes, a property named description stays"


def test_kinds_that_are_here_are_refreshed_and_others_are_added_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, kept = str(folder / "crds"), folder / "kept"
    kept.mkdir()
    assert refresh.main([source], folder=kept) == 0 and not list(kept.iterdir())
    assert refresh.main([source, "--add", "shop.example/shelf_v1", "shop.example/till_v1"], folder=kept) == 1
    said = capsys.readouterr()
    assert "written  shop.example/shelf_v1" in said.out and "expected shop.example/till_v1" in said.err
    path = kept / "shop.example" / "shelf_v1.json"
    fresh = path.read_text()
    path.write_text("{}")
    assert refresh.main([source], folder=kept) == 0 and path.read_text() == fresh
    assert refresh.main([str(kept)], folder=kept) == 0 and path.read_text() == fresh, "its own files are a source too"
    assert capsys.readouterr().out.splitlines() == ["written  shop.example/shelf_v1", "same     shop.example/shelf_v1"]


@pytest.mark.parametrize("path", HELD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_is_as_the_script_writes_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert refresh.lines(refresh.shortened(refresh.whole(json.loads(text)))) == text, "written by hand"


LEAVES = st.sampled_from([{"type": "string"}, {"type": "integer", "minimum": 1}, {"enum": [{"items": 1}, "$ref"]}])
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "items", "$defs", "$ref", "not"]), inner, max_size=4).map(
            lambda fields: {"type": "object", "properties": fields, "additionalProperties": False}
        ),
        inner.map(lambda each: {"type": "array", "items": each, "default": [{"not": {}}]}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each}),
    ),
    max_leaves=12,
)


@given(SCHEMAS)
def test_what_is_said_once_means_the_same(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    assert refresh.whole(json.loads(refresh.lines(refresh.shortened(schema)))) == schema
    assert json.dumps(schema) == before


def test_a_kind_that_is_not_here_is_told_with_the_command_that_adds_it() -> None:
    assert strict.held("serving.kserve.io", "InferenceService", "v1beta1")
    assert not strict.held("shop.example", "Shelf", "v1")
    with pytest.raises(FileNotFoundError, match=r"refresh\.py <source> --add shop\.example/shelf_v1"):
        strict.schema("shop.example", "Shelf", "v1")


@pytest.mark.parametrize("path", HELD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_schema_spells_its_kind_as_lint_tells_it(path: Path) -> None:
    spelt = json.loads(path.read_text(encoding="utf-8"))["properties"]["kind"]["enum"]
    assert [each.lower() for each in spelt] == [path.stem.partition("_")[0]]
