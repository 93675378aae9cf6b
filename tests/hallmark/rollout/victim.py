"""Rollouts whose watch is killed -9 at any moment, on an API server: the scenario of test_kills.py, with processes that end for good.

`command` is `hallmark watch` itself, with its command line, lease, loop, record and followers; `operator` is its operator alone, which begins
rollouts too. Counters, monitors and the registry are the scenario's, so that no pod need answer.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hallmark import leash
from hallmark.artifacts.release import Target
from hallmark.cli import main
from hallmark.cli import watch as watching
from hallmark.declaration.traffic import KNATIVE, TrafficAdapter
from hallmark.files import replace
from hallmark.interrupts import Interrupted
from hallmark.registry import store
from hallmark.rollout import followers, operations
from hallmark.rollout import record as records
from hallmark.rollout.followers import ChampionAlias, ReleaseFile
from hallmark.rollout.samples import Sample
from hallmark.rollout.writer import InferenceServiceWriter, live_target, predictor_status, share
from tests.hallmark.rollout.forks import Forks
from tests.hallmark.rollout.test_kills import ENDINGS, ended
from tests.hallmark.rollout.test_operator import CHANGES, World, checkout
from tests.hallmark.rollout.tiny import Clock, Cluster, Counters, Versions

MOST_TICKS = 120
RATE = 200
LEASE = 1
"""Seconds; the next watch waits so long for one that was killed."""


class Live(InferenceServiceWriter):
    """A writer of a cluster whose pods are not asked: what the watch asks of them, the scenario answers (tiny.Cluster)."""

    pods = Cluster.pods  # type: ignore[assignment]
    sidecar = Cluster.sidecar  # type: ignore[assignment]
    ready = Cluster.ready
    count_ready = Cluster.count_ready  # type: ignore[assignment]

    name: str

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.verdicts: dict[str, Any] = {}
        self.answers: dict[str, list[Any]] = {}
        self.scaled: dict[str, int] = {}

    def adapter(self, live: dict[str, Any]) -> TrafficAdapter:
        return KNATIVE

    @property
    def rolled_out(self) -> str:
        return str(self._component.get("latestRolledoutRevision"))

    @property
    def revisions(self) -> list[str]:
        return [str(self._component.get("latestCreatedRevision"))]

    @property
    def percent(self) -> int | None:
        return share(self._live)

    @property
    def _component(self) -> dict[str, Any]:
        return predictor_status(self._live)

    @property
    def _live(self) -> dict[str, Any]:
        found = self.live(self.name)
        assert found is not None
        return found


class KeptVersions(Versions):
    """The registry's alias in a file, so that it outlives the process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        super().__init__(champion=int(file.read_text()) if file.is_file() else 1)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "champion":
            replace(self._file, str(value))


def world(folder: Path, kubeconfig: Path, name: str, *, ahead: float = 0.0) -> World:
    """The scenario's world of a domain on a real cluster.   ahead: seconds of its clock beyond the real one."""
    settings = checkout(folder)
    live = Live.connect(settings, kubeconfig=kubeconfig)
    assert isinstance(live, Live)
    live.name = name
    return World(
        settings,
        live,  # type: ignore[arg-type]
        Counters(live),  # type: ignore[arg-type]
        clock=Clock(datetime.now(UTC) + timedelta(seconds=ahead)),
        versions=KeptVersions(folder / "champion"),
    )


class Today(Clock):
    """A clock that is right."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


class Passing:
    """The scenario's counters, which go on while they are read: each look finds as many more requests."""

    def __init__(self, world: World, *, failing: float) -> None:
        self._world = world
        self._failing = failing

    def read(self, namespace: str, names: Sequence[str]) -> list[Sample]:
        self._world.counters.serve(RATE, failing=self._failing)
        self._world.score(RATE)
        return self._world.counters.read(namespace, names)


def command(folder: str, kubeconfig: str, name: str, _: str, __: str, failing: str) -> None:
    """`hallmark watch` until it is ended: the command line's own program, in this process."""
    made = world(Path(folder), Path(kubeconfig), name)
    made.clock = Today()
    os.environ.update(made.settings.environment())
    watching.connected = lambda *_, **__: made.cluster  # type: ignore[assignment]
    watching._source = lambda *_: Passing(made, failing=float(failing))  # type: ignore[assignment]
    store.Registry = lambda _: made.versions  # type: ignore[assignment, misc]
    changes = [
        f"--set={each}"
        for each in (*CHANGES, "rollout.dwell=0.5s", "rollout.stages=[20, 50, 100]", "retrain.on_drift=false")
    ]
    given = ("--every=0.2", f"--lease={LEASE}", f"--kubeconfig={kubeconfig}", *changes)
    with contextlib.suppress(Interrupted):
        main(["watch", name, *given])


def operator(folder: str, kubeconfig: str, name: str, fence: str, begins: str, failing: str) -> None:
    """Watch until nothing moves any more and all that follows has followed.   begins: the candidate as JSON, or nothing."""
    # A clock that runs ahead by minutes from watch to watch, as ticks stand for seconds here.
    made = world(Path(folder), Path(kubeconfig), name, ahead=300.0 * int(fence))
    watched = made.operator("retrain.on_drift=false", fence=int(fence))
    if begins:
        made.pass_time(watched, 1)
        watched.begin(Target.model_validate_json(begins))
    for _ in range(MOST_TICKS):
        made.pass_time(watched, 1, failing=float(failing))
        if _rests(made):
            break
    watched.close()


