"""A pod: the processes of one revision, kept running.

Each container is started, asked whether it is ready, asked whether it is alive, and started again with growing pauses when it ends.
Whether the pod is routed depends on its main container alone: a sidecar that is down costs its own work and no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hallmark.errors import HallmarkError
from hallmark.leash import Leash
from local_cluster.containers import ContainerPlan, ContainerProbe
from local_cluster.processes import ChildProcess

Json = dict[str, Any]

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 60.0
SETTLED_SECONDS = 60.0
STARTING_PERIOD = 0.1
START_SECONDS = 180.0


class ContainerEnd(BaseModel):
    """End of a container: its exit code and its last line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: int
    message: str
    at: str

    @classmethod
    def of(cls, error: HallmarkError | OSError) -> ContainerEnd:
        """End of one that could not be started."""
        if isinstance(error, HallmarkError):
            return cls(code=1, message=error.message, at=now())
        return cls(code=127, message=f"cannot be started: {error}", at=now())

    def status(self) -> Json:
        """As Kubernetes shows it."""
        reason = "Completed" if self.code == 0 else "Error"
        return {"exitCode": self.code, "reason": reason, "message": self.message, "finishedAt": self.at}


class Container:
    """One container of a pod, and what happened to it."""

    def __init__(self, name: str, image: str) -> None:
        self.name = name
        self.image = image
        self.child: ChildProcess | None = None
        self.started: str | None = None
        self.state: Literal["waiting", "running", "terminated"] = "waiting"
        self.reason = "ContainerCreating"
        self.ready = False
        self.restarts = 0
        self.last: ContainerEnd | None = None

    def status(self) -> Json:
        """A Kubernetes containerStatus."""
        state: Json = {"waiting": {"reason": self.reason}}
        if self.state == "running":
            state = {"running": {"startedAt": self.started}}
        elif self.last and self.state == "terminated":
            state = {"terminated": self.last.status()}
        elif self.last and self.reason == "CrashLoopBackOff":
            state = {"waiting": {"reason": self.reason, "message": f"back-off restarting failed container {self.name}"}}
        shown: Json = {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "ready": self.ready,
            "started": self.state == "running",
            "restartCount": self.restarts,
            "state": state,
        }
        return shown | {"lastState": {"terminated": self.last.status()} if self.last else {}}


