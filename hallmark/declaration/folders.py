"""The domains that a checkout declares, by their folders alone: no declaration is read, and nothing that reads one is imported."""

from __future__ import annotations

from pathlib import Path

from hallmark.errors import DeclarationError
from hallmark.settings import Settings


def names(settings: Settings) -> list[str]:
    """The declared domains, sorted."""
    return sorted(path.parent.name for path in settings.domains.glob("*/domain.yaml"))


def path(name: str, settings: Settings) -> Path:
    """The file that declares a domain; `DeclarationError` where there is none."""
    found = settings.domains / name / "domain.yaml"
    if not found.is_file():
        raise DeclarationError(
            f"there is no domain {name!r}",
            expected="one of " + (", ".join(names(settings)) or "none yet"),
            got=repr(name),
            fix=f"make {found.relative_to(settings.root)}, or check the spelling",
        )
    return found
