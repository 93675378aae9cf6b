"""A checkout with a sealed release unit of authentication, and the objects that are rendered of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hallmark import names
from hallmark.artifacts import release
from hallmark.artifacts.release import Release, Target
from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision import unit
from hallmark.decision.record import Part
from hallmark.declaration import domain as domains
from hallmark.render import decision
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
DOMAIN = "authentication"


def checkout(folder: Path) -> Settings:
    """A checkout whose releases are a test's own."""
    for name in ("domains", "prompts"):
        (folder / name).symlink_to(ROOT / name)
    return Settings.load({"HALLMARK_ROOT": str(folder), "HALLMARK_RELEASES": str(folder / "releases")})


def sealed_unit(
    settings: Settings, *, name: str = DOMAIN, folder: str = unit.FOLDER, version: str = "1", digest: str = ""
) -> str:
    """A release unit beside the domain's release; its digest."""
    declared = domains.load(DOMAIN, settings).decision
    assert declared is not None
    risk = declared.risk.false_authentic
    return unit.seal(
        unit.place(DOMAIN, settings, folder),
        domain=name,
        decision=declared,
        thresholds=Thresholds(score=risk.score, at_most=0.01, confidence=0.95, fields=risk.slices),
        parts={
            each: Part(
                service=node.service or "",
                version=version if node.kind == "model" else "1",
                digest=digest if node.service == DOMAIN else "",
            )
            for each, node in declared.nodes.items()
            if node.kind != "person"
        },
    )


def decides(folder: Path) -> list[dict[str, Any]]:
    """The objects of a service that decides by the released version, with a candidate."""
    settings = checkout(folder)
    stable = Target(version=1, storageUri=names.storage(DOMAIN, "models", "1") + "/", digest=f"sha256:{1:064}")
    release.write(DOMAIN, Release(stable=stable), settings)
    sealed_unit(settings, digest=stable.digest)
    sealed_unit(settings, folder=unit.CANDIDATE, version="2")
    return decision.decision_service(domains.load(DOMAIN, settings), settings)
