"""Reviewers, as our tenants declare them, on KServe's own controller of LLMInferenceServices: pods past our rules, which wait for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hallmark import names
from tests.conformance import installed
from tests.conformance.api import Api, Refusal
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests.builds import DOMAINS, tenant

Object = dict[str, Any]
pytestmark = pytest.mark.timeout(900)
REVIEWED = {
    domain: each for domain in DOMAINS for each in tenant(CLUSTER, domain) if each["kind"] == "LLMInferenceService"
}


@pytest.fixture(scope="module")
def reviewing(cluster: Stack) -> Iterator[Api]:
    """The API server with that controller, asked by Argo CD's account."""
    installed.serve_reviewers(cluster)
    yield installed.argo_cd(cluster.api)
    for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        found = cluster.api.get(f"/apis/admissionregistration.k8s.io/v1/{kind}")
        for each in found["items"]:
            if each["metadata"]["name"].startswith("llminferenceservice"):
                cluster.api.call("DELETE", f"/apis/admissionregistration.k8s.io/v1/{kind}/{each['metadata']['name']}")
    cluster.stop("kserve-llm-manager")


def test_there_are_reviewers() -> None:
    assert "authentication" in REVIEWED


@pytest.mark.parametrize("domain", REVIEWED)
def test_a_reviewer_is_made_and_its_pods_keep_our_rules(reviewing: Api, domain: str) -> None:
    wanted = REVIEWED[domain]
    reviewing.apply(wanted)
    name = wanted["metadata"]["name"]
    meta = {"name": f"{name}-kserve", "namespace": domain}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta}
    try:
        selector = f"labelSelector=app.kubernetes.io/name={name}"
        path = f"/api/v1/namespaces/{domain}/pods?{selector}"
        installed.until(lambda: bool(reviewing.get(path)["items"]), what="a pod")
        for pod in reviewing.get(path)["items"]:
            labels, spec = pod["metadata"]["labels"], pod["spec"]
            assert labels[names.DOMAIN_LABEL] == domain and labels.items() >= wanted["spec"]["labels"].items()
            # By this one the controller finds its children again: one of ours in its place, and it fails for ever.
            assert labels["app.kubernetes.io/part-of"] == "llminferenceservice"
            (fetch,) = [each for each in spec["initContainers"] if each["name"] == "storage-initializer"]
            assert fetch["securityContext"] == wanted["spec"]["template"]["initContainers"][0]["securityContext"]
            assert fetch["args"][0] == wanted["spec"]["model"]["uri"]
            assert pod["status"]["phase"] == "Pending"
        # It goes on: what it wrote it finds again, and says why the reviewer is not ready.
        installed.until(lambda: waits(reviewing.live(wanted)), what="a condition that says that it waits")
        reviewing.live(
            {
                **deployment,
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {**meta, "name": f"{name}-kserve-workload-svc"},
            }
        )
    finally:
        reviewing.delete(wanted)
        installed.until(
            lambda: installed.gone(reviewing, wanted) and installed.gone(reviewing, deployment),
            what="it gone",
            seconds=90,
        )


def waits(live: Object) -> bool:
    """Does its status say that its pods are not there yet, and not that something could not be made?"""
    told = {each["type"]: each for each in live.get("status", {}).get("conditions") or []}
    assert not any("already exists" in each.get("message", "") for each in told.values()), told
    return bool(told) and told.get("MainWorkloadReady", {}).get("status") == "False"


def test_a_label_in_the_place_of_kserves_own_blinds_its_controller(reviewing: Api) -> None:
    """Why our own labels leave that one out: this is what it does with it."""
    wanted = REVIEWED["authentication"]
    bad = {**wanted, "metadata": {**wanted["metadata"], "name": "blind"}}
    bad["spec"] = {**wanted["spec"], "labels": {**wanted["spec"]["labels"], "app.kubernetes.io/part-of": "hallmark"}}
    reviewing.apply(bad)
    try:

        def blind() -> bool:
            conditions = reviewing.live(bad).get("status", {}).get("conditions") or []
            return any("already exists" in each.get("message", "") for each in conditions)

        installed.until(blind, what="the controller is blind")
    finally:
        reviewing.delete(bad)
        installed.until(lambda: installed.gone(reviewing, bad), what="it gone")


def test_kserves_own_webhook_is_the_one_that_answers(reviewing: Api) -> None:
    wanted = REVIEWED["authentication"]
    bad = {**wanted, "spec": {**wanted["spec"], "parallelism": {"data": 1}}}
    with pytest.raises(Refusal, match=r"(?s)llminferenceservice\.kserve-webhook-server.*dataLocal must be set"):
        reviewing.apply(bad, dry_run=True)
