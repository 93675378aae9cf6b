"""What a watch tells Prometheus: leases, looks and rollouts of a real operator, over real HTTP."""

from __future__ import annotations

import math
import signal
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from hallmark.errors import HallmarkError, Unavailable
from hallmark.metrics import WATCH
from hallmark.metrics_port import serving
from hallmark.rollout.lease import Fence
from hallmark.rollout.liveness import SILENT, DomainCheck, Liveness
from hallmark.rollout.timeline import TimelineEntry
from hallmark.rollout.watch import Watch
from local_cluster.samples import parse
from tests.hallmark.rollout.test_operator import World, target, world

__all__ = ["world"]
AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
EVERY = [family.name for family in WATCH.values()]


def values(liveness: Liveness) -> dict[str, float]:
    found = {}
    for sample in parse(liveness.text(), EVERY):
        labels = "".join(f" {value}" for name, value in sample.labels.items() if name != "domain")
        found[sample.name.removeprefix("hallmark_") + labels] = sample.value
    return found


def test_a_rollout_is_told_with_its_share_its_deadline_and_both_revisions_until_it_is_over(world: World) -> None:
    liveness = Liveness(clock=lambda: world.clock().timestamp())
    operator = world.operator("rollout.deadline=1m", "rollout.stages=[50, 100]")

    def look() -> dict[str, float]:
        operator.tick()
        liveness.checked("fraud", operator.check)
        return values(liveness)

    liveness.held("fraud", True)
    look()
    assert look() == {
        "watch_lease_held": 1,
        "watch_looks_total done": 2,
        "watch_last_look_timestamp_seconds": world.clock().timestamp(),
        "rollout_running": 0,
        "rollout_version stable": 1,
        "rollout_revision stable fraud-predictor-00001": 1,
    }
    operator.begin(target(2))
    began = world.clock().timestamp()
    seen = look()
    assert (seen["rollout_running"], seen["rollout_percent"], seen["rollout_version canary"]) == (1, 50, 2)
    assert seen["rollout_revision canary fraud-predictor-00002"] == 1
    assert seen["rollout_started_timestamp_seconds"] == seen["rollout_step_timestamp_seconds"] == began
    assert seen["rollout_deadline_timestamp_seconds"] == began + 60
    world.pass_time(operator, 30)
    seen = look()
    assert {"rollout_percent", "rollout_deadline_timestamp_seconds", "rollout_version canary"}.isdisjoint(seen)
    assert (seen["rollout_running"], seen["rollout_version stable"]) == (0, 2)


def test_an_api_that_is_down_fails_the_look_and_forgets_no_rollout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(name: str) -> None:
        raise Unavailable("the API does not answer")

    operator = world.operator()
    operator.begin(target(2))
    operator.tick()
    assert not operator.check.failed
    monkeypatch.setattr(world.cluster, "live", down)
    operator.tick()
    assert operator.check.failed
    assert operator.check.progress
    liveness = Liveness(clock=lambda: 9.0)
    liveness.checked("fraud", operator.check)
    seen = values(liveness)
    assert (seen["rollout_running"], seen["watch_looks_total failed"]) == (1, 1)
    assert "watch_last_look_timestamp_seconds" not in seen


def test_what_belongs_to_a_lease_goes_with_it() -> None:
    liveness = Liveness(clock=lambda: 5.0)
    liveness.held("fraud", True)
    liveness.checked("fraud", DomainCheck(revisions={"stable": "a"}, versions={"stable": 3}))
    liveness.held("fraud", False)
    assert values(liveness) == {"watch_lease_held": 0, "watch_looks_total done": 1}


def test_entries_are_counted_by_kind_and_the_newest_version_keeps_its_whole_second() -> None:
    liveness = Liveness()
    for kind in ("hold", "promote", "hold"):
        liveness.told("fraud", TimelineEntry(at=AT, correlation="", kind=kind, text="", version=1))
    liveness.registered("fraud", AT)
    seen = values(liveness)
    assert (seen["rollout_entries_total hold"], seen["rollout_entries_total promote"]) == (2, 1)
    assert (
        seen["registry_newest_timestamp_seconds"] == AT.timestamp() == seen["rollout_last_entry_timestamp_seconds hold"]
    )


def test_metrics_and_liveness_are_answered_over_http() -> None:
    now = [1000.0]
    liveness = Liveness(clock=lambda: now[0])

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    with serving(liveness, port=0, host="127.0.0.1") as port:
        assert get("/metrics") == (200, liveness.text())
        assert get("/live")[0] == 200
        liveness.held("fraud", True)
        now[0] += SILENT + 1
        assert get("/live")[0] == 503
        liveness.checked("fraud", DomainCheck())
        assert get("/live")[0] == 200
        assert get("/secrets")[0] == 404
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30)


