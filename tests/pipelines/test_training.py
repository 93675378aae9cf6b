"""The compiled graph: what Kubeflow would be given."""

from __future__ import annotations

import copy
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.declaration import domain as domains
from hallmark.section import amount
from hallmark.settings import Settings
from hallmark.training import pods
from pipelines import training
from tests.graphs import compile_to, shallow

ROOT = Path(__file__).parents[2]
INSIDE = {"export", "register"}


def settings(root: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(root / "state")})


def read_all(text: str) -> Any:
    """YAML documents, by libyaml: a graph is long."""
    return yaml.load_all(text, Loader=yaml.CSafeLoader)


@functools.cache
def text(domain: str) -> str:
    """A declared domain's graph, compiled once."""
    with tempfile.TemporaryDirectory() as folder:
        compile_to(Path(folder) / "graph.yaml", domain, settings=settings(ROOT))
        return (Path(folder) / "graph.yaml").read_text()


def compiled(path: Path, domain: str, root: Path = ROOT, **options: Any) -> dict[str, Any]:
    if root == ROOT and not options:
        (path / "graph.yaml").write_text(text(domain))
    else:
        compile_to(path / "graph.yaml", domain, settings=settings(root), **options)
    spec, *_ = read_all((path / "graph.yaml").read_text())
    assert isinstance(spec, dict)
    return spec


@pytest.fixture(scope="module", params=domains.names(settings(ROOT)))
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compiled(tmp_path_factory.mktemp("ir"), request.param)


def test_every_domain_has_the_same_graph_but_for_a_precision_it_wants_tried_an_index_and_a_decision(
    spec: dict[str, Any],
) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    declared = domains.load(spec["pipelineInfo"]["name"].removesuffix("-training"), settings(ROOT))
    tried = {"quantize"} if declared.serving.precision == "int8" else set()
    tried |= {"load-corpus", "embed", "build-index", "measure-recall"} if declared.retrieval else set()
    tried |= {"calibrate"} if declared.decision is not None else set()
    same = {"load", "validate", "split", "train", "evaluate", "compare", "gate"}
    assert set(tasks) - {"condition-1", "condition-2"} == same | tried
    assert set(spec["components"]["comp-condition-1"]["dag"]["tasks"]) == INSIDE
    assert set(spec["components"]["comp-condition-2"]["dag"]["tasks"]) == {"log"}
    assert "validate" in tasks["split"]["dependentTasks"]


