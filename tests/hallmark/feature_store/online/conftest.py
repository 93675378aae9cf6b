"""A Redis, a DynamoDB (moto) and a folder, one each for a file of tests, and the three online stores on them."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.dynamodb import ENTITY, PART
from hallmark.feature_store.online.store import OnlineStore

REGION = "eu-central-1"
PATIENCE = 5.0
"""Seconds for reads where a test is not about them: the machine is shared."""
_NAMES = (f"n{number}" for number in itertools.count())
_TABLES = (f"features-{number}" for number in itertools.count())  # what moto holds outlives its server


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RedisServer:
    """redis-server on a port of its own, which can be ended and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._command += ["--appendonly", "no", "--dir", str(folder), "--logfile", str(folder / "log"), *options]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until and self.process.poll() is None, "redis-server does not start"
                time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[str]:
    """The address of a table in moto."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("NO_PROXY", "*")):
            patch.setenv(name, value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _, port = server.get_host_and_port()
        url, table = f"http://127.0.0.1:{port}", next(_TABLES)
        client = boto3.client("dynamodb", region_name=REGION, endpoint_url=url)
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": PART, "AttributeType": "S"},
                {"AttributeName": ENTITY, "AttributeType": "B"},
            ],
            KeySchema=[{"AttributeName": PART, "KeyType": "HASH"}, {"AttributeName": ENTITY, "KeyType": "RANGE"}],
        )
        client.close()
        yield f"dynamodb://{table}?region={REGION}&endpoint={url}"
        server.stop()


@pytest.fixture(scope="module")
def addresses(
    redis_server: RedisServer, dynamodb: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    file = tmp_path_factory.mktemp("sqlite") / "online.db"
    return {"sqlite": f"sqlite:///{file}", "redis": redis_server.url, "dynamodb": dynamodb}.__getitem__


@pytest.fixture
def make(addresses: Callable[[str], str]) -> Iterator[Callable[..., OnlineStore]]:
    """Makes an online store by the name of its kind, with a namespace of its own unless one is given; they are closed at the end."""
    made = []

    def build(kind: str, **options: Any) -> OnlineStore:
        options = {"namespace": next(_NAMES), "read_seconds": PATIENCE, "write_seconds": PATIENCE, **options}
        made.append(connect(addresses(kind), **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture(params=["sqlite", "redis", pytest.param("dynamodb", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, make: Callable[..., OnlineStore]) -> OnlineStore:
    """An empty store."""
    return make(kind)


def environment() -> dict[str, str]:
    """For processes that tests start: this checkout's code."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
