"""The generated files of a checkout: write them, or say which are stale, missing or orphaned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from hallmark.artifacts.release import NAME
from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view, source
from hallmark.errors import HallmarkError
from hallmark.files import replace
from hallmark.render import decision, features, flink, inferenceservice, monitoring, reviewer, tenant
from hallmark.render.manifest import MARK
from hallmark.settings import Settings

SCHEMA = "domain.schema.json"
VIEW_SCHEMA = "view.schema.json"
CONTRACT_SCHEMA = "contract.schema.json"
LEFT = "left of a domain that is not declared"
_READERS = (inferenceservice, reviewer, decision, tenant, monitoring, features, flink)


class RenderFinding(BaseModel):
    """A generated file that is not what it should be."""

    model_config = ConfigDict(frozen=True)

    path: str
    state: str


class Stale(HallmarkError):
    """Generated files are not what their sources say."""


def expected(settings: Settings) -> dict[Path, str]:
    """Every generated file and its text."""
    declared = [domains.load(name, settings) for name in domains.names(settings)]
    files: dict[Path, str] = {settings.domains / SCHEMA: domains.json_schema()}
    for folder, name, schema in (
        (settings.features, VIEW_SCHEMA, feature_view.json_schema),
        (settings.contracts, CONTRACT_SCHEMA, source.json_schema),
    ):
        if folder.is_dir():
            files[folder / name] = schema()
    for reader in _READERS:
        files |= reader.files(settings, declared)
    return files


def check(settings: Settings) -> list[RenderFinding]:
    """Changes that `write` would make: stale and missing files, and orphans whose domain or release is gone."""
    return _findings(expected(settings), settings)


def _findings(wanted: dict[Path, str], settings: Settings) -> list[RenderFinding]:
    findings = []
    for path, body in wanted.items():
        if not path.is_file():
            findings.append(RenderFinding(path=settings.shown(path), state="missing"))
        elif path.read_text(encoding="utf-8") != body:
            findings.append(RenderFinding(path=settings.shown(path), state="stale"))
    findings += [RenderFinding(path=settings.shown(path), state="orphaned") for path in _orphans(wanted, settings)]
    return findings + [RenderFinding(path=settings.shown(path), state=LEFT) for path in _left(settings)]


def write(settings: Settings) -> list[RenderFinding]:
    """Bring every generated file up to date; gives what was changed."""
    wanted = expected(settings)
    findings = _findings(wanted, settings)
    for path, body in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != body:
            replace(path, body)
    for path in _orphans(wanted, settings):
        path.unlink()
    return findings


def _orphans(wanted: dict[Path, str], settings: Settings) -> Iterator[Path]:
    for path in sorted([*settings.releases.glob("*/*.yaml"), *settings.manifests.rglob("*.yaml")]):
        if path not in wanted and path.read_text(encoding="utf-8").startswith(MARK):
            yield path


def _left(settings: Settings) -> Iterator[Path]:
    """What releases wrote of domains that are declared no more: who wrote it decides, so it is named and never removed."""
    known = set(domains.names(settings))
    yield from (path for path in sorted(settings.releases.glob(f"*/{NAME}")) if path.parent.name not in known)


def runtime(settings: Settings) -> list[dict[str, Any]]:
    """The ClusterServingRuntime that every InferenceService names; written by hand, once."""
    path = settings.root / "inference_services" / "runtime" / "servingruntime.yaml"
    try:
        return [item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]
    except (OSError, yaml.YAMLError) as error:
        raise HallmarkError(f"{settings.shown(path)} cannot be read", got=str(error)) from error
