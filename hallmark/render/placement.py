"""Nodes, security context and resources of serving pods."""

from __future__ import annotations

from typing import Any

from hallmark import names

Json = dict[str, Any]

_SPREAD = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def nodes(*, gpu: int) -> Json:
    """The pool whose nodes take the pod, and the taint of GPU nodes that it tolerates."""
    if not gpu:
        return {"nodeSelector": {names.POOL: names.CPU_POOL}}
    toleration = {"key": names.GPU, "operator": "Exists", "effect": "NoSchedule"}
    return {"nodeSelector": {names.POOL: names.INFERENCE_POOL}, "tolerations": [toleration]}


def spread(labels: dict[str, str]) -> Json:
    """The pods with these labels over zones, and over hosts within them, each Deployment by itself.

    By preference: a pod that waits for a zone serves nobody.
    """
    constraints = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in _SPREAD
    ]
    return {"topologySpreadConstraints": constraints}


def account(name: str) -> Json:
    """The service account, without its token for the Kubernetes API: nothing that serves calls that."""
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }


def resources(*, cpu: str, memory: str, gpu: int) -> Json:
    """Resources of the container: limits equal to requests."""
    amount = {"cpu": cpu, "memory": memory} | ({names.GPU: str(gpu)} if gpu else {})
    return {"requests": dict(amount), "limits": dict(amount)}
