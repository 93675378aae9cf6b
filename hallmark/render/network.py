"""A tenant's NetworkPolicies: nothing in and nothing out, then just the paths that are needed, each with its reason.

A flow passes where the sender's egress and the receiver's ingress both let it. The addresses below stand for what differs by
cluster; each cluster replaces them by its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hallmark import names
from hallmark.declaration.domain import Domain

REASON = "hallmark.dev/reason"

CONTROL_PLANE = "10.0.208.0/24"
"""The subnets of the interfaces by which EKS' API server reaches into the VPC: theirs alone, with no pod in them."""
API_SERVICE = "172.20.0.1/32"
"""The Service `kubernetes`: AWS' agent sees the address before it is translated, other network plug-ins the one after."""
STORES = "10.0.192.0/22"
"""The subnets of the data stores, the online store among them."""
POD_IDENTITY = "169.254.170.23/32"
"""EKS Pod Identity's agent on each node, which hands a service account its AWS credentials; the same on every cluster."""
PUBLIC = {
    "cidr": "0.0.0.0/0",
    "except": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"],
}
"""S3's own addresses, which the VPC's gateway endpoint takes: never a pod, a node or the instance's metadata."""

HTTP, GRPC = 8080, 8081
"""The model server's own ports: what clients reach in Standard mode, and in Knative mode only Prometheus."""
QUEUE, QUEUE_H2, QUEUE_SCALING, QUEUE_METRICS = 8012, 8013, 9090, 9091
"""Knative's queue-proxy, beside the model server: requests in two forms, what the autoscaler reads, what Prometheus reads."""
MONITOR = names.MONITOR_PORT
"""The drift monitor."""
REVIEWER = 8000
"""vLLM, in an LLMInferenceService's pods."""
ONLINE_STORE = 6379
"""Valkey, in the cluster or as one of the data stores."""
DOORS = (HTTP, GRPC, QUEUE, QUEUE_H2)
"""Where a request to a model arrives at its pod, in either mode."""

Object = dict[str, Any]


def objects(domain: Domain, declared: Sequence[Domain]) -> list[Object]:
    """The NetworkPolicies of one tenant; `declared` says whose models it may call."""
    called = [other.name for other in declared if domain.name in other.serving.callers]
    found = [
        _policy(domain, "default-deny", {}, "Nothing enters or leaves but what another policy names."),
        _policy(
            domain,
            "base",
            {},
            "Names, AWS credentials by Pod Identity, S3 by its gateway endpoint, and the mesh's control plane.",
            egress=[
                _flow(_pods("kube-system", {"k8s-app": "kube-dns"}), 53, udp=True),
                _flow([{"ipBlock": {"cidr": POD_IDENTITY}}], 80),
                _flow([{"ipBlock": dict(PUBLIC)}], 443),
                _flow(_pods("istio-system", {"app": "istiod"}), 15012),
            ],
        ),
        _policy(
            domain,
            "serving",
            predictor(domain.name),
            "Requests come by the shared gateway or Knative's activator, whose autoscaler reads the queue; features are read.",
            ingress=[
                _flow(_namespace(names.INGRESS), *DOORS),
                _flow(_pods("knative-serving", {"app": "activator"}), QUEUE, QUEUE_H2),
                _flow(_pods("knative-serving", {"app": "autoscaler"}), QUEUE_SCALING),
            ],
            egress=[
                _flow(
                    [{"ipBlock": {"cidr": STORES}}, *_pods("features", {"app.kubernetes.io/name": "valkey"})],
                    ONLINE_STORE,
                )
            ],
        ),
        _policy(
            domain,
            "metrics",
            predictor(domain.name),
            "Prometheus reads /metrics of the model server, of queue-proxy and of the drift monitor.",
            ingress=[
                _flow(_pods(names.MONITORING, {"app.kubernetes.io/name": "prometheus"}), HTTP, QUEUE_METRICS, MONITOR)
            ],
        ),
        _policy(
            domain,
            "drift-monitor",
            predictor(domain.name),
            "Whoever reaches the monitor may post labels: only the watch, and the API server's proxy, which asks RBAC first.",
            ingress=[
                _flow(
                    [*_pods(names.SYSTEM, {"app.kubernetes.io/name": "watch"}), {"ipBlock": {"cidr": CONTROL_PLANE}}],
                    MONITOR,
                )
            ],
        ),
        _policy(
            domain,
            "pipeline",
            {"matchLabels": {"pipelines.kubeflow.org/v2_component": "true"}},
            "Steps of a run speak to Kubeflow Pipelines, to MLflow, and to the API server about their own workflow.",
            egress=[
                _flow(_pods(names.KUBEFLOW, {"app": "ml-pipeline"}), 8887, 8888),
                _flow(_pods(names.KUBEFLOW, {"component": "metadata-grpc-server"}), 8080),
                _flow(_mlflow(), 5000),
                _flow([{"ipBlock": {"cidr": API_SERVICE}}, {"ipBlock": {"cidr": CONTROL_PLANE}}], 443),
            ],
        ),
    ]
    if domain.training.nodes > 1:
        found.append(_training(domain))
    if domain.serving.callers:
        found.append(
            _policy(
                domain,
                "callers",
                predictor(domain.name),
                f"Declared in serving.callers: {', '.join(domain.serving.callers)}.",
                ingress=[_flow(_predictors(domain.serving.callers), *DOORS)],
            )
        )
    if called:
        found.append(
            _policy(
                domain,
                "calls",
                predictor(domain.name),
                f"Declared in serving.callers of {', '.join(called)}.",
                egress=[_flow(_predictors(called), *DOORS)],
            )
        )
    return [*found, *(_review(domain) if domain.reviewer else [])]


