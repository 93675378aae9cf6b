"""Our ValidatingAdmissionPolicies on the real API server: what tests/manifests holds against them by an interpreter, and rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hallmark import names
from tests.conformance import installed
from tests.conformance.api import Api, Refusal
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests import policies
from tests.manifests.builds import DOMAINS, tenant

Object = dict[str, Any]
OPEN = {
    "external-secrets.io": ("v1", ("ExternalSecret", "SecretStore", "ClusterExternalSecret")),
    "argoproj.io": ("v1alpha1", ("Workflow",)),
}
"""Kinds that policies name and whose own definitions no Go module holds: here they have a definition that takes everything."""


@pytest.fixture(scope="module")
def judge(cluster: Stack) -> Iterator[Api]:
    """The API server, asked by Argo CD's account, with the policies in force."""
    made = [_open(group, version, kind) for group, (version, kinds) in OPEN.items() for kind in kinds]
    for each in made:
        cluster.api.apply(each)
    argo_cd = installed.argo_cd(cluster.api)
    for group, (version, kinds) in OPEN.items():
        for kind in kinds:
            one = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": "one"}}
            installed.until(lambda one=one: bool(argo_cd.path(one)), what=f"{kind} is served")
    installed.until(
        lambda: bool(refusal(argo_cd, policies.changed(policies.secret(), "spec.dataFrom", [{}]))), what="deny"
    )
    yield argo_cd
    for each in made:
        cluster.api.delete(each)


def _open(group: str, version: str, kind: str) -> Object:
    plural = policies.plural(kind)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster" if kind.startswith("Cluster") else "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def refusal(api: Api, each: Object) -> str:
    """What the API server says against creating an object; empty where it would."""
    try:
        api.create(each, dry_run=True)
    except Refusal as error:
        return error.message
    return ""


def denied(api: Api, each: Object) -> bool:
    """Is it refused by one of our policies?"""
    return "ValidatingAdmissionPolicy '" in refusal(api, each)


def is_refused(api: Api, good: Object, path: str, value: Any) -> None:
    """An object that is let in is refused by one of our policies once this value stands at `path`."""
    assert refusal(api, good) == ""
    bad = policies.changed(good, path, value)
    assert denied(api, bad), refusal(api, bad)


def test_every_policy_is_known_and_its_expressions_fit_the_types(judge: Api) -> None:
    for name in policies.policies(CLUSTER):
        path = f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{name}"

        def checked(path: str = path) -> bool:
            live = judge.get(path)
            return live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]

        installed.until(checked, what=f"{name} is checked")
        assert judge.get(path)["status"].get("typeChecking", {}).get("expressionWarnings", []) == [], name


SCRATCH = "scratch"
BY_THE_API = {"an ephemeral stranger", "privileged"}
"""What the API server's own rules refuse before any policy is asked."""


@pytest.fixture(scope="module")
def scratch(judge: Api) -> str:
    """A domain's namespace without Pod Security and limits, so that our policies alone are asked."""
    judge.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": SCRATCH, "labels": {names.DOMAIN_LABEL: SCRATCH}},
        }
    )
    judge.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": names.PREDICTOR, "namespace": SCRATCH}}
    )
    installed.until(lambda: refusal(judge, policies.pod(SCRATCH)) == "", what="a good pod is let in")
    return SCRATCH


@pytest.mark.parametrize("what", policies.BAD_PODS)
def test_a_bad_pod_is_refused(judge: Api, scratch: str, what: str) -> None:
    path, value = policies.BAD_PODS[what]
    bad = policies.changed(policies.pod(scratch), path, value)
    assert denied(judge, bad) != (what in BY_THE_API), refusal(judge, bad)
    assert refusal(judge, bad)


def test_a_container_that_is_added_to_a_running_pod_is_judged_too(judge: Api, scratch: str) -> None:
    pod = policies.changed(policies.pod(scratch), "metadata.name", "running")
    judge.create(pod)
    stranger = {"name": "x", "image": "docker.io/library/busybox:1.36"}
    good = {**pod["spec"]["containers"][0], "name": "y"}
    good.pop("resources")  # the API lets none be said for such a container
    path = f"{judge.path(pod)}/ephemeralcontainers"
    for container in (stranger, good):
        with pytest.raises(Refusal, match="ValidatingAdmissionPolicy 'pods"):
            judge.call(
                "PATCH",
                path,
                {"spec": {"ephemeralContainers": [container]}},
                content="application/strategic-merge-patch+json",
            )


