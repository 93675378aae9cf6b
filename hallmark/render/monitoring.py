"""Monitoring of a domain: recording and alert rules and a dashboard, from its declaration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hallmark import names
from hallmark.declaration import feature_view
from hallmark.declaration.domain import Domain
from hallmark.declaration.feature_view import FeatureView
from hallmark.render import alerts, istio, platform, slo
from hallmark.render.dashboard import config_map, dashboard
from hallmark.render.kustomization import kustomization
from hallmark.render.manifest import manifest
from hallmark.render.rules import Json, number, prometheus_rule
from hallmark.settings import Settings

FOLDER = "observability"
PLATFORM = "platform"


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The generated files of this kind, by path."""
    folder = settings.manifests / FOLDER
    found = {
        folder / f"{domain.name}.yaml": manifest(objects(domain), source=f"domains/{domain.name}/domain.yaml")
        for domain in declared
    }
    views = [feature_view.load(each, settings) for each in feature_view.references(settings)]
    found[folder / f"{PLATFORM}.yaml"] = manifest(
        of_platform(views), source="hallmark/render/platform.py and features/"
    )
    resources = sorted(path.name for path in found)
    found[folder / "kustomization.yaml"] = manifest([kustomization(resources)], source="the names of domains/")
    return found


def objects(domain: Domain) -> list[Json]:
    """The PrometheusRule of one domain, and its dashboard."""
    labels = names.labels(domain.name)
    groups = [*istio.groups(domain), *slo.groups(domain), *alerts.groups(domain)]
    return [
        prometheus_rule(domain.name, groups, labels=labels),
        config_map(domain.name, board(domain), labels=labels),
    ]


def board(domain: Domain) -> Json:
    """The dashboard of one domain."""
    values = {
        "domain": domain,
        "unwatched": alerts.UNWATCHED.total_seconds(),
        **{"captured": alerts.CAPTURED, "stale": alerts.STALE},
        **{"slo": slo, "pods": alerts.pods, "ready_pods": alerts.ready_pods, "number": number},
    }
    return dashboard(domain.name, "render/templates/dashboards/domain.yaml", **values)


def of_platform(views: Sequence[FeatureView]) -> list[Json]:
    """The same for what all domains share, feature views too."""
    labels = {names.PART_OF: "hallmark"}
    return [
        prometheus_rule(PLATFORM, platform.groups(views), labels=labels),
        config_map(PLATFORM, platform.board(), labels=labels),
    ]
