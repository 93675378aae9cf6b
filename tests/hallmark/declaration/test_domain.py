"""The declaration: what is accepted, and how what is wrong is named."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.section import amount
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def declared() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "domains" / "fraud" / "domain.yaml").read_text(encoding="utf-8")))


def write(folder: Path, raw: object, *, name: str = "fraud") -> Path:
    path = folder / name / "domain.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
    return path


def put(raw: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(raw)
    *parents, last = key.split(".")
    inner = changed
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return changed


@pytest.mark.parametrize("name", domains.names(Settings.load({"HALLMARK_ROOT": str(ROOT)})))
def test_every_declared_domain_is_valid_and_named_as_its_folder(name: str) -> None:
    assert domains.load(name, Settings.load({"HALLMARK_ROOT": str(ROOT)})).name == name


def test_a_declaration_comes_back_the_same_from_its_own_dump(declared: dict[str, Any]) -> None:
    domain = Domain.model_validate(declared)
    assert Domain.model_validate(domain.model_dump(mode="json")) == domain


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("owner.slack", "#fraud", "no such key"),
        ("training.schedule", "0 3 * * *", "5 fields"),
        ("training.schedule", "0 0 3 * * ;", "; as day of week"),
        ("training.schedule", "0 0 25 * * *", "25 as hour"),
        ("training.window", "60 days", "duration"),
        ("training.window", 60, "duration"),
        ("training.accelerator", "tpu", "'none' or 'gpu'"),
        ("gate.direction", "lower", "no such key"),
        ("task", {"kind": "forecast"}, "'binary'"),
        ("task.k", 10, "no such key"),
        ("gate.slices.tolerance", -1, "greater than or equal to 0"),
        ("gate.precision_loss", -0.01, "greater than or equal to 0"),
        ("serving.precision", "int4", "'fp32' or 'int8'"),
        ("serving.precision", ["fp32", "int8"], "'fp32' or 'int8'"),
        ("serving.replicas.minimum", 9, "minimum <= maximum"),
        ("serving.memory", "1 gigabyte", "match pattern"),
        ("serving.latency_objective", None, "duration"),
        ("rollout.stages", [50, 10, 100], "rising stages"),
        ("rollout.stages", [10, 50], "end at 100"),
        ("drift.minimum", 5000, "minimum <= window"),
        ("data.event_time", None, "data.event_time is needed"),
        ("name", "Fraud Team", "match pattern"),
        ("name", "kube-system", "a namespace of the platform"),
        ("name", "monitoring", "a namespace of the platform"),
        ("serving.traffic", {"mean": 9, "peak": 3}, "mean <= peak"),
        ("training.accelerator", "gpu", "quota.gpu is 0"),
        ("training.nodes", 0, "greater than or equal to 1"),
        ("serving.callers", ["fraud"], "leave it out"),
        ("serving.availability", 1.0, "less than 1"),
        ("reviewer", {"model": "s3://hallmark-artifacts/search/x", "served_name": "x"}, "another domain's part"),
        ("reviewer", {"model": "s3://hallmark-artifacts/fraud/../search/x", "served_name": "x"}, "leads elsewhere"),
        ("reviewer", {"model": "models/x", "served_name": "x"}, "match pattern"),
    ],
)
def test_an_error_names_file_key_expected_and_got(
    tmp_path: Path, declared: dict[str, Any], key: str, value: object, named: str
) -> None:
    path = write(tmp_path, put(declared, key, value))
    with pytest.raises(DeclarationError) as caught:
        domains.parse(path, shown="domains/fraud/domain.yaml")
    error = caught.value
    assert error.exit_code == 2
    assert "domains/fraud/domain.yaml" in error.message
    assert key.split(".")[0] in str(error)
    assert named in f"{error.expected} {error.got} {error.fix}"
    assert error.got and error.fix


@pytest.mark.parametrize(
    ("change", "expected", "got", "fix"),
    [
        ("rollout.stages=[50, 10]", "rising stages", "[50, 10]", "mend what --set says"),
        (
            "drift.freshness={column: at, limit: 0s}",
            "limit to be longer than nothing, such as 5m",
            "0s",
            "mend what --set says",
        ),
        ("rollout.dwell=-3s", "a duration such as", "'-3s'", "mend what --set says"),
        ("rollout.stages=5", "a list", "5", "mend what --set says"),
        ("rolout.dwell=3s", "one of name, ", "no such key 'rolout'", "did you mean rollout?; mend what --set says"),
        (
            "rollout.shadow.outputs=x",
            "one of share, minimum, output, ",
            "no such key 'outputs'",
            "did you mean output?; mend what --set says",
        ),
        ("rollout.dwell=[", "YAML: a word", "'['", "close its brackets and quotes, and quote it for the shell"),
        ("rollout..dwell=3s", "a key of a section", "'rollout..dwell=3s'", "write it as in --set rollout.dwell=3s"),
        ("dwell", "a key of a section", "'dwell'", "write it as in --set rollout.dwell=3s"),
        (
            "rollout.shadow.overlap=0.5",
            "keys that work together",
            "overlap says nothing about a binary answer",
            "take it away and declare threshold instead; mend what --set says",
        ),
        (
            "data.event_time=null",
            "keys that work together",
            "data.split is time, so data.event_time is needed",
            "the column with an example's time; mend what --set says",
        ),
        (
            "data.test=0.7",
            "keys that work together",
            "data.validation and data.test hold 85% of the examples back, and at most 80% may be",
            "lower one; mend what --set says",
        ),
    ],
)
def test_what_is_set_for_once_is_refused_with_expected_got_and_fix_apart(
    change: str, expected: str, got: str, fix: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        domains.overridden(domains.load("fraud"), [change])
    assert caught.value.expected.startswith(expected)
    assert (caught.value.got, caught.value.fix) == (got, fix)


@pytest.mark.parametrize("name", domains.names(Settings.load({"HALLMARK_ROOT": str(ROOT)})))
def test_every_declaration_is_written_and_set_for_once_as_it_was_given(name: str, tmp_path: Path) -> None:
    domain = domains.load(name, Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    again = domains.parse(write(tmp_path, domain.given, name=name), shown="domain.yaml")
    assert again == domain == domains.overridden(domain, [f"rollout.dwell={domain.given['rollout']['dwell']}"])


def test_int8_is_for_processors(tmp_path: Path, declared: dict[str, Any]) -> None:
    path = write(tmp_path, put(put(declared, "serving.precision", "int8"), "serving.gpu", 1))
    with pytest.raises(DeclarationError, match="serving") as caught:
        domains.parse(path)
    assert "precision: fp32 or gpu: 0" in caught.value.expected


def test_a_missing_section_is_named(tmp_path: Path, declared: dict[str, Any]) -> None:
    del declared["gate"]
    with pytest.raises(DeclarationError, match="gate"):
        domains.parse(write(tmp_path, declared))


def test_every_wrong_key_is_reported_at_once(tmp_path: Path, declared: dict[str, Any]) -> None:
    wrong = put(put(declared, "gate.floor", "high"), "drift.window", 3)
    with pytest.raises(DeclarationError) as caught:
        domains.parse(write(tmp_path, wrong))
    assert "gate.floor" in str(caught.value) and "drift.window" in str(caught.value)


@pytest.mark.parametrize("text", ["name: [", "- a list", "", "\x00", "name: fraud\nname: {"])
def test_what_is_not_a_mapping_is_refused_with_the_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        domains.parse(write(tmp_path, text))
    assert caught.value.expected


def test_a_folder_and_its_name_must_agree(tmp_path: Path, declared: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="name"):
        domains.parse(write(tmp_path, declared, name="pricing"))


def test_an_unknown_domain_lists_the_known_ones() -> None:
    with pytest.raises(DeclarationError) as caught:
        domains.load("frauds", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    assert "fraud" in caught.value.expected


def test_a_declaration_is_frozen(declared: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        Domain.model_validate(declared).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
    ],
)
def test_durations_are_read_and_written(declared: dict[str, Any], text: str, value: timedelta) -> None:
    domain = Domain.model_validate(put(declared, "training.window", text))
    assert domain.training.window == value
    assert Domain.model_validate(domain.model_dump(mode="json")).training.window == value


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), ("2", 2.0), ("1.5k", 1500.0), ("64Mi", 64 * 2**20)])
def test_quantities_are_numbers(text: str, number: float) -> None:
    assert amount(text) == number


def test_receivers_are_read_as_the_docs_write_them(tmp_path: Path, declared: dict[str, Any]) -> None:
    path = write(tmp_path, {key: value for key, value in declared.items() if key != "notify"})
    line = "- {address: FRAUD_SLACK_URL, format: slack, on: [decision, rollback]}"
    assert line in (Settings.load().root / "docs/rollout.md").read_text(encoding="utf-8")
    path.write_text(f"{path.read_text(encoding='utf-8')}notify:\n  receivers:\n    {line}\n", encoding="utf-8")
    found = domains.parse(path).notify
    assert found is not None and found.receivers[0].on == ("decision", "rollback"), "YAML 1.1 reads `on` as true"


def test_an_address_that_stands_in_the_declaration_is_never_printed(tmp_path: Path, declared: dict[str, Any]) -> None:
    raw = {**declared, "notify": {"receivers": [{"address": "https://hooks.example/secret"}]}}
    with pytest.raises(DeclarationError) as refused:
        domains.parse(write(tmp_path, raw))
    assert "is a secret" in str(refused.value) and "hooks.example" not in str(refused.value)


def test_what_is_no_quantity_is_said() -> None:
    with pytest.raises(ValueError, match="expected a quantity"):
        amount("much")


def test_the_editor_schema_accepts_what_the_model_accepts(declared: dict[str, Any]) -> None:
    import json

    import jsonschema

    schema = json.loads(domains.json_schema())
    jsonschema.validate(declared, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(put(declared, "gate.direction", "lower"), schema)
