"""The walker finds every pod spec of every kind, and the rules of Pod Security see into each (fault 34)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from hallmark.lint import judge
from hallmark.lint.pods import pod_specs

GOOD: dict[str, Any] = {
    "serviceAccountName": "watch",
    "automountServiceAccountToken": False,
    "containers": [
        {
            "name": "kserve-container",
            "image": "hallmark/serving:0.1.0",
            "ports": [{"containerPort": 8080}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "securityContext": {
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
    ],
}
TEMPLATE = ("spec", "template", "spec")
KINDS: dict[str, tuple[str, str, tuple[str | int, ...]]] = {
    "Pod": ("v1", "Pod", ("spec",)),
    "Deployment": ("apps/v1", "Deployment", TEMPLATE),
    "StatefulSet": ("apps/v1", "StatefulSet", TEMPLATE),
    "DaemonSet": ("apps/v1", "DaemonSet", TEMPLATE),
    "Job": ("batch/v1", "Job", TEMPLATE),
    "CronJob": ("batch/v1", "CronJob", ("spec", "jobTemplate", *TEMPLATE)),
    "InferenceService, predictor": ("serving.kserve.io/v1beta1", "InferenceService", ("spec", "predictor")),
    "InferenceService, transformer": ("serving.kserve.io/v1beta1", "InferenceService", ("spec", "transformer")),
    "InferenceService, explainer": ("serving.kserve.io/v1beta1", "InferenceService", ("spec", "explainer")),
    "InferenceService, canary": (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        ("spec", "canary", 0, "predictor"),
    ),
    "InferenceService, workers": (
        "serving.kserve.io/v1beta1",
        "InferenceService",
        ("spec", "predictor", "workerSpec"),
    ),
    "ServingRuntime": ("serving.kserve.io/v1alpha1", "ServingRuntime", ("spec",)),
    "ClusterServingRuntime": ("serving.kserve.io/v1alpha1", "ClusterServingRuntime", ("spec",)),
    "ClusterServingRuntime, workers": (
        "serving.kserve.io/v1alpha1",
        "ClusterServingRuntime",
        ("spec", "workerSpec"),
    ),
    "LLMInferenceService": ("serving.kserve.io/v1alpha2", "LLMInferenceService", ("spec", "template")),
    "LLMInferenceService, worker": ("serving.kserve.io/v1alpha2", "LLMInferenceService", ("spec", "worker")),
    "LLMInferenceService, prefill": (
        "serving.kserve.io/v1alpha2",
        "LLMInferenceService",
        ("spec", "prefill", "template"),
    ),
    "LLMInferenceService, router": (
        "serving.kserve.io/v1alpha2",
        "LLMInferenceService",
        ("spec", "router", "scheduler", "template"),
    ),
    "TrainJob": ("trainer.kubeflow.org/v1alpha1", "TrainJob", ("spec", "podTemplate", "template", "spec")),
    "ClusterTrainingRuntime": (
        "trainer.kubeflow.org/v1alpha1",
        "ClusterTrainingRuntime",
        ("spec", "template", "spec", "replicatedJobs", 0, "template", *TEMPLATE),
    ),
    "Knative Service": ("serving.knative.dev/v1", "Service", TEMPLATE),
    "Workflow": ("argoproj.io/v1alpha1", "Workflow", ("spec", "templates", 0, "podSpec")),
    "a kind nobody thought of": ("example.dev/v1", "Surprise", ("spec", "deep", 3, "down", "here")),
}


def planted(api: str, kind: str, path: tuple[str | int, ...], spec: Any) -> dict[str, Any]:
    """An object of this kind with a pod spec at `path`."""
    value: Any = spec
    for part in reversed(path):
        value = [{} for _ in range(part)] + [value] if isinstance(part, int) else {part: value}
    metadata: dict[str, Any] = {"name": "one", "namespace": "fraud"}
    if kind == "InferenceService":
        metadata["annotations"] = {"serving.kserve.io/deploymentMode": "Standard"}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **value}


def broken(change: dict[str, Any], *, of_pod: bool) -> dict[str, Any]:
    spec = deepcopy(GOOD)
    (spec if of_pod else spec["containers"][0]).update(deepcopy(change))
    return spec


FIRST: dict[str, Any] = {**GOOD["containers"][0], "name": "first", "readinessProbe": {"tcpSocket": {"port": 8080}}}
FAULTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "privileged": ("HM501", {"securityContext": {"privileged": True}}, False),
    "root": ("HM502", {"securityContext": {"runAsUser": 0}}, False),
    "hostPath": ("HM503", {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}, True),
    "hostNetwork": ("HM504", {"hostNetwork": True}, True),
    "capabilities": ("HM505", {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, False),
    "seccomp": ("HM506", {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, False),
    "writable root": ("HM507", {"securityContext": {}}, False),
    "limits": ("HM508", {"resources": {}}, False),
    "latest": ("HM509", {"image": "hallmark/serving"}, False),
    "default account": ("HM510", {"serviceAccountName": "default"}, True),
    "a probe before it runs": ("HM516", {"initContainers": [FIRST]}, True),
    "thousandths of a byte": ("HM518", {"resources": {"limits": {"memory": "400m"}}}, False),
}


@pytest.mark.parametrize(("api", "kind", "path"), KINDS.values(), ids=KINDS)
def test_a_pod_is_found_wherever_it_stands(api: str, kind: str, path: tuple[str | int, ...]) -> None:
    assert (path, GOOD) in list(pod_specs(planted(api, kind, path, GOOD)))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, fault)
        for name, (_, kind, _) in KINDS.items()
        for fault in FAULTS
        if not (fault == "default account" and "ServingRuntime" in kind)  # it has no account of its own
    ],
)
def test_every_fault_is_found_in_every_kind(name: str, fault: str) -> None:
    (api, kind, path), (code, change, of_pod) = KINDS[name], FAULTS[fault]
    clean = {finding.code for finding in judge.of_objects([planted(api, kind, path, GOOD)])}
    found = {finding.code for finding in judge.of_objects([planted(api, kind, path, broken(change, of_pod=of_pod))])}
    assert code in found - clean


PROBES = {
    "livenessProbe": "warning",
    "readinessProbe": "error",
    "startupProbe": "error",
}


@pytest.mark.parametrize("name", ["Deployment", "StatefulSet", "DaemonSet", "Job", "InferenceService, predictor"])
@pytest.mark.parametrize("key", PROBES)
def test_a_probe_names_a_port_of_its_own_container(name: str, key: str) -> None:
    """By name, in whichever container it stands; one at a number asks there whatever is declared."""
    api, kind, path = KINDS[name]
    for handler in ("httpGet", "tcpSocket"):
        for port, ports, expected in (
            ("status", [{"name": "status", "containerPort": 9000}], []),
            (9000, [], []),
            ("status", [{"containerPort": 9000}], [PROBES[key]]),
            ("status", [{"name": "other", "containerPort": 9000}], [PROBES[key]]),
        ):
            own = {**GOOD["containers"][0], "name": "own", key: {handler: {"port": port}}, "ports": ports}
            other = {**GOOD["containers"][0], "ports": [{"name": "http", "containerPort": 8080}]}
            spec = {**GOOD, "containers": [other, own]}
            found = judge.of_objects([planted(api, kind, path, spec)])
            assert [each.severity for each in found if each.code == "HM519"] == expected


def test_an_init_container_that_goes_on_may_be_probed() -> None:
    """Kubernetes' sidecars; in Knative mode none may."""
    api, kind, path = KINDS["InferenceService, predictor"]
    spec = {**GOOD, "initContainers": [{**FIRST, "restartPolicy": "Always"}]}
    standard = planted(api, kind, path, spec)
    assert "HM516" not in {each.code for each in judge.of_objects([standard])}
    knative = deepcopy(standard)
    knative["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
    said = {each.message for each in judge.of_objects([knative]) if each.code == "HM516"}
    assert said == {"readinessProbe of an init container"}


def test_an_amount_of_bytes_is_whole_and_big_enough_to_start_in() -> None:
    api, kind, path = KINDS["Deployment"]
    for memory, storage, expected in (
        ("400m", "1Gi", ["memory: 400m is 0.4 bytes"]),
        ("512", "1Gi", ["memory: 512 is 512 bytes"]),
        (1, "1Gi", ["memory: 1 is 1 byte"]),
        ("128974848000m", "100", []),
        ("1Gi", "1500m", ["ephemeral-storage: 1500m is 1.5 bytes"]),
        ("0", "0", []),
        ("1e400", "1e400", []),
    ):
        given = {"limits": {"cpu": "400m", "memory": memory, "ephemeral-storage": storage}}
        found = judge.of_objects([planted(api, kind, path, broken({"resources": given}, of_pod=False))])
        assert [each.message for each in found if each.code == "HM518"] == expected


def test_a_pattern_of_a_pod_is_no_pod() -> None:
    policy = planted("kyverno.io/v1", "ClusterPolicy", ("spec", "rules", 0, "validate", "pattern", "spec"), GOOD)
    assert not list(pod_specs(policy))


def test_a_charts_values_and_a_trainjobs_parts_are_no_pods() -> None:
    values = planted("argoproj.io/v1alpha1", "Application", ("spec", "source", "helm", "valuesObject", "server"), GOOD)
    parts = {"containers": [{"name": "node", "volumeMounts": []}]}
    path = (
        "spec",
        "runtimePatches",
        0,
        "trainingRuntimeSpec",
        "template",
        "spec",
        "replicatedJobs",
        0,
        "template",
        *TEMPLATE,
    )
    assert not list(pod_specs(values))
    assert not list(pod_specs(planted("trainer.kubeflow.org/v1alpha1", "TrainJob", path, parts)))


def test_the_nodes_of_a_trainjob_are_judged_with_what_its_trainer_says() -> None:
    path = (
        "spec",
        "runtimePatches",
        0,
        "trainingRuntimeSpec",
        "template",
        "spec",
        "replicatedJobs",
        0,
        "template",
        *TEMPLATE,
    )
    node = {key: value for key, value in GOOD["containers"][0].items() if key == "securityContext"} | {"name": "node"}
    job = planted("trainer.kubeflow.org/v1alpha1", "TrainJob", path, {**GOOD, "containers": [node]})
    limits = {"cpu": "4", "memory": "8Gi"}
    job["spec"]["trainer"] = {"image": "hallmark/training-python:0.1.0", "resourcesPerNode": {"limits": limits}}
    assert codes(job) == []
    job["spec"]["trainer"] = {
        "image": "hallmark/training-python",
        "resourcesPerNode": {"limits": {**limits, "nvidia.com/gpu": 1}},
    }
    assert codes(job) == ["HM509", "HM512"]


def test_a_configmap_that_holds_one_as_data_is_none() -> None:
    assert not list(pod_specs({"apiVersion": "v1", "kind": "ConfigMap", "data": {"spec": GOOD}}))


def runtime(**change: Any) -> dict[str, Any]:
    container = {**deepcopy(GOOD["containers"][0]), **change}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "hallmark-runtime"},
        "spec": {"supportedModelFormats": [{"name": "onnx"}], "containers": [container]},
    }


