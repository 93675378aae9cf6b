"""Kyverno's ClusterPolicies: their own CEL expressions, evaluated on what we build and on what must not come in."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import celpy
import pytest
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

from hallmark import names
from hallmark.training import distributed_job
from tests.manifests.builds import CLUSTERS, DOMAINS, Object, declared, everything, platform, tenant

SHA = "sha256:" + "0" * 64
REGISTRY = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/hallmark"


@functools.cache
def program(expression: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression))


def policies(cluster: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in platform(cluster) if each["kind"] == "ClusterPolicy"}


def about(rule: Object, each: Object, request: Object) -> bool:
    """Does the rule match? As Kyverno matches: any of the blocks, by kind, operation and namespace."""
    group, _, version = each["apiVersion"].rpartition("/")
    for block in rule["match"]["any"]:
        resources = block["resources"]
        kinds = [kind.split("/") for kind in resources["kinds"]]
        named = any(
            kind[-1] in ("*", each["kind"]) and (len(kind) == 1 or (kind[0] == group and kind[1] in ("*", version)))
            for kind in kinds
        )
        if not named or request["operation"] not in resources["operations"]:
            continue
        namespace = each["metadata"].get("namespace")
        if "namespaces" in resources and namespace not in resources["namespaces"]:
            continue
        if "namespaceSelector" in resources and namespace not in DOMAINS:
            continue
        return True
    return False


def refusals(
    each: Object,
    *,
    cluster: str = "dev",
    user: str = "system:serviceaccount:argocd:argocd-application-controller",
    groups: tuple[str, ...] = (),
    operation: str = "CREATE",
) -> list[str]:
    """The messages with which the cluster's policies refuse an object."""
    namespace = each["metadata"].get("namespace", "")
    request = {"operation": operation, "namespace": namespace, "userInfo": {"username": user, "groups": list(groups)}}
    labels = {"hallmark.dev/domain": namespace} if namespace in DOMAINS else {"app.kubernetes.io/part-of": "hallmark"}
    given = {
        "object": each,
        "request": request,
        "namespaceObject": {"metadata": {"name": namespace, "labels": labels}},
    }
    return [
        message
        for policy in policies(cluster).values()
        for rule in policy["spec"]["rules"]
        if about(rule, each, request)
        for message in judged(rule, given)
    ]


def judged(rule: Object, given: Object) -> Iterator[str]:
    """Result of a rule; as in the API server, an expression that ends in an error refuses."""
    context = {key: json_to_cel(value) for key, value in given.items()}
    for condition in rule.get("celPreconditions", []):
        if not program(condition["expression"]).evaluate(context):
            return
    cel = rule["validate"]["cel"]
    variables = celpy.celtypes.MapType()
    for variable in cel.get("variables", []):
        made = program(variable["expression"]).evaluate({**context, "variables": variables})
        variables[celpy.celtypes.StringType(variable["name"])] = made
    for expression in cel["expressions"]:
        try:
            passed = bool(program(expression["expression"]).evaluate({**context, "variables": variables}))
        except CELEvalError:
            passed = False
        if not passed:
            yield expression["message"]


def changed(each: Object, path: str, value: Any) -> Object:
    """A copy with `value` at a dotted path; no value takes the key away."""
    made = copy.deepcopy(each)
    *way, last = [int(part) if part.isdigit() else part.replace("~", ".") for part in path.split(".")]
    place: Any = made
    for part in way:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return made


def pod(namespace: str = "fraud") -> Object:
    """A pod as a cluster runs one: our server, KServe's initializer, Knative's and Istio's proxies."""

    def container(name: str, image: str) -> Object:
        return {
            "name": name,
            "image": image,
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "securityContext": {
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }

    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": namespace, "labels": {"app": "one"}},
        "spec": {
            "serviceAccountName": "predictor",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [container("storage-initializer", "kserve/storage-initializer:v0.21.0")],
            "containers": [
                container("kserve-container", f"{REGISTRY}/serving@{SHA}"),
                container("queue-proxy", f"gcr.io/knative-releases/knative.dev/serving/cmd/queue@{SHA}"),
                container("istio-proxy", "docker.io/istio/proxyv2:1.30.3"),
            ],
            "volumes": [{"name": "models", "emptyDir": {}}],
        },
    }


def service(domain: str = "fraud", cluster: str = "dev") -> Object:
    (found,) = [each for each in tenant(cluster, domain) if each["kind"] == "InferenceService"]
    return found


def train_job() -> Object:
    return distributed_job.train_job(
        declared("authentication"), "one", image=f"{REGISTRY}/training-python:0.1.0", arguments={}
    )


