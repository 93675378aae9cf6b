"""Readers of feature views: domains that declare a version of one, and model versions that read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.artifacts import release
from hallmark.declaration import domain
from hallmark.errors import HallmarkError, NotFound
from hallmark.registry import places

if TYPE_CHECKING:
    from hallmark.settings import Settings

_VOLUME = "pvc://models/"


class Reader(NamedTuple):
    """Who reads a view. version: of the model; none for the declaration. role: stable, candidate, previous, champion or declared."""

    domain: str
    version: int | None
    role: str

    def __str__(self) -> str:
        return self.domain if self.version is None else f"{self.domain} {self.version} ({self.role})"


def folder_of(uri: str, models: Path) -> Path | None:
    """The folder of a registered model on this machine; none where it lies elsewhere."""
    path = models / uri.removeprefix(_VOLUME) if uri.startswith(_VOLUME) else places.local(uri)
    return path if path is not None and path.is_dir() else None


def views_of(folder: Path) -> tuple[str, ...] | None:
    """name@version of the views that the model in a folder reads; none where it cannot be told. Nothing is checked by its digest."""
    try:
        used = json.loads((folder / "signature.json").read_text(encoding="utf-8")).get("views") or ()
        return tuple(f"{each['view']['name']}@{each['view']['version']}" for each in used)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def readers(settings: Settings, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, list[Reader]]:
    """Who reads each view: domains by their declarations, and released and champion versions whose folders are on this machine.

    tell: is told which versions' views are not known.
    """
    from hallmark.registry.store import CHAMPION, Registry

    found: dict[str, dict[Reader, None]] = {}
    registry = Registry(settings)
    for name in domain.names(settings):
        features = domain.load(name, settings).features
        for reference in features.views if features else ():
            found.setdefault(reference, {})[Reader(name, None, "declared")] = None
        held: Any = release.read(name, settings)
        models = {role: getattr(held, role) for role in ("stable", "candidate", "previous")}
        folders = {
            (each.version, role): folder_of(each.storage_uri, settings.models) for role, each in models.items() if each
        }
        try:
            champion = registry.resolve(name, CHAMPION)
            if all(champion.version != version for version, _ in folders):
                folders[champion.version, CHAMPION] = champion.path
        except NotFound:
            pass
        except HallmarkError as error:
            tell(f"the champion of {name} is not known: {error.message}")
        for (version, role), folder in folders.items():
            views = views_of(folder) if folder else None
            if views is None:
                tell(f"{name} {version} ({role}) lies elsewhere, so its views are not known here")
            for reference in views or ():
                found.setdefault(reference, {})[Reader(name, version, role)] = None
    return {reference: list(each) for reference, each in found.items()}
