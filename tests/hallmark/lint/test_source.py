"""Files are read with the line of every key, and no file breaks or exhausts the reader."""

from __future__ import annotations

import json
import random
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hallmark.lint import judge
from hallmark.lint.objects import ClusterOptions
from hallmark.lint.source import Unreadable, documents

FIXTURES = Path(__file__).parent / "fixtures"


def one(text: str, shown: str = "a.yaml") -> Any:
    (found,) = documents(text, shown=shown)
    return found


def test_a_key_has_its_line_and_column() -> None:
    document = one("a: 1\nspec:\n  list:\n    - name: x\n      deep: {inner: 7}\n")
    assert document.data == {"a": 1, "spec": {"list": [{"name": "x", "deep": {"inner": 7}}]}}
    assert document.mark(("spec", "list", 0, "deep", "inner")) == (5, 14)
    assert document.mark(("spec", "list", 0)) == (4, 7)


def test_a_key_that_is_not_there_has_the_line_of_the_nearest_one_above() -> None:
    document = one("a: 1\nspec:\n  list: []\n")
    assert document.mark(("spec", "list", 4, "image")) == (3, 3)
    assert document.mark(("nothing",)) == (1, 1)


def test_values_are_what_kubernetes_would_read() -> None:
    text = "{a: yes, b: '1', c: 1.5, d: ~, e: 0x10, f: 2026-01-02, g: !Custom x, h: !!str 7, i: 1:30x, j: 0b2}"
    assert one(text).data == {
        "a": True,
        "b": "1",
        "c": 1.5,
        "d": None,
        "e": 16,
        "f": "2026-01-02",
        "g": "x",
        "h": "7",
        "i": "1:30x",
        "j": "0b2",
    }


def test_anchors_and_merges_are_followed_and_point_at_where_they_were_written() -> None:
    document = one("base: &base {image: x, tag: 1}\nuse:\n  <<: *base\n  tag: 2\nagain: *base\n")
    assert document.data["use"] == {"image": "x", "tag": 2}
    assert document.data["again"] == {"image": "x", "tag": 1}
    assert document.mark(("use", "image")) == (1, 14)
    assert document.mark(("use", "tag")) == (4, 3)


def test_a_merge_is_no_key_written_twice() -> None:
    assert one("a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n").twice == ()
    assert one("c:\n  x: 1\n  x: 2\n").twice == (("x", 3, 3, 2),)


def test_json_is_read_too_with_tabs_and_all() -> None:
    assert one('{\n\t"a": [1, "b"]\n}', "a.json").data == {"a": [1, "b"]}


@pytest.mark.parametrize("shown", ["a.json", "stdin"])
@pytest.mark.parametrize(
    "text",
    [
        r'{"n": "\ud83d\ude00", "m": "x\\ud83d \uD83D\uDE00\n", "o": [1e3, -2.5E-1, "\/"]}',
        '{\t"raw": "\U0001f600 \x7f \x85 \u2028", "t": "\\t"}',
        '{"small": 1e-05, "large": 1E+16, "quoted": "1e-05", "<<": {"a": 1}, "b": [{"<<": null}]}',
        r'{"\ud83d\ude00": {"deep": true, "none": null, "text": "true"}}',
    ],
)
def test_b33_json_is_read_as_kubectl_reads_it(text: str, shown: str) -> None:
    assert one(text, shown).data == json.loads(text)


def test_b33_half_a_surrogate_pair_is_what_go_makes_of_it() -> None:
    assert one(r'{"a": "\ud83dx\ude00"}', "a.json").data == {"a": "\ufffdx\ufffd"}


def test_b33_what_follows_a_surrogate_pair_is_still_found_by_its_place() -> None:
    document = one('\n{"a": "' + r"\ud83d\ude00" + '", "b": {"c": 1}}', "a.json")
    assert (document.mark(("b",)), document.mark(("b", "c"))) == ((2, 23), (2, 29))


