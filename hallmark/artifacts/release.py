"""`release.yaml`: which versions of a domain are released. It is what rests in Git; docs/decisions/0004 says how the live object relates to it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hallmark.declaration.serving_config import ConfigReference
from hallmark.errors import DeclarationError
from hallmark.files import replace
from hallmark.names import outside
from hallmark.section import Frozen, validated
from hallmark.settings import Settings

NAME = "release.yaml"


class Registered(Protocol):
    """A version as the registry gives it."""

    @property
    def version(self) -> int: ...
    @property
    def storage_uri(self) -> str: ...
    @property
    def digest(self) -> str: ...


class Target(BaseModel):
    """A release unit: a registered version (where its folder lies, and the digest it must have), and how it is served.

    config: the serving config; none: the declaration's.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", populate_by_name=True)

    version: int = Field(ge=1)
    storage_uri: str = Field(alias="storageUri", pattern=r"^[a-z0-9]+://\S+$")
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    config: ConfigReference | None = None

    @classmethod
    def of(cls, found: Registered, config: ConfigReference) -> Target:
        """A registered version and a serving config as what a release names."""
        return cls(version=found.version, storageUri=found.storage_uri, digest=found.digest, config=config)

    @property
    def shown(self) -> str:
        """The unit in words."""
        return f"version {self.version}" + (f" with serving config {self.config.short}" if self.config else "")


class Release(Frozen):
    """Released versions of one domain.

    stable:    serves all traffic that the candidate does not.
    candidate: gets `percent` of the traffic; none while nothing is being rolled out.
    previous:  was stable before; where `hallmark rollback` goes back to once the candidate is promoted.
    """

    stable: Target | None = None
    candidate: Target | None = None
    percent: int | None = Field(default=None, ge=0, le=100)
    previous: Target | None = None

    @model_validator(mode="after")
    def _whole(self) -> Release:
        if (self.candidate is None) != (self.percent is None):
            raise ValueError("candidate and percent come together: set both, or neither")
        if self.candidate is not None and self.stable is None:
            raise ValueError("a candidate needs a stable version beside it; a first version is released as stable")
        return self


def path(name: str, settings: Settings) -> Path:
    """Path of the release of domain `name`."""
    return settings.releases / name / NAME


def read(name: str, settings: Settings) -> Release:
    """The release of domain `name`; an empty one where nothing was released yet."""
    file = path(name, settings)
    if not file.is_file():
        return Release()
    shown = f"{file.parent.parent.name}/{name}/{NAME}"
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"{shown} is not YAML", expected="keys stable, candidate, percent", got=str(error), fix="mend the file"
        ) from error
    found = validated(Release, raw or {}, shown)
    for target in (found.stable, found.candidate, found.previous):
        if target is not None and (reason := outside(name, target.storage_uri)):
            raise DeclarationError(
                f"{shown}: storageUri",
                expected=f"a model of {name}",
                got=f"{target.storage_uri}: {reason}",
                fix=f"name a version that `hallmark versions {name}` lists",
            )
    return found


def write(name: str, release: Release, settings: Settings) -> Path:
    """Write the release of domain `name`, whole or not at all."""
    file = path(name, settings)
    replace(file, text(name, release))
    return file


def text(name: str, release: Release) -> str:
    """The content of release.yaml of domain `name`."""
    header = f"# What is released of {name}, at rest. It follows what is stable on the cluster (`hallmark settle {name}`), or is a person's.\n"
    return header + yaml.safe_dump(release.model_dump(by_alias=True), sort_keys=False, width=160)