def secret(domain: str = "fraud") -> Object:
    return next(each for each in tenant("dev", domain) if each["kind"] == "ExternalSecret")


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_policy_is_enforced_and_looks_at_what_lies_there_already(cluster: str) -> None:
    found = policies(cluster)
    assert set(found) == {"pods", "models", "secrets", "tenants"}
    for name, policy in found.items():
        # Who asks is not known of what lies there: Kyverno refuses such a rule in the background.
        assert policy["spec"]["background"] is (name != "tenants")
        for rule in policy["spec"]["rules"]:
            assert rule["validate"]["failureAction"] == "Enforce"
            assert rule["validate"]["cel"]["expressions"]
            assert all(block["resources"]["operations"] for block in rule["match"]["any"]), "DELETE has no object"


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_nothing_that_we_build_is_refused(cluster: str) -> None:
    found = {
        f"{each['kind']} {each['metadata']['name']}": refusals(each, cluster=cluster) for each in everything(cluster)
    }
    assert not {key: value for key, value in found.items() if value}
    judged_kinds = {
        each["kind"]
        for each in everything(cluster)
        for policy in policies(cluster).values()
        for rule in policy["spec"]["rules"]
        if about(rule, each, {"operation": "CREATE"})
    }
    kinds = {"InferenceService", "LLMInferenceService", "ClusterServingRuntime", "ExternalSecret", "Namespace"}
    assert kinds <= judged_kinds


@pytest.mark.parametrize("cluster", CLUSTERS)
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
    assert refusals(pod(names.SYSTEM)) == []
    assert refusals(train_job()) == []
    step = changed(pod(), "metadata.labels", {"pipelines.kubeflow.org/v2_component": "true"})
    step = changed(step, "spec.containers.0.securityContext.readOnlyRootFilesystem", None)
    assert refusals(step) == [], "Kubeflow's launcher writes into the root"


