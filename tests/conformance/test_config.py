"""Configuration that our charts hand to controllers, read by those controllers' own loaders.

A key that a loader refuses ends the controller at its start, and no schema knows of it. The programs, main.go beside the pins in
programs/, are a few lines around the loaders. They are of the versions that manifests/platform installs, or the nearest
that the Go module proxy has: KServe's 0.20 for 0.21, and Istio's of August 2026 for 1.30.
"""

from __future__ import annotations

import copy
import json
import subprocess

import pytest
import yaml

from tests.conformance import build
from tests.manifests.builds import CLUSTERS, STANDARD, Object, platform

KNATIVE = tuple(cluster for cluster in CLUSTERS if cluster not in STANDARD)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def refusals(name: str, given: str) -> list[str]:
    """What the loaders of `name` say against `given`."""
    done = subprocess.run([build.reader(name)], input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.strip()]


def found(cluster: str, kind: str, name: str) -> Object:
    """An object of a cluster's build, to look at or to spoil."""
    (one,) = [each for each in platform(cluster) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return copy.deepcopy(one)


def knative(cluster: str) -> Object:
    """ConfigMaps that the operator makes of our KnativeServing: ours laid over its own, which hold one value beside their example."""
    config: Object = found(cluster, "KnativeServing", "knative-serving")["spec"]["config"]
    config["deployment"].setdefault("queue-sidecar-image", "gcr.io/knative-releases/queue")
    return config


def kserve(cluster: str) -> dict[str, str]:
    """The data of the ConfigMap that KServe's controllers and webhooks read."""
    data: dict[str, str] = found(cluster, "ConfigMap", "inferenceservice-config")["data"]
    return data


def istiod(cluster: str) -> Object:
    """The meshConfig that istiod's chart hands on."""
    values = found(cluster, "Application", "istiod")["spec"]["source"]["helm"]["valuesObject"]
    mesh: Object = values["meshConfig"]
    return mesh


def kueue(cluster: str) -> str:
    """The file that Kueue's manager starts with."""
    values = found(cluster, "Application", "kueue")["spec"]["source"]["helm"]["valuesObject"]
    return str(values["managerConfig"]["controllerManagerConfigYaml"])


@pytest.mark.parametrize("cluster", KNATIVE)
def test_knative_takes_its_configuration(cluster: str) -> None:
    assert refusals("knative", json.dumps(knative(cluster))) == []


def test_faults_in_knatives_configuration_are_found() -> None:
    faults = (
        ("autoscaler", "max-scale", None, "max-scale = 0, must be in [1, max-scale-limit(50)]"),
        ("autoscaler", "scale-to-zero-grace-period", "soon", "scale-to-zero-grace-period"),
        ("defaults", "revision-timeout-seconds", "900", "revision-timeout-seconds"),
        ("gc", "min-non-active-revisions", "20", "min-non-active-revisions"),
        ("deployment", "progress-deadline", "0s", "progress"),
        ("domain", "ml.example", "selector: [", "yaml"),
        ("network", "autocreate-cluster-domain-claims", "perhaps", "autocreate-cluster-domain-claims"),
        ("loging", "level", "info", "nothing of Knative reads this"),
    )
    for part, key, value, told in faults:
        config = knative(KNATIVE[0])
        config.setdefault(part, {})[key] = value
        if value is None:
            del config[part][key]
        (line,) = refusals("knative", json.dumps(config))
        assert line.startswith(f"{part}: "), line
        assert told in line, line


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_kueue_takes_its_configuration(cluster: str) -> None:
    assert refusals("kueue", kueue(cluster)) == []


def test_faults_in_kueues_configuration_are_found() -> None:
    faults: tuple[tuple[tuple[str, ...], object, str], ...] = (
        (("waitForPodsReady", "enable"), True, 'unknown field "waitForPodsReady.enable"'),
        (("waitForPodsReady", "timeout"), "-1m", "waitForPodsReady.timeout"),
        (("integrations", "frameworks"), ["trainer.kubeflow.org/trainjobs"], "trainer.kubeflow.org/trainjobs"),
        (("featureGates",), {"NoSuchGate": True}, "NoSuchGate"),
        (("apiVersion",), "config.kueue.x-k8s.io/v1beta9", "v1beta9"),
    )
    for path, value, told in faults:
        config = yaml.safe_load(kueue("dev"))
        place = config
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        found = refusals("kueue", yaml.safe_dump(config))
        assert any(told in line for line in found), (path, found)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_kserve_takes_its_configuration(cluster: str) -> None:
    assert refusals("kserve", json.dumps(kserve(cluster))) == []


def test_faults_in_kserves_configuration_are_found() -> None:
    faults = (
        ("deploy", '{"defaultDeploymentMode": "Serverles"}', "invalid deployment mode"),
        ("ingress", '{"ingressGateway": "", "ingressDomain": "x.example"}', "ingressGateway is required"),
        ("ingress", '{"ingressGateway": "a/b", "pathTemplate": "/{{ .Name "}', "pathTemplate"),
        ("ingress", '{"ingressGateway": "a/b", "enableGatewayAPIs": true}', 'unknown field "enableGatewayAPIs"'),
        ("storageInitializer", '{"image": "x", "cpuRequest": "much"}', "quantities must match"),
        ("security", '{"autoMountServiceAccountToken": "no"}', "security"),
        ("loger", "{}", "nothing of KServe reads this"),
    )
    for key, value, told in faults:
        lines = refusals("kserve", json.dumps(kserve("dev") | {key: value}))
        assert any(told in line for line in lines), (key, lines)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_istiod_takes_its_configuration(cluster: str) -> None:
    assert refusals("istio", yaml.safe_dump(istiod(cluster))) == []


def test_faults_in_istiods_configuration_are_found() -> None:
    faults: tuple[tuple[Object, str], ...] = (
        ({"pathNormalization": {"normalization": "DECODE"}}, "DECODE"),
        ({"accesLogFile": ""}, 'unknown field "accesLogFile"'),
        ({"defaultConfig": {"terminationDrainDuration": "30"}}, "duration"),
        (
            {"extensionProviders": [{"name": "login", "envoyExtAuthzHttp": {"service": "x.example", "port": 0}}]},
            "port number 0",
        ),
    )
    for change, told in faults:
        lines = refusals("istio", yaml.safe_dump(istiod("dev") | change))
        assert any(told in line for line in lines), (change, lines)