def service(mode: str = "Standard", **model: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "fraud",
            "namespace": "fraud",
            "annotations": {"serving.kserve.io/deploymentMode": mode},
        },
        "spec": {
            "predictor": {
                "serviceAccountName": "predictor",
                "automountServiceAccountToken": False,
                "model": {"modelFormat": {"name": "onnx"}, "runtime": "hallmark-runtime", **model},
            }
        },
    }


def codes(*objects: dict[str, Any], background: tuple[dict[str, Any], ...] = ()) -> list[str]:
    return [finding.code for finding in judge.of_objects(objects, background=background)]


def test_a_model_is_judged_as_the_container_that_its_runtime_makes_of_it() -> None:
    assert codes(service(), runtime()) == []
    # The model's own image wins over the runtime's, and so do its limits, key by key.
    assert codes(service(image="hallmark/serving:latest"), runtime()) == ["HM509"]
    assert codes(service(resources={"limits": {"memory": "2Gi"}}), runtime()) == []
    assert codes(service(resources={"limits": {"cpu": "2"}}), runtime(resources={})) == ["HM508", "HM508"]


def test_what_the_runtime_lacks_is_found_through_the_service_that_names_it() -> None:
    found = judge.of_objects([service()], background=[runtime(resources={})])
    assert [(finding.code, finding.file) for finding in found] == [("HM508", "background")]


