"""Our ValidatingAdmissionPolicies, on what we build and on what must not come in (tests/manifests/policies.py)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from hallmark import names
from tests.manifests.builds import DOMAINS, FIRST_QUICK, Object, everything, tenant
from tests.manifests.policies import (
    BAD_PODS,
    BAD_REVIEWERS,
    BAD_RUNTIMES,
    BAD_SECRETS,
    BAD_SERVICES,
    BAD_TRAININGS,
    about,
    bindings,
    changed,
    pod,
    policies,
    refusals,
    reviewer,
    runtime,
    secret,
    service,
    train_job,
)


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_every_policy_denies_and_is_closed_when_it_fails(cluster: str) -> None:
    found = policies(cluster)
    assert {name.partition("-")[0] for name in found} == {"pods", "models", "secrets", "tenants", "rollouts"}
    assert {each["spec"]["policyName"] for each in bindings(cluster)} == set(found)
    assert all(each["spec"]["validationActions"] == ["Deny"] for each in bindings(cluster))
    for policy in found.values():
        assert policy["spec"].get("failurePolicy", "Fail") == "Fail"
        assert all(each["message"] for each in policy["spec"]["validations"])


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_nothing_that_we_build_is_refused(cluster: str) -> None:
    found = {
        f"{each['kind']} {each['metadata']['name']}": refusals(each, cluster=cluster) for each in everything(cluster)
    }
    assert not {key: value for key, value in found.items() if value}
    judged_kinds = {
        each["kind"]
        for each in everything(cluster)
        for policy in policies(cluster).values()
        if about(policy, each, "CREATE")
    }
    kinds = {"InferenceService", "LLMInferenceService", "ClusterServingRuntime", "ExternalSecret", "Namespace"}
    assert kinds <= judged_kinds


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_the_pods_of_our_deployments_are_let_in(cluster: str) -> None:
    for each in everything(cluster):
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            namespace = each["metadata"]["namespace"]
            made = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {**template["metadata"], "name": "one", "namespace": namespace},
                "spec": template["spec"],
            }
            assert refusals(made, cluster=cluster) == []


def test_a_pod_as_a_cluster_runs_it_is_let_in() -> None:
    assert refusals(pod()) == []
    assert refusals(pod(names.SYSTEM)) == refusals(pod(names.FEATURES)) == []
    assert refusals(train_job()) == []
    step = changed(pod(), "metadata.labels", {"pipelines.kubeflow.org/v2_component": "true"})
    step = changed(step, "spec.containers.0.securityContext.readOnlyRootFilesystem", None)
    assert refusals(step) == [], "Kubeflow's launcher writes into the root"


@pytest.mark.parametrize("what", BAD_PODS)
def test_a_bad_pod_is_refused_in_a_domain_and_in_ours(what: str) -> None:
    path, value = BAD_PODS[what]
    for namespace in ("fraud", names.SYSTEM, names.FEATURES):
        assert refusals(changed(pod(namespace), path, value)), namespace
    assert refusals(changed(pod("kube-system"), path, value)) == [], "other namespaces have rules of their own"


@pytest.mark.parametrize("what", BAD_SERVICES)
def test_a_bad_inferenceservice_is_refused(what: str) -> None:
    path, value = BAD_SERVICES[what]
    assert refusals(service()) == []
    assert refusals(changed(service(), path, value))


def test_no_domain_serves_what_lies_in_anothers_part_of_the_bucket() -> None:
    theirs = {domain: service(domain)["spec"]["predictor"]["model"]["storageUri"] for domain in DOMAINS}
    let_in = {
        (mine, other)
        for mine in DOMAINS
        for other, place in theirs.items()
        if not refusals(changed(service(mine), "spec.predictor.model.storageUri", place))
    }
    assert let_in == {(domain, domain) for domain in DOMAINS}


@pytest.mark.parametrize(("path", "value"), BAD_REVIEWERS)
def test_a_bad_reviewer_is_refused(path: str, value: Any) -> None:
    assert refusals(reviewer()) == []
    assert refusals(changed(reviewer(), path, value))


@pytest.mark.parametrize(("path", "value"), BAD_RUNTIMES)
def test_a_bad_runtime_is_refused(path: str, value: Any) -> None:
    assert refusals(runtime()) == []
    assert refusals(changed(runtime(), path, value))
    own = {**runtime(), "kind": "ServingRuntime", "metadata": {"name": "own", "namespace": "fraud"}}
    assert refusals(own), "a domain's own runtime goes round all of it"


@pytest.mark.parametrize(("path", "value"), BAD_TRAININGS)
def test_a_bad_training_is_refused(path: str, value: Any) -> None:
    assert refusals(changed(train_job(), path, value))


@pytest.mark.parametrize(("path", "value"), BAD_SECRETS)
def test_a_domain_takes_no_secret_of_another(path: str, value: Any) -> None:
    assert refusals(secret()) == []
    assert refusals(changed(secret(), path, value))


def test_a_domain_brings_no_store_of_its_own() -> None:
    own = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": "own", "namespace": "fraud"},
    }
    assert refusals({**own, "spec": {}})


def test_people_and_accounts_of_a_domain_change_nothing_of_another() -> None:
    for mine in DOMAINS:
        for other in DOMAINS:
            target = service(other)
            people = refusals(target, user="ada", groups=(names.members(mine), "system:authenticated"))
            account = refusals(target, user=f"system:serviceaccount:{mine}:{names.PIPELINE}")
            assert bool(people) is (mine != other)
            assert bool(account) is (mine != other)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "monitoring"}}
    assert refusals(config, user="ada", groups=(names.members("fraud"),))
    assert refusals(config, user="ada", groups=("hallmark-platform",)) == []


def test_only_argo_cd_makes_namespaces_and_a_domains_carries_its_name() -> None:
    own = next(each for each in tenant("dev", "fraud") if each["kind"] == "Namespace")
    assert refusals(own) == []
    assert refusals(own, user="ada")
    assert refusals(changed(own, "metadata.name", "fraud-two"))
    assert refusals({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sandbox"}})


def rolling(percent: int | None) -> Object:
    """fraud with a candidate at `percent`; with none, at rest."""
    return changed(service(), "spec.predictor.canaryTrafficPercent", percent)


def other_model(each: Object) -> Object:
    """The same with the version before in it."""
    made = changed(each, "spec.predictor.labels", {"hallmark.dev/model-version": "2"})
    return changed(made, "spec.predictor.model.storageUri", "s3://hallmark-dev-artifacts/fraud/models/2/")


def test_a_share_and_the_model_do_not_change_in_one_update_and_the_message_says_the_order() -> None:
    (message,) = refusals(other_model(rolling(None)), before=rolling(10))
    first, second, last = (message.index(each) for each in ("canaryTrafficPercent 0", "the model,", "away"))
    assert first < second < last
    assert refusals(changed(rolling(None), "spec.predictor.model.env", None), before=rolling(0))


def test_the_order_that_loses_nothing_is_let_in_and_so_is_a_promotion() -> None:
    steps = [rolling(10), rolling(0), other_model(rolling(0)), other_model(rolling(None))]
    for before, after in itertools.pairwise(steps):
        assert refusals(after, before=before) == []
    assert refusals(rolling(None), before=rolling(10)) == [], "a promotion"
    assert refusals(other_model(rolling(5)), before=rolling(None)) == [], "a release"
    assert refusals(other_model(rolling(None)), before=rolling(100)) == [], "stable already: nothing was rejected"
