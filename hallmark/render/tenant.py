"""A domain's tenancy: its namespace with quota, network, accounts, permissions and secrets, from its declaration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names, templates
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.render import decision, features, mesh, network, parity
from hallmark.render.manifest import manifest
from hallmark.section import parted
from hallmark.settings import Settings

BURST = 2
"""Limits may be this many times what may be requested: sidecars ask for little, and seldom use more all at once."""
PARTS = ("namespace", "permissions", "supplies", "network", "mesh", "metrics", "queue", "parity", "notify")
"""The templates of templates/tenant, in the order of a tenant's file."""

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
    values = {
        "domain": domain,
        "labels": names.labels(domain.name),
        "called": [other.name for other in declared if domain.name in other.serving.callers],
        "decides": {part: decision.pods(domain, part) for part in ("decision", "reviewer")},
        "swept": decision.SWEEP,
        "reviewed": decision.reviewer(domain) is not None,
        "burst": lambda quantity: _times(quantity, BURST),
        **{"names": names, "network": network, "mesh": mesh, "features": features, "parity": parity},
    }
    return [each for part in PARTS for each in templates.objects(f"render/templates/tenant/{part}.yaml", **values)]


def _times(quantity: str, factor: int) -> str:
    number, unit = parted(quantity)
    return f"{number * factor:g}{unit}"
