"""Flink jobs of feature views, for clusters whose events are more than the one stream takes (docs/decisions/0037)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names, templates
from hallmark.declaration import feature_view, source
from hallmark.declaration.domain import Domain
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.view_types import view_types
from hallmark.feature_store.flink import Job, refusal, tables
from hallmark.feature_store.tiles import TYPES, Type
from hallmark.render.kustomization import kustomization
from hallmark.render.manifest import Block, manifest
from hallmark.settings import Settings

FOLDER = ("features", "flink")
ADDRESS = "kinesis://__CLUSTER__-events-{source}?region=__REGION__&account=__ACCOUNT__"
"""Of the sources' event logs; a pod puts its cluster's names in, from ConfigMap `cluster-names`."""
SHARED = ("cluster.yaml", "operator.yaml")
"""Written by hand, beside what is generated."""


def files(settings: Settings, _: Sequence[Domain]) -> dict[Path, str]:
    """A file a view that Flink can compute, and the kustomization of all."""
    folder = settings.manifests.joinpath(*FOLDER)
    views = [feature_view.load(each, settings) for each in feature_view.references(settings)]
    if not views or not folder.is_dir():
        return {}
    found = {
        folder / f"{_name(view)}.yaml": manifest(
            objects(view, settings), source=f"features/{view.name}/v{view.version}.yaml"
        )
        for view in views
        if not refusal(view, _types(view, settings))  # `hallmark features flink` says why
    }
    resources = [*SHARED, *sorted(path.name for path in found)]
    found[folder / "kustomization.yaml"] = manifest([kustomization(resources)], source="the names of features/")
    return found


def objects(view: FeatureView, settings: Settings) -> list[dict[str, Any]]:
    """The job's SQL, and the FlinkDeployment that runs it (templates/flink.yaml)."""
    job = Job(view, _types(view, settings))
    script = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _name(view), "namespace": "flink", "labels": {names.PART_OF: "hallmark"}},
        "data": {"job.sql": Block(job.script(*tables(ADDRESS, view)))},
    }
    return [script, *templates.objects("render/templates/flink.yaml", name=_name(view), names=names)]


def _types(view: FeatureView, settings: Settings) -> dict[str, Type]:
    contract = source.load(view.source, settings)
    view_types(view, contract)
    return {name: TYPES[each.datatype] for name, each in contract.columns.items()}


def _name(view: FeatureView) -> str:
    return f"{view.name.replace('_', '-')}-v{view.version}"
