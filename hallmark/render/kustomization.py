"""A domain's kustomization: its tenancy and what it serves, as one application of Argo CD."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hallmark.declaration.domain import Domain
from hallmark.render.manifest import manifest
from hallmark.settings import Settings

FILE = "kustomization.yaml"


def files(settings: Settings, declared: Sequence[Domain], *, beside: Iterable[Path]) -> dict[Path, str]:
    """The kustomization of each domain, by path; `beside` are the generated files that lie beside them."""
    generated = sorted(beside)
    found = {}
    for domain in declared:
        folder = settings.releases / domain.name
        mine = [path.name for path in generated if path.parent == folder]
        body = kustomization([_tenant(domain, folder, settings), *mine])
        found[folder / FILE] = manifest([body], source=f"domains/{domain.name}/domain.yaml")
    return found


def kustomization(resources: Sequence[str]) -> dict[str, Any]:
    """A Kustomization of these files; it reads outside its folder, so build with --load-restrictor LoadRestrictionsNone."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(resources)}


def _tenant(domain: Domain, folder: Path, settings: Settings) -> str:
    return Path(os.path.relpath(settings.manifests / "tenants" / f"{domain.name}.yaml", folder)).as_posix()
