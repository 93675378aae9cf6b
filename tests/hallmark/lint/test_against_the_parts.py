"""The rules against the parts they speak of: KServe's strict schemas, and what kfp really compiles, schedules and runs."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hallmark.lint import judge
from tests import strict
from tests.graphs import shallow

ROOT = Path(__file__).parents[3]
FIXTURES = Path(__file__).parent / "fixtures"
STRICT = sorted(path for path in FIXTURES.glob("*/*.yaml") if path.name in {"good.yaml", "bad.yaml"})

BY_THE_SCHEMA = frozenset({"HM801", "HM802", "HM805"})
"""Rules whose faults the schema refuses too, where it is asked strictly."""


class Parts(NamedTuple):
    """Two named outputs; kfp reads these annotations, so this module keeps them as types."""

    auc: float
    word: str


def test_fixtures_are_objects_that_the_api_server_takes_so_that_only_the_rule_refuses_them() -> None:
    checked = 0
    for path in STRICT:
        if path.parent.name.startswith("HM606"):
            continue
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            group, _, version = str(each.get("apiVersion", "")).rpartition("/")
            kind = (group, str(each.get("kind")), version)
            if not strict.held(*kind):
                continue
            checked += 1
            errors = [error.message for error in strict.validator(*kind).iter_errors(each)]
            refused = path.name == "bad.yaml" and path.parent.name[:5] in BY_THE_SCHEMA
            assert bool(errors) == refused, (path, errors)
    assert checked > 100


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What kfp makes of a graph with the faults that a compiled graph can have."""
    pytest.importorskip("kfp")
    from kfp import compiler, dsl

    @dsl.component(base_image="python:3.11")
    def measure(day: str) -> float:
        return 0.9

    @dsl.component(base_image="hallmark/training-python:latest", packages_to_install=["pandas"])
    def split(day: str) -> Parts:
        return (0.9, "rock")

    @dsl.pipeline(name="faulty")
    def faulty(day: str = "2026-11-01") -> None:
        parts = split(day=day)
        with dsl.If(parts.outputs["auc"] > 0.8):
            measure(day=day)
        with dsl.If(measure(day=day).output == 0.5):
            measure(day=day)
        with dsl.If(parts.outputs["word"] == "rock 'n' roll"):
            measure(day=day)

    path = tmp_path_factory.mktemp("compiled") / "faulty.yaml"
    shallow(lambda: compiler.Compiler().compile(faulty, str(path)))
    return path


def test_the_faults_of_a_graph_are_found_in_what_kfp_compiles(compiled: Path) -> None:
    report = judge.lint([compiled], root=None)
    found: dict[str, list[str]] = {}
    lines = compiled.read_text(encoding="utf-8").splitlines()
    for each in report.findings:
        found.setdefault(each.code, []).append(lines[each.line - 1].strip())
    assert set(found) == {"HM401", "HM402", "HM404", "HM407", "HM408", "HM409"}
    assert len(found["HM401"]) == 2 and all("parameter_values" in line for line in found["HM401"])
    (quoted,) = found["HM402"]
    assert "rock" in quoted
    assert all(line.startswith("image: python:3") for line in found["HM408"])
    assert found["HM409"] == ["image: hallmark/training-python:latest"]


def test_kfp_skips_the_branch_that_the_rule_refuses(compiled: Path) -> None:
    from kfp.local.io import IOStore
    from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator

    store = IOStore()
    store.put_task_output("split", "auc", 0.99)
    store.put_task_output("measure", "Output", 0.99)
    evaluate = ConditionEvaluator.evaluate_condition
    assert evaluate("inputs.parameter_values['pipelinechannel--measure-Output'] > 0.8", store)
    assert not evaluate("inputs.parameter_values['pipelinechannel--split-auc'] > 0.8", store)
    store.put_task_output("word", "Output", "rock 'n' roll")
    assert not evaluate("inputs.parameter_values['pipelinechannel--word-Output'] == 'rock 'n' roll'", store)


def planned(parameters: dict[str, Any]) -> list[str]:
    from kfp.client import client

    run: Any = client.Client._create_job_config
    try:
        run(None, **{**dict.fromkeys(("params", "pipeline_package_path", "cache_key", "pipeline_root")), **parameters})
    except ValueError as error:
        return [str(error)]
    return []


def test_the_sdk_raises_where_the_rule_refuses_one_id_of_two() -> None:
    pytest.importorskip("kfp")
    ids = {"pipeline_id": "p1", "version_id": "v1", "enable_caching": None}
    assert planned(ids) == []
    (error,) = planned({**ids, "version_id": None})
    assert "both" in error
