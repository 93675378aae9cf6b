"""The model folders and servers that these tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

from served import Server, orders_folder, photos_folder


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The tabular model's folder and digest."""
    folder = tmp_path_factory.mktemp("orders")
    return folder, orders_folder(folder)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The photo model's folder and digest."""
    folder = tmp_path_factory.mktemp("photos")
    return folder, photos_folder(folder)


@pytest.fixture(scope="session")
def orders_server(orders: tuple[Path, str]) -> Iterator[Server]:
    """The tabular model, served."""
    server = Server(orders[0], "orders", notice=0, env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.errors.replace("a secret of the record", "")


@pytest.fixture(scope="session")
def photos_server(photos: tuple[Path, str]) -> Iterator[Server]:
    """The photo model, served."""
    server = Server(photos[0], "photos", notice=0, env={"HALLMARK_MODEL_DIGEST": photos[1]})
    server.wait_ready()
    yield server
    assert server.stop() == 0


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Start servers that a test may hurt; those left are stopped after it."""
    servers: list[Server] = []

    def begin(folder: Path, name: str, *flags: str, **options: Any) -> Server:
        server = Server(folder, name, *flags, **options)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.stop()
