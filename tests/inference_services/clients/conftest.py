"""Other people's programs against the model server: put beside its own tests' helpers, and given servers that all of them share."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder there
sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from garments import garments_folder
from served import Server, order_inputs, orders_folder

from hallmark.leash import Leash
from local_cluster.containers import free_ports
from local_cluster.envoy import Envoy
from local_cluster.routes import PodAddress, RevisionBackend, RoutedService

SERVICE = "orders"


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The tabular model, served."""
    folder = tmp_path_factory.mktemp("orders")
    yield from _serve(Server(folder, "orders", env={"HALLMARK_MODEL_DIGEST": orders_folder(folder)}))


@pytest.fixture(scope="session")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The model with every kind of field, served."""
    folder = tmp_path_factory.mktemp("garments")
    yield from _serve(Server(folder, "garments", env={"HALLMARK_MODEL_DIGEST": garments_folder(folder)}))


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the local cluster's gateway, with a canary: versions 1 and 2 of the tabular model answer half of the requests each."""
    folder = tmp_path_factory.mktemp("gateway")
    digest = orders_folder(folder / "model")
    servers = [
        Server(
            folder / "model",
            "orders",
            env={"HALLMARK_MODEL_DIGEST": digest, "HALLMARK_MODEL_VERSION": version, "K_REVISION": f"orders-{version}"},
        )
        for version in ("1", "2")
    ]
    for server in servers:
        server.wait_ready()
    stable, canary = (
        RevisionBackend(
            revision=f"orders-{place}", variant=variant, weight=50, addresses=(PodAddress(port=server.http),)
        )
        for place, (variant, server) in enumerate(zip(("stable", "canary"), servers, strict=True), start=1)
    )
    service = RoutedService(namespace=SERVICE, name=SERVICE, backends=(canary, stable))
    loop, on = asyncio.new_event_loop(), Leash(folder)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    envoy = Envoy(folder / "envoy", port=free_ports([1])[1], on=on)
    try:
        asyncio.run_coroutine_threadsafe(envoy.start(), loop).result(60)
        asyncio.run_coroutine_threadsafe(envoy.apply((service,)), loop).result(60)
        yield envoy.port
    finally:
        asyncio.run_coroutine_threadsafe(envoy.stop(grace=1), loop).result(60)
        on.end()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        assert [server.stop() for server in servers] == [0, 0]


@pytest.fixture(params=["server", "gateway"])
def url(request: pytest.FixtureRequest) -> str:
    """The model's address: the server's own, and the gateway's, where a canary has half of the requests."""
    if request.param == "server":
        return str(request.getfixturevalue("orders").url)
    return f"http://127.0.0.1:{request.getfixturevalue('gateway')}/serving/{SERVICE}/{SERVICE}"


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files with a request of one record, and one whose answer is large enough to be compressed."""
    folder = tmp_path_factory.mktemp("bodies")
    files = folder / "small.json", folder / "large.json"
    for file, rows in zip(files, (1, 3000), strict=True):
        file.write_text(json.dumps({"inputs": order_inputs(rows)}), encoding="utf-8")
    return files


def _serve(server: Server) -> Iterator[Server]:
    server.wait_ready()
    yield server
    assert server.stop() == 0
    assert "unforeseen" not in server.errors
    assert "Traceback" not in server.errors
