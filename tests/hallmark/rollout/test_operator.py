"""The operator against a cluster in memory: one training for a drift, rollouts taken over, restarts, fences and parts that are down."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release
from hallmark.decision.guarantee import GuaranteeState
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.domain import Domain
from hallmark.declaration.serving_config import FILE, ConfigReference, ServingConfig
from hallmark.declaration.traffic import KNATIVE
from hallmark.errors import NotFound, Unavailable
from hallmark.render import files
from hallmark.rollout import followers, operations
from hallmark.rollout import record as records
from hallmark.rollout.followers import ChampionAlias, ReleaseFile
from hallmark.rollout.memory import MemoryStore
from hallmark.rollout.notices import of_entry
from hallmark.rollout.operator import Operator
from hallmark.rollout.parity import ParityStore
from hallmark.rollout.timeline import TimelineEntry
from hallmark.rollout.writer import FENCE_NOTE, SHADOW_NOTE, live_target, share
from hallmark.settings import Settings
from tests.hallmark.rollout.test_parity import report
from tests.hallmark.rollout.tiny import CONFIG, NAME, Clock, Cluster, Counters, Trainings, Versions, target

ROOT = Path(__file__).parents[3]
DRIFT = {
    "state": "DRIFT",
    "columns": [{"name": "amount", "source": "input", "drifted": True, "psi": 0.6}],
    "reasons": ["amount: above 200 in 40% of rows"],
    "trace": "ab" * 16,
}
CHANGES = ["rollout.shadow=null", "rollout.dwell=2s", "rollout.minimum_samples=100", "rollout.limits.negligible=0.02"]


@dataclass
class World:
    settings: Settings
    cluster: Cluster
    counters: Counters
    clock: Clock = field(default_factory=Clock)
    trainings: Trainings = field(default_factory=Trainings)
    versions: Versions = field(default_factory=Versions)
    told: list[TimelineEntry] = field(default_factory=list)

    def domain(self, *changes: str) -> Domain:
        return domains.overridden(domains.load(self.cluster.name, self.settings), [*CHANGES, *changes])

    def operator(self, *changes: str, fence: int = 1, scheduled: bool = False, **more: Any) -> Operator:
        return Operator(
            self.domain(*changes),
            writer=self.cluster,  # type: ignore[arg-type]
            source=self.counters,
            registry=self.versions,  # type: ignore[arg-type]
            runner=self.trainings,
            followers=[ReleaseFile(self.settings, self.cluster), ChampionAlias(self.versions)],  # type: ignore[arg-type]
            tell=self.told.append,
            scheduled=scheduled,
            fence=fence,
            clock=self.clock,
            **more,
        )

    def pass_time(self, operator: Operator, seconds: int, *, rate: int = 200, failing: float = 0.0) -> None:
        for _ in range(seconds):
            self.counters.serve(rate, failing=failing)
            self.score(rate)
            self.clock.sleep(1)
            operator.tick()

    def restarted(self, times: int, *, ticks: int, every: float) -> None:
        """So many watches one after the other, each of which looks so often."""
        for _ in range(times):
            operator = self.operator()
            for _ in range(ticks):
                self.clock.sleep(every)
                operator.tick()

    def score(self, rate: int) -> None:
        """Answers of both variants with the same scores, as far as they have traffic."""
        for revision in {self.cluster.rolled_out, self.cluster.revisions[-1]}:
            rows = self.cluster.answers.setdefault(revision, [])
            for at in range(20):
                rows.append(
                    {
                        "exchange": f"{len(rows)}",
                        "row": 0,
                        "at": self.clock().timestamp(),
                        "outputs": {"score": (len(rows) * 37 % 100) / 100},
                        "columns": {"amount": 10.0 + at},
                        "label": None,
                    }
                )

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.told if entry.kind not in ("hold", "trouble")]


def prepared(folder: Path) -> Settings:
    """A checkout in `folder`, in which version 1 is released."""
    shutil.copytree(ROOT / "domains", folder / "domains", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "inference_services").symlink_to(ROOT / "inference_services")
    settings = checkout(folder)
    releases.write(NAME, Release(stable=target(1)), settings)
    return settings


def checkout(folder: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(folder), "HALLMARK_RELEASES": str(folder / "releases")})


@pytest.fixture
def world(tmp_path: Path) -> World:
    cluster = Cluster()
    return World(prepared(tmp_path), cluster, Counters(cluster))


def test_a_promise_that_is_broken_is_said_once_beside_the_drift_that_it_is(world: World) -> None:
    why = "price held 61% of 900 final outcomes, 77% at least are promised"
    broken = {**DRIFT, "reasons": [why], "labels": {"broken": True}}
    operator = world.operator()
    for verdict in (DRIFT, broken, broken, broken):
        world.cluster.verdicts[world.cluster.rolled_out] = verdict
        world.clock.sleep(60)
        operator.tick()
    (said,) = [entry for entry in world.told if entry.kind == "guarantee"]
    assert why in said.text
    assert world.kinds().count("drift") == 1
    notice = of_entry(NAME, said)
    assert notice is not None and (notice.event, notice.title) == ("guarantee", f"{NAME}: promise broken")


def test_a_share_of_a_decisions_items_that_ended_is_told_in_the_timeline(world: World) -> None:
    waiting = ["the candidate decides 10% of items no more: it is dearer"]
    operator = world.operator(share_ended=lambda: waiting.pop() if waiting else "")
    for _ in range(3):
        operator.tick()
    assert [(entry.kind, entry.text) for entry in world.told if entry.kind == "decision"] == [
        ("decision", "the candidate decides 10% of items no more: it is dearer")
    ]


def test_a_decision_whose_guarantee_is_broken_starts_one_training_a_unit(world: World) -> None:
    """Fault 45: said once, trained once, also after a restart and where the first could not be asked for; another unit is another matter."""
    told = [("sha256:one", GuaranteeState(labels=40, counterfeits=1, evidence=3.0))]
    world.trainings.down = True
    operator = world.operator(guarantee=lambda: told[0])
    operator.tick()
    assert not world.kinds()
    told[0] = ("sha256:one", GuaranteeState(labels=90, counterfeits=12, evidence=2e4, broken=90))
    for turn in range(12):
        world.trainings.down = turn < 2
        operator = world.operator(guarantee=lambda: told[0]) if turn % 3 == 0 else operator
        world.clock.sleep(60)
        operator.tick()
    assert [each.reason for each in world.trainings.requests] == [
        "a guarantee that no longer holds: 12 counterfeits among 90 audited accepts of unit sha256:one"
    ]
    world.trainings.end("failed")
    operator.tick()
    told[0] = ("sha256:two", told[0][1])
    operator.tick()
    operator.tick()
    assert len(world.trainings.requests) == 2


def test_a_hundred_reports_of_one_drift_start_one_training_also_after_restarts(world: World) -> None:
    world.cluster.verdicts[world.cluster.rolled_out] = DRIFT
    world.restarted(10, ticks=10, every=5)
    assert len(world.trainings.requests) == 1
    request = world.trainings.requests[0]
    assert request.correlation == "ab" * 16
    assert "amount" in request.reason


def test_a_watch_that_ends_before_it_could_submit_submits_once_when_it_is_back(world: World) -> None:
    world.cluster.verdicts[world.cluster.rolled_out] = DRIFT
    world.trainings.down = True
    world.restarted(3, ticks=3, every=1)
    assert not world.trainings.requests
    world.trainings.down = False
    world.restarted(3, ticks=5, every=1)
    assert len(world.trainings.requests) == 1


def test_the_clock_starts_a_training_once_and_what_nobody_watched_once(world: World) -> None:
    """training.schedule by the local watch: after a restart nothing again, after days off the last time alone."""
    hourly = "training.schedule=0 0 * * * *"

    def watched(seconds: int, *, every: float = 600.0) -> list[str]:
        before = len(world.trainings.requests)
        operator = world.operator(hourly, scheduled=True)
        for _ in range(int(seconds / every)):
            world.clock.sleep(every)
            operator.tick()
        operator.close()
        return [each.as_of for each in world.trainings.requests[before:]]

    hour = timedelta(hours=1)
    first = watched(600)
    assert first == [], "nothing was missed before the first watch"
    begun = world.clock().replace(minute=0, second=0, microsecond=0)
    (due,) = watched(3600)
    assert due == (begun + hour).isoformat()
    assert watched(0) == watched(600, every=100.0) == []
    world.trainings.end("refused")
    world.clock.sleep(3 * 86400)
    (late,) = watched(1200)
    assert late == world.clock().replace(minute=0, second=0, microsecond=0).isoformat()
    world.trainings.end("refused")
    told = [entry.text for entry in world.told if entry.kind == "training"]
    assert told[0].startswith("started for the schedule, due ")


def test_what_the_clock_wanted_and_a_killed_watch_did_not_ask_for_is_asked_for(world: World) -> None:
    hourly = "training.schedule=0 0 * * * *"
    operator = world.operator(hourly, scheduled=True)
    operator.tick()
    world.clock.sleep(3600)
    world.trainings.down = True
    operator.tick()
    assert world.trainings.requests == []
    world.trainings.down = False
    again = world.operator(hourly, scheduled=True)
    for _ in range(4):
        world.clock.sleep(1)
        again.tick()
    assert len(world.trainings.requests) == 1
    assert world.trainings.requests[0].reason.startswith("the schedule, due ")


def test_a_training_that_is_refused_is_told_and_the_cooldown_keeps_the_next_one_away(world: World) -> None:
    world.cluster.verdicts[world.cluster.rolled_out] = DRIFT
    operator = world.operator("retrain.cooldown=12h")
    operator.tick()
    world.trainings.end("refused", message="average_precision 0.10 does not reach the floor 0.30")
    for _ in range(100):
        world.clock.sleep(60)
        operator.tick()
    assert len(world.trainings.requests) == 1
    assert "does not reach the floor" in world.told[-1].text
    world.clock.sleep(24 * 3600)
    operator.tick()
    assert len(world.trainings.requests) == 2


@pytest.mark.parametrize("state", ["OK", "INSUFFICIENT"])
def test_nothing_is_trained_for_less_than_drift(world: World, state: str) -> None:
    world.cluster.verdicts[world.cluster.rolled_out] = {**DRIFT, "state": state}
    operator = world.operator()
    for _ in range(20):
        world.clock.sleep(60)
        operator.tick()
    assert not world.trainings.requests


def test_drift_ends_in_a_promoted_version_under_one_correlation_id(world: World) -> None:
    world.cluster.verdicts[world.cluster.rolled_out] = DRIFT
    operator = world.operator()
    operator.tick()
    world.trainings.end("succeeded", version=2)
    operator.tick()
    assert (world.cluster.version, world.cluster.percent) == (2, 10)
    world.pass_time(operator, 60)
    assert world.kinds() == ["drift", "training", "candidate", "canary", "canary", "promote"]
    assert {entry.correlation for entry in world.told} == {"ab" * 16}
    assert (world.cluster.version, world.cluster.percent) == (2, None)
    assert world.versions.champion == 2
    assert releases.read(NAME, world.settings).stable == target(2)
    record = records.written(world.cluster.object)
    assert record is not None and record.rollout is None
    assert (record.stable, record.previous) == (target(2), target(1))
    assert record.reasons and record.since is not None


def test_the_shadow_comes_first_where_the_policy_has_one(world: World) -> None:
    operator = world.operator("rollout.shadow={output: score, threshold: 0.5, minimum: 40, share: 0.5}")
    operator.begin(target(2))
    assert (world.cluster.percent, world.cluster.object["metadata"]["annotations"][SHADOW_NOTE]) == (0, "50")
    world.pass_time(operator, 4)
    assert world.cluster.percent == 0
    world.pass_time(operator, 60)
    assert world.kinds() == ["shadow", "canary", "canary", "promote"]
    assert SHADOW_NOTE not in world.cluster.object["metadata"]["annotations"]


def test_where_nothing_mirrors_a_rollout_begins_with_its_first_share_and_says_so(world: World) -> None:
    world.cluster.traffic = KNATIVE
    operator = world.operator("rollout.shadow={output: score, threshold: 0.5, minimum: 40, share: 0.5}")
    operator.begin(target(2))
    assert world.cluster.percent == 10 and SHADOW_NOTE not in world.cluster.object["metadata"]["annotations"]
    assert "KServe's Knative mode mirrors no requests" in world.told[-1].text
    world.pass_time(operator, 60)
    assert world.kinds() == ["canary", "canary", "promote"]


def test_a_candidate_that_fails_behind_a_failover_is_rolled_back(world: World) -> None:
    operator = world.operator()
    operator.begin(target(2))
    world.pass_time(operator, 10, failing=1.0)
    assert world.kinds() == ["canary", "rollback"]
    assert "failed" in world.told[-1].text
    assert (world.cluster.version, world.cluster.percent) == (1, None)


def test_a_candidate_that_does_not_load_is_rolled_back(world: World) -> None:
    operator = world.operator()
    operator.begin(target(2))
    world.cluster.refused = "sha256 differs"
    operator.tick()
    world.cluster.refused = ""
    assert world.kinds() == ["canary", "rollback"]
    assert "sha256 differs" in world.told[-1].text


def test_a_missing_metric_holds_and_at_the_deadline_rolls_back(world: World) -> None:
    operator = world.operator("rollout.deadline=60s")
    operator.begin(target(2))
    world.pass_time(operator, 5)
    world.counters.down = True
    world.pass_time(operator, 40)
    assert world.cluster.percent == 10
    assert "Prometheus does not answer" in world.told[-1].text
    world.pass_time(operator, 20)
    assert world.kinds()[-1] == "rollback"
    assert world.cluster.version == 1


def test_a_registry_that_is_down_keeps_only_the_alias_back_until_it_answers(world: World) -> None:
    operator = world.operator()
    operator.begin(target(2))
    world.pass_time(operator, 8)
    world.versions.down = True
    world.pass_time(operator, 40)
    assert (world.cluster.version, world.cluster.percent) == (2, None)
    assert releases.read(NAME, world.settings).stable == target(2)
    assert [entry.text for entry in world.told if entry.kind == "trouble"] == ["the registry does not answer"]
    assert world.kinds()[-1] == "promote" and world.versions.champion != 2
    world.versions.down = False
    world.pass_time(operator, 15)
    assert world.versions.champion == 2


def test_a_release_file_that_cannot_be_written_is_told_and_written_once_it_can(world: World) -> None:
    class ReadOnly(ReleaseFile):
        broken = True

        def follow(self, domain: str, record: records.RolloutRecord) -> list[str]:
            if self.broken:
                raise Unavailable("release.yaml cannot be written")
            return super().follow(domain, record)

    operator, file = world.operator(), ReadOnly(world.settings, world.cluster)
    operator._followers = (file, ChampionAlias(world.versions))  # type: ignore[arg-type]
    operator.begin(target(2))
    world.pass_time(operator, 60)
    assert (world.cluster.version, world.cluster.percent, world.versions.champion) == (2, None, 2)
    assert {entry.text for entry in world.told if entry.kind == "trouble"} == {"release.yaml cannot be written"}
    assert releases.read(NAME, world.settings).stable == target(1)
    file.broken = False
    operator.close()
    again = world.operator(fence=2)  # what is not written yet is known to the next watch too
    world.pass_time(again, 12)
    assert releases.read(NAME, world.settings) == Release(stable=target(2), previous=target(1))


def test_an_error_that_nobody_foresaw_is_told_counted_and_the_loop_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = world.operator()
    operator.begin(target(2))
    with monkeypatch.context() as patched:
        patched.setattr(world.cluster, "pods", lambda name: 1 / 0)
        world.pass_time(operator, 3)
        assert operator.check.failed
    assert [entry.text for entry in world.told if entry.kind == "trouble"] == [
        "something went wrong that Hallmark does not know: ZeroDivisionError: division by zero"
    ]
    world.pass_time(operator, 60)
    assert not operator.check.failed and world.cluster.version == 2 and world.cluster.percent is None


def test_a_restart_goes_on_with_what_was_counted(world: World) -> None:
    operator = world.operator("rollout.minimum_samples=150")
    operator.begin(target(2))
    world.pass_time(operator, 6)
    before = operator.exposures
    assert before[-1].canary.requests >= 80
    operator.close()
    again = world.operator("rollout.minimum_samples=150", fence=2)
    world.pass_time(again, 3)
    assert again.exposures[-1].canary.requests > before[-1].canary.requests
    assert again.exposures[-1].canary.requests == 20 * 8  # each second's, but for the first, which is the baseline


def test_a_rollout_that_a_person_began_is_taken_over_where_it_stands(world: World) -> None:
    live = world.cluster.live(NAME)
    assert live is not None
    world.cluster.shift(live, percent=25, target=target(2))
    operator = world.operator()
    operator.tick()
    assert "25% of the traffic; started manually" in world.told[-1].text
    world.pass_time(operator, 60)
    assert world.kinds() == ["canary", "canary", "promote"]


def test_all_that_people_did_between_two_checks_is_told_once_with_who_and_the_rollout_keeps_its_id(
    world: World,
) -> None:
    operator = world.operator()
    operator.tick()
    given: dict[str, Any] = {"note": lambda _: None, "seconds": 1}
    asked = {"percent": 10, **given}
    operations.release(world.cluster, world.domain(), target(2), by="ana", **asked)  # type: ignore[arg-type]
    operations.promote(world.cluster, world.domain(), by="ben", **given)  # type: ignore[arg-type]
    operations.rollback(world.cluster, world.domain(), by="ana", **given)  # type: ignore[arg-type]
    operations.release(world.cluster, world.domain(), target(2), by="ben", **asked)  # type: ignore[arg-type]
    operator.tick()
    told = [(each.kind, each.by) for each in world.told]
    assert told == [("canary", "ana"), ("promote", "ben"), ("rollback", "ana"), ("canary", "ben"), ("canary", "")]
    assert world.told[-1].correlation == world.told[-2].correlation, (
        "the rollout is told under another id than its release"
    )
    operator.tick()
    assert [each for each in world.told if each.by] == world.told[:4]
    operator.close()
    again = world.operator()
    again.tick()
    assert [each for each in world.told if each.by] == world.told[:4], "another watch tells it once more"


SERVED = ServingConfig(cache=4096)
OTHER = SERVED.reference


@pytest.mark.parametrize(("failing", "ends", "left"), [(0.0, "promote", OTHER), (1.0, "rollback", CONFIG)])
def test_another_serving_config_of_the_same_model_is_a_candidate_like_any_other(
    world: World, failing: float, ends: str, left: ConfigReference
) -> None:
    made = {"metadata": {"name": OTHER.name, "namespace": NAME}, "data": {FILE: SERVED.text}}
    world.cluster.provide(made)
    operator = world.operator()
    operator.begin(target(1, OTHER))
    assert f"version 1 with serving config {OTHER.short}" in world.told[-1].text
    live = world.cluster.live(NAME)
    assert live is not None and share(live) == 10
    predictor = live["spec"]["predictor"]
    assert predictor["timeout"] == OTHER.timeout and predictor["volumes"][0]["configMap"]["name"] == OTHER.name
    record = records.written(live)
    assert record is not None and record.stable == target(1) and record.rollout is not None
    assert record.rollout.config == OTHER
    world.pass_time(operator, 60, failing=failing)
    assert world.kinds()[-1] == ends
    live = world.cluster.live(NAME)
    assert live is not None and (share(live), live_target(live)) == (None, target(1, left))
    assert releases.read(NAME, world.settings).stable == target(1, left)
    # What the declaration does not say is kept beside release.yaml, from the cluster; without it nothing could be applied anew.
    kept = world.settings.releases / NAME / f"{OTHER.name}.yaml"
    assert kept.is_file() == (left == OTHER) and not files.check(world.settings)
    if kept.is_file():
        (wanted,) = yaml.safe_load_all(kept.read_text(encoding="utf-8"))
        assert (wanted["data"][FILE], wanted["immutable"]) == (SERVED.text, True)
        kept.unlink()
        with pytest.raises(NotFound, match=OTHER.name) as gone:
            files.check(world.settings)
        assert "hallmark settle fraud" in gone.value.fix
        assert followers.catch_up([ReleaseFile(world.settings, world.cluster)], NAME, _record(world)) == (
            [f"wrote {world.settings.shown(kept)}"],
            {},
        )
        made["data"] = {FILE: ServingConfig().text}
        world.cluster.maps[OTHER.name] = made
        kept.unlink()
        _, failed = followers.catch_up([ReleaseFile(world.settings, world.cluster)], NAME, _record(world))
        assert "is not what its name says" in failed[releases.NAME].message and not kept.exists()


def _record(world: World) -> records.RolloutRecord:
    live = world.cluster.live(NAME)
    record = records.written(live) if live else None
    assert record is not None
    return record


def test_a_share_that_a_person_changed_begins_its_step_anew(world: World) -> None:
    operator = world.operator("rollout.dwell=30s")
    operator.begin(target(2))
    world.pass_time(operator, 5)
    live = world.cluster.live(NAME)
    assert live is not None
    world.cluster.shift(live, percent=30)
    world.pass_time(operator, 3)
    assert operator.exposures[-1].percent == 30
    assert len({entry.correlation for entry in world.told}) == 1


def test_a_person_who_pins_stable_is_left_alone(world: World) -> None:
    live = world.cluster.live(NAME)
    assert live is not None
    world.cluster.shift(live, percent=0, target=target(2))
    operator = world.operator()
    world.pass_time(operator, 5)
    assert not world.told
    assert world.cluster.percent == 0


def test_a_watch_that_slept_while_another_took_over_changes_nothing(world: World) -> None:
    old = world.operator(fence=1)
    old.begin(target(2))
    world.pass_time(old, 3)
    old.close()
    new = world.operator(fence=2)
    world.pass_time(new, 2)
    assert world.cluster.object["metadata"]["annotations"][FENCE_NOTE] == "2"
    writes = world.cluster.writes
    world.told.clear()
    world.clock.sleep(30)
    with pytest.raises(Exception, match="somebody else watches"):
        for _ in range(10):
            world.clock.sleep(6)
            old.tick()
    assert world.cluster.writes == writes
    assert "another watch has taken over" in world.told[0].text


@pytest.mark.parametrize("newest", [True, False])
def test_a_roll_back_that_was_cut_off_is_finished(world: World, newest: bool) -> None:
    operator = world.operator()
    operator.begin(target(2))
    live = world.cluster.live(NAME)
    assert live is not None
    # The first patch of a roll-back: all to stable, whose model has a revision of its own again, at 0%.
    record = records.read(live, now=world.clock()).rolled_back(target(1), at=world.clock())
    world.cluster.shift(live, percent=0, target=target(1) if newest else None, notes=record.note)
    again = world.operator(fence=2)
    world.pass_time(again, 2)
    assert (world.cluster.version, world.cluster.percent) == (1, None)
    assert records.written(world.cluster.object) == record.settled


def test_what_is_remembered_is_bounded_and_whole(world: World) -> None:
    operator = world.operator()
    operator.begin(target(2))
    world.pass_time(operator, 60)
    operator.close()
    memory = MemoryStore(world.cluster, NAME).read()  # type: ignore[arg-type]
    assert memory.timeline.entries[-1].kind == "promote"
    assert [point.percent for point in memory.timeline.points][:2] == [10, 10]
    assert len(memory.model_dump_json()) < 200_000


def test_a_rollout_waits_where_it_stands_while_features_differ_from_what_is_known(world: World) -> None:
    features = ("features.views=[buyer_orders@1]", "features.missing=refuse")
    config = serving_config.of(world.domain(*features)).reference
    operator = world.operator(*features)
    operator.begin(target(2, config))
    store = ParityStore(world.cluster, NAME)  # type: ignore[arg-type]
    store.read()

    def judged(*, burns: bool) -> None:
        store.write(report(world.clock(), burns=burns))

    judged(burns=True)
    world.pass_time(operator, 60)
    assert world.kinds() == ["canary"], "no step forward, and none back"
    held = next(entry for entry in reversed(world.told) if entry.kind == "hold")
    assert "features of 40 of 1000 answers (4.00%) are not what the offline store says" in held.text
    assert [reason.outcome for reason in held.reasons if reason.rule == "parity"] == ["wait"]
    judged(burns=False)
    world.pass_time(operator, 120)
    assert world.kinds()[-1] == "promote", world.told[-1].text