def test_the_drift_monitor_gets_all_examples_where_the_test_part_is_the_last_of_each(spec: dict[str, Any]) -> None:
    given = spec["components"]["comp-condition-1"]["dag"]["tasks"]["export"]["inputs"]["artifacts"]
    assert ("examples" in given) == (spec["pipelineInfo"]["name"] == "recommendations-training")


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
    """Reason why a scheduled run with unchanged parameters would train on yesterday's data; nothing where it would not.

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
    other = spec["components"]["comp-condition-2"]["dag"]["tasks"]
    users = {
        name
        for name, task in [*spec["root"]["dag"]["tasks"].items(), *inside.items(), *other.items()]
        if any(
            value.get("componentInputParameter") in ("correlation", outer)
            for value in task.get("inputs", {}).get("parameters", {}).values()
        )
    }
    assert users == {"condition-1", "register", "condition-2", "log"}
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
    assert set(parameters) == {
        "domain",
        "source",
        "as_of",
        "window",
        "seed",
        "shift",
        "options",
        "correlation",
        "no_champion",
        "experiment",
    }


def test_kubeflow_is_shown_plots_metrics_and_slices(spec: dict[str, Any]) -> None:
    outputs = spec["components"]["comp-evaluate"]["outputDefinitions"]["artifacts"]
    titles = {name: item["artifactType"]["schemaTitle"] for name, item in outputs.items()}
    assert titles == {
        "evaluation": "system.Artifact",
        "scores": "system.Artifact",
        "plots": "system.HTML",
        "slices": "system.Markdown",
        "metrics": "system.Metrics",
        "curves": "system.ClassificationMetrics",
    }


def test_every_container_has_limits_and_the_one_that_trains_has_the_declared_ones(spec: dict[str, Any]) -> None:
    training = domains.load(spec["pipelineInfo"]["name"].removesuffix("-training"), settings(ROOT)).training
    executors = spec["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        resources = executor["container"]["resources"]
        for key in ("resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest"):
            assert resources[key], (name, key)
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"], name
        assert ("accelerator" in resources) == (name == "exec-train" and training.gpu == 1)
    train = executors["exec-train"]["container"]["resources"]
    if training.nodes == 1:
        assert (train["resourceCpuLimit"], train["resourceMemoryLimit"]) == (training.cpu, training.memory)
    else:  # it only waits for the nodes that do
        assert (train["resourceCpuLimit"], train["resourceMemoryLimit"]) == ("1", "2Gi")


def test_the_accelerator_comes_from_the_declaration(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "toy", tmp_path / "root")
    file = tmp_path / "root" / "domains" / "toy" / "domain.yaml"
    file.write_text(file.read_text().replace("window: 10d", "window: 10d, accelerator: gpu") + "quota: {gpu: 1}\n")
    executors = compiled(tmp_path, "toy", tmp_path / "root")["deploymentSpec"]["executors"]
    asked = executors["exec-train"]["container"]["resources"]["accelerator"]
    assert asked["resourceType"] == "nvidia.com/gpu"
    assert asked["resourceCount"] == "1"
    assert "accelerator" not in executors["exec-evaluate"]["container"]["resources"]
    train, evaluate = (platform(tmp_path)[f"exec-{step}"] for step in ("train", "evaluate"))
    assert train["nodeSelector"]["labels"] == {"hallmark.dev/pool": "gpu-training"}
    assert train["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert train["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "hallmark.dev/pool", "operator": "Equal", "value": "gpu-training", "effect": "NoSchedule"},
    ]
    assert "tolerations" not in evaluate and "kueue.x-k8s.io/queue-name" not in evaluate["podMetadata"]["labels"]
    assert evaluate["nodeSelector"]["labels"] == {"hallmark.dev/pool": "cpu"}


def platform(path: Path) -> dict[str, Any]:
    """Settings of each executor's pod in the second document of the graph in this folder; fields that are none are refused."""
    from google.protobuf import json_format
    from kfp.kubernetes import common

    _, document = read_all((path / "graph.yaml").read_text())
    found: dict[str, Any] = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for config in found.values():
        json_format.ParseDict(config, common.pb.KubernetesExecutorConfig())
    return found


@pytest.mark.parametrize("name", domains.names(settings(ROOT)))
def test_every_step_says_who_it_is_where_it_runs_and_for_how_long(name: str, tmp_path: Path) -> None:
    spec = compiled(tmp_path, name)
    declared, found = domains.load(name, settings(ROOT)), platform(tmp_path)
    assert set(found) == set(spec["deploymentSpec"]["executors"])
    timeout = declared.training.timeout.total_seconds()
    for step, pod in found.items():
        assert pod["podMetadata"]["labels"]["hallmark.dev/domain"] == name
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        assert {"volumeName": "scratch", "mountPath": "/tmp"} in pod["emptyDirMounts"]
        waits = step == "exec-train" and declared.training.nodes > 1
        assert int(pod["activeDeadlineSeconds"]) == timeout + (12 * 3600 if waits else 0)
        asks = step in ("exec-compare", "exec-quantize", "exec-register", "exec-log")
        joins = step == "exec-load" and declared.features is not None
        maps = ["mlflow"] * asks + ["feature-store"] * joins
        assert [each["configMapName"] for each in pod.get("configMapAsEnv", [])] == maps, step
        assert [each["secretName"] for each in pod.get("secretAsEnv", [])] == ["mlflow"] * asks, step


