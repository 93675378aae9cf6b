"""A tenant's accounts, and what each may ask of the Kubernetes API: its people, its pipeline, and Hallmark's own watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hallmark import names
from hallmark.declaration.domain import Domain

MEMBER, WATCH = "member", "watch"
MEMORY = "hallmark-watch"
"""The ConfigMap and the Lease of the watch (hallmark/rollout), by their names."""
_READ = ("get", "list", "watch")

Object = dict[str, Any]


def objects(domain: Domain) -> list[Object]:
    """Accounts, roles and bindings of one tenant; no ClusterRole, so nothing of them reaches another namespace."""
    return [
        _object(domain, "ServiceAccount", "v1", "default", {"automountServiceAccountToken": False}),
        _object(domain, "ServiceAccount", "v1", names.PIPELINE, {"automountServiceAccountToken": True}),
        _object(domain, "ServiceAccount", "v1", names.PREDICTOR, {"automountServiceAccountToken": False}),
        *_granted(domain, MEMBER, member(), _group(names.members(domain.name))),
        *_granted(domain, names.PIPELINE, pipeline(domain), _account(domain.namespace, names.PIPELINE)),
        *_granted(domain, WATCH, watch(), _account(names.SYSTEM, WATCH)),
    ]


def member() -> list[Object]:
    """What a domain's people may fix: roll out, train and look; not write what the platform owns, and no secrets.

    `pipelines.kubeflow.org` is what Kubeflow Pipelines asks about before it shows or starts anything; no such objects exist.
    """
    return [
        _rule("serving.kserve.io", ["inferenceservices"], *_READ, "patch", "update"),
        _rule("serving.kserve.io", ["llminferenceservices"], *_READ),
        _rule("", ["pods", "pods/log", "events", "configmaps", "services", "resourcequotas", "limitranges"], *_READ),
        _rule("apps", ["deployments", "replicasets"], *_READ),
        _rule("autoscaling", ["horizontalpodautoscalers"], *_READ),
        _rule("policy", ["poddisruptionbudgets"], *_READ),
        _rule("events.k8s.io", ["events"], *_READ),
        _rule("serving.knative.dev", ["services", "configurations", "revisions", "routes"], *_READ),
        _rule("trainer.kubeflow.org", ["trainjobs"], *_READ),
        _rule("kueue.x-k8s.io", ["localqueues", "workloads"], *_READ),
        _rule("argoproj.io", ["workflows"], *_READ),
        _rule("pipelines.kubeflow.org", ["pipelines", "pipelineversions"], "get", "list", "create", "update", "delete"),
        _rule("pipelines.kubeflow.org", ["experiments"], "get", "list", "create", "archive", "unarchive"),
        _rule(
            "pipelines.kubeflow.org",
            ["runs"],
            *("get", "list", "create", "archive", "unarchive", "retry", "terminate", "readArtifact"),
        ),
        _rule("pipelines.kubeflow.org", ["jobs"], "get", "list", "create", "enable", "disable", "delete"),
    ]


def pipeline(domain: Domain) -> list[Object]:
    """What the driver and launcher of a run call, and Argo's executor; and the training that a step starts, where it has nodes."""
    rules = [
        _rule("", ["configmaps"], "get", named=["kfp-launcher"]),
        _rule("", ["pods"], "get"),
        _rule("argoproj.io", ["workflowtaskresults"], "create", "patch"),
    ]
    if domain.training.nodes > 1:
        rules.append(_rule("trainer.kubeflow.org", ["trainjobs"], "get", "create", "delete"))
    return rules


def watch() -> list[Object]:
    """What `hallmark watch` calls in a domain's namespace (hallmark/rollout): nothing that it does not."""
    return [
        _rule("serving.kserve.io", ["inferenceservices"], "get", "patch"),
        _rule("", ["pods"], "list", "patch"),
        _rule("", ["pods/proxy"], "get", "create"),
        _rule("", ["configmaps"], "create"),
        _rule("", ["configmaps"], "get", "update", named=[MEMORY]),
        _rule("coordination.k8s.io", ["leases"], "create"),
        _rule("coordination.k8s.io", ["leases"], "get", "update", named=[MEMORY]),
        _rule("pipelines.kubeflow.org", ["pipelines", "pipelineversions"], "get", "list"),
        _rule("pipelines.kubeflow.org", ["experiments"], "get", "list", "create"),
        _rule("pipelines.kubeflow.org", ["runs"], "get", "list", "create", "terminate"),
    ]


def _rule(group: str, resources: Sequence[str], *verbs: str, named: Sequence[str] = ()) -> Object:
    rule: Object = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return rule | {"resourceNames": list(named)} if named else rule


def _granted(domain: Domain, name: str, rules: list[Object], subject: Object) -> list[Object]:
    group = "rbac.authorization.k8s.io"
    return [
        _object(domain, "Role", f"{group}/v1", name, {"rules": rules}),
        _object(
            domain,
            "RoleBinding",
            f"{group}/v1",
            name,
            {"roleRef": {"apiGroup": group, "kind": "Role", "name": name}, "subjects": [subject]},
        ),
    ]


def _group(name: str) -> Object:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}


def _account(namespace: str, name: str) -> Object:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


def _object(domain: Domain, kind: str, version: str, name: str, content: Object) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": domain.namespace, "labels": names.labels(domain.name)},
        **content,
    }
