"""The compiled graph: what Kubeflow would be given."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark import domain as domains
from hallmark.settings import Settings
from pipelines import training

ROOT = Path(__file__).parents[2]
INSIDE = {"export", "register"}


def settings(root: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(root / "state")})


def compiled(path: Path, domain: str, root: Path = ROOT, **options: Any) -> dict[str, Any]:
    training.compile_to(path / "graph.yaml", domain, settings=settings(root), **options)
    spec, *_ = yaml.safe_load_all((path / "graph.yaml").read_text())
    assert isinstance(spec, dict)
    return spec


@pytest.fixture(scope="module", params=domains.names(settings(ROOT)))
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compiled(tmp_path_factory.mktemp("ir"), request.param)


def test_every_domain_has_the_same_graph_but_for_a_precision_it_wants_tried(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    declared = domains.load(spec["pipelineInfo"]["name"].removesuffix("-training"), settings(ROOT))
    tried = {"quantize"} if declared.serving.precision == "int8" else set()
    same = {"load", "validate", "split", "train", "evaluate", "compare", "gate"}
    assert set(tasks) - {"condition-1"} == same | tried
    assert set(spec["components"]["comp-condition-1"]["dag"]["tasks"]) == INSIDE
    assert "validate" in tasks["split"]["dependentTasks"]


def test_nothing_is_installed_at_run_time_and_every_image_is_set(spec: dict[str, Any]) -> None:
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        assert container["image"] == training.TRAINING_IMAGE, name
        assert "pip" not in " ".join(container["command"] + container["args"]), name
        assert {"name": "MLFLOW_DISABLE_TELEMETRY", "value": "true"} in container["env"], name
        assert {"name": "DO_NOT_TRACK", "value": "1"} in container["env"], name
    assert "python" in training.TRAINING_IMAGE


SCHEDULED = "{{$.pipeline_job_schedule_time_utc}}"


def silent(spec: dict[str, Any]) -> list[str]:
    """Why a scheduled run with unchanged parameters would train on yesterday's data; nothing where it would not.

    Kubeflow takes a step for done where caching is on and no input changed. `load` has to be done each time, as of the time
    that was scheduled, and what reads that time has to read it from `load`.
    """
    tasks = spec["root"]["dag"]["tasks"]
    load = tasks["load"]
    stamp = load["inputs"]["parameters"].get("scheduled", {}).get("runtimeValue", {}).get("constant")
    found = []
    if load.get("cachingOptions", {}).get("enableCache") and stamp != SCHEDULED:
        found.append("load is cached")
    if stamp != SCHEDULED:
        found.append("load is not told what time was scheduled")
    if spec["root"]["inputDefinitions"]["parameters"]["as_of"].get("defaultValue") != "":
        found.append("as_of is fixed")
    day = tasks["split"]["inputs"]["parameters"]["as_of"].get("taskOutputParameter", {})
    if day.get("producerTask") != "load":
        found.append("split does not follow the day of load")
    for name in ("validate", "split"):
        if tasks[name]["inputs"]["artifacts"]["examples"].get("taskOutputArtifact", {}).get("producerTask") != "load":
            found.append(f"{name} does not read what load gave")
    return found


def test_a_scheduled_rerun_is_never_a_silent_cache_hit(spec: dict[str, Any]) -> None:
    assert silent(spec) == []
    assert not spec["root"]["dag"]["tasks"]["load"]["cachingOptions"].get("enableCache")


def test_whoever_takes_that_away_is_told(spec: dict[str, Any]) -> None:
    def without(change: Callable[[dict[str, Any]], object]) -> list[str]:
        other = copy.deepcopy(spec)
        change(other["root"])
        return silent(other)

    def cached(root: dict[str, Any]) -> None:
        root["dag"]["tasks"]["load"]["cachingOptions"] = {"enableCache": True}

    def unscheduled(root: dict[str, Any]) -> None:
        root["dag"]["tasks"]["load"]["inputs"]["parameters"]["scheduled"]["runtimeValue"]["constant"] = ""

    def both(root: dict[str, Any]) -> None:
        cached(root)
        unscheduled(root)

    def constant(root: dict[str, Any]) -> None:
        root["dag"]["tasks"]["split"]["inputs"]["parameters"]["as_of"] = {"componentInputParameter": "as_of"}

    assert without(cached) == []  # the time that was scheduled is an input, so it is a miss all the same
    assert without(unscheduled) == ["load is not told what time was scheduled"]
    assert without(both) == ["load is cached", "load is not told what time was scheduled"]
    assert without(constant) == ["split does not follow the day of load"]
    assert without(lambda root: root["inputDefinitions"]["parameters"]["as_of"].update(defaultValue="2026-11-01")) == [
        "as_of is fixed"
    ]


def test_what_a_run_is_an_answer_to_reaches_register_and_no_step_whose_result_is_kept(spec: dict[str, Any]) -> None:
    inside = spec["components"]["comp-condition-1"]["dag"]["tasks"]
    outer = "pipelinechannel--correlation"
    users = {
        name
        for name, task in [*spec["root"]["dag"]["tasks"].items(), *inside.items()]
        if any(
            value.get("componentInputParameter") in ("correlation", outer)
            for value in task.get("inputs", {}).get("parameters", {}).values()
        )
    }
    assert users == {"condition-1", "register"}
    assert not inside["register"]["cachingOptions"].get("enableCache")


def test_steps_with_an_effect_or_a_hidden_input_are_not_cached(spec: dict[str, Any]) -> None:
    assert not spec["root"]["dag"]["tasks"]["compare"]["cachingOptions"].get("enableCache")
    inside = spec["components"]["comp-condition-1"]["dag"]["tasks"]
    assert not inside["register"]["cachingOptions"].get("enableCache")
    assert spec["root"]["dag"]["tasks"]["train"]["cachingOptions"] == {"enableCache": True}


def test_the_branch_hangs_on_the_one_output_of_the_gate(spec: dict[str, Any]) -> None:
    branch = spec["root"]["dag"]["tasks"]["condition-1"]
    assert branch["triggerPolicy"]["condition"] == "inputs.parameter_values['pipelinechannel--gate-Output'] == true"
    outputs = spec["components"]["comp-gate"]["outputDefinitions"]
    assert outputs == {"parameters": {"Output": {"parameterType": "BOOLEAN"}}}


def test_parameters_default_to_the_declaration(spec: dict[str, Any]) -> None:
    parameters = {
        name: item.get("defaultValue") for name, item in spec["root"]["inputDefinitions"]["parameters"].items()
    }
    declared = domains.load(parameters["domain"], settings(ROOT))
    assert spec["pipelineInfo"]["name"] == f"{declared.name}-training"
    assert parameters["window"] == declared.model_dump(mode="json")["training"]["window"]
    assert parameters["seed"] == declared.training.seed
    assert set(parameters) == {"domain", "source", "as_of", "window", "seed", "shift", "options", "correlation"}


def test_kubeflow_is_shown_plots_metrics_and_slices(spec: dict[str, Any]) -> None:
    outputs = spec["components"]["comp-evaluate"]["outputDefinitions"]["artifacts"]
    titles = {name: item["artifactType"]["schemaTitle"] for name, item in outputs.items()}
    assert titles == {
        "evaluation": "system.Artifact",
        "plots": "system.HTML",
        "slices": "system.Markdown",
        "metrics": "system.Metrics",
        "curves": "system.ClassificationMetrics",
    }


def test_the_accelerator_comes_from_the_declaration(tmp_path: Path) -> None:
    plain = compiled(tmp_path, "fraud")
    assert all("resources" not in item["container"] for item in plain["deploymentSpec"]["executors"].values())
    shutil.copytree(ROOT / "tests" / "toy", tmp_path / "root")
    file = tmp_path / "root" / "domains" / "toy" / "domain.yaml"
    file.write_text(file.read_text().replace("window: 10d", "window: 10d, accelerator: gpu") + "quota: {gpu: 1}\n")
    executors = compiled(tmp_path, "toy", tmp_path / "root")["deploymentSpec"]["executors"]
    asked = executors["exec-train"]["container"]["resources"]["accelerator"]
    assert asked["resourceType"] == "nvidia.com/gpu"
    assert asked["resourceCount"] == "1"
    assert "resources" not in executors["exec-evaluate"]["container"]


def test_what_is_measured_and_exported_is_what_the_choice_of_a_precision_left(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "shapes", ROOT / "tests" / "toy")
    tasks = spec["root"]["dag"]["tasks"]
    assert not tasks["quantize"]["cachingOptions"].get("enableCache")  # the champion is not among its inputs
    assert producer(tasks["quantize"], "training") == ("split", "training")
    assert producer(tasks["evaluate"], "trained") == ("quantize", "candidate")
    into = tasks["condition-1"]["inputs"]["artifacts"]
    inside = spec["components"]["comp-condition-1"]["dag"]["tasks"]
    for task, name, output in (("export", "trained", "candidate"), ("register", "precision", "precision")):
        outer = inside[task]["inputs"]["artifacts"][name]["componentInputArtifact"]
        assert into[outer]["taskOutputArtifact"] == {"outputArtifactKey": output, "producerTask": "quantize"}
    plain = compiled(tmp_path, "fraud")
    assert "comp-quantize" not in plain["components"]
    register = plain["components"]["comp-condition-1"]["dag"]["tasks"]["register"]
    assert "precision" not in register["inputs"]["artifacts"]


def producer(task: dict[str, Any], name: str) -> tuple[str, str]:
    found = task["inputs"]["artifacts"][name]["taskOutputArtifact"]
    return found["producerTask"], found["outputArtifactKey"]


def test_the_image_can_be_named_when_compiling(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "fraud", image="registry.hallmark.example/training-python@sha256:1")
    images = {item["container"]["image"] for item in spec["deploymentSpec"]["executors"].values()}
    assert images == {"registry.hallmark.example/training-python@sha256:1"}


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        training.compile_to(tmp_path / name / "graph.yaml", "fraud", settings=settings(ROOT))
    assert (tmp_path / "one" / "graph.yaml").read_bytes() == (tmp_path / "two" / "graph.yaml").read_bytes()
