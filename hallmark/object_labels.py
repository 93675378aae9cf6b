"""Labels and annotations by which objects and pods say what they are to a rollout; read by the renderer, the watch and the
local cluster."""

from __future__ import annotations

from typing import Any

MODE = "serving.kserve.io/deploymentMode"
"""Annotation, KServe's: Knative or Standard. It cannot change while the object lives."""
SHADOW = "hallmark.dev/shadow-percent"
"""Annotation: this share of stable's requests is mirrored to the newest revision while that gets 0%."""
ROLLOUT = "hallmark.dev/rollout"
"""Annotation: the rollout record (who is stable, how far a candidate is) as JSON; written in the same patch as model and share."""
FENCE = "hallmark.dev/fence"
"""Annotation: the fencing token of the watch that wrote last."""
REVISION = "serving.knative.dev/revision"
"""Label of a pod, Knative's: the revision that it runs."""
VARIANT = "endpoint"
"""Label of a pod, KServe's logger's: stable or canary."""
_APP, _ISVC = "app", "isvc."
"""Label of a pod, KServe's in Standard mode: `isvc.` and the name of its Deployment, which is the revision there."""


def revision_of(pod: dict[str, Any]) -> str:
    """The revision that a pod runs: Knative's, or in Standard mode its Deployment; empty where it is neither's."""
    labels = pod["metadata"].get("labels") or {}
    app = str(labels.get(_APP) or "")
    return str(labels.get(REVISION) or "") or (app.removeprefix(_ISVC) if app.startswith(_ISVC) else "")


def of_deployment(name: str) -> dict[str, str]:
    """Labels that KServe gives to the pods of a Deployment."""
    return {_APP: f"{_ISVC}{name}"}


def is_ready(pod: dict[str, Any]) -> bool:
    """The pod's own word on its condition Ready."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
