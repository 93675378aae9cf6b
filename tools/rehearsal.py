"""A small world for rehearsals: a copy of the declarations with short times, a local cluster, traffic, and a watch on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from hallmark import leash
from hallmark.declaration import domain as declared
from hallmark.declaration.domain import Domain
from hallmark.declaration.drill import Drill
from hallmark.declaration.traffic import TrafficAdapter
from hallmark.errors import NotFound, TimedOut, Unavailable
from hallmark.leash import Leash
from hallmark.settings import Settings
from local_cluster import cluster
from local_cluster.processes import tail
from tools.scratch import emptied

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.training.cached_run import Report

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
AGAIN = "2026-10-01"
SHORT: tuple[str, ...] = (
    "rollout.stages=[50, 100]",
    "rollout.dwell=2s",
    "rollout.minimum_samples=100",
    "rollout.deadline=90s",
    "rollout.warm=60s",
    "rollout.limits.negligible=0.02",
    "rollout.limits.slow=0.2",
    "retrain.cooldown=1h",
)
"""Times and numbers of a rollout that is over in half a minute. Slow is what a busy laptop does, so little is made of it."""
_PARTS = ("hallmark", "inference_services", "components", "pipelines", "features", "contracts")


class World:
    """One domain in a state folder of its own; `train`, `up`, `watch`, and `down` at the end."""

    def __init__(self, settings: Settings, domain: Domain, *, on: Leash | None = None, stays: bool = False) -> None:
        self.settings = settings
        self.domain = domain
        self._leash = on or Leash(settings.state)
        self._stays = stays
        self.watching: subprocess.Popen[bytes] | None = None
        self.trained = 0.0
        self.log = settings.state / "watch.log"

    @classmethod
    def make(
        cls,
        name: str,
        state: Path,
        *,
        base: Settings,
        changes: Sequence[str] = (),
        on: Leash | None = None,
        stays: bool = False,
    ) -> World:
        """A new world in `state`, which is emptied; `changes` are made to the declaration besides `SHORT`.

        What a world that was killed left running there is ended first.
        on: the leash of what it starts;  stays: that outlives this process, until `down`.
        """
        root = state / "checkout"
        emptied(state, base=base)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(base.domains, root / "domains", ignore=ignored)
        for part in _PARTS:
            (root / part).symlink_to(base.root / part)
        settings = Settings.load(
            {
                "HALLMARK_ROOT": str(root),
                "HALLMARK_STATE": str(state),
                "HALLMARK_RELEASES": str(state / "releases"),
            }
        )
        made = cls(settings, declared.load(name, settings), on=on, stays=stays)
        drill = made.drill
        made.change([*SHORT, f"rollout.shadow.minimum={min(300, round(drill.rate * 3))}", *drill.set, *changes])
        return made

    @property
    def drill(self) -> Drill:
        """The domain's declaration of drills; `NotFound` where there is none."""
        if self.domain.drill is None:
            raise NotFound(
                f"{self.domain.name} declares no drill",
                expected="drill: with the shift to inject in domain.yaml",
                got="none",
                fix="see another domain's, such as domains/fraud/domain.yaml",
            )
        return self.domain.drill

    def change(self, changes: Sequence[str]) -> None:
        """Change the declaration of this world, for everything that reads it from now on."""
        self.domain = declared.overridden(self.domain, changes)
        path = self.settings.domains / self.domain.name / "domain.yaml"
        path.write_text(yaml.safe_dump(self.domain.given, sort_keys=False), encoding="utf-8")

    def train(self, report: Report) -> int:
        """Train and register the first version; gives it. `trained` is how long that took here, in seconds."""
        from hallmark.training.run import train

        began = time.monotonic()
        outcome = train(
            self.domain.name,
            settings=self.settings,
            as_of=FIRST.isoformat(),
            window=self._window,
            options=self.drill.options,
            report=report,
        )
        if outcome.refusal is not None:
            raise outcome.refusal
        self.trained = time.monotonic() - began
        return int(outcome.version or 0)

    def up(self, adapter: TrafficAdapter | None = None) -> InferenceServiceWriter:
        """Start the local cluster (by default one that can do all) with the serving runtime on it; gives the InferenceService writer on it."""
        from hallmark.render import files
        from hallmark.rollout.writer import InferenceServiceWriter

        cluster.up(self.settings, port=0, on=self._leash, stays=self._stays, adapter=adapter)
        writer = InferenceServiceWriter.connect(self.settings, kubeconfig=self.settings.kubeconfig)
        for item in files.runtime(self.settings):
            writer.apply(item)
        return writer

    def watch(self, *options: str) -> None:
        """Start `hallmark watch` on it, as a person would; one that is still there is ended first."""
        self.unwatch()
        drill = self.drill
        given = [f"--option={key}={value}" for key, value in drill.options.items()]
        command = [sys.executable, "-m", "hallmark.cli", "watch", self.domain.name, "--every=0.5", f"--until={AGAIN}"]
        command += [f"--window={self._window}", f"--shift={drill.shift}", *given, *options]
        with self.log.open("ab") as stream:
            self.watching = self._leash.start(
                command,
                environment={**os.environ, **self.settings.environment()},
                folder=self.settings.root,
                output=stream,
                stays=self._stays,
            )

    def unwatch(self, *, seconds: float = 20.0) -> None:
        """End the watch and wait for it."""
        if self.watching is None:
            return
        self.watching.terminate()
        try:
            self.watching.wait(seconds)
        except subprocess.TimeoutExpired:
            self.watching.kill()
            self.watching.wait()
        self.watching = None

    def check(self) -> None:
        """`Unavailable` with its last words where the watch has ended by itself."""
        if self.watching is not None and self.watching.poll() is not None:
            lines = tail(self.log, 2048).decode("utf-8", "replace").strip().splitlines()
            raise Unavailable(
                "the watch ended by itself", got=lines[-1] if lines else "no word", fix=f"read {self.log}"
            )

    def down(self) -> None:
        """End the watch and the cluster, and a training that the watch began; nothing is left running."""
        self.unwatch()
        cluster.down(self.settings)
        self._leash.end()

    def process(self, pod: str, module: str) -> int:
        """The process of a container by its pod's name and the module that it runs; `NotFound` where there is none."""
        for each in leash.marked():
            if each.place != self.settings.cluster:
                continue
            try:
                command = Path(f"/proc/{each.pid}/cmdline").read_bytes().split(b"\0")
                environment = Path(f"/proc/{each.pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if module.encode() in command and f"POD_NAME={pod}".encode() in environment:
                return each.pid
        raise NotFound(f"no process of {module} in pod {pod}")

    def wait(self, what: str, done: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `done()` is true; `Unavailable` where the watch ended, `TimedOut` where it does not come true."""
        deadline = time.monotonic() + seconds
        while not done():
            self.check()
            if time.monotonic() > deadline:
                raise TimedOut(f"{what} did not happen in {seconds:g} s")
            time.sleep(0.2)

    @property
    def _window(self) -> str:
        return str(self.domain.model_dump(mode="json")["drill"]["window"])
