"""Sealed prompts beside a domain's release units: those that the unit that decides, its candidate and the one before name, by digest.

They are what is rendered for the reviewer's service, so that `prompts/` may be edited while a unit decides, a candidate with another
prompt is asked beside stable, and promoting it or going back changes no pod of the reviewer: it has both prompts before and after.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from hallmark.artifacts.folder import MANIFEST
from hallmark.decision import unit
from hallmark.decision.unit import CANDIDATE, FOLDER, PREVIOUS, Unit
from hallmark.errors import HallmarkError, ModelRefused
from hallmark.prompts import sealed
from hallmark.prompts.sealed import EXAMPLES, PROMPT, SealedPrompt
from hallmark.settings import Settings

FOLDERS = "prompts"
FILES = (MANIFEST, PROMPT, EXAMPLES)
"""What a server reads; the golden set stays in the registry."""


def place(name: str, settings: Settings, digest: str) -> Path:
    """Folder of one prompt of a domain that decides."""
    return settings.releases / name / FOLDERS / sealed.short(digest)


def there(name: str, settings: Settings, digest: str) -> SealedPrompt | None:
    """That prompt, every byte checked; None where it is not there."""
    found = place(name, settings, digest)
    return sealed.read(found, expected=digest, served=True) if (found / MANIFEST).is_file() else None


def put(name: str, settings: Settings, digest: str, folder: Path) -> None:
    """Keep a sealed prompt, whole or not at all."""
    to = place(name, settings, digest)
    try:
        if there(name, settings, digest) is not None:
            return
    except ModelRefused:
        shutil.rmtree(to)  # somebody changed it
    draft = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        for each in FILES:
            shutil.copyfile(folder / each, draft / each)
        draft.rename(to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def named(name: str, settings: Settings) -> dict[str, str]:
    """Digests of the prompts that the domain's units name, sorted, each with the name of its reviewer."""
    units = [unit.there(name, settings, each) for each in (FOLDER, CANDIDATE, PREVIOUS)]
    return dict(sorted(each for found in units if found is not None for each in prompts_of(found).items()))


def prompts_of(found: Unit) -> dict[str, str]:
    """Digests of a unit's prompts, each with the name of its reviewer."""
    nodes = found.decision.nodes
    return {part.digest: each for each, part in found.parts.items() if part.digest and nodes[each].kind == "reviewer"}


def served(name: str, settings: Settings) -> list[SealedPrompt]:
    """The prompts that the domain's units name; `ModelRefused` where one is not beside them."""
    found = []
    for digest, node in named(name, settings).items():
        prompt = there(name, settings, digest)
        if prompt is None:
            raise ModelRefused(
                f"the prompt that a unit of {name} has {node} asked by is not beside it",
                expected=f"{settings.shown(place(name, settings, digest))}, as sealing the unit writes it",
                got="no such folder",
                fix=f"bring it back from Git, or seal the unit again: hallmark decision seal {name}",
            )
        found.append(prompt)
    return found


def texts(name: str, settings: Settings, digest: str) -> dict[str, str]:
    """The files of one that is there."""
    return {each: (place(name, settings, digest) / each).read_text(encoding="utf-8") for each in FILES}


def tidy(name: str, settings: Settings) -> None:
    """Take away the prompts that no unit names any more; none while one of the units cannot be read."""
    folder = settings.releases / name / FOLDERS
    try:
        wanted = {sealed.short(each) for each in named(name, settings)}
    except HallmarkError:
        return
    if folder.is_dir():
        for each in folder.iterdir():
            if each.name not in wanted:
                shutil.rmtree(each)
        if not wanted:
            folder.rmdir()
