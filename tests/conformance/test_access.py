"""Who may do what, asked of the real authorizer, beside what tests/manifests' evaluation of RBAC says of the same objects."""

from __future__ import annotations

from typing import Any

import pytest

from hallmark import names
from hallmark.render import mesh
from tests.conformance.api import Api
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests import kubeflow, rbac, tenancy
from tests.manifests.builds import everything
from tests.manifests.rbac import Ask, Subject

Object = dict[str, Any]
WATCH, UI = Subject.account(names.SYSTEM, "watch"), Subject.account(names.SYSTEM, "ui")
DOMAIN, OTHER = "fraud", "search"


@pytest.fixture(scope="module")
def bound(cluster: Stack) -> list[Object]:
    """All roles and bindings of the cluster, and those that Kubeflow's Profile controller would add, on the API server too."""
    objects = everything(CLUSTER)
    added = list(kubeflow.ROLES)
    for profile in (each for each in objects if each["kind"] == "Profile"):
        added += [each for each in kubeflow.of(profile, gateway=mesh.GATEWAY) if each["kind"] == "RoleBinding"]
    for each in added:
        cluster.api.apply({"apiVersion": "rbac.authorization.k8s.io/v1", **each})
    return [*added, *(each for each in objects if each["kind"].startswith(("Role", "ClusterRole")))]


def may(api: Api, subject: Subject, ask: Ask) -> bool:
    """The answer of the API server's authorizer."""
    resource, _, part = ask.resource.partition("/")
    attributes = {"verb": ask.verb, "group": ask.group, "resource": resource, "subresource": part}
    attributes |= {"namespace": ask.namespace, "name": ask.name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": subject.user, "groups": sorted(subject.groups), "resourceAttributes": attributes},
    }
    return bool(api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"])


SUBJECTS = {"watch": WATCH, "ui": UI, "stranger": Subject.person("ada"), **tenancy.people(DOMAIN)}


@pytest.mark.parametrize("namespace", [DOMAIN, OTHER])
@pytest.mark.parametrize("who", SUBJECTS)
def test_the_real_authorizer_and_our_evaluation_agree(
    cluster: Stack, bound: list[Object], who: str, namespace: str
) -> None:
    subject = SUBJECTS[who]
    asked = list(tenancy.asks(namespace))
    real = {ask for ask in asked if may(cluster.api, subject, ask)}
    assert real == {ask for ask in asked if rbac.allowed(bound, subject, ask)}
    assert (not real) == ((who, namespace) in NOTHING or (namespace == OTHER and who not in ("watch", "ui")))


NOTHING = {(who, DOMAIN) for who in ("stranger", "default", names.PREDICTOR, names.REVIEWS)}
"""Who may do nothing in the domain's own namespace."""

MEMBER_MAY = (
    ("get", "serving.kserve.io", "inferenceservices"),
    ("patch", "serving.kserve.io", "inferenceservices"),
    ("patch", "serving.knative.dev", "revisions"),
    ("get", "", "pods/log"),
    ("create", "pipelines.kubeflow.org", "runs"),
)
MEMBER_MAY_NOT = (
    ("create", "serving.kserve.io", "inferenceservices"),
    ("delete", "serving.kserve.io", "inferenceservices"),
    ("update", "serving.kserve.io", "inferenceservices/status"),
    ("get", "", "secrets"),
    ("create", "", "pods/exec"),
    ("create", "gateway.networking.k8s.io", "httproutes"),
    ("create", "", "serviceaccounts/token"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
)
WATCH_MAY = (
    ("get", "serving.kserve.io", "inferenceservices"),
    ("patch", "serving.kserve.io", "inferenceservices"),
    ("patch", "serving.knative.dev", "revisions"),
    ("list", "", "pods"),
    ("get", "", "pods/proxy"),
    ("update", "coordination.k8s.io", "leases"),
    ("create", "gateway.networking.k8s.io", "httproutes"),
)
WATCH_MAY_NOT = (
    ("create", "serving.kserve.io", "inferenceservices"),
    ("delete", "serving.kserve.io", "inferenceservices"),
    ("get", "", "secrets"),
    ("delete", "", "pods"),
    ("create", "", "pods/exec"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
)


@pytest.mark.parametrize(
    ("who", "asks", "expected"),
    [
        ("member", MEMBER_MAY, True),
        ("member", MEMBER_MAY_NOT, False),
        ("watch", WATCH_MAY, True),
        ("watch", WATCH_MAY_NOT, False),
    ],
)
def test_a_rollout_needs_no_more_than_it_has(
    cluster: Stack, bound: list[Object], who: str, asks: tuple[tuple[str, str, str], ...], expected: bool
) -> None:
    assert bound
    for verb, group, resource in asks:
        assert may(cluster.api, SUBJECTS[who], Ask(verb, group, resource, DOMAIN, "hallmark-watch")) is expected, (
            resource
        )


def test_the_watch_takes_its_own_lease_and_no_other(cluster: Stack, bound: list[Object]) -> None:
    assert bound
    assert may(cluster.api, WATCH, Ask("update", "coordination.k8s.io", "leases", DOMAIN, "hallmark-watch"))
    assert not may(cluster.api, WATCH, Ask("update", "coordination.k8s.io", "leases", DOMAIN, "another"))
    assert not may(cluster.api, WATCH, Ask("list", "", "secrets", ""))