BAD_PODS: dict[str, tuple[str, Any]] = {
    "the node's network": ("spec.hostNetwork", True),
    "the node's processes": ("spec.hostPID", True),
    "the node's IPC": ("spec.hostIPC", True),
    "a path of the node": ("spec.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    "root by id": ("spec.securityContext.runAsUser", 0),
    "a container's root by id": ("spec.containers.0.securityContext.runAsUser", 0),
    "perhaps root": ("spec.containers.0.securityContext.runAsNonRoot", False),
    "unconfined": ("spec.containers.0.securityContext.seccompProfile", {"type": "Unconfined"}),
    "escalation": ("spec.containers.0.securityContext.allowPrivilegeEscalation", True),
    "escalation unsaid": ("spec.containers.0.securityContext.allowPrivilegeEscalation", None),
    "privileged": ("spec.containers.0.securityContext.privileged", True),
    "capabilities kept": ("spec.containers.0.securityContext.capabilities", {"drop": ["NET_RAW"]}),
    "a capability added": ("spec.containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "no security context": ("spec.containers.0.securityContext", None),
    "an init container's": ("spec.initContainers.0.securityContext", None),
    "a root to write in": ("spec.containers.0.securityContext.readOnlyRootFilesystem", False),
    "no limits": ("spec.containers.0.resources", None),
    "no limit of memory": ("spec.containers.0.resources.limits", {"cpu": "1"}),
    "latest": ("spec.containers.0.image", f"{REGISTRY}/serving:latest"),
    "no tag": ("spec.containers.0.image", f"{REGISTRY}/serving"),
    "half a digest": ("spec.containers.0.image", f"{REGISTRY}/serving@sha256:00"),
    "a stranger's image": ("spec.containers.0.image", "docker.io/library/busybox:1.36"),
    "our name in a stranger's registry": ("spec.containers.0.image", "docker.io/hallmark/serving:0.1.0"),
    "an ephemeral stranger": ("spec.ephemeralContainers", [{"name": "x", "image": "docker.io/library/busybox:1.36"}]),
    "the default account": ("spec.serviceAccountName", "default"),
    "no account": ("spec.serviceAccountName", None),
}


@pytest.mark.parametrize("what", BAD_PODS)
def test_a_bad_pod_is_refused_in_a_domain_and_in_ours(what: str) -> None:
    path, value = BAD_PODS[what]
    for namespace in ("fraud", names.SYSTEM):
        assert refusals(changed(pod(namespace), path, value)), namespace
    assert refusals(changed(pod("kube-system"), path, value)) == [], "other namespaces have rules of their own"


BAD_SERVICES: dict[str, tuple[str, Any]] = {
    "another domain's model": ("spec.predictor.model.storageUri", "s3://hallmark-dev-artifacts/pricing/models/1"),
    "a way out of the prefix": ("spec.predictor.model.storageUri", "s3://hallmark-dev-artifacts/fraud/../pricing/1"),
    "an encoded way out": ("spec.predictor.model.storageUri", "s3://hallmark-dev-artifacts/fraud/%2e%2e/pricing/1"),
    "a name that begins alike": ("spec.predictor.model.storageUri", "s3://hallmark-dev-artifacts/fraudulent/1"),
    "another cluster's bucket": ("spec.predictor.model.storageUri", "s3://hallmark-production-artifacts/fraud/1"),
    "no place": ("spec.predictor.model.storageUri", None),
    "a place by credentials": ("spec.predictor.model.storage", {"path": "x", "key": "y"}),
    "several places": ("spec.predictor.storageUris", [{"uri": "s3://hallmark-dev-artifacts/pricing/1"}]),
    "the web": ("spec.predictor.model.storageUri", "https://models.elsewhere.example/one"),
    "a canary of another domain": (
        "spec.canary",
        [{"trafficPercent": 1, "predictor": {"model": {"storageUri": "s3://hallmark-dev-artifacts/pricing/1"}}}],
    ),
    "a canary with its own containers": (
        "spec.canary",
        [{"trafficPercent": 1, "predictor": {"containers": [{"name": "x", "image": "x"}]}}],
    ),
    "a canary with another account": (
        "spec.canary",
        [{"trafficPercent": 1, "predictor": {"serviceAccountName": "pipeline"}}],
    ),
    "containers of its own": ("spec.predictor.containers", [{"name": "x", "image": "x"}]),
    "another image": ("spec.predictor.model.image", "docker.io/library/busybox:1.36"),
    "another command": ("spec.predictor.model.command", ["sh"]),
    "another runtime": ("spec.predictor.model.runtime", "kserve-sklearnserver"),
    "no runtime": ("spec.predictor.model.runtime", None),
    "no mode": ("metadata.annotations", None),
    "a mode that is none": ("metadata.annotations.serving~kserve~io/deploymentMode", "ModelMesh"),
    "another account": ("spec.predictor.serviceAccountName", "pipeline"),
    "no account": ("spec.predictor.serviceAccountName", None),
    "no limits": ("spec.predictor.model.resources", {"requests": {"cpu": "1"}}),
    "the node's network": ("spec.predictor.hostNetwork", True),
    "a path of the node": ("spec.predictor.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    "a transformer": ("spec.transformer", {"containers": [{"name": "x", "image": "x"}]}),
    "an explainer": ("spec.explainer", {"art": {}}),
    "another domain's label": ("metadata.labels", {"hallmark.dev/domain": "pricing"}),
    "a namespace of nobody": ("metadata.namespace", "default"),
}


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


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.model.uri", "s3://hallmark-dev-artifacts/fraud/llm"),
        ("spec.model.uri", "s3://hallmark-dev-artifacts/listing/../fraud/llm"),
        ("spec.template.serviceAccountName", "default"),
        ("spec.template.containers.0.image", "docker.io/library/busybox:1.36"),
        ("spec.template.containers.0.resources", None),
        ("spec.template.containers.0.securityContext.readOnlyRootFilesystem", False),
        ("spec.template.hostNetwork", True),
        ("spec.template", None),
        ("spec.prefill", {}),
        ("metadata.namespace", "default"),
    ],
)
def test_a_bad_reviewer_is_refused(path: str, value: Any) -> None:
    (reviewer,) = [each for each in tenant("dev", "listing") if each["kind"] == "LLMInferenceService"]
    assert refusals(reviewer) == []
    assert refusals(changed(reviewer, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.containers.0.image", f"{REGISTRY}/serving:latest"),
        ("spec.containers.1.image", "docker.io/library/busybox:1.36"),
        ("spec.containers.0.resources", None),
        ("spec.containers.0.securityContext.readOnlyRootFilesystem", False),
        ("spec.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    ],
)
def test_a_bad_runtime_is_refused(path: str, value: Any) -> None:
    (runtime,) = [each for each in platform("dev") if each["kind"] == "ClusterServingRuntime"]
    assert refusals(runtime) == []
    assert refusals(changed(runtime, path, value))
    own = {**runtime, "kind": "ServingRuntime", "metadata": {"name": "own", "namespace": "fraud"}}
    assert refusals(own), "a domain's own runtime goes round all of it"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.trainer.image", "docker.io/library/busybox:1.36"),
        ("spec.trainer.resourcesPerNode.limits", {"cpu": "1"}),
        ("spec.trainer", None),
        ("metadata.labels", {}),
        ("metadata.namespace", "default"),
    ],
)
def test_a_bad_training_is_refused(path: str, value: Any) -> None:
    assert refusals(changed(train_job(), path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.data", [{"secretKey": "x", "remoteRef": {"key": "hallmark/pricing/mlflow"}}]),
        ("spec.data", [{"secretKey": "x", "remoteRef": {"key": "hallmark/fraud/../pricing/mlflow"}}]),
        ("spec.data", [{"secretKey": "x", "remoteRef": {"key": "hallmark/fraudulent"}}]),
        ("spec.dataFrom", [{"extract": {"key": "hallmark/pricing/mlflow"}}]),
        ("spec.dataFrom", [{"find": {"name": {"regexp": ".*"}}}]),
        ("spec.secretStoreRef", {"kind": "SecretStore", "name": "own"}),
    ],
)
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