def test_b33_json_objects_one_after_another_and_yaml_after_them_are_documents() -> None:
    found = list(documents('{"a": 1}\n {"a": "' + r"\ud83d\ude00" + '", "a": 2}\n---\na: 3\n', shown="stdin"))
    assert [each.data["a"] for each in found] == [1, 2, 3]
    assert [each.mark(("a",)) for each in found] == [(1, 2), (2, 24), (4, 1)]
    assert found[1].twice == (("a", 2, 24, 2),)
    with pytest.raises(Unreadable, match=r"stdin:3:\d+ is not YAML"):
        list(documents('{"a": 1}\n---\na: ]\n', shown="stdin"))


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: *nothing",
        "a: &a [*a]",
        "[" * 5000,
        "\n".join(f"{' ' * depth}a:" for depth in range(300)),
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 2000))]),
        "\x00",
        "a: \x07",
        "? [a]: {",
    ],
    ids=["open", "no anchor", "cycle", "5000 deep", "300 deep", "laughs", "chain", "nul", "bell", "odd key"],
)
def test_what_cannot_be_read_is_refused_at_once_with_its_line(text: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(Unreadable, match=r"a\.yaml"):
        list(documents(text, shown="a.yaml"))
    assert time.perf_counter() - begun < 5


WORDS = [
    *("apiVersion", "kind", "metadata", "name", "namespace", "annotations", "labels", "spec", "predictor", "model"),
    *("canary", "trafficPercent", "containers", "image", "ports", "containerPort", "resources", "limits", "cpu"),
    *("transformer", "explainer", "storageUri", "runtime", "modelFormat", "protocolVersion", "env", "args", "volumes"),
    *(
        "tolerations",
        "securityContext",
        "template",
        "root",
        "dag",
        "tasks",
        "pipelineInfo",
        "deploymentSpec",
        "trigger",
    ),
    *("executors", "triggerPolicy", "condition", "cron_schedule", "cron", "items", "training", "serving", "quota"),
]
VALUES = [
    *("InferenceService", "ClusterServingRuntime", "Pod", "List", "Kustomization", "PodDisruptionBudget", "Secret"),
    *("serving.kserve.io/v1beta1", "serving.kserve.io/v1alpha1", "v1", "Knative", "Standard", "s3://a/b/1", "[", "'"),
    *("inputs.parameter_values['a'] == 'b' && !(", "--port=9090", "fraud", "1Gi", "100%", "2h"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5000),
    st.floats(allow_nan=False),
    st.sampled_from(VALUES),
    st.text(max_size=5),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=6)),
    max_leaves=40,
)


def judged(text: str, shown: str) -> None:
    found = judge.findings(
        list(documents(text, shown=shown)),
        options=ClusterOptions(kserve="0.20.0", gateway_api=False),
        domains=frozenset({"fraud"}),
        previous={},
    )
    lines = len(text.splitlines())
    assert all(1 <= finding.line <= lines + 1 and finding.column >= 1 for finding in found)


@pytest.mark.examples
@given(ANYTHING, st.sampled_from(["a.yaml", "domain.yaml", "kustomization.yaml"]))
def test_no_shape_of_data_breaks_a_rule(data: Any, shown: str) -> None:
    judged(yaml.safe_dump(data), shown)


@pytest.mark.examples
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        judged(text, "a.yaml")
    except Unreadable as error:
        assert "a.yaml" in error.message


TEXTS = st.text(max_size=6) | st.sampled_from(
    ["1e3", "no", "~", "0x1", "12:30", "2026-01-01", "<<", "=", " a ", "\t", "a: b", "# x"]
)
IN_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.examples
@given(objects=st.lists(st.dictionaries(TEXTS, IN_JSON, max_size=4), min_size=1, max_size=2), data=st.data())
def test_json_is_read_as_json_however_it_is_written(objects: list[Any], data: st.DataObject) -> None:
    escaped, indent = data.draw(st.booleans()), data.draw(st.sampled_from([None, 0, 2, "\t"]))
    between = data.draw(st.sampled_from(["\n", " ", "\r\n", "\n\n"]))
    text = between.join(json.dumps(each, ensure_ascii=escaped, indent=indent) for each in objects)
    assert [each.data for each in documents(text, shown="a.json")] == objects


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


ODD: list[Any] = [None, True, -1, 0, 10**30, 0.5, "", "x", "'", "\n", [], [None], [[]], {}, {"": None}, {"name": 7}]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/**/*.yaml")), ids=lambda path: path.parent.name + path.stem)
def test_no_odd_value_in_a_real_file_breaks_a_rule(path: Path) -> None:
    """Each file with odd values at places of it, drawn with the file's name as seed."""
    chance = random.Random(path.as_posix().rpartition("fixtures")[2])
    read = (
        [data for data in yaml.safe_load_all(path.read_text(encoding="utf-8")) if data is not None]
        if "HM606" not in path.as_posix()
        else []
    )
    for _ in range(12):
        changed = deepcopy(read)
        place = chance.choice([place for place in places(changed) if place] or [()])
        if place:
            holder = changed
            for part in place[:-1]:
                holder = holder[part]
            holder[place[-1]] = deepcopy(chance.choice(ODD))
        judged(yaml.dump_all(changed, Dumper=yaml.CSafeDumper), path.name)
