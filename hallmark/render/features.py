"""The feature stream on a cluster: the one program that keeps the declared views up to date, and all that it may reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names, templates
from hallmark.declaration import feature_view
from hallmark.declaration.domain import Domain
from hallmark.render import network
from hallmark.render.manifest import manifest
from hallmark.settings import Settings

FILE = "features.yaml"


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The stream's file among the platform's, by path; none in a checkout without feature views."""
    if not settings.features.is_dir():
        return {}
    found = objects(feature_view.references(settings))
    return {settings.manifests / "platform" / FILE: manifest(found, source="features/")}


def objects(views: Sequence[str]) -> list[dict[str, Any]]:
    """What stands in the namespace `features`; without the program itself while no view is declared."""
    return templates.objects(
        "render/templates/features.yaml", views=views, names=names, network=network, addresses=addresses
    )


def addresses(user: str) -> dict[str, str]:
    """Where features are: the online store by engine, of which each cluster makes one the `address`, of Valkey for a user, of DynamoDB for
    whoever asks; and the offline store."""
    group = f"{names.BUCKET.partition('-')[0]}-features"
    return {
        "dynamodb": f"dynamodb://{group}?region={names.REGION}",
        "offline": f"{names.storage(names.FEATURES, 'offline')}?region={names.REGION}",
        "valkey": f"rediss://{user}@online-store.{names.HOST}:6379/0?iam={group}&region={names.REGION}",
    }
