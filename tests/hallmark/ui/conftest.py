"""An installation of the seven domains: a long history, something released, and no cluster."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as declared
from hallmark.errors import Unavailable
from hallmark.rollout.history import Act, History
from hallmark.settings import Settings
from hallmark.ui.gather import Gatherer

ROOT = Path(__file__).parents[3]
LINES = 10_000
HOSTILE = "<script>alert(1)</script>"


def no_cluster() -> object:
    raise Unavailable("there is no cluster to talk to", got=f"nothing, {HOSTILE}")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "gather":
            thread.join(60)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(
        {
            "HALLMARK_ROOT": str(ROOT),
            "HALLMARK_STATE": str(tmp_path / "state"),
            "HALLMARK_RELEASES": str(tmp_path / "releases"),
        }
    )


@pytest.fixture
def gatherer(settings: Settings) -> Gatherer:
    """Of the seven domains with their history; the registry is empty."""
    filled(settings, lines=LINES // 10)
    return Gatherer(settings, connect=no_cluster)  # type: ignore[arg-type]


def filled(settings: Settings, *, lines: int = LINES) -> None:
    """Write a history of so many lines over all domains, and release version 3 of fraud beside 4."""
    names = declared.names(settings)
    began = datetime(2026, 11, 1, 8, tzinfo=UTC)
    for place, name in enumerate(names):
        acts: list[str] = []
        for number in range(lines // 2 // len(names) + 1):
            act = Act(
                id=f"{place:02x}{number:030x}",
                at=began + timedelta(minutes=number, seconds=place),
                domain=name,
                kind=("canary", "promote", "rollback", "labels")[number % 4],  # type: ignore[arg-type]
                state="begun",
                who="ana@example.test",
                text="asked for 10% of the traffic",
                why=HOSTILE,
                machine="laptop",
                version=number,
            )
            end = act.model_copy(update={"state": "done", "text": f"number {number} of {name} is done"})
            acts += [each.model_dump_json(exclude_defaults=True) for each in (act, end)]
        path = History(settings, name).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(acts) + "\n", encoding="utf-8")
    stable, candidate = (
        Target(version=number, storageUri=f"pvc://models/fraud/{number}", digest="sha256:" + str(number) * 64)
        for number in (3, 4)
    )
    releases.write("fraud", Release(stable=stable, candidate=candidate, percent=10), settings)


def copied(tmp_path: Path) -> Settings:
    """The declarations in a checkout of their own, to break."""
    root = tmp_path / "checkout"
    (root / "inference_services").mkdir(parents=True)
    for path in (ROOT / "domains").glob("*/domain.yaml"):
        (root / "domains" / path.parent.name).mkdir(parents=True)
        shutil.copyfile(path, root / "domains" / path.parent.name / "domain.yaml")
    return Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(tmp_path / "state")})
