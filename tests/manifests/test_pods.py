"""The policy walker over everything that we build: every pod spec in every kind at Pod Security's `restricted`, and then some."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hallmark.lint.judge import of_objects
from hallmark.lint.pods import pod_specs
from tests.manifests.builds import DOMAINS, FIRST_QUICK, Object, everything, platform, tenant

WALKER = "HM5"
"""The rules about pods: docs/lint.md."""


def faults(objects: list[Object] | tuple[Object, ...], *, cluster: str = "dev") -> list[str]:
    """Findings of the walker in `objects`, with the rest of the cluster to look things up in."""
    found = of_objects(objects, background=everything(cluster), domains=DOMAINS)
    return [f"{each.code} {each.key} {each.message}" for each in found]


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_nothing_that_we_build_breaks_a_rule(cluster: str) -> None:
    found = of_objects(everything(cluster), domains=DOMAINS)
    assert [f"{each.code} {each.key} {each.message}" for each in found] == []


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_the_walker_sees_every_kind_that_holds_a_pod(cluster: str) -> None:
    kinds = {each["kind"] for each in everything(cluster) if list(pod_specs(each))}
    assert {"Deployment", "ClusterServingRuntime", "LLMInferenceService"} <= kinds


PLANTED: dict[str, tuple[str, Any]] = {
    "root": ("securityContext.runAsNonRoot", False),
    "escalation": ("securityContext.allowPrivilegeEscalation", True),
    "capabilities": ("securityContext.capabilities", {"add": ["NET_ADMIN"]}),
    "a root to write in": ("securityContext.readOnlyRootFilesystem", False),
    "no limits": ("resources.limits", {}),
    "latest": ("image", "hallmark/platform:latest"),
}


def holders() -> dict[str, Object]:
    """One object of each kind of ours that holds a pod."""
    objects = [*platform("dev"), *tenant("dev", "authentication")]
    return {each["kind"]: each for each in objects if list(pod_specs(each))}


@pytest.mark.parametrize("kind", ["Deployment", "ClusterServingRuntime", "LLMInferenceService"])
@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_fault_is_found_in_every_kind(kind: str, what: str) -> None:
    path, value = PLANTED[what]
    bad = copy.deepcopy(holders()[kind])
    _, spec = next(iter(pod_specs(bad)))
    place = spec["containers"][0]
    *way, last = path.split(".")
    for part in way:
        place = place[part]
    place[last] = value
    assert [each for each in faults([bad]) if each.startswith(WALKER)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("serviceAccountName", "default"),
        ("hostNetwork", True),
        ("volumes", [{"name": "node", "hostPath": {"path": "/var/run"}}]),
    ],
)
def test_a_planted_fault_of_the_pod_is_found(field: str, value: Any) -> None:
    bad = copy.deepcopy(holders()["Deployment"])
    bad["spec"]["template"]["spec"][field] = value
    assert [each for each in faults([bad]) if each.startswith(WALKER)]