class Operator:
    """One look, after which the watch is told to stop."""

    def __init__(self, stop: threading.Event, liveness: Liveness, seen: list[str]) -> None:
        self.check, self._stop, self._liveness, self._seen = DomainCheck(), stop, liveness, seen

    def tick(self) -> None:
        self._seen.append(self._liveness.text())
        self._stop.set()

    def close(self) -> None:
        return


class Free:
    """A lease that is free."""

    def acquire(self, identity: str, seconds: int, *, above: int) -> Fence:
        return Fence(token=above + 1, holder=identity, seconds=seconds, until=math.inf)

    def holds(self, fence: Fence) -> bool:
        return True

    def release(self, fence: Fence) -> None:
        return


def test_a_watch_tells_that_it_holds_a_lease_and_that_it_gave_it_back() -> None:
    liveness, seen = Liveness(), list[str]()
    watch = Watch(
        ["fraud"],
        lease=lambda name: Free(),  # type: ignore[arg-type,return-value]
        above=lambda name: 0,
        make=lambda name, fence: Operator(watch.stop, liveness, seen),  # type: ignore[arg-type,return-value]
        every=0.2,
        note=lambda text: None,
        liveness=liveness,
    )
    watch.run()
    assert 'hallmark_watch_lease_held{domain="fraud"} 1' in seen[0]
    assert values(liveness) == {"watch_lease_held": 0, "watch_looks_total done": 1}


def test_a_domain_whose_loop_breaks_is_told_and_begins_again_and_the_others_go_on() -> None:
    liveness, seen, told, broken = Liveness(), list[str](), list[str](), [True]

    def make(name: str, fence: Fence) -> Operator:
        if name == "search" and broken.pop():
            broken.append(len(told) < 3)
            raise OSError(30, "Read-only file system")
        return Operator(watch.stop if name == "search" else threading.Event(), liveness, seen)

    watch = Watch(
        ["fraud", "search"],
        lease=lambda name: Free(),  # type: ignore[arg-type,return-value]
        above=lambda name: 0,
        make=make,  # type: ignore[arg-type]
        every=0.05,
        note=told.append,
        liveness=liveness,
    )
    watch.run()
    assert any("Read-only file system; begins again" in each for each in told)
    assert values(liveness)["watch_looks_total done"] >= 1 and liveness.alive


def test_b02_ctrl_c_again_gives_the_lease_back_without_waiting_for_a_check_that_hangs() -> None:
    released, checking, over = [], threading.Event(), threading.Event()

    class One:
        def acquire(self, identity: str, seconds: int, *, above: int = 0) -> Fence:
            return Fence(1, identity, seconds, math.inf)

        def holds(self, fence: Fence) -> bool:
            return True

        def release(self, fence: Fence) -> None:
            released.append(fence.token)

    class Hanging:
        def tick(self) -> None:
            checking.set()
            over.wait(60)

    watch = Watch(
        ["fraud"],
        lease=lambda name: One(),  # type: ignore[arg-type,return-value]
        above=lambda name: 0,
        make=lambda name, fence: Hanging(),  # type: ignore[arg-type,return-value]
        every=0.05,
        note=lambda text: None,
    )
    signals: list[tuple[int, float]] = []
    running = threading.Thread(target=watch.run, args=(signals,))
    running.start()
    assert checking.wait(30)
    now = time.monotonic()
    signals += [(signal.SIGTERM, now), (signal.SIGTERM, now), (signal.SIGINT, now + 0.1)]
    running.join(0.5)
    assert running.is_alive() and watch.stop.is_set() and not released, "what comes at once is one wish"
    signals.append((signal.SIGINT, now + 2))
    running.join(30)
    assert released == [1]
    over.set()


def test_a_loop_that_hangs_without_the_lease_is_not_alive() -> None:
    now = [1000.0]
    liveness = Liveness(clock=lambda: now[0])
    liveness.held("fraud", False)
    now[0] += SILENT + 1
    assert not liveness.alive
    liveness.waiting("fraud")
    assert liveness.alive


def test_a_port_that_is_taken_is_said_as_such() -> None:
    with (
        serving(Liveness(), port=0, host="127.0.0.1") as port,
        pytest.raises(HallmarkError, match=f"port {port} cannot be listened on"),
        serving(Liveness(), port=port, host="127.0.0.1"),
    ):
        pass
