"""Our ValidatingAdmissionPolicies: an interpreter of them, and objects that they must let in or refuse.

The interpreter reads the policies' own expressions with cel-python. The real API server judges the same objects in tests/conformance.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import celpy
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

from hallmark.training import distributed_job
from tests.manifests.builds import DOMAINS, Object, declared, platform, tenant

SHA = "sha256:" + "0" * 64
REGISTRY = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/hallmark"
ARGO_CD = "system:serviceaccount:argocd:argocd-application-controller"


@functools.cache
def program(expression: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression))


def policies(cluster: str) -> dict[str, Object]:
    return {e["metadata"]["name"]: e for e in platform(cluster) if e["kind"] == "ValidatingAdmissionPolicy"}


def bindings(cluster: str) -> list[Object]:
    return [each for each in platform(cluster) if each["kind"] == "ValidatingAdmissionPolicyBinding"]


def plural(kind: str) -> str:
    """The resource of a kind, as the API names those that our policies are about."""
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


def labels_of(namespace: str) -> dict[str, str]:
    """Labels of a namespace: a domain's, or another one of the platform."""
    own = {"hallmark.dev/domain": namespace} if namespace in DOMAINS else {"app.kubernetes.io/part-of": "hallmark"}
    return {"kubernetes.io/metadata.name": namespace, **own}


def about(policy: Object, each: Object, operation: str) -> bool:
    """Does the policy match, as the API server matches: any of its rules, by group, version, resource and operation?"""
    group, _, version = each["apiVersion"].rpartition("/")
    return any(
        group in rule["apiGroups"]
        and {version, "*"} & set(rule["apiVersions"])
        and {plural(each["kind"]), "*"} & set(rule["resources"])
        and operation in rule["operations"]
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
    )


def bound(binding: Object, labels: dict[str, str]) -> bool:
    """Does a binding hold in a namespace with these labels?"""
    selector = binding["spec"].get("matchResources", {}).get("namespaceSelector", {})
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        {"Exists": one["key"] in labels, "In": labels.get(one["key"]) in one.get("values", [])}[one["operator"]]
        for one in selector.get("matchExpressions", [])
    )


def refusals(
    each: Object,
    *,
    cluster: str = "dev",
    user: str = ARGO_CD,
    groups: tuple[str, ...] = (),
    operation: str = "CREATE",
    before: Object | None = None,
) -> list[str]:
    """The messages with which the cluster's policies refuse an object; with `before`, a change of that."""
    namespace = each["metadata"].get("namespace", "")
    operation = "UPDATE" if before else operation
    given = {
        "object": each,
        "oldObject": before,
        "request": {
            "operation": operation,
            "namespace": namespace,
            "userInfo": {"username": user, "groups": list(groups)},
        },
        "namespaceObject": {"metadata": {"name": namespace, "labels": labels_of(namespace)}},
    }
    found = policies(cluster)
    named = {
        binding["spec"]["policyName"]: None for binding in bindings(cluster) if bound(binding, labels_of(namespace))
    }
    return [
        message
        for policy in map(found.__getitem__, named)
        if about(policy, each, operation)
        for message in judged(policy["spec"], given)
    ]


def judged(spec: Object, given: Object) -> Iterator[str]:
    """Result of a policy; as in the API server, an expression that ends in an error refuses."""
    context = {key: json_to_cel(value) for key, value in given.items()}
    for condition in spec.get("matchConditions", []):
        if not program(condition["expression"]).evaluate(context):
            return
    variables = celpy.celtypes.MapType()
    for variable in spec.get("variables", []):
        made = program(variable["expression"]).evaluate({**context, "variables": variables})
        variables[celpy.celtypes.StringType(variable["name"])] = made
    for validation in spec["validations"]:
        try:
            passed = bool(program(validation["expression"]).evaluate({**context, "variables": variables}))
        except CELEvalError:
            passed = False
        if not passed:
            yield validation["message"]


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


def reviewer() -> Object:
    (found,) = [each for each in tenant("dev", "authentication") if each["kind"] == "LLMInferenceService"]
    return found


def runtime() -> Object:
    (found,) = [each for each in platform("dev") if each["kind"] == "ClusterServingRuntime"]
    return found


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
BAD_REVIEWERS: list[tuple[str, Any]] = [
    ("spec.model.uri", "s3://hallmark-dev-artifacts/fraud/llm"),
    ("spec.model.uri", "s3://hallmark-dev-artifacts/authentication/../fraud/llm"),
    ("spec.template.serviceAccountName", "default"),
    ("spec.template.containers.0.image", "docker.io/library/busybox:1.36"),
    ("spec.template.containers.0.resources", None),
    ("spec.template.containers.0.securityContext.readOnlyRootFilesystem", False),
    ("spec.template.hostNetwork", True),
    ("spec.template", None),
    ("spec.prefill", {}),
    ("metadata.namespace", "default"),
]

BAD_RUNTIMES: list[tuple[str, Any]] = [
    ("spec.containers.0.image", f"{REGISTRY}/serving:latest"),
    ("spec.containers.1.image", "docker.io/library/busybox:1.36"),
    ("spec.containers.0.resources", None),
    ("spec.containers.0.securityContext.readOnlyRootFilesystem", False),
    ("spec.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
]

BAD_TRAININGS: list[tuple[str, Any]] = [
    ("spec.trainer.image", "docker.io/library/busybox:1.36"),
    ("spec.trainer.resourcesPerNode.limits", {"cpu": "1"}),
    ("spec.trainer", None),
    ("metadata.labels", {}),
    ("metadata.namespace", "default"),
]

BAD_SECRETS: list[tuple[str, Any]] = [
    ("spec.data", [{"secretKey": "x", "remoteRef": {"key": "hallmark/pricing/mlflow"}}]),
    ("spec.data", [{"secretKey": "x", "remoteRef": {"key": "hallmark/fraud/../pricing/mlflow"}}]),
    ("spec.data", [{"secretKey": "x", "remoteRef": {"key": "hallmark/fraudulent"}}]),
    ("spec.dataFrom", [{"extract": {"key": "hallmark/pricing/mlflow"}}]),
    ("spec.dataFrom", [{"find": {"name": {"regexp": ".*"}}}]),
    ("spec.secretStoreRef", {"kind": "SecretStore", "name": "own"}),
]