def predictor(domain: str) -> Object:
    """A selector of the pods that serve the domain's model, in both modes."""
    return {"matchLabels": {"serving.kserve.io/inferenceservice": domain}}


def reviewer() -> Object:
    """A selector of the pods of LLMInferenceServices."""
    return {"matchLabels": {"app.kubernetes.io/part-of": "llminferenceservice"}}


def _training(domain: Domain) -> Object:
    selector = {"matchLabels": {names.JOB: names.TRAINING_JOB}}
    every: Object = {"ports": [{"protocol": "TCP"}]}
    return _policy(
        domain,
        "training",
        selector,
        "The nodes of one training speak to each other on ports that they choose, and to MLflow.",
        ingress=[{"from": [{"podSelector": selector}], **every}],
        egress=[{"to": [{"podSelector": selector}], **every}, _flow(_mlflow(), 5000)],
    )


def _review(domain: Domain) -> list[Object]:
    return [
        _policy(
            domain,
            "reviewer",
            reviewer(),
            "The domain's own model asks the reviewer, and nobody else.",
            ingress=[_flow([{"podSelector": predictor(domain.name)}], REVIEWER)],
        ),
        _policy(
            domain,
            "review",
            predictor(domain.name),
            "The domain's own model may ask the reviewer.",
            egress=[_flow([{"podSelector": reviewer()}], REVIEWER)],
        ),
    ]


def _policy(
    domain: Domain,
    name: str,
    selector: Object,
    reason: str,
    *,
    ingress: list[Object] | None = None,
    egress: list[Object] | None = None,
) -> Object:
    """A policy of the directions that it is given; of both, and of nothing in them, where it is given none."""
    neither = ingress is None and egress is None
    spec: Object = {
        "podSelector": selector,
        "policyTypes": [
            *(["Ingress"] if neither or ingress is not None else []),
            *(["Egress"] if neither or egress is not None else []),
        ],
    }
    if ingress is not None:
        spec["ingress"] = [{"from": each.get("from", each.get("to")), "ports": each["ports"]} for each in ingress]
    if egress is not None:
        spec["egress"] = egress
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": domain.namespace,
            "labels": names.labels(domain.name),
            "annotations": {REASON: reason},
        },
        "spec": spec,
    }


def _flow(peers: list[Object], *ports: int, udp: bool = False) -> Object:
    protocols = ["UDP", "TCP"] if udp else ["TCP"]
    return {
        "to": peers,
        "ports": [{"protocol": protocol, "port": port} for port in ports for protocol in protocols],
    }


def _namespace(name: str) -> list[Object]:
    return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]


def _pods(namespace: str, labels: dict[str, str]) -> list[Object]:
    return [_namespace(namespace)[0] | {"podSelector": {"matchLabels": labels}}]


def _predictors(domains: Sequence[str]) -> list[Object]:
    return [_namespace(each)[0] | {"podSelector": predictor(each)} for each in domains]


def _mlflow() -> list[Object]:
    return _pods(names.SYSTEM, {"app.kubernetes.io/name": names.MLFLOW})
