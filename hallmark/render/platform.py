"""Prometheus and Grafana on what all domains share: templates/alerts/platform.yaml, view.yaml and templates/dashboards/platform.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hallmark import names, templates
from hallmark.declaration.feature_view import FeatureView
from hallmark.render import slo
from hallmark.render.alerts import UNWATCHED
from hallmark.render.dashboard import dashboard
from hallmark.render.rules import PLATFORM_TEAM, Json, number, span, whole

PENDING = (
    'sum by (namespace) ((sum by (namespace, pod) (kube_pod_status_phase{phase="Pending"}) > 0)'
    ' and on (namespace, pod) kube_pod_container_resource_requests{resource="nvidia_com_gpu"})'
)
"""Pods that wait for a GPU, by namespace."""
_VALUES: dict[str, Any] = {"names": names, "slo": slo, "pending": PENDING, "unwatched": UNWATCHED.total_seconds()}


def groups(views: Sequence[FeatureView]) -> list[Json]:
    """The alerts: the platform's own, and those on each feature view, which are its owner's."""
    found = whole(templates.objects("render/templates/alerts/platform.yaml", **_VALUES), team=PLATFORM_TEAM)
    for view in views:
        mine = templates.objects("render/templates/alerts/view.yaml", view=view, number=number, span=span)
        found += whole(mine, team=view.owner.team)
    return found


def board() -> Json:
    """The dashboard: every domain beside the others, the gateway, the watch, queues, pipelines, nodes and GPUs."""
    return dashboard("platform", "render/templates/dashboards/platform.yaml", **_VALUES)
