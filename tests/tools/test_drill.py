"""The drill finds the stage that is broken, and that one only; unbroken, it promotes what drift called for."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release
from hallmark.errors import NotFound
from hallmark.rollout.memory import NAME as MEMORY
from hallmark.settings import Settings
from tests.hallmark.rollout.candidates import NAME, ROOT, Rehearsal
from tests.seeds import seeds
from tools import drill
from tools.rehearsal import World
from tools.stages import STAGES, Stage, StageOutcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # of a busy machine; what may last how long is said below


@dataclass
class Hall(Rehearsal):
    """A world with version 1 served, in which one drill follows the other."""

    def __post_init__(self) -> None:
        self.clean, self.declared = list(self.traffic.bodies), self.world.domain

    def drill(self, broken: Stage | None = None) -> dict[Stage, StageOutcome]:
        self.traffic.use(self.clean)
        start = self.traffic.now()
        found = drill.run(self.world, self.writer, self.traffic, self.shifted, self.shown, broken=broken)
        assert sum(answer.status != 200 for answer in self.traffic.since(start)) == 0
        return {each.stage: each for each in found}

    def rest(self, broken: Stage | None = None) -> None:
        """As before the first drill: version 1, nothing remembered, nothing stopped."""
        self.world.unwatch()
        submitted = self.world.settings.runs / "submitted"
        if submitted.is_dir():
            shutil.rmtree(submitted)
        submitted.unlink(missing_ok=True)
        self.world.domain = self.declared
        self.world.change([])
        for path in (
            f"/apis/serving.kserve.io/v1beta1/namespaces/{NAME}/inferenceservices/{NAME}",
            f"/api/v1/namespaces/{NAME}/configmaps/{MEMORY}",
        ):
            with contextlib.suppress(NotFound):
                self.writer.call("DELETE", path)
        releases.write(NAME, Release(), self.world.settings)
        self.traffic.use(self.clean)
        drill.first(self.world, self.writer, broken=broken)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    # Half of the requests, and half of the window, so that drift is seen as soon: load is proven elsewhere.
    changes = ["drill.rate=100", "drift.window=1000", "rollout.deadline=10m"]
    with Hall.on(tmp_path_factory.mktemp("drill") / "state", seed=11, changes=changes) as made:
        yield made


SEEN_FIRST: tuple[Stage, ...] = ("captured", "run", "decision")
"""Broken in `make slow`: the first, one in the middle, and the last; `make long` breaks each."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> dict[Stage, float]:
    """Four times as long for what has to come, on a busy machine; for a stage that is broken on purpose, as long as ever."""
    longer: dict[Stage, float] = {stage: 4 * seconds for stage, seconds in drill._SECONDS.items()}
    monkeypatch.setattr(drill, "_SECONDS", longer)
    return longer


def test_unbroken_it_ends_in_a_promotion(hall: Hall) -> None:
    found = hall.drill()
    assert {stage: each.state for stage, each in found.items()} == dict.fromkeys(STAGES, "verified"), found


@pytest.mark.parametrize(
    "stage", seeds(sorted(STAGES, key=SEEN_FIRST.__contains__, reverse=True), slow=len(SEEN_FIRST))
)
def test_a_stage_that_is_broken_is_found_and_no_other(
    hall: Hall, stage: Stage, patience: dict[Stage, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "_IMPATIENT", patience | {stage: drill._IMPATIENT[stage]})
    hall.rest(broken=stage)
    found = hall.drill(stage)
    at = STAGES.index(stage)
    expected = ["verified"] * at + ["failed"] + ["not reached"] * (len(STAGES) - at - 1)
    assert [each.state for each in found.values()] == expected, found


@pytest.mark.parametrize(("trained", "times"), [(0.1, 1.0), (2.0, 4.0)])
def test_where_the_first_training_was_slow_the_second_has_longer(trained: float, times: float) -> None:
    usual = drill._SECONDS["version"]
    found = drill.limits(trained * usual)
    assert found.pop("version") == times * usual
    assert all(drill._SECONDS[stage] == limit for stage, limit in found.items())


def test_a_domain_without_a_drill_says_how_to_declare_one(tmp_path: Path) -> None:
    base = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    world = World.make(NAME, tmp_path / "state", base=base)
    world.domain = world.domain.model_copy(update={"drill": None})
    with pytest.raises(NotFound, match="declares no drill"):
        _ = world.drill