@pytest.mark.parametrize("name", domains.names(settings(ROOT)))
def test_what_the_steps_ask_of_their_tenant_is_there(name: str, tmp_path: Path) -> None:
    """Names and keys of ConfigMaps and Secrets, what one container may be, and what the whole namespace may use."""
    spec = compiled(tmp_path, name)
    path = ROOT / "manifests" / "tenants" / f"{name}.yaml"
    there = [each for each in read_all(path.read_text()) if each]
    maps = {each["metadata"]["name"]: set(each["data"]) for each in there if each["kind"] == "ConfigMap"}
    secrets = {
        each["spec"]["target"]["name"]: {item["secretKey"] for item in each["spec"]["data"]}
        for each in there
        if each["kind"] == "ExternalSecret"
    }
    for pod in platform(tmp_path).values():
        for each in pod.get("configMapAsEnv", []):
            assert {key["configMapKey"] for key in each["keyToEnv"]} <= maps[each["configMapName"]]
        for each in pod.get("secretAsEnv", []):
            assert {key["secretKey"] for key in each["keyToEnv"]} <= secrets[each["secretName"]]
    accounts = {each["metadata"]["name"] for each in there if each["kind"] == "ServiceAccount"}
    assert "pipeline" in accounts
    training = domains.load(name, settings(ROOT)).training
    queues = {each["metadata"]["name"] for each in there if each["kind"] == "LocalQueue"}
    assert ("training" in queues) >= (training.gpu > 0 or training.nodes > 1)
    if training.nodes > 1:
        (between,) = [
            each["spec"]["podSelector"]["matchLabels"]
            for each in there
            if (each["kind"], each["metadata"]["name"]) == ("NetworkPolicy", "training")
        ]
        assert between.items() <= pods.labels(name, "training").items()
        rules = [rule for each in there if each["kind"] == "Role" for rule in each["rules"]]
        mine = [set(rule["verbs"]) for rule in rules if "trainjobs" in rule["resources"]]
        assert {"get", "create", "delete"} in mine
    (most,) = [
        limit["max"]
        for each in there
        if each["kind"] == "LimitRange"
        for limit in each["spec"]["limits"]
        if limit["type"] == "Container"
    ]
    resources = [each["container"]["resources"] for each in spec["deploymentSpec"]["executors"].values()]
    quota = domains.load(name, settings(ROOT)).quota
    for each in resources:
        assert amount(each["resourceCpuLimit"]) <= amount(most["cpu"])
        assert amount(each["resourceMemoryLimit"]) <= amount(most["memory"])
    largest = max(amount(each["resourceMemoryLimit"]) for each in resources)
    assert largest + training.nodes * amount(training.memory) <= amount(quota.memory)


def test_what_asks_others_is_tried_again_and_nothing_else(spec: dict[str, Any]) -> None:
    inside = spec["components"]["comp-condition-1"]["dag"]["tasks"]
    tasks = {**spec["root"]["dag"]["tasks"], **inside}
    tried = {name: task["retryPolicy"]["maxRetryCount"] for name, task in tasks.items() if "retryPolicy" in task}
    assert tried == {name: 3 for name in ("load", "load-corpus", "register") if name in tasks}


def test_on_this_machine_nothing_is_tried_again() -> None:
    declared = domains.load("fraud", settings(ROOT))
    graph = shallow(lambda: training.pipeline(declared, scheduled="", retries=False))
    assert "retryPolicy" in text("fraud") and "retry_policy" not in str(graph.pipeline_spec)
    assert "retry_policy" in str(shallow(lambda: training.pipeline(declared)).pipeline_spec)


def test_a_domain_of_several_nodes_tells_its_step_which_image_they_run(tmp_path: Path) -> None:
    spec = compiled(tmp_path, "authentication", image="r/training-python@sha256:1")
    told = {"name": "HALLMARK_IMAGE", "value": "r/training-python@sha256:1"}
    for name, executor in spec["deploymentSpec"]["executors"].items():
        assert (told in executor["container"]["env"]) == (name == "exec-train"), name
    assert "kueue.x-k8s.io/queue-name" not in platform(tmp_path)["exec-train"]["podMetadata"]["labels"]


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
        compile_to(tmp_path / name / "graph.yaml", "fraud", settings=settings(ROOT))
    assert (tmp_path / "one" / "graph.yaml").read_bytes() == (tmp_path / "two" / "graph.yaml").read_bytes()
