"""A local cluster without its API: a store, a real Envoy and the reconciler, with a fake model server as its runtime."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.declaration.traffic import LOCAL, STANDARD, Mode
from hallmark.leash import Leash
from local_cluster.envoy import Envoy
from local_cluster.reconciler import Reconciler
from local_cluster.standard import StandardReconciler
from local_cluster.store import Missing, ObjectStore
from tests.local_cluster.fake_runtime import runtime

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path


class Cluster:
    """Calls of a test to a cluster, and views of it."""

    def __init__(self, folder: Path, store: ObjectStore, envoy: Envoy, reconciler: Reconciler) -> None:
        self.folder = folder
        self.store = store
        self.envoy = envoy
        self.reconciler = reconciler
        self.client = httpx.AsyncClient(trust_env=False, timeout=10, limits=httpx.Limits(max_connections=200))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.envoy.port}/serving/fraud/fraud"

    def model(self, version: int, **files: str) -> str:
        """A model folder with the files that tell the fake server what to do; gives its storageUri."""
        path = self.folder / "models" / "fraud" / str(version)
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / name).write_text(text)
        return f"pvc://models/fraud/{version}"

    def apply(self, version: int | str, *, percent: int | None = None, **predictor: Any) -> dict[str, Any]:
        """Create or replace the InferenceService `fraud`."""
        uri = version if isinstance(version, str) else self.model(version)
        model = {"modelFormat": {"name": "onnx"}, "runtime": "fake", "storageUri": uri}
        spec: dict[str, Any] = {"model": model, "timeout": 5, **predictor}
        if percent is not None:
            spec["canaryTrafficPercent"] = percent
        service = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "fraud", "namespace": "fraud"},
            "spec": {"predictor": spec},
        }
        try:
            return self.store.update(service)
        except Missing:
            return self.store.create(service)

    def patch(self, **predictor: Any) -> None:
        """Set fields of the predictor; None removes one."""

        def change(service: dict[str, Any]) -> dict[str, Any]:
            spec = service["spec"]["predictor"]
            spec.update(predictor)
            service["spec"]["predictor"] = {k: v for k, v in spec.items() if v is not None}
            return service

        self.store.modify("inferenceservices", "fraud", "fraud", change)

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.store.get("inferenceservices", "fraud", "fraud").get("status") or {}
        return status

    @property
    def predictor(self) -> dict[str, Any]:
        found: dict[str, Any] = (self.status.get("components") or {}).get("predictor") or {}
        return found

    def condition(self, type_: str) -> dict[str, Any]:
        return next((c for c in self.status.get("conditions") or [] if c["type"] == type_), {})

    @property
    def shares(self) -> dict[str, int]:
        shares: Counter[str] = Counter()
        for target in self.predictor.get("traffic") or []:
            shares[target["revisionName"][-5:]] += target["percent"]
        return dict(shares)

    def pod(self, number: int) -> dict[str, Any]:
        labels = {"serving.knative.dev/revision": f"fraud-predictor-{number:05d}"}
        return self.store.list("pods", namespace="fraud", labels=labels)[0][0]

    def revisions(self) -> list[int]:
        pods = self.store.list("pods", namespace="fraud")[0]
        return sorted(int(p["metadata"]["labels"]["serving.knative.dev/revision"][-5:]) for p in pods)

    def pid(self, number: int, container: str = "kserve-container") -> int:
        running = self.reconciler._running["fraud", "fraud"][f"fraud-predictor-{number:05d}"]
        child = running.pod.containers[container].child
        assert child is not None
        return child.pid

    async def until(self, true: Callable[[], object], *, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while True:
            # What is asked about may not be there yet.
            with contextlib.suppress(Missing, KeyError, IndexError):
                if true():
                    return
            assert time.monotonic() < deadline, f"not so after {seconds} s; status: {self.status}"
            await asyncio.sleep(0.02)

    async def ready(self, shares: dict[str, int], *, seconds: float = 15) -> None:
        """Wait until the service is ready with these percentages by revision number."""
        await self.until(
            lambda: self.shares == shares and self.condition("Ready").get("status") == "True", seconds=seconds
        )

    async def infer(self) -> httpx.Response:
        return await self.client.post(f"{self.url}/v2/models/fraud/infer", json={"inputs": []})

    @asynccontextmanager
    async def load(self, *, clients: int = 20, pause: float = 0.1) -> AsyncIterator[Counter[tuple[int, str]]]:
        """Clients that keep calling; what comes back is counted by status and variant."""
        seen: Counter[tuple[int, str]] = Counter()
        stop = asyncio.Event()

        async def client() -> None:
            while not stop.is_set():
                try:
                    answer = await self.infer()
                    seen[answer.status_code, answer.headers.get("x-hallmark-variant", "")] += 1
                except httpx.HTTPError as error:
                    seen[0, type(error).__name__] += 1
                await asyncio.sleep(pause)

        tasks = [asyncio.create_task(client()) for _ in range(clients)]
        try:
            yield seen
        finally:
            stop.set()
            await asyncio.gather(*tasks)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(folder: Path, *, port: int | None = None, mode: Mode = "Knative") -> AsyncIterator[Cluster]:
    """A cluster with its state in `folder`, which is stopped, and leaves nothing behind, at the end."""
    leash = Leash(folder)
    store = ObjectStore(folder / "objects.db")
    envoy = Envoy(folder / "envoy", port=port or free_port(), on=leash)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    adapter = STANDARD if mode == "Standard" else LOCAL
    reconciler = (StandardReconciler if mode == "Standard" else Reconciler)(
        store,
        adapter=adapter,
        envoy=envoy,
        on=leash,
        models=folder / "models",
        folder=folder / "cluster",
        root=Path(__file__).parents[2],
    )
    for kind in ({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "fraud"}}, runtime()):
        plural = {"Namespace": "namespaces", "ClusterServingRuntime": "clusterservingruntimes"}[str(kind["kind"])]
        try:
            store.get(plural, "", kind["metadata"]["name"])  # type: ignore[index]
        except Missing:
            store.create(kind)
    cluster = Cluster(folder, store, envoy, reconciler)
    try:
        await envoy.start()
        await reconciler.start()
        yield cluster
    finally:
        await cluster.client.aclose()
        await reconciler.stop()
        await envoy.stop(grace=1)
        store.close()
        leash.end()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A connection that a file's tests forgot is found with that file, not in whichever test the collector runs next."""
    yield
    gc.collect()


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[..., Any]:
    """`async with cluster() as c:` gives a local cluster in this test's folder."""
    return lambda **options: running(tmp_path, **options)


@pytest.fixture
def fake_runtime() -> Callable[..., dict[str, Any]]:
    """The ClusterServingRuntime of the fake model server, with changes."""
    return runtime