class Pod:
    """The processes of one revision.

    plan:     a container's plan by name; asked again at each start, since a volume may have come by then.
    changed:  called, without arguments, each time what the pod reports has changed.
    """

    def __init__(
        self,
        name: str,
        containers: list[Json],
        *,
        main: str,
        plan: Callable[[str], ContainerPlan],
        folder: Path,
        grace: float,
        on: Leash,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.created = now()
        self.containers = {str(c["name"]): Container(str(c["name"]), str(c.get("image", ""))) for c in containers}
        self._main = self.containers[main]
        self._plan = plan
        self._folder = folder
        self._grace = grace
        self._leash = on
        self._changed = changed
        self._tasks: list[asyncio.Task[None]] = []
        self._began = time.monotonic()
        self.was_ready = False
        self.stopping = False

    def start(self) -> None:
        """Start its containers, and keep them running."""
        for container in self.containers.values():
            self._tasks.append(asyncio.create_task(self._keep(container), name=f"{self.name}/{container.name}"))

    async def stop(self) -> None:
        """SIGTERM to its containers, SIGKILL after the grace period; returns when none is left."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        children = [c.child for c in self.containers.values() if c.child is not None]
        # The main container first: what it still has to send goes to its sidecars.
        main = self._main.child
        if main is not None:
            await main.stop(self._grace)
        await asyncio.gather(*(child.stop(min(5.0, self._grace)) for child in children if child is not main))

    @property
    def ready(self) -> bool:
        """True while it takes requests."""
        return self._main.ready and not self.stopping

    @property
    def failure(self) -> ContainerEnd | None:
        """Last end of its main container, while it is not ready again."""
        if self.ready:
            return None
        if self._main.last is None and time.monotonic() - self._began > START_SECONDS:
            return ContainerEnd(code=0, message=f"not ready {START_SECONDS:.0f} s after it was started", at=now())
        return self._main.last

    @property
    def restarts(self) -> int:
        """Number of restarts of its main container."""
        return self._main.restarts

    def log(self, container: str) -> Path:
        """The log file of a container."""
        return log_file(self._folder, container)

    def trim(self) -> None:
        """Keep the logs within their bound."""
        for container in self.containers.values():
            if container.child:
                container.child.trim()

    def status(self) -> Json:
        """A Kubernetes pod status."""
        running = any(c.state == "running" for c in self.containers.values())
        ready = "True" if self.ready else "False"
        conditions = [{"type": kind, "status": ready} for kind in ("Ready", "ContainersReady")]
        return {
            "phase": "Running" if running else "Pending",
            "podIP": "127.0.0.1",
            "hostIP": "127.0.0.1",
            "startTime": self.created,
            "conditions": [*conditions, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [c.status() for c in self.containers.values()],
        }

    async def _keep(self, container: Container) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            await self._once(container)
            if time.monotonic() - began > SETTLED_SECONDS:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
            container.restarts += 1

    async def _once(self, container: Container) -> None:
        """One life of a container, from its start to its end."""
        try:
            plan = self._plan(container.name)
            child = started(plan, folder=self._folder, on=self._leash)
        except (HallmarkError, OSError) as error:
            self._ended(container, ContainerEnd.of(error))
            return
        container.child, container.state, container.started = child, "running", now()
        self._say(container, ready=plan.readiness is None and container is not self._main)
        probes = [asyncio.create_task(self._watch_readiness(container, plan))]
        if plan.liveness:
            probes.append(asyncio.create_task(self._watch_liveness(container, plan.liveness, child)))
        try:
            code = await child.wait()
        finally:
            for probe in probes:
                probe.cancel()
        self._ended(container, ContainerEnd(code=code, message=child.last_line(), at=now()))

    def _ended(self, container: Container, end: ContainerEnd) -> None:
        container.child, container.last, container.state = None, end, "waiting"
        container.reason = "CrashLoopBackOff"
        container.ready = False
        self._changed()

    def _say(self, container: Container, *, ready: bool) -> None:
        container.ready = ready
        if container is self._main and ready:
            self.was_ready = True
        self._changed()

    async def _watch_readiness(self, container: Container, plan: ContainerPlan) -> None:
        probe = plan.readiness
        if probe is None:
            if container is self._main:
                self._say(container, ready=True)
            return
        failures = 0
        while True:
            good = await ask(probe)
            failures = 0 if good else failures + 1
            if good and not container.ready:
                self._say(container, ready=True)
            elif container.ready and failures >= probe.failures:
                self._say(container, ready=False)
            await asyncio.sleep(min(probe.period, 2.0) if container.ready else STARTING_PERIOD)

    async def _watch_liveness(self, container: Container, probe: ContainerProbe, child: ChildProcess) -> None:
        """Ends a container that does not answer any more; one that is still starting is given time."""
        await asyncio.sleep(probe.delay)
        while not container.ready:
            await asyncio.sleep(STARTING_PERIOD)
        failures = 0
        while failures < probe.failures:
            await asyncio.sleep(probe.period)
            failures = 0 if await ask(probe) else failures + 1
        await child.stop(min(5.0, self._grace))


def started(plan: ContainerPlan, *, folder: Path, on: Leash) -> ChildProcess:
    """The process of a container, its log in `folder`; `OSError` where it cannot be started."""
    folder.mkdir(parents=True, exist_ok=True)
    log = log_file(folder, plan.name)
    return ChildProcess.start(plan.command, environment=plan.environment, folder=folder, log=log, on=on)


def log_file(folder: Path, container: str) -> Path:
    """The log of a container of the pod in `folder`."""
    return folder / f"{container}.log"


async def ask(probe: ContainerProbe) -> bool:
    """Run a probe: true where its port answers, with a status of 200 to 399 where it has a path."""
    writer = None
    try:
        async with asyncio.timeout(probe.timeout):
            reader, writer = await asyncio.open_connection(probe.host, probe.port)
            if probe.path is None:
                return True
            writer.write(f"GET {probe.path} HTTP/1.1\r\nhost: {probe.host}\r\nconnection: close\r\n\r\n".encode())
            status = (await reader.readline()).split(b" ")
            return len(status) > 1 and status[1][:1] in (b"2", b"3")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
