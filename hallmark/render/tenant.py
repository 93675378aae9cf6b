"""A domain's tenancy: its namespace with quota, network, accounts, permissions and secrets, from its declaration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.render import mesh, network, permissions, supplies
from hallmark.render.manifest import manifest
from hallmark.section import parted
from hallmark.settings import Settings

BURST = 2
"""Limits may be this many times what may be requested: sidecars ask for little, and seldom use more all at once."""
KUBERNETES = "v1.32"
"""Whose rules of Pod Security hold; pinned, so that an upgrade of the cluster evicts nobody."""

Object = dict[str, Any]


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """One file a tenant, by path."""
    return {
        settings.manifests / "tenants" / f"{domain.name}.yaml": manifest(
            objects(domain, declared), source=f"domains/{domain.name}/domain.yaml"
        )
        for domain in declared
    }


def objects(domain: Domain, declared: Sequence[Domain]) -> list[Object]:
    """Everything that makes one tenant, its namespace first; `declared` says whose models it may call."""
    known = {other.name for other in declared}
    if strangers := [caller for caller in domain.serving.callers if caller not in known]:
        raise DeclarationError(
            f"domains/{domain.name}/domain.yaml: serving.callers",
            expected="declared domains: " + ", ".join(sorted(known - {domain.name})),
            got=", ".join(strangers),
            fix="check the spelling, or declare it first",
        )
    return [
        namespace(domain),
        profile(domain),
        limits(domain),
        *permissions.objects(domain),
        *supplies.objects(domain),
        *network.objects(domain, declared),
        *mesh.objects(domain),
        metrics(domain),
        *([queue(domain)] if queued(domain) else []),
    ]


def namespace(domain: Domain) -> Object:
    """The Namespace, with what Kubeflow's Profile controller would not put on it.

    The controller takes over a namespace whose annotation `owner` is the Profile's owner, and then adds the labels that are
    missing; so it does not matter which of the two comes first. It leaves alone what is here: its `restricted` is not
    weakened, and `pipelines.kubeflow.org/enabled: "false"` keeps Kubeflow's own kfp-launcher, with keys and one bucket
    for all, out of it.
    """
    security = {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", KUBERNETES))
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": domain.namespace,
            "labels": names.labels(domain.name)
            | security
            | {"istio-injection": "enabled", "pipelines.kubeflow.org/enabled": "false"},
            "annotations": {"owner": domain.owner.contact},
        },
    }


def profile(domain: Domain) -> Object:
    """The Kubeflow Profile: makes the owner the namespace's admin, and the quota a ResourceQuota."""
    quota = domain.quota
    hard = {
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        "limits.cpu": _times(quota.cpu, BURST),
        "limits.memory": _times(quota.memory, BURST),
        f"requests.{names.GPU}": str(quota.gpu),
        "requests.storage": quota.storage,
        "pods": str(quota.pods),
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": domain.namespace, "labels": names.labels(domain.name)},
        "spec": {"owner": {"kind": "User", "name": domain.owner.contact}, "resourceQuotaSpec": {"hard": hard}},
    }


def limits(domain: Domain) -> Object:
    """What a container gets that says nothing, without which the quota would refuse it; and how large one may be."""
    return _object(
        domain,
        "v1",
        "LimitRange",
        "defaults",
        {
            "spec": {
                "limits": [
                    {
                        "type": "Container",
                        "defaultRequest": {"cpu": "50m", "memory": "128Mi"},
                        "default": {"cpu": "500m", "memory": "512Mi"},
                        "max": {"cpu": domain.quota.cpu, "memory": domain.quota.memory},
                    },
                    {"type": "PersistentVolumeClaim", "max": {"storage": domain.quota.storage}},
                ]
            }
        },
    )


def queued(domain: Domain) -> bool:
    """Does its training wait for its turn on shared nodes?"""
    return domain.training.accelerator == "gpu" or domain.training.nodes > 1


def queue(domain: Domain) -> Object:
    """The Kueue LocalQueue through which the domain's training asks for nodes."""
    return _object(domain, "kueue.x-k8s.io/v1beta2", "LocalQueue", names.QUEUE, {"spec": {"clusterQueue": names.QUEUE}})


def metrics(domain: Domain) -> Object:
    """What Prometheus scrapes: by address, since in Knative mode only the model server may declare a port."""
    endpoints = [
        ("kserve-container", network.HTTP),
        ("drift-monitor", network.MONITOR),
        ("queue-proxy", network.QUEUE_METRICS),
    ]
    return _object(
        domain,
        "monitoring.coreos.com/v1",
        "PodMonitor",
        "predictor",
        {
            "spec": {
                "selector": network.predictor(domain.name),
                "podTargetLabels": ["serving.knative.dev/revision", "hallmark.dev/model-version"],
                "podMetricsEndpoints": [_endpoint(container, port) for container, port in endpoints],
            }
        },
    )


def _endpoint(container: str, port: int) -> Object:
    return {
        "path": "/metrics",
        "interval": "15s",
        "relabelings": [
            {"action": "keep", "sourceLabels": ["__meta_kubernetes_pod_container_name"], "regex": container},
            {"sourceLabels": ["__meta_kubernetes_pod_ip"], "targetLabel": "__address__", "replacement": f"$1:{port}"},
        ],
    }


def _times(quantity: str, factor: int) -> str:
    number, unit = parted(quantity)
    return f"{number * factor:g}{unit}"


def _object(domain: Domain, version: str, kind: str, name: str, content: Object) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": domain.namespace, "labels": names.labels(domain.name)},
        **content,
    }
