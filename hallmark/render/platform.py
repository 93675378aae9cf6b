"""Prometheus and Grafana on what all domains share: templates/alerts/platform.yaml and templates/dashboards/platform.yaml."""

from __future__ import annotations

from typing import Any

from hallmark import names, templates
from hallmark.render import slo
from hallmark.render.alerts import UNWATCHED
from hallmark.render.dashboard import dashboard
from hallmark.render.rules import PLATFORM_TEAM, Json, whole

PENDING = (
    'sum by (namespace) ((sum by (namespace, pod) (kube_pod_status_phase{phase="Pending"}) > 0)'
    ' and on (namespace, pod) kube_pod_container_resource_requests{resource="nvidia_com_gpu"})'
)
"""Pods that wait for a GPU, by namespace."""
_VALUES: dict[str, Any] = {"names": names, "slo": slo, "pending": PENDING, "unwatched": UNWATCHED.total_seconds()}


def groups() -> list[Json]:
    """The alerts."""
    return whole(templates.objects("render/templates/alerts/platform.yaml", **_VALUES), team=PLATFORM_TEAM)


def board() -> Json:
    """The dashboard: every domain beside the others, the gateway, the watch, queues, pipelines, nodes and GPUs."""
    return dashboard("platform", "render/templates/dashboards/platform.yaml", **_VALUES)
