"""A pod that the scheduler of a real API server bound to this node: its containers are processes at an address of the pod's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from hallmark.errors import HallmarkError
from hallmark.leash import Leash
from hallmark.section import Frozen
from local_cluster import containers, volumes
from local_cluster.containers import MAIN, ContainerPlan
from local_cluster.supervisor import FIRST_PAUSE, LONGEST_PAUSE, Container, ContainerEnd, Pod, now, started

Json = dict[str, Any]

_IMAGE = re.compile(r"(?:.*/)?([^/:@]+)(?:[:@].*)?")


class Image(Frozen):
    """What stands for an image: a command for a container that has none, and variables for all."""

    command: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)


def image_name(image: str) -> str:
    """The name of an image without its registry, tag and digest: serving for registry/hallmark/serving:1."""
    found = _IMAGE.fullmatch(image)
    return found[1] if found else image


class BoundPod:
    """The processes of a pod of the API server, from its binding until it is told to end.

    bound:    the object.   address: its own, on which its containers listen.
    images:   what stands for each image, by `image_name`; a container of another waits for it for ever.
    config_map: a ConfigMap of the pod's namespace; none where there is none.
    report:   called with each new status.
    """

    def __init__(
        self,
        bound: Json,
        *,
        address: str,
        host: str,
        folder: Path,
        root: Path,
        images: Mapping[str, Image],
        config_map: Callable[[str, str], Awaitable[Json | None]],
        report: Callable[[Json], Awaitable[None]],
        on: Leash,
    ) -> None:
        self.bound = bound
        self.address = address
        self._host = host
        self._folder = folder
        self._root = root
        self._images = images
        self._config_map = config_map
        self._report = report
        self._leash = on
        spec = bound["spec"]
        self._began = now()
        self._since: dict[str, tuple[str, str]] = {}
        self._first = {
            each["name"]: Container(each["name"], each["image"]) for each in spec.get("initContainers") or []
        }
        self._by_name = {each["name"]: each for each in [*(spec.get("initContainers") or []), *spec["containers"]]}
        self._ports = {port: port for port in containers.ports(spec["containers"])}
        self._changed = asyncio.Event()
        names = [each["name"] for each in spec["containers"]]
        self._pod = Pod(
            bound["metadata"]["name"],
            spec["containers"],
            main=MAIN if MAIN in names else names[0],
            plan=self._plan,
            folder=folder,
            grace=float(spec.get("terminationGracePeriodSeconds") or 30),
            on=on,
            changed=self._changed.set,
        )

    async def run(self) -> None:
        """Keep it running, and its status reported, until this is cancelled; its processes end with it, with their grace."""
        telling = asyncio.create_task(self._tell())
        try:
            if missing := [name for name in self._by_name if self._image(name) is None]:
                self._wait_for_image(missing)
            else:
                await self._write_volumes()
                for container in self._first.values():
                    await self._finish(container)
                self._pod.start()
            await asyncio.Event().wait()
        finally:
            telling.cancel()
            await self._pod.stop()

    def status(self) -> Json:
        """The pod's status as a kubelet has it."""
        running = list(self._pod.containers.values())
        begun = all(each.state == "terminated" for each in self._first.values())
        ready = begun and not self._pod.stopping and all(each.ready for each in running)
        told = {"Initialized": begun, "ContainersReady": ready, "Ready": ready}
        started = any(each.started for each in running)
        return {
            "phase": "Running" if started else "Pending",
            "hostIP": self._host,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "startTime": self._began,
            "conditions": [self._condition(kind, value) for kind, value in told.items()],
            "initContainerStatuses": [each.status() for each in self._first.values()],
            "containerStatuses": [each.status() for each in running],
        }

    def _condition(self, kind: str, value: bool) -> Json:
        text = str(value)
        if self._since.get(kind, ("", ""))[0] != text:
            self._since[kind] = text, now()
        return {"type": kind, "status": text, "lastTransitionTime": self._since[kind][1]}

    async def _tell(self) -> None:
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._report(self.status())

    def _image(self, container: str) -> Image | None:
        return self._images.get(image_name(self._by_name[container]["image"]))

    def _wait_for_image(self, missing: list[str]) -> None:
        for each in [*self._first.values(), *self._pod.containers.values()]:
            if each.name in missing:
                each.reason = "ImagePullBackOff"
        self._changed.set()

    async def _finish(self, container: Container) -> None:
        """Run an init container until it ends well, again with growing pauses where it does not."""
        pause = FIRST_PAUSE
        while True:
            try:
                child = started(self._plan(container.name), folder=self._folder, on=self._leash)
            except (HallmarkError, OSError) as error:
                end = ContainerEnd.of(error)
            else:
                container.state, container.started = "running", now()
                self._changed.set()
                try:
                    end = ContainerEnd(code=await child.wait(), message=child.last_line(), at=now())
                except asyncio.CancelledError:
                    child.kill()
                    raise
            container.last, container.ready = end, end.code == 0
            container.state, container.reason = ("waiting" if end.code else "terminated"), "CrashLoopBackOff"
            self._changed.set()
            if not end.code:
                return
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
            container.restarts += 1

    async def _write_volumes(self) -> None:
        """Make its volumes; one that cannot be made is tried again, as a kubelet does."""
        namespace = self.bound["metadata"]["namespace"]
        pause = FIRST_PAUSE
        while True:
            wanted = self.bound["spec"].get("volumes") or []
            named = {each["configMap"]["name"] for each in wanted if "configMap" in each}
            found = {name: await self._config_map(namespace, name) for name in named}
            try:
                for each in wanted:
                    volumes.materialise(each, self._folder / "volumes" / each["name"], found.get)
            except HallmarkError as error:
                for container in self._pod.containers.values():
                    container.last = ContainerEnd.of(error)
                self._changed.set()
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                return

    def _plan(self, name: str) -> ContainerPlan:
        container, image = self._by_name[name], self._image(name)
        if image is None:
            raise HallmarkError(f"there is nothing here for the image {container['image']}")
        mounts = {
            mount["mountPath"]: self._folder / "volumes" / mount["name"] / mount.get("subPath", "")
            for mount in container.get("volumeMounts") or []
        }
        meta = self.bound["metadata"]
        own = {
            "HOSTNAME": meta["name"],
            "POD_NAME": meta["name"],
            "POD_NAMESPACE": meta["namespace"],
            "POD_IP": self.address,
        }
        return containers.plan(
            {**container, "command": container.get("command") or image.command},
            ports=self._ports,
            mounts=mounts,
            environment={**own, **image.environment},
            root=self._root,
            address=self.address,
        )
