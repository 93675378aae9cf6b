"""Followers of a rollout record: what is written after a version was made stable, so that Git and the registry say so too.

Each may fail without harm to what is served, and is tried again until it has followed; doing it twice is doing it once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hallmark.artifacts import release as releases
from hallmark.declaration import domain as domains
from hallmark.errors import HallmarkError, NotFound, Unavailable
from hallmark.files import replace
from hallmark.render import files, inferenceservice

if TYPE_CHECKING:
    from hallmark.registry.store import Registry
    from hallmark.rollout.record import RolloutRecord
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings

CHAMPION = "champion"


class Follower(Protocol):
    """One thing that follows."""

    name: str

    def follow(self, domain: str, record: RolloutRecord) -> list[str]:
        """Bring it in line with the record of `domain`; gives what was written, in words. `HallmarkError` where it could not."""


class ConfigMapReader(Protocol):
    """What reads a ConfigMap of the cluster, as `InferenceServiceWriter` does."""

    def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        """The ConfigMap; `NotFound` where there is none."""


class ReleaseFile:
    """release.yaml of a checkout, and what is rendered from it."""

    name = releases.NAME

    def __init__(self, settings: Settings, writer: ConfigMapReader) -> None:
        self._settings = settings
        self._writer = writer

    @classmethod
    def writable(cls, settings: Settings) -> bool:
        """Can this process write there? Not in an image, which brings a copy of the repository that nobody reads again."""
        place = next(path for path in (settings.releases, *settings.releases.parents) if path.is_dir())
        return os.access(place, os.W_OK)

    def follow(self, domain: str, record: RolloutRecord) -> list[str]:
        """Write the file where it says something else, and render again."""
        path = releases.path(domain, self._settings)
        told = []
        try:
            if releases.read(domain, self._settings) != record.release:
                releases.write(domain, record.release, self._settings)
                told.append(f"wrote {self._settings.shown(path)}")
            told += self._fetch(domain, record)
            rendered = files.write(self._settings)
        except OSError as error:
            raise Unavailable(
                f"{self._settings.shown(path)} and what is rendered from it cannot be written",
                expected="a checkout that can be written to",
                got=f"{error.filename}: {error.strerror}",
                fix="make it writable; it is tried again",
            ) from error
        return told + [f"wrote {found.path}" for found in rendered if Path(found.path).parent.name == domain]

    def _fetch(self, name: str, record: RolloutRecord) -> list[str]:
        """Take from the cluster what the declaration says no more: the serving configs of the units that were released."""
        domain, told = domains.load(name, self._settings), []
        for config in inferenceservice.earlier(domain, record.release):
            path = self._settings.releases / name / f"{config.name}.yaml"
            if not path.is_file():
                live = self._writer.config_map(domain.namespace, config.name)
                replace(path, inferenceservice.taken(config, domain, live))
                told.append(f"wrote {self._settings.shown(path)}")
        return told


class ChampionAlias:
    """The alias champion in the registry."""

    name = CHAMPION

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def follow(self, domain: str, record: RolloutRecord) -> list[str]:
        """Move the alias to the stable version where it is elsewhere."""
        if record.stable is None:
            return []
        version = record.stable.version
        known = self._registry.versions(domain)
        if any(CHAMPION in each.aliases for each in known if each.version == version):
            return []
        self._registry.alias(domain, CHAMPION, version)
        return [f"version {version} is {CHAMPION} in the registry"]


def catch_up(
    followers: Iterable[Follower], domain: str, record: RolloutRecord
) -> tuple[list[str], dict[str, HallmarkError]]:
    """Let each follow; gives what was written, and by name the errors of those that could not."""
    told: list[str] = []
    failed: dict[str, HallmarkError] = {}
    for each in followers:
        try:
            told += each.follow(domain, record)
        except HallmarkError as error:
            failed[each.name] = error
    return told, failed


def follow(writer: InferenceServiceWriter, name: str, settings: Settings) -> list[str]:
    """Let this checkout and the registry say what is stable of domain `name`; gives what was written, in words.

    `HallmarkError` says what could not be written, and that the version serves all the same.
    """
    from hallmark.registry.store import Registry
    from hallmark.rollout import operations

    live = writer.live(name)
    if live is None:
        raise NotFound(f"no InferenceService {name} in namespace {name}", fix=f"`hallmark apply {name}`")
    record = operations.record_of(writer, live)
    if record.stable is None:
        return []
    told, failed = catch_up([ReleaseFile(settings, writer), ChampionAlias(Registry(settings))], name, record)
    if failed:
        first = next(iter(failed.values()))
        raise HallmarkError(
            f"version {record.stable.version} of {name} is stable and serves; {' and '.join(failed)} could not be written",
            expected=first.expected or first.message,
            got=first.got or first.message,
            fix=f"`hallmark settle {name}` once that is mended; `hallmark watch` does it by itself",
        ) from first
    return told
