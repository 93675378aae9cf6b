"""Every declared domain's InferenceService in both modes: KServe's strict schema, and the rules of its validating webhook."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark import object_labels
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.declaration import timeouts
from hallmark.declaration.domain import Domain
from hallmark.declaration.serving import Replicas
from hallmark.declaration.serving_config import ConfigReference
from hallmark.render import files, inferenceservice, kustomization
from hallmark.render.inferenceservice import Mode
from hallmark.render.manifest import manifest
from hallmark.settings import Settings
from tests import strict

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_RELEASES": str(ROOT / "inference_services")})
NAMES = domains.names(SETTINGS)
BEFORE, AFTER = (
    ConfigReference(digest=f"sha256:{letter * 64}", timeout=seconds) for letter, seconds in (("a", 3), ("b", 9))
)
STABLE = Target(version=1, storageUri="s3://bucket/fraud/one", digest="sha256:" + "1" * 64, config=BEFORE)
CANDIDATE = Target(version=2, storageUri="s3://bucket/fraud/two", digest="sha256:" + "2" * 64, config=AFTER)
RELEASES = {
    "stable": Release(stable=STABLE),
    **{f"{n}%": Release(stable=STABLE, candidate=CANDIDATE, percent=n) for n in (0, 10, 100)},
}
MODES: tuple[Mode, ...] = ("Knative", "Standard")


@functools.cache
def declared(name: str) -> Domain:
    return domains.load(name, SETTINGS)


def rendered(name: str, release: str, mode: Mode) -> dict[str, Any]:
    """The InferenceService as it stands in the file."""
    found = inferenceservice.objects(declared(name), RELEASES[release], mode)
    _, service = yaml.safe_load_all(manifest(found, source="a test"))
    return dict(service)


def test_the_seven_domains_are_declared() -> None:
    assert len(NAMES) >= 7


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", NAMES)
def test_every_service_keeps_kserves_schema_and_rules(name: str, release: str, mode: Mode) -> None:
    service = rendered(name, release, mode)
    strict.validator("serving.kserve.io", "InferenceService", "v1beta1").validate(service)
    refused(service, mode)
    # A pod's fields are plain JSON to the CRD's schema where it is lax; core's own schema is not.
    pod(service["spec"]["predictor"], mode)


def refused(service: dict[str, Any], mode: Mode) -> None:
    """The rules of KServe's inference_service_validation.go that our objects could break."""
    spec, stable = service["spec"], service["spec"]["predictor"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service["metadata"]["name"])
    assert service["metadata"]["annotations"][object_labels.MODE] == mode
    assert "name" not in stable["model"], "the 'name' field is not allowed in a standard predictor"
    assert not {"containers", "workerSpec", "batcher", "logger"} & stable.keys()
    assert stable["maxReplicas"] >= stable["minReplicas"] >= 0
    canaries = spec.get("canary") or []
    if mode == "Knative":
        assert not canaries, "canary is only supported in Standard deployment mode"
        return
    assert "canaryTrafficPercent" not in stable, "it is ignored in Standard mode"
    names = [entry["predictor"]["name"] for entry in canaries]
    assert len(set(names)) == len(names) and stable.get("name") not in names
    assert sum(entry["trafficPercent"] for entry in canaries) <= 100
    for entry in canaries:
        mine = entry["predictor"]
        assert 0 <= entry["trafficPercent"] <= 100
        assert (
            not {"workerSpec", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "containers"} & mine.keys()
        )
        assert mine.get("minReplicas", 0) <= stable["minReplicas"]
        assert entry["trafficPercent"] or mine["minReplicas"] > 0, "with no traffic and no minReplicas there is no pod"
        assert mine["model"]["modelFormat"] and mine["model"]["runtime"] == stable["model"]["runtime"]
        assert mine["model"]["storageUri"] != stable["model"]["storageUri"]


