"""The vision-language reviewer that a domain declares, as an LLMInferenceService."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names, templates
from hallmark.declaration.domain import Domain
from hallmark.render.manifest import manifest
from hallmark.settings import Settings

FILE = "reviewer.yaml"


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The reviewer of each domain that declares one, by path."""
    found = {}
    for domain in declared:
        if wanted := objects(domain):
            source = f"domains/{domain.name}/domain.yaml"
            found[settings.releases / domain.name / FILE] = manifest(wanted, source=source)
    return found


def objects(domain: Domain) -> list[dict[str, Any]]:
    """The domain's reviewer (templates/reviewer.yaml); none where it declares none."""
    if domain.reviewer is None:
        return []
    return templates.objects("render/templates/reviewer.yaml", domain=domain, names=names)
