"""A node agent for a real API server: registers a Node, and runs the pods that the scheduler binds to it as processes of this machine.

    python -m local_cluster.node --kubeconfig FILE --folder FOLDER --buckets FOLDER

It does what a kubelet does as far as a model's pod needs it: volumes of ConfigMaps, init containers, probes, restarts, status, an end with
grace, logs. Each pod has an address of its own out of `PODS`, which must be this machine's already, as in a network namespace with
`ip route add local 10.0.0.0/8 dev lo`. There are no images: a container runs as its command with this interpreter, and pods of
images that nothing stands for (`images`) wait.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from hallmark.leash import Leash
from hallmark.names import CPU_POOL, POOL
from local_cluster import node_logs, storage
from local_cluster.access import ApiAccess
from local_cluster.bound import BoundPod, Image
from local_cluster.remote_feed import client, follow
from local_cluster.supervisor import log_file, now

Json = dict[str, Any]

NAME, ADDRESS = "processes", "10.0.0.2"
PODS = ipaddress.ip_network("10.244.0.0/16")
HEARTBEAT_SECONDS = 10.0
_STRATEGIC = "application/strategic-merge-patch+json"
_LABELS = {
    "kubernetes.io/hostname": NAME,
    "kubernetes.io/os": "linux",
    "topology.kubernetes.io/zone": "here",
    POOL: CPU_POOL,
}
_CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "256Gi"}
_LOG = logging.getLogger(__name__)


def images(buckets: Path) -> dict[str, Image]:
    """What stands for the images of a model's pod: our model server, our drift monitor, and KServe's storage initializer."""
    fetch = Image(
        command=(sys.executable, "-m", "local_cluster.storage"),
        environment={storage.BUCKETS: str(buckets.resolve())},
    )
    return {"serving": Image(), "drift": Image(), "storage-initializer": fetch}


class NodeAgent:
    """The node `NAME`; `run` until cancelled.   root: what `python -m` finds modules in."""

    def __init__(
        self, api: httpx.AsyncClient, *, folder: Path, root: Path, images: Mapping[str, Image], on: Leash
    ) -> None:
        self._api = api
        self._folder = folder
        self._root = root
        self._images = images
        self._leash = on
        self._addresses = PODS.hosts()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()
        self._ending = False

    async def run(self) -> None:
        """Be a node. The processes of every pod end with it; the objects stay as they are."""
        await self._register()
        logs = await node_logs.serve(self._log, host=ADDRESS, access=ApiAccess.open(self._folder / "tls"))
        beating = asyncio.create_task(self._beat())
        try:
            await follow(self._api, "/api/v1/pods", self._seen, fieldSelector=f"spec.nodeName={NAME}")
        finally:
            self._ending = True
            logs.close()
            beating.cancel()
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(beating, *self._running.values(), return_exceptions=True)

    async def _register(self) -> None:
        meta = {"name": NAME, "labels": _LABELS}
        made = await self._api.post("/api/v1/nodes", json={"apiVersion": "v1", "kind": "Node", "metadata": meta})
        if made.status_code != 409:
            made.raise_for_status()
        await self._report_node()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            with contextlib.suppress(httpx.HTTPError):
                await self._report_node()

    async def _report_node(self) -> None:
        told = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
        status = {
            "capacity": _CAPACITY,
            "allocatable": _CAPACITY,
            # No Hostname: an API server would ask for logs at that first, and nobody resolves it.
            "addresses": [{"type": "InternalIP", "address": ADDRESS}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node_logs.PORT}},
            "conditions": [
                {"type": kind, "status": value, "reason": "NodeAgent", "lastHeartbeatTime": now()}
                for kind, value in told.items()
            ],
        }
        await self._patch(f"/api/v1/nodes/{NAME}/status", {"status": status})

    def _seen(self, pod: Json, gone: bool) -> None:
        uid = pod["metadata"]["uid"]
        task = self._running.get(uid)
        if gone or pod["metadata"].get("deletionTimestamp"):
            if task is None and not gone:
                self._running[uid] = asyncio.create_task(self._delete(pod))
            elif task is not None and uid not in self._told:
                self._told.add(uid)
                task.cancel()
        elif task is None:
            self._running[uid] = asyncio.create_task(self._keep(pod))

    async def _keep(self, pod: Json) -> None:
        """Run a pod until it is told to end, then take its object away."""
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"

        async def report(status: Json) -> None:
            with contextlib.suppress(httpx.HTTPError):
                await self._patch(path, {"metadata": {"uid": meta["uid"]}, "status": status})

        running = BoundPod(
            pod,
            address=str(next(self._addresses)),
            host=ADDRESS,
            folder=self._place(meta["namespace"], meta["name"]),
            root=self._root,
            images=self._images,
            config_map=self._config_map,
            report=report,
            on=self._leash,
        )
        try:
            await running.run()
        except asyncio.CancelledError:
            if not self._ending:
                await self._delete(pod)

    def _place(self, namespace: str, pod: str) -> Path:
        return self._folder / "pods" / namespace / pod

    def _log(self, namespace: str, pod: str, container: str) -> Path:
        return log_file(self._place(namespace, pod), container)

    async def _delete(self, pod: Json) -> None:
        """Say that a pod has ended."""
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        with contextlib.suppress(httpx.HTTPError):
            await self._api.request("DELETE", path, json=body)

    async def _config_map(self, namespace: str, name: str) -> Json | None:
        answer = await self._api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        return dict(answer.json()) if answer.is_success else None

    async def _patch(self, path: str, body: Json) -> None:
        answer = await self._api.patch(path, content=json.dumps(body), headers={"Content-Type": _STRATEGIC})
        if not answer.is_success:
            _LOG.warning("%s: %s", path, answer.text[:1000])


async def serve(arguments: argparse.Namespace) -> None:
    """Be a node until SIGTERM."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    leash = Leash(arguments.folder)
    api = client(arguments.kubeconfig)
    root = Path(__file__).parents[1]
    agent = NodeAgent(api, folder=arguments.folder, root=root, images=images(arguments.buckets), on=leash)
    running = asyncio.ensure_future(agent.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await api.aclose()
        leash.end()


def main() -> int:
    """Run the agent."""
    parser = argparse.ArgumentParser(description="A node whose pods are processes of this machine.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the API server, and who this is there")
    parser.add_argument("--folder", type=Path, required=True, help="where pods have their volumes and logs")
    parser.add_argument("--buckets", type=Path, required=True, help="the folder whose folders stand for S3's buckets")
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