def test_a_pod_of_a_domain_passes_pod_security_and_the_policies(judge: Api) -> None:
    for namespace in DOMAINS:
        assert refusal(judge, policies.pod(namespace)) == ""


@pytest.mark.parametrize("what", policies.BAD_SERVICES)
def test_a_bad_inferenceservice_is_refused(judge: Api, what: str) -> None:
    is_refused(judge, policies.service(), *policies.BAD_SERVICES[what])


@pytest.mark.parametrize(("path", "value"), policies.BAD_REVIEWERS)
def test_a_bad_reviewer_is_refused(judge: Api, path: str, value: Any) -> None:
    is_refused(judge, policies.reviewer(), path, value)


@pytest.mark.parametrize(("path", "value"), policies.BAD_RUNTIMES)
def test_a_bad_runtime_is_refused(judge: Api, path: str, value: Any) -> None:
    is_refused(judge, policies.changed(policies.runtime(), "metadata.name", "one"), path, value)


@pytest.mark.parametrize(("path", "value"), policies.BAD_TRAININGS)
def test_a_bad_training_is_refused(judge: Api, path: str, value: Any) -> None:
    is_refused(judge, policies.train_job(), path, value)


@pytest.mark.parametrize(("path", "value"), policies.BAD_SECRETS)
def test_a_domain_takes_no_secret_of_another(judge: Api, path: str, value: Any) -> None:
    is_refused(judge, policies.secret(), path, value)


def test_people_of_a_domain_change_nothing_of_another_even_with_every_right(cluster: Stack, judge: Api) -> None:
    """The policy holds where RBAC would let them: system:masters is asked for nothing by RBAC."""
    own, other = DOMAINS[:2]
    person = cluster.api.as_("ada", names.members(own), "system:masters")
    written = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": own}}
    assert refusal(person, written) == ""
    assert denied(person, policies.changed(written, "metadata.namespace", other))
    account = cluster.api.as_(f"system:serviceaccount:{own}:{names.PIPELINE}", "system:masters")
    assert refusal(account, written) == ""
    assert denied(account, policies.changed(written, "metadata.namespace", other))


def test_only_argo_cd_makes_namespaces(cluster: Stack, judge: Api) -> None:
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "two", "labels": {names.DOMAIN_LABEL: "two"}}}
    assert refusal(judge, own) == ""
    assert denied(cluster.api.as_("ada", "system:masters"), own)
    assert denied(judge, policies.changed(own, "metadata.labels", {names.DOMAIN_LABEL: "three"}))
    assert denied(judge, policies.changed(own, "metadata.labels", None))


def other_model(percent: int | None) -> Object:
    """A merge patch: the model of the version before, and a share; none takes the share away."""
    model = {"storageUri": f"s3://hallmark-dev-artifacts/{DOMAINS[0]}/models/2/"}
    return {"spec": {"predictor": {"canaryTrafficPercent": percent, "model": model}}}


def share(percent: int | None) -> Object:
    return {"spec": {"predictor": {"canaryTrafficPercent": percent}}}


def test_a_revert_in_one_update_is_refused_with_the_order_and_the_order_is_let_in(judge: Api) -> None:
    service = next(each for each in tenant(CLUSTER, DOMAINS[0]) if each["kind"] == "InferenceService")
    judge.create(service)
    try:
        judge.patch(service, share(10))
        with pytest.raises(Refusal, match="ValidatingAdmissionPolicy 'rollouts'") as refused:
            judge.patch(service, other_model(None))
        said = refused.value.message
        assert said.index("canaryTrafficPercent 0") < said.index("the model,") < said.index("away")
        for step in (share(0), other_model(0), share(None)):
            judge.patch(service, step)
        judge.patch(service, share(10))
        judge.patch(service, share(None))
    finally:
        judge.delete(service)
