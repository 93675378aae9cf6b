"""The distributions that are installed: which of them an import comes from, and what they require in turn, by version."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from hallmark.files import replace
from hallmark.section import Frozen

_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Installed(Frozen):
    """Distributions installed for this interpreter.

    provides: distributions by the name that is imported.
    versions: by distribution.
    requires: distributions by distribution; what it wants only with an extra is left out.
    """

    provides: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    requires: dict[str, tuple[str, ...]]

    def behind(self, imports: Iterable[str]) -> dict[str, str]:
        """Versions of the distributions that these imports come from and of all that they require; sorted."""
        found: dict[str, str] = {}
        queue = [each for name in imports for each in self.provides.get(name, ())]
        while queue:
            name = queue.pop()
            if name not in found and name in self.versions:
                found[name] = self.versions[name]
                queue += self.requires[name]
        return dict(sorted(found.items()))


def installed(kept: Path | None = None) -> Installed:
    """Installed distributions; looked up again, which takes half a second, once a folder of packages has changed."""
    places = [Path(place) for place in sys.path if _holds_packages(place)]
    where = [(str(place), place.stat().st_mtime_ns) for place in places]
    return _known(json.dumps([sys.version, where]), kept)


@functools.cache
def _holds_packages(place: str) -> bool:
    return next(Path(place).glob("*.dist-info"), None) is not None if place else False


@functools.lru_cache(maxsize=8)
def _known(state: str, kept: Path | None) -> Installed:
    if kept is None:
        return _looked_up()
    path = kept / f"installed-{hashlib.sha256(state.encode()).hexdigest()}.json"
    try:
        return Installed.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        found = _looked_up()
        replace(path, found.model_dump_json())
        return found


def _looked_up() -> Installed:
    versions: dict[str, str] = {}
    requires: dict[str, tuple[str, ...]] = {}
    provides: dict[str, set[str]] = {}
    for each in metadata.distributions():
        try:
            name = canonical(each.metadata["Name"] or "")
            version: str | None = each.version  # of a folder that pip is still writing, or has half removed: none
        except FileNotFoundError:  # the same, where the backport of importlib.metadata finds the distributions
            continue
        if not name or not version:
            continue
        for package in _packages(each):
            provides.setdefault(package, set()).add(name)
        if name not in versions:  # the first on the path is the one that is imported
            wanted = [line for line in each.requires or () if "extra ==" not in line]
            versions[name] = version
            requires[name] = tuple(canonical(match[0]) for line in wanted if (match := _NAME.match(line)))
    sorted_names = {package: tuple(sorted(names)) for package, names in provides.items()}
    return Installed(provides=sorted_names, versions=versions, requires=requires)


def _packages(distribution: metadata.Distribution) -> set[str]:
    """Names at the top that a distribution lets be imported: those that it declares, else those of its files."""
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return set(declared)
    tops = (file.parts[0] if len(file.parts) > 1 else file.name for file in distribution.files or ())
    return {top.partition(".")[0] for top in tops if not top.endswith((".dist-info", ".pth", ".data"))} - {
        "",
        "__pycache__",
    }


def canonical(name: str) -> str:
    """A distribution's name as all tools compare it: PyYAML and pyyaml are one."""
    return re.sub(r"[-_.]+", "-", name).lower()