def _rests(made: World) -> bool:
    live = made.cluster.live(made.cluster.name)
    assert live is not None
    record = records.written(live)
    return (
        record is not None and record == record.settled and share(live) is None and record.stable == live_target(live)
    )


class Rollouts:
    """Rollouts of one domain after each other on one cluster, their watch killed and followed by another.

    target: a version that can be served.   whole: does the cluster send everything to the newest?
    victim: `command`, which takes over what a person begins, or `operator`, which begins it.
    """

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        log: Path,
        *,
        name: str,
        target: Callable[[int], Target],
        whole: Callable[[], bool],
        victim: Callable[[str, str, str, str, str, str], None],
    ) -> None:
        self._victim = victim.__name__
        self.world: World = world(folder, kubeconfig, name)
        self._given = (str(folder), str(kubeconfig), name)
        self._name = name
        self._log = log
        self._target = target
        self._whole = whole
        self._fence = 0
        self._kills = 0

    def run(self, kills: int) -> None:
        """Roll out until so many watches were killed, half of the rollouts to a promotion, and hold each end to one stable."""
        seed = random.SystemRandom().randrange(2**32)
        print(f"seed {seed}")  # noqa: T201  pytest shows it where the test fails
        chance = random.Random(seed)
        version, lasts = 100, dict.fromkeys(ENDINGS, 0.0)
        stable = live_target(self._now())
        with Forks(f"{__name__}:{self._victim}", self._log) as forks:
            for ending in ENDINGS:  # once in peace, to know how long it takes
                version, began = version + 1, time.monotonic()
                stable = self._roll(forks, stable, self._target(version), ENDINGS[ending][0], [])
                lasts[ending] = time.monotonic() - began
            while self._kills < kills:
                version, ending = version + 1, chance.choice(list(ENDINGS))
                times = chance.randint(2, 6)  # each watch goes on where the one before was killed
                # Who follows one that was killed waits for its lease first.
                waits = LEASE if self._victim == command.__name__ else 0.0
                at = [
                    waits * (number > 0) + chance.uniform(0, 2 * lasts[ending] / (times + 1)) for number in range(times)
                ]
                stable = self._roll(forks, stable, self._target(version), ENDINGS[ending][0], at)

    def _roll(self, forks: Forks, stable: Target, candidate: Target, failing: float, at: list[float]) -> Target:
        """One rollout, its watches killed so many seconds after their start; gives who is stable after it."""
        begins: Target | None = candidate
        if self._victim == command.__name__:
            begins = self._begin(candidate)
        for seconds in at:
            pid = self._watch(forks, begins, failing)
            time.sleep(seconds)
            self._kills += forks.kill(pid) < 0
            begins = None if begins is None or self._is_begun(stable, candidate) else candidate
        last = self._watch(forks, begins, failing)
        if self._victim == command.__name__:
            self._end(last)
        # Where nothing was left to do it may be ended before it has begun to listen for signals.
        assert forks.wait(last) in (0, -signal.SIGTERM), self._log.read_text(encoding="utf-8")[-2000:]
        stable = stable if failing else candidate
        live = self._now()
        record = records.written(live)
        assert record is not None
        versions = KeptVersions(self.world.settings.root / "champion")
        # What a watch that was killed did not write, `hallmark settle` writes.
        _, failed = followers.catch_up(
            [ReleaseFile(self.world.settings, self.world.cluster), ChampionAlias(versions)], self._name, record
        )  # type: ignore[arg-type]
        assert not failed
        ended(live, versions.champion, self.world, stable)
        assert self._whole()
        return stable

    def _begin(self, candidate: Target) -> None:
        """A person's `hallmark release --percent 20`, which the watch takes over."""
        writer: Any = self.world.cluster
        operations.release(writer, self.world.domain(), candidate, percent=20, note=lambda _: None)

    def _end(self, pid: int) -> None:
        """Wait until nothing moves, as a person who looks at it would, then end the watch as a person does."""
        deadline = time.monotonic() + 90
        while not _rests(self.world):
            assert time.monotonic() < deadline and leash.identity(pid), self._log.read_text(encoding="utf-8")[-2000:]
            time.sleep(0.1)
        os.kill(pid, signal.SIGTERM)

    def _watch(self, forks: Forks, begins: Target | None, failing: float) -> int:
        self._fence += 1
        asked = begins.model_dump_json(by_alias=True) if begins else ""
        return forks.start(*self._given, str(self._fence), asked, str(failing))

    def _is_begun(self, stable: Target, candidate: Target) -> bool:
        """Is there anything of the rollout? Whatever moment it is, one of the two is stable, and where nothing moves it is the model."""
        live = self._now()
        record = records.written(live)
        assert record is None or record.stable in (stable, candidate)
        if share(live) is None:
            assert live_target(live) == (record.stable if record else stable)
        return share(live) is not None or live_target(live) == candidate

    def _now(self) -> dict[str, Any]:
        live = self.world.cluster.live(self._name)
        assert live is not None
        return live
