"""The domains that a checkout declares, by their folders alone, and what is quick to tell of one: the whole declaration is not read, nor imported what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.errors import DeclarationError
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.tasks.kinds import Task


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


def task(name: str, settings: Settings) -> Task:
    """The task of a domain, whatever else its declaration says; `DeclarationError` where it names none that there is."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from hallmark.tasks.kinds import Task

    try:
        raw = yaml.load(path(name, settings).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        found: Task = TypeAdapter(Task).validate_python(raw["task"])
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError, LookupError, TypeError):
        from hallmark.declaration import domain

        return domain.load(name, settings).task  # which says what is wrong
    return found
