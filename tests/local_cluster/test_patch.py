"""Patches against the examples of their RFCs, a reference, and each other."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.rollout.plan import merged as merge
from local_cluster import patch as patches
from local_cluster import schema as schemas
from local_cluster.patch import PatchMalformed, PatchRejected, json_patch, same, strategic
from local_cluster.resources import CONFIGMAPS, PODS, SERVICE_ACCOUNTS

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.text("ab/~", max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("ab/~-0", max_size=2), below, max_size=3),
    max_leaves=10,
)

# RFC 7386, appendix A: original, patch, result.
MERGES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "change", "result"), MERGES)
def test_merge_patch_does_as_its_rfc_says(original: Any, change: Any, result: Any) -> None:
    assert merge(original, change) == result


def reference_merge(target: Any, change: Any) -> Any:
    """The pseudo-code of RFC 7386, section 2, word for word."""
    if isinstance(change, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in change.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = reference_merge(target.get(name), value)
        return target
    return change


@given(VALUES, VALUES)
def test_merge_patch_agrees_with_the_reference_and_leaves_its_input_alone(target: Any, change: Any) -> None:
    before = copy.deepcopy((target, change))
    assert same(merge(target, change), reference_merge(copy.deepcopy(target), copy.deepcopy(change)))
    assert same(list(before), [target, change])


# RFC 6902, appendix A: document, operations, result; an exception where the RFC says error.
PATCHES: list[tuple[Any, Any, Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], PatchRejected),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"g": {}}}], {"foo": "bar", "child": {"g": {}}}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], PatchRejected),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], PatchRejected),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),
    (
        {"a": 1},
        [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "replace", "path": "/a", "value": 2}],
        {"a": 2, "b": 1},
    ),
    ({"a": 1}, [{"op": "replace", "path": "/b", "value": 2}], PatchRejected),
    ({"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": "/a/b"}], PatchRejected),
    ({"a": [1]}, [{"op": "add", "path": "/a/2", "value": 1}], PatchRejected),
    ({"a": [1]}, [{"op": "remove", "path": "/a/-1"}], PatchRejected),
    ({"a": [1]}, [{"op": "remove", "path": "/a/01"}], PatchRejected),
    ({"a": [1]}, [{"op": "test", "path": "/a", "value": [True]}], PatchRejected),
    ({"a": 1}, [{"op": "add", "path": "", "value": {"c": 3}}], {"c": 3}),
    ({"a": 1}, {"op": "add"}, PatchMalformed),
    ({"a": 1}, ["add"], PatchMalformed),
    ({"a": 1}, [{"op": "jump", "path": "/a"}], PatchMalformed),
    ({"a": 1}, [{"op": "add", "path": "/b"}], PatchMalformed),
    ({"a": 1}, [{"op": "add", "path": "b", "value": 1}], PatchMalformed),
    ({"a": 1}, [{"op": "add", "path": 7, "value": 1}], PatchMalformed),
]


@pytest.mark.parametrize(("document", "operations", "result"), PATCHES)
def test_json_patch_does_as_its_rfc_says(document: Any, operations: Any, result: Any) -> None:
    before = copy.deepcopy(document)
    if isinstance(result, type):
        with pytest.raises(result):
            json_patch(document, operations)
    else:
        assert same(json_patch(document, operations), result)
    assert same(document, before)


def difference(left: Any, right: Any, at: str = "") -> list[dict[str, Any]]:
    """Operations that turn one value into the other."""
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for key in left.keys() | right.keys():
            path = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in right:
                found.append({"op": "remove", "path": path})
            elif key not in left:
                found.append({"op": "add", "path": path, "value": right[key]})
            else:
                found += difference(left[key], right[key], path)
        return found
    if isinstance(left, list) and isinstance(right, list):
        found = [
            change
            for index, pair in enumerate(zip(left, right, strict=False))
            for change in difference(*pair, f"{at}/{index}")
        ]
        found += [{"op": "add", "path": f"{at}/-", "value": value} for value in right[len(left) :]]
        return found + [{"op": "remove", "path": f"{at}/{len(right)}"} for _ in left[len(right) :]]
    return [] if same(left, right) else [{"op": "replace", "path": at, "value": right}]


@given(VALUES, VALUES)
def test_json_patch_turns_any_value_into_any_other(left: Any, right: Any) -> None:
    changes = difference(left, right)
    assert same(json_patch(left, changes), right)
    assert same(json_patch(left, [*changes, {"op": "test", "path": "", "value": right}]), right)


POINTERS = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", ""]), max_size=3).map(
    lambda p: "".join("/" + e for e in p)
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": POINTERS},
    optional={"from": POINTERS, "value": VALUES},
)


@given(VALUES, st.lists(OPERATIONS, max_size=6))
def test_any_json_patch_is_done_or_refused_by_name(document: Any, operations: Any) -> None:
    before = copy.deepcopy(document)
    with contextlib.suppress(PatchMalformed, PatchRejected):
        json_patch(document, operations)
    assert same(document, before)


def test_json_patches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PatchMalformed, match="maximum"):
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * (patches.OPERATIONS + 1))
    doubling = [{"op": "add", "path": "/a", "value": "x" * 1000}] + [
        {"op": "copy", "from": "", "path": f"/b{number}"} for number in range(40)
    ]
    with pytest.raises(PatchRejected, match="copies"):
        json_patch({}, doubling)


def pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def test_strategic_merge_merges_keyed_lists_by_key() -> None:
    account = {"secrets": [{"name": "a"}, {"name": "b"}], "metadata": {"finalizers": ["x"]}}
    change = {
        "secrets": [{"name": "b", "note": "new"}, {"name": "c"}, {"name": "a", "$patch": "delete"}],
        "metadata": {"finalizers": ["x", "y"]},
    }
    merged = strategic(account, change, schemas.of(SERVICE_ACCOUNTS))
    assert merged == {
        "secrets": [{"name": "b", "note": "new"}, {"name": "c"}],
        "metadata": {"finalizers": ["x", "y"]},
    }


def test_strategic_merge_knows_its_directives() -> None:
    schema = schemas.of(SERVICE_ACCOUNTS)
    account = {"secrets": [{"name": "a"}, {"name": "b"}], "metadata": {"finalizers": ["x", "y"], "labels": {"a": "1"}}}
    assert strategic(account, {"secrets": [{"$patch": "replace"}, {"name": "z"}]}, schema)["secrets"] == [{"name": "z"}]
    ordered = strategic(account, {"$setElementOrder/secrets": [{"name": "b"}, {"name": "a"}]}, schema)
    assert ordered["secrets"] == [{"name": "b"}, {"name": "a"}]
    without = strategic(account, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}, schema)
    assert without["metadata"]["finalizers"] == ["y"]
    replaced = strategic(account, {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, schema)
    assert replaced["metadata"]["labels"] == {"b": "2"}
    with pytest.raises(PatchMalformed):
        strategic(account, {"$jump/secrets": []}, schema)
    with pytest.raises(PatchMalformed):
        strategic(account, {"secrets": ["text"]}, schema)


@given(VALUES, VALUES)
def test_strategic_merge_is_a_merge_where_no_list_has_keys(target: Any, change: Any) -> None:
    schema = schemas.step(schemas.of(PODS), "spec")
    if "$" not in str(change):
        assert same(strategic(target, change, schema), _without_null_items(merge(target, change), target, change))


def _without_null_items(merged: Any, target: Any, change: Any) -> Any:
    """Strategic merge drops null fields of what it puts in as a whole; a merge patch keeps them inside lists."""
    if not isinstance(change, dict):
        return merged
    made = dict(merged)
    for key, value in change.items():
        if isinstance(value, list):
            made[key] = patches._plain(value)
        elif isinstance(value, dict):
            made[key] = _without_null_items(
                made[key], (target or {}).get(key) if isinstance(target, dict) else None, value
            )
    return made


def test_data_of_a_config_map_is_merged_key_by_key() -> None:
    merged = strategic({"data": {"a": "1", "b": "2"}}, {"data": {"b": None, "c": "3"}}, schemas.of(CONFIGMAPS))
    assert merged == {"data": {"a": "1", "c": "3"}}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(
    ("before", "patch"),
    [
        ("ab", "c"),
        ("ab", "ba"),
        ("abc", "dc"),
        ("abcd", "xbya"),
        ("", "ab"),
        ("abcdef", "fxc"),
    ],
)
def test_a_merged_list_has_the_order_that_kubectl_gives_it(tmp_path: Path, before: str, patch: str) -> None:
    """kubectl patches with the API server's own library."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "a", "namespace": "fraud", "finalizers": [f"x.io/{each}" for each in before]},
        "secrets": [{"name": each} for each in before],
    }
    change = {
        "metadata": {"finalizers": [f"x.io/{each}" for each in patch]},
        "secrets": [{"name": each, "namespace": "n"} for each in patch],
    }
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    command = [
        "kubectl",
        "patch",
        "--local",
        "-f",
        str(file),
        "--type",
        "strategic",
        "-p",
        json.dumps(change),
        "-o",
        "json",
    ]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ours = strategic(account, change, schemas.of(SERVICE_ACCOUNTS))
    assert ours["secrets"] == theirs["secrets"]
    assert ours["metadata"].get("finalizers", []) == theirs["metadata"].get("finalizers", [])
