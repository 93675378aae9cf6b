"""Lint judges as the real thing does: 139 variants of one InferenceService, both ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.lint import judge
from hallmark.lint.cluster import PLATFORM
from hallmark.lint.rules import LintFinding, Severity
from tests import admission
from tests.admission import Case

ROOT = Path(__file__).parents[3]
OUT_OF_REACH = {"uri-pvc": "the claim may be there without being in a file"}
"""Rejected by the cluster, and not by lint."""
OURS = {
    "std-canarypercent": "HM201",  # taken, and the new version gets all of the traffic
    "std-timeout-700": "HM215",  # taken, and the longest requests are cut off when a pod ends
}
"""Taken by the cluster, and refused by a rule of ours."""
BECAME = {
    "timeoutSeconds": "timeout",
    "max-scale": "maxReplicas",
    "target": "scaleTarget",
    "successThreshold": "readinessProbe",
    "containers": "ports",
    "template": "spec.predictor",
}
"""Fields of a Knative Service, and those of the InferenceService that KServe makes them of."""


def judged(case: Case) -> list[LintFinding]:
    return judge.of_objects([case.service], background=admission.cluster(), domains=["fraud"])


@pytest.mark.parametrize("case", admission.cases(), ids=lambda case: case.id)
def test_a_variant_is_judged_as_the_cluster_did(case: Case) -> None:
    found = judged(case)
    errors = [each for each in found if each.severity is Severity.error]
    shown = [(each.code, each.key, each.message) for each in found]
    if case.id in OURS:
        assert {each.code for each in errors} == {OURS[case.id]}
    elif case.id in OUT_OF_REACH or not case.rejected:
        assert errors == [], shown
    else:
        assert case.outcome in {each.outcome for each in errors}, shown
    if case.outcome == "accepted, field dropped":
        assert "field dropped" in {each.outcome for each in found}, shown
    if case.outcome == "accepted, overridden":
        assert found, "it is not what the file says that holds"


@pytest.mark.parametrize("case", [case for case in admission.cases() if case.field], ids=lambda case: case.id)
def test_knatives_field_is_named(case: Case) -> None:
    """Knative names a field of its own object; lint the one in the file that became it."""
    last = re.findall(r"[A-Za-z][A-Za-z-]*", case.field)[-1]
    said = " ".join(f"{each.key} {each.message}" for each in judged(case) if each.outcome == "never ready")
    assert BECAME.get(last, last) in said


def test_what_the_platform_takes_is_said_once() -> None:
    """The local cluster has no KnativeServing: what it takes for one is what manifests/platform declares."""
    declared = yaml.safe_load((ROOT / "manifests" / "platform" / "knative-serving.yaml").read_text(encoding="utf-8"))
    held: dict[str, Any] = PLATFORM["spec"]["config"]
    assert held["features"] == declared["spec"]["config"]["features"]
    for name in ("autoscaler", "defaults"):
        assert held[name].items() <= declared["spec"]["config"][name].items()


def other(kind: str, api_version: str, spec: Any, **more: Any) -> list[tuple[str, str]]:
    made = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "fraud"}, **more}
    found = judge.of_objects([made if spec is None else {**made, "spec": spec}])
    return [(each.code, each.key) for each in found if each.outcome is not None]


@pytest.mark.parametrize(
    ("kind", "version", "spec", "expected"),
    [
        ("Profile", "kubeflow.org/v1", {"owner": {"kind": "User", "name": 7}}, ("HM802", "spec.owner.name")),
        ("ServingRuntime", "serving.kserve.io/v1alpha1", {"containers": {}}, ("HM802", "spec.containers")),
        (
            "NetworkPolicy",
            "networking.k8s.io/v1",
            {"podSelector": {"matchLabels": {"a": True}}},
            ("HM802", "spec.podSelector.matchLabels.a"),
        ),
        (
            "NetworkPolicy",
            "networking.k8s.io/v1",
            {"podSelector": {}, "ingres": []},
            ("HM805", "spec.ingres"),
        ),
        ("PodDisruptionBudget", "policy/v1", {"minAvailable": 1.5}, ("HM802", "spec.minAvailable")),
        ("Deployment", "extensions/v1beta1", {}, ("HM801", "kind")),
        ("Networkpolicy", "networking.k8s.io/v1", {"podSelector": {}}, ("HM801", "kind")),
        ("LocalQueue", "kueue.x-k8s.io/v1beta2", {"clusterQueue": ["a"]}, ("HM802", "spec.clusterQueue")),
    ],
)
def test_other_kinds_are_judged_by_the_same_rules(
    kind: str, version: str, spec: Any, expected: tuple[str, str]
) -> None:
    assert other(kind, version, spec) == [expected]


def test_metadata_is_the_same_for_every_kind() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "fraud"}}

    def broken(**metadata: Any) -> list[tuple[str, str]]:
        each = {**config, "metadata": {**config["metadata"], **metadata}}  # type: ignore[dict-item]
        return [(found.code, found.key) for found in judge.of_objects([each])]

    assert broken() == []
    assert broken(labels={"version": 1.1}) == [("HM802", "metadata.labels.version")]
    assert broken(annotations={"a": False}) == [("HM802", "metadata.annotations.a")]
    assert broken(labels={"a": "x" * 64}) == [("HM804", "metadata.labels.a")]
    assert broken(name="a_b") == [("HM804", "metadata.name")]
    assert broken(labels=None, annotations=None) == [], "null is nothing"
