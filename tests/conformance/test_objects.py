"""Every object of the three builds and of all tenants, by server-side apply with strict validation, on the real API server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import itemgetter

import pytest

from tests.conformance import installed
from tests.conformance.api import Refusal
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests.builds import CLUSTERS, everything, identity, platform, tenant

LEFT_OUT = {
    "ClusterSecretStore": 1,
    "ExternalSecret": 15,
    "KnativeServing": 1,
    "Profile": 7,
}
"""Kinds whose definitions no Go module holds, and how many objects of each a cluster has: strict schemas judge those (tests/manifests)."""


@pytest.fixture(params=CLUSTERS)
def which(request: pytest.FixtureRequest, cluster: Stack) -> Iterator[str]:
    """Each cluster in turn, with its own policies in force: they name its bucket and its registry."""
    put_in_force(cluster, request.param)
    yield request.param
    put_in_force(cluster, CLUSTER)


def put_in_force(cluster: Stack, which: str) -> None:
    """Apply a cluster's policies, and wait until they judge."""
    argo_cd = installed.argo_cd(cluster.api)
    for each in platform(which):
        if each["kind"] == "ValidatingAdmissionPolicy":
            argo_cd.apply(each)
    (runtime,) = [each for each in platform(which) if each["kind"] == "ClusterServingRuntime"]
    service = next(each for each in tenant(which, "fraud") if each["kind"] == "InferenceService")
    for each in (runtime, service):
        installed.until(lambda each=each: bool(argo_cd.apply(each, dry_run=True)), what=f"{which}'s policies judge")


def test_every_object_is_accepted_strictly(cluster: Stack, which: str) -> None:
    argo_cd = installed.argo_cd(cluster.api)
    objects = everything(which)
    known = [each for each in objects if argo_cd.known(each)]
    for each in known:
        if each["kind"] == "Namespace":
            argo_cd.apply(each)
    refused = {}
    for each in known:
        try:
            argo_cd.apply(each, dry_run=True)
        except Refusal as error:
            refused[identity(each)] = str(error)
    assert refused == {}
    left = Counter(each["kind"] for each in objects if not argo_cd.known(each))
    expected = LEFT_OUT if which != "staging" else {k: v for k, v in LEFT_OUT.items() if k != "KnativeServing"}
    assert left == expected


def test_the_pods_of_our_deployments_are_made(cluster: Stack) -> None:
    """Past Pod Security, quotas, limits and our policies. They wait: there is no node."""
    deployments = [each["metadata"] for each in everything(CLUSTER) if each["kind"] == "Deployment"]
    wanted = {(each["namespace"], each["name"]) for each in deployments}
    namespaces = sorted({namespace for namespace, _ in wanted})
    assert {"hallmark-system", "features"} <= {*namespaces}

    def made() -> bool:
        pods = [each for name in namespaces for each in cluster.api.get(f"/api/v1/namespaces/{name}/pods")["items"]]
        found = {
            (each["namespace"], each["labels"].get("app.kubernetes.io/name"))
            for each in map(itemgetter("metadata"), pods)
        }
        return wanted <= found

    installed.until(made, what=f"pods of {', '.join(name for _, name in sorted(wanted))}")
