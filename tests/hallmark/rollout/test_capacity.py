"""Capacity before traffic: what a share needs, and that no version ever has more traffic than its ready pods carry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.errors import TimedOut
from hallmark.rollout import operations
from hallmark.rollout.capacity import Floors, ReadyPods, floors, pods_for
from hallmark.rollout.record import written
from tests.hallmark.rollout.test_decision import GOOD, decided
from tests.hallmark.rollout.test_operator import World, target, world
from tests.hallmark.rollout.test_standard import NAME, quiet
from tests.hallmark.rollout.test_standard import World as Standard
from tests.hallmark.rollout.test_standard import target as target_of
from tests.hallmark.rollout.test_standard import world as standard_world

__all__ = ["standard_world", "world"]
MIN_SCALE = "autoscaling.knative.dev/min-scale"
PODS = st.integers(min_value=0, max_value=200)
SHARES = st.integers(min_value=0, max_value=100)


@given(SHARES, PODS)
def test_a_share_needs_that_part_of_the_pods_and_one_at_least(percent: int, whole: int) -> None:
    needed = pods_for(percent, whole)
    assert needed * 100 >= percent * whole, "they carry the share"
    assert needed == 0 if whole == 0 else needed >= 1
    assert needed <= 1 or (needed - 1) * 100 < percent * whole, "and none of them is one too many"


@given(SHARES, SHARES, PODS)
def test_a_larger_share_never_needs_fewer_pods_and_all_of_it_as_many_as_stable_has(a: int, b: int, whole: int) -> None:
    low, high = sorted((a, b))
    assert pods_for(low, whole) <= pods_for(high, whole) <= pods_for(100, whole) == whole


@given(SHARES, SHARES, st.integers(min_value=1, max_value=200))
def test_both_variants_together_always_carry_all_of_the_traffic(a: int, b: int, whole: int) -> None:
    now, then = sorted((a, b))
    both = floors(now=now, then=then, whole=whole)
    assert both.candidate >= pods_for(then, whole) and both.stable >= pods_for(100 - now, whole)
    assert both.candidate + both.stable >= whole


# In Standard mode, at each moment: the traffic is what its Deployments carry.


@pytest.fixture
def busy(standard_world: Standard) -> Iterator[Standard]:
    """Version 1 serves everything, and its autoscaler has made four pods of the two that are declared."""
    standard_world.release(1, 100)
    standard_world.kserve.load = 4
    standard_world.kserve.reconcile(NAME)
    standard_world.ready("fraud-predictor", 4)
    standard_world.kserve.moments.clear()
    yield standard_world


def overloaded(world: Standard) -> list[tuple[dict[str, int], dict[str, int]]]:
    return [
        (shares, ready)
        for shares, ready in world.kserve.moments
        if any(share and ready.get(name, 0) * 100 < share * world.kserve.load for name, share in shares.items())
    ]


@pytest.mark.parametrize("stages", [(10, 50), (1, 25, 50, 75, 99), (60,), (100,)])
def test_no_step_of_a_rollout_gives_more_than_the_ready_pods_carry(busy: Standard, stages: tuple[int, ...]) -> None:
    for percent in stages:
        busy.release(2, percent)
        assert busy.weights["fraud-v2-predictor"] == percent
    assert busy.promote() == target_of(2)
    assert busy.weights == {"fraud-v2-predictor": 100} and busy.kserve.deployments["fraud-v2-predictor"]["ready"] >= 4
    assert overloaded(busy) == [] and len(busy.kserve.moments) > len(stages)
    predictor = busy.live["spec"]["predictor"]
    assert predictor["minReplicas"] == busy.domain.serving.replicas.minimum, "the autoscaler has it again"


def test_a_roll_back_of_a_promoted_version_has_its_pods_first(busy: Standard) -> None:
    busy.release(2, 10)
    busy.promote()
    assert busy.rollback() == target_of(1)
    assert overloaded(busy) == []


def test_a_roll_back_for_lateness_waits_for_stables_pods_and_one_for_failures_does_not(busy: Standard) -> None:
    busy.release(2, 50)
    busy.ready("fraud-predictor", 2)
    assert operations.rollback(busy.writer, busy.domain, note=quiet, seconds=10, patience=10) == target_of(1)
    assert overloaded(busy) == []
    busy.ready("fraud-predictor", 4)
    busy.release(3, 50)
    busy.ready("fraud-predictor", 2)
    busy.kserve.room = 4
    assert operations.rollback(busy.writer, busy.domain, note=quiet, seconds=10) == target_of(1)
    assert busy.weights == {"fraud-predictor": 100} and overloaded(busy), "on two pods, at once"
    busy.ready("fraud-predictor", 4)


def test_where_pods_do_not_come_no_share_moves_and_the_error_counts_them(busy: Standard) -> None:
    busy.release(2, 10)
    busy.kserve.room = 6
    with pytest.raises(TimedOut, match="2 of 4 ready pods for 100%"):
        operations.promote(busy.writer, busy.domain, note=quiet, seconds=1)
    assert busy.weights == {"fraud-predictor": 90, "fraud-v2-predictor": 10} and overloaded(busy) == []
    assert busy.rollback() == target_of(1)


# Knative mode.


def test_knatives_revisions_are_scaled_up_only_and_given_back(standard_world: Standard) -> None:
    path = "/apis/serving.knative.dev/v1/namespaces/fraud/revisions"
    for name, least in (("one", "5"), ("two", "2")):
        meta = {"name": name, "annotations": {MIN_SCALE: least, "kept": "yes"}}
        standard_world.kserve.others[f"{path}/{name}"] = {"metadata": meta}

    def held() -> list[str]:
        found = [standard_world.kserve.others[f"{path}/{name}"]["metadata"]["annotations"] for name in ("one", "two")]
        assert all(each["kept"] == "yes" for each in found)
        return [each[MIN_SCALE] for each in found]

    status = {"latestRolledoutRevision": "one", "latestCreatedRevision": "two"}
    live = {
        "metadata": {"name": "fraud", "namespace": "fraud"},
        "spec": {"predictor": {"minReplicas": 2}},
        "status": {"components": {"predictor": status}},
    }
    standard_world.writer.hold(live, Floors(candidate=3, stable=4))
    assert held() == ["5", "3"]
    standard_world.writer.let_go({**live, "status": {"components": {"predictor": {"latestRolledoutRevision": "two"}}}})
    assert held() == ["5", "2"]
    standard_world.kserve.others.clear()
    standard_world.writer.hold(live, Floors(candidate=3, stable=4))


# The watch.


def test_the_decision_waits_for_pods_and_names_them() -> None:
    ready = GOOD.model_copy(update={"pods": ReadyPods(candidate=2, whole=4)})
    found = decided(ready)
    assert (found.action, found.percent, found.why) == ("hold", 100, "2 of 4 ready pods for 100%")
    enough = GOOD.model_copy(update={"pods": ReadyPods(candidate=4, whole=4)})
    assert decided(enough).action == "promote"


def test_the_watch_asks_for_pods_when_nothing_else_is_waited_for_and_says_how_many_are_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.scaled["fraud-predictor-00001"] = 4
    world.cluster.full = True
    monkeypatch.setattr(operations, "_now", world.clock)
    operator = world.operator()
    operator.begin(target(2))
    world.pass_time(operator, 30)
    assert world.cluster.percent == 10
    assert any("holds at 10%: 1 of 2 ready pods for 50%" in entry.text for entry in world.told)
    assert world.cluster.held["fraud-predictor-00002"] == 2
    world.cluster.full = False
    world.pass_time(operator, 40)
    assert (world.cluster.version, world.cluster.percent) == (2, None)
    assert world.cluster.held["fraud-predictor-00002"] == 4, "as many as stable had, though stable shrank"
    world.clock.sleep(600)
    operator.tick()
    assert "fraud-predictor-00002" not in world.cluster.held, "its autoscaler has it again"
    record = written(world.cluster.object)
    assert record is not None and (record.pods, record.held) == (0, None)


def test_pods_that_never_come_take_the_share_away_at_the_deadline(world: World) -> None:
    world.cluster.scaled["fraud-predictor-00001"] = 4
    world.cluster.full = True
    operator = world.operator("rollout.deadline=1m")
    operator.begin(target(2))
    world.pass_time(operator, 70)
    assert (world.cluster.version, world.cluster.percent) == (1, 0)
    record = written(world.cluster.object)
    assert record is not None and record.returning
    assert record.reasons == ("not promoted within 1m: 1 of 2 ready pods for 50%",)
    assert "1 of 4 ready pods for 100%" in world.told[-1].text, (
        "version 1 as the newest revision; the one before serves"
    )
    world.cluster.full = False
    world.pass_time(operator, 2)
    assert (world.cluster.version, world.cluster.percent) == (1, None)


@pytest.mark.parametrize("killed", [False, True])
def test_a_first_share_that_needs_several_pods_begins_at_nothing(world: World, killed: bool) -> None:
    world.cluster.scaled["fraud-predictor-00001"] = 4
    world.cluster.full = killed
    operator = world.operator("rollout.stages=[50, 100]")
    if not killed:
        operator.begin(target(2))
        assert world.cluster.percent == 50 and world.cluster.ready("fraud-predictor-00002") >= 2
        return
    world.cluster.wait = cut_off  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        operator.begin(target(2))
    assert world.cluster.percent == 0
    del world.cluster.wait  # type: ignore[method-assign]
    operator = world.operator("rollout.stages=[50, 100]", fence=2)
    world.pass_time(operator, 3)
    assert world.cluster.percent == 0, "its pods are not there"
    world.cluster.full = False
    world.pass_time(operator, 3)
    assert world.cluster.percent == 50


def cut_off(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_candidate_that_is_scaled_to_zero_with_stable_asks_for_nothing(world: World) -> None:
    world.cluster.scaled = {"fraud-predictor-00001": 0, "fraud-predictor-00002": 0}
    operator = world.operator()
    operator.begin(target(2))
    assert world.cluster.percent == 10 and not world.cluster.held
