"""Pods of a real API server as processes: each at an address of its own, its model fetched before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from hallmark.leash import Leash
from local_cluster import node
from local_cluster.bound import BoundPod, image_name

Json = dict[str, Any]

FAKE = Path(__file__).with_name("fake_runtime.py")
PORT = 18_080


def pod(name: str, *, uri: str = "s3://bucket/one/", image: str = "registry/hallmark/serving@sha256:00") -> Json:
    """As KServe's webhook leaves one in Standard mode: a storage initializer, the model's volume, the server."""
    mount = {"name": "models", "mountPath": "/mnt/models"}
    server = {
        "name": "kserve-container",
        "image": image,
        "command": ["python", "-S", str(FAKE)],
        "args": ["--model-dir=/mnt/models", f"--http-port={PORT}", f"--peer=127.0.0.1:{PORT}", "--host=0.0.0.0"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": PORT}},
        "volumeMounts": [{**mount, "readOnly": True}],
    }
    first = {
        "name": "storage-initializer",
        "image": "kserve/storage-initializer:v1",
        "args": [uri, "/mnt/models"],
        "volumeMounts": [mount],
    }
    spec = {
        "initContainers": [first],
        "containers": [server],
        "volumes": [{"name": "models", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 5,
    }
    return {"metadata": {"name": name, "namespace": "fraud", "uid": name}, "spec": spec}


class Told:
    """The statuses that a pod reports."""

    def __init__(self) -> None:
        self.status: Json = {}

    async def report(self, status: Json) -> None:
        self.status = status

    @property
    def ready(self) -> bool:
        conditions = self.status.get("conditions") or []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(600):
            if self.status and true():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not so after 30 s: {self.status}")


@asynccontextmanager
async def running(folder: Path, bound: Json, *, address: str) -> AsyncIterator[Told]:
    leash, told = Leash(folder), Told()

    async def config_map(namespace: str, name: str) -> Json | None:
        return None

    made = BoundPod(
        bound,
        address=address,
        host="127.0.0.1",
        folder=folder / bound["metadata"]["name"],
        root=Path(__file__).parents[2],
        images=node.images(folder / "buckets"),
        config_map=config_map,
        report=told.report,
        on=leash,
    )
    task = asyncio.create_task(made.run())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        leash.end()


def model(folder: Path, **files: str) -> None:
    place = folder / "buckets" / "bucket" / "one"
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)


async def status_of(address: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://{address}:{PORT}/v2/models/m/infer", json={"inputs": []})
        return answer.status_code


def test_two_pods_listen_on_one_port_at_addresses_of_their_own_and_end_with_their_pod(tmp_path: Path) -> None:
    model(tmp_path, status="418")

    async def run() -> None:
        async with running(tmp_path, pod("a"), address="127.7.0.1") as one:
            async with running(tmp_path, pod("b"), address="127.7.0.2") as two:
                await one.until(lambda: one.ready)
                await two.until(lambda: two.ready)
                assert (one.status["phase"], one.status["podIP"]) == ("Running", "127.7.0.1")
                (first,) = one.status["initContainerStatuses"]
                assert first["state"]["terminated"]["exitCode"] == 0
                assert [await status_of(each) for each in ("127.7.0.1", "127.7.0.2")] == [418, 418]
            assert await status_of("127.7.0.1") == 418
            try:
                await status_of("127.7.0.2")
            except httpx.ConnectError:
                return
            raise AssertionError("the second pod still answers")

    asyncio.run(run())


def test_a_model_that_is_not_there_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    model(tmp_path)

    async def run() -> None:
        async with running(tmp_path, pod("a", uri="s3://bucket/two/"), address="127.7.0.1") as told:
            await told.until(lambda: "terminated" in told.status["initContainerStatuses"][0]["lastState"])
            (first,) = told.status["initContainerStatuses"]
            assert first["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            assert "s3://bucket/two/ is not there" in first["lastState"]["terminated"]["message"]
            assert told.status["phase"] == "Pending" and not told.ready
            assert "waiting" in told.status["containerStatuses"][0]["state"]

    asyncio.run(run())


def test_a_pod_of_an_image_that_nothing_stands_for_waits_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, pod("a", image="mlflow:3"), address="127.7.0.1") as told:
            await told.until(lambda: True)
            (server,) = told.status["containerStatuses"]
            assert server["state"]["waiting"]["reason"] == "ImagePullBackOff"

    asyncio.run(run())


def test_an_images_name_has_no_registry_tag_or_digest() -> None:
    given = ("serving", "a/serving", "host:5000/a/serving:1", "host/a/serving@sha256:00", "host/a/serving:1@sha256:00")
    assert {image_name(each) for each in given} == {"serving"}