def test_without_its_runtime_a_model_is_judged_by_what_it_says_itself() -> None:
    assert codes(service()) == []
    assert codes(service(resources={"limits": {"nvidia.com/gpu": "1"}})) == ["HM512"]


def test_arguments_of_runtime_and_model_are_one_command_line() -> None:
    limited = service("Knative", args=["--workers=8"])
    limited["spec"]["predictor"]["containerConcurrency"] = 4
    assert codes(limited, runtime()) == ["HM307"]


def test_a_canary_has_what_stable_has_unless_it_says_otherwise() -> None:
    rolled = service()
    rolled["spec"]["predictor"]["name"] = "v1"
    rolled["spec"]["canary"] = [
        {
            "trafficPercent": 10,
            "predictor": {
                "name": "v2",
                "model": {
                    "name": "kserve-container",
                    "modelFormat": {"name": "onnx"},
                    "storageUri": "pvc://models/fraud/2",
                },
            },
        }
    ]
    assert codes(rolled, runtime()) == []
    rolled["spec"]["canary"][0]["predictor"]["hostNetwork"] = True
    assert codes(rolled, runtime()) == ["HM504"]


def test_what_an_account_says_of_its_token_holds_for_pods_that_do_not_say() -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "watch", "namespace": "fraud"},
        "automountServiceAccountToken": False,
    }
    silent = {key: value for key, value in GOOD.items() if key != "automountServiceAccountToken"}
    silent["restartPolicy"] = "Never"
    job = planted("batch/v1", "Job", TEMPLATE, silent)
    assert codes(job) == ["HM511"]
    assert codes(job, background=(account,)) == []
    assert codes(job, background=({**account, "metadata": {"name": "other", "namespace": "fraud"}},)) == [
        "HM511",
        "HM514",
    ]