def pod(predictor: dict[str, Any], mode: Mode) -> None:
    """What Knative takes of a pod, and Pod Security of both."""
    assert predictor["serviceAccountName"] == "predictor" and predictor["automountServiceAccountToken"] is False
    assert predictor["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    resources = predictor["model"]["resources"]
    assert resources["limits"] == resources["requests"] and {"cpu", "memory"} <= resources["limits"].keys()
    gpu = "nvidia.com/gpu" in resources["limits"]
    assert predictor["nodeSelector"] == {"hallmark.dev/pool": "gpu-inference" if gpu else "cpu"}
    assert [each["key"] for each in predictor.get("tolerations", [])] == (["nvidia.com/gpu"] if gpu else [])
    if predictor["maxReplicas"] > 1:
        keys = [each["topologyKey"] for each in predictor["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    if mode == "Knative":
        assert "terminationGracePeriodSeconds" not in predictor, "Knative refuses it, and takes timeout instead"
    else:
        assert predictor["terminationGracePeriodSeconds"] >= predictor["timeout"]
        assert "annotations" not in predictor, "they are Knative's"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_release_names_is_read_back(name: str) -> None:
    predictor = rendered(name, "10%", "Knative")["spec"]["predictor"]
    assert inferenceservice.target_of(predictor) == CANDIDATE and predictor["canaryTrafficPercent"] == 10
    spec = rendered(name, "10%", "Standard")["spec"]
    assert inferenceservice.target_of(spec["predictor"]) == STABLE
    assert inferenceservice.target_of(spec["canary"][0]["predictor"]) == CANDIDATE


def test_only_knative_is_left_without_a_pod() -> None:
    """None of ours is: their requests wait for no pod."""
    ours = declared("listing")
    replicas = ours.serving.replicas.model_copy(update={"minimum": 0})
    idle = ours.model_copy(update={"serving": ours.serving.model_copy(update={"replicas": replicas})})
    knative, standard = (inferenceservice.objects(idle, RELEASES["stable"], mode)[-1] for mode in MODES)
    assert (knative["spec"]["predictor"]["minReplicas"], standard["spec"]["predictor"]["minReplicas"]) == (0, 1)
    assert knative["metadata"]["annotations"][inferenceservice.ZERO_NOTE] == "true"


def test_a_rollout_changes_nothing_but_what_live_rollouts_own() -> None:
    """docs/decisions/0004 and Argo CD's ignoreDifferences: all else is Git's, at rest and while a rollout runs."""
    rest, rolling = (rendered("fraud", each, "Knative")["spec"]["predictor"] for each in ("stable", "10%"))
    for each in (rest, rolling):
        each.pop("canaryTrafficPercent", None)
        for field in inferenceservice.OWNED:
            each.pop(field)
        del each["model"]["storageUri"], each["model"]["env"]
    assert rest == rolling
    rest, rolling = (rendered("fraud", each, "Standard")["spec"] for each in ("stable", "10%"))
    assert rolling.pop("canary") and rest == rolling


def test_standard_at_rest_is_knative_with_a_few_lines_patched() -> None:
    """What manifests/clusters/<a cluster in Standard mode>/settings does to every domain."""
    for name in NAMES:
        patched = rendered(name, "stable", "Knative")
        patched["metadata"]["annotations"][object_labels.MODE] = "Standard"
        predictor = patched["spec"]["predictor"]
        del predictor["annotations"]
        predictor["terminationGracePeriodSeconds"] = timeouts.POD
        if inferenceservice.ZERO_NOTE in patched["metadata"]["annotations"]:
            predictor["minReplicas"] = 1
        assert patched == rendered(name, "stable", "Standard")


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_guards_services_that_rest_on_more_than_one_pod(name: str) -> None:
    budgets = inferenceservice.disruption(declared(name))
    minimum = declared(name).serving.replicas.minimum
    assert len(budgets) == (minimum >= 2), "with one pod a budget would hold up every drain, or guard nothing"
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] < minimum
        assert budget["spec"]["selector"]["matchLabels"] == {
            "serving.kserve.io/inferenceservice": name,
            "component": "predictor",
        }


def test_a_budget_is_what_kubernetes_takes() -> None:
    validating = pytest.importorskip("kubernetes_validate")
    for name in NAMES:
        for budget in inferenceservice.disruption(declared(name)):
            validating.validate(budget, validating.latest_version(), strict=True)


def test_replicas_decide_of_budget_and_spread() -> None:
    one = declared("fraud").serving.model_copy(update={"replicas": Replicas(minimum=1, maximum=1)})
    alone = declared("fraud").model_copy(update={"serving": one})
    assert inferenceservice.disruption(alone) == []
    service = inferenceservice.inferenceservice(alone, RELEASES["stable"])
    assert "topologySpreadConstraints" not in service["spec"]["predictor"]


# The runtime, written by hand and once.


def runtime() -> dict[str, Any]:
    (found,) = files.runtime(SETTINGS)
    return found


def test_the_runtime_is_restricted_and_writes_where_it_may() -> None:
    spec = runtime()["spec"]
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]} and context["seccompProfile"]["type"] == "RuntimeDefault"
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert ":" in container["image"] and not container["image"].endswith(":latest")
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["published"]["emptyDir"]["sizeLimit"]
    assert not any("hostPath" in each for each in volumes.values())
    # Without a serving config of its own an InferenceService is served with the defaults; a release asks for its one.
    assert volumes["config"]["configMap"]["optional"] is True


def test_what_the_server_publishes_is_where_the_monitor_looks() -> None:
    server, monitor = runtime()["spec"]["containers"]
    where = [arg.partition("=")[2] for arg in server["args"] if arg.startswith("--publish=")]
    assert where == [arg.partition("=")[2] for arg in monitor["args"] if arg.startswith("--published=")] and where
    mounts = [next(m for m in each["volumeMounts"] if m["name"] == "published") for each in (server, monitor)]
    assert all(where[0].startswith(mount["mountPath"]) for mount in mounts)
    assert not mounts[0].get("readOnly") and mounts[1]["readOnly"]
    assert not any("/mnt/models" in arg for arg in monitor["args"]), "KServe mounts the model in kserve-container only"


def test_the_runtimes_probes_and_ports_are_what_knative_takes() -> None:
    server, monitor = runtime()["spec"]["containers"]
    assert not {"ports", "readinessProbe", "livenessProbe", "startupProbe"} & monitor.keys()
    (port,) = server["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] == port["containerPort"]


# The kustomization beside it.


def test_each_domains_kustomization_lists_what_lies_beside_it() -> None:
    found = inferenceservice.files(SETTINGS, [declared(name) for name in NAMES])
    for name in NAMES:
        body = yaml.safe_load(found[SETTINGS.releases / name / kustomization.FILE])
        beside = {path.name for path in found if path.parent.name == name} - {kustomization.FILE}
        beside |= {"reviewer.yaml", "review.yaml"} if declared(name).reviewer else set()
        assert body["resources"][0] == f"../../manifests/tenants/{name}.yaml"
        assert sorted(body["resources"][1:]) == sorted(beside)
