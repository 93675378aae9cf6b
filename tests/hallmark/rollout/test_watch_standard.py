"""`hallmark watch` on a local cluster in KServe's Standard mode, under load: shadow, shares, promotion; a bad candidate never leaves its shadow."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Target
from hallmark.declaration import serving_config
from hallmark.declaration.traffic import STANDARD
from hallmark.errors import NotFound
from hallmark.rollout import mirror, operations
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from tests.hallmark.rollout.scenarios import at_rest
from tests.local_cluster.real_model import NAME, real_model, request
from tools.rehearsal import World
from tools.traffic import Traffic, near

ROOT = Path(__file__).parents[3]
CHANGES = (
    "rollout.shadow.slices=[]",
    "rollout.shadow.disagreement=0.2",
    "rollout.limits.slow=0.9",
    "rollout.deadline=5m",
    "drift.minimum=100",
    "drift.threshold=0.5",
    "drift.match=null",
    "retrain.on_drift=false",
)
"""Besides the short times of `World`: a machine that is busy, and windows of a hundred rows, are judged coarsely."""


def target(world: World, version: int, *, backwards: bool = False) -> Target:
    """A version of a small real model, registered."""
    from mlflow.tracking import MlflowClient

    digest = real_model(world.settings.models / NAME / str(version), backwards=backwards)
    uri = world.settings.tracking
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if version == 1:
        client.create_registered_model(NAME)
    made = f"pvc://models/{NAME}/{version}"
    told = dict.fromkeys(("data", "commit", "metric"), "none") | {"value": "0", "digest": digest}
    client.create_model_version(NAME, source=made, tags=told)
    return Target(version=version, storageUri=made, digest=digest, config=serving_config.of(world.domain).reference)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World.make(NAME, tmp_path / "state", base=Settings.load({"HALLMARK_ROOT": str(ROOT)}), changes=CHANGES)
    try:
        yield made
    finally:
        made.down()


def hallmark(world: World, *arguments: str) -> str:
    command = [sys.executable, "-m", "hallmark.cli", *arguments]
    environment = world.settings.child_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shadowed(writer: InferenceServiceWriter) -> bool:
    """Is there a route of ours?"""
    live = writer.live(NAME)
    assert live is not None
    try:
        writer.call("GET", f"{mirror.path(live)}/{mirror.name(live)}")
    except NotFound:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loop_in_standard_mode_with_a_shadow_loses_nothing(world: World) -> None:
    first, good, _ = (target(world, number, backwards=number == 3) for number in (1, 2, 3))
    writer = world.up(STANDARD)

    def until(what: str, true: Callable[[], bool], *, seconds: float = 150) -> None:
        world.wait(f"{what}; the watch said: {world.log.read_text(encoding='utf-8')[-1500:]}", true, seconds=seconds)

    live = operations.release(writer, world.domain, first, percent=100, note=lambda _: None)
    url = f"{near(live)}/v2/models/{NAME}/infer"
    with Traffic(url, [request(each * 7 % 100) for each in range(100)], rate=40) as load:
        world.watch()
        hallmark(world, "release", NAME, "--candidate", "2", "--shadow")
        assert shadowed(writer)
        until("a promotion", lambda: at_rest(writer, NAME) is not None)
        promoted = at_rest(writer, NAME)
        assert promoted is not None and (promoted.stable, promoted.previous) == (good, first), world.log.read_text()
        assert not shadowed(writer) and "Standard" not in world.log.read_text(encoding="utf-8")
        since = load.now()
        hallmark(world, "release", NAME, "--candidate", "3", "--shadow")
        until("a roll-back", lambda: at_rest(writer, NAME) is not None)
        kept = at_rest(writer, NAME)
        assert kept is not None and kept.stable == good, world.log.read_text()
        assert {each.version for each in load.since(since)} == {"2"}, "nobody got an answer of what was in shadow"
        until("release.yaml", lambda: releases.read(NAME, world.settings) == kept.release)
        assert "stable" in hallmark(world, "status", NAME)
        world.unwatch()
        hallmark(world, "release", NAME, "--candidate", "1", "--percent", "50")
        hallmark(world, "promote", NAME)
        hallmark(world, "rollback", NAME)
        time.sleep(1)
    again = at_rest(writer, NAME)
    assert again is not None and again.stable == good and not shadowed(writer)
    lost = [each for each in load.answers if each.status != 200]
    assert not lost, f"{len(lost)} of {len(load.answers)}: {lost[:5]}"
    assert {each.version for each in load.answers} == {"1", "2"}
