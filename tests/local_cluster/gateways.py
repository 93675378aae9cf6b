"""A real Envoy with fake model servers behind it, and what a test sends to it and reads of it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np

from hallmark import names
from hallmark.leash import Leash
from inference_services.protocol import unary
from inference_services.transport.endpoint import ConnectionLimits, Endpoint
from inference_services.transport.http1 import Http1Connection, HttpRequest, HttpResponse
from local_cluster import routes
from local_cluster.containers import free_ports
from local_cluster.envoy import Envoy
from local_cluster.processes import ChildProcess
from local_cluster.routes import PodAddress, RevisionBackend, RoutedService

FAKE = Path(__file__).with_name("fake_runtime.py")


def service(
    percent: int, stable: PodAddress | None, canary: PodAddress | None, *, timeout: float = 5, shadow: float = 0
) -> RoutedService:
    backends = (
        RevisionBackend(
            revision="r2", variant="canary", weight=percent, addresses=(canary,) if canary else (), shadow=shadow
        ),
        RevisionBackend(revision="r1", variant="stable", weight=100 - percent, addresses=(stable,) if stable else ()),
    )
    return RoutedService(namespace="fraud", name="fraud", timeout=timeout, backends=backends)


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[tuple[Envoy, Leash]]:
    on = Leash(folder)
    envoy = Envoy(folder / "envoy", port=free_ports([1])[1], on=on)
    try:
        await envoy.start()
        yield envoy, on
    finally:
        await envoy.stop(grace=1)
        on.end()


async def upstream(folder: Path, on: Leash, name: str, **files: str) -> PodAddress:
    """A fake model server that runs and answers."""
    return (await server(folder, on, name, **files))[0]


async def server(folder: Path, on: Leash, name: str, **files: str) -> tuple[PodAddress, ChildProcess]:
    """The same with its process, for tests that end or stop it."""
    port, model = free_ports([1])[1], folder / name
    model.mkdir()
    for key, text in files.items():
        (model / key).write_text(text)
    command = [sys.executable, "-S", str(FAKE), f"--http-port={port}", f"--model-dir={model}"]
    child = ChildProcess.start(
        command, environment={"K_REVISION": name}, folder=model, log=folder / f"{name}.log", on=on
    )
    while child.last_line() != "ready":
        await asyncio.sleep(0.02)
    return PodAddress(port=port), child


async def call(envoy: Envoy, count: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        url = f"http://127.0.0.1:{envoy.port}/serving/fraud/fraud/v2/models/m/infer"
        return list(await asyncio.gather(*(client.post(url, json={}) for _ in range(count))))


_SAMPLE = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)


async def counted(envoy: Envoy) -> Counter[tuple[str, ...]]:
    """The gateway's own counts: requests by (revision, answered, code, grpc), without those of no service."""
    found: Counter[tuple[str, ...]] = Counter()
    for family, text, value in _SAMPLE.findall(await envoy.stats()):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
        if family == routes.REQUESTS and labels.get("service"):
            found[tuple(labels[key] for key in ("revision", "answered", "code", "grpc"))] += int(value)
    return found


async def milliseconds(envoy: Envoy, revision: str) -> dict[str, int]:
    """The histogram of times of a revision: how many requests took at most the milliseconds of each edge."""
    found = {}
    for family, text, value in _SAMPLE.findall(await envoy.stats()):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
        if family == f"{routes.MILLISECONDS}_bucket" and labels["revision"] == revision:
            found[labels["le"]] = int(value)
    return found


class Steady:
    """Outcome of requests at a steady rate: statuses by variant, and milliseconds."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[int, str]] = Counter()
        self.times: list[float] = []

    @property
    def p99(self) -> float:
        return float(np.quantile(self.times, 0.99))

    @property
    def p50(self) -> float:
        return float(np.quantile(self.times, 0.5))


async def steady(envoy: Envoy, *, rate: float, seconds: float, body: bytes = b"{}") -> Steady:
    """Send `rate` requests a second, each at its time whether or not those before it are answered.

    Over bare connections: a client with a pool would cost more than what is measured.
    """
    found, started = Steady(), time.perf_counter()
    head = b"POST /serving/fraud/fraud/v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one() -> None:
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(10):
                reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", envoy.port)
                writer.write(head + body)
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
            found.seen[int(lines[0].split()[1]), headers.get(routes.VARIANT_HEADER, "")] += 1
            free.append((reader, writer))
        except (OSError, EOFError) as error:
            found.seen[0, type(error).__name__] += 1
        found.times.append((time.perf_counter() - sent) * 1000)

    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    for _, writer in free:
        writer.close()
    return found


async def received(address: PodAddress) -> list[dict[str, str]]:
    """The headers of the inference requests that a fake model server got, with `:path`, oldest first."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        found: list[dict[str, str]] = (await client.get(f"http://127.0.0.1:{address.port}/received")).json()["received"]
        return found


GrpcHandler = Callable[[bytes, Mapping[bytes, bytes]], tuple[grpc.StatusCode, bytes]]


@asynccontextmanager
async def grpc_server(handler: GrpcHandler) -> AsyncIterator[PodAddress]:
    """A model server that answers gRPC calls in HTTP/1.1 as ours does: by `handler`, which takes message and headers."""

    def answer(request: HttpRequest, reply: Callable[[HttpResponse], None]) -> None:
        if request.path == b"/v2/health/ready":
            reply(HttpResponse(200))
            return
        code, message = handler(bytes(unary.message(request.body, request.headers, limit=32 << 20)), request.headers)
        if code is grpc.StatusCode.OK:
            reply(HttpResponse(200, unary.framed(message, request.headers)[0], unary.MEDIA))
        else:
            reply(HttpResponse(200, b"", unary.MEDIA, unary.status(code.value[0], message.decode())))

    endpoint = Endpoint(limits=ConnectionLimits(body=32 << 20))
    loop = asyncio.get_running_loop()
    opened = await loop.create_server(lambda: Http1Connection(endpoint, answer), "127.0.0.1", 0)
    try:
        yield PodAddress(port=opened.sockets[0].getsockname()[1])
    finally:
        opened.close()
        await endpoint.drain(timeout=0)
        await asyncio.sleep(0)


@asynccontextmanager
async def grpc_caller(
    envoy: Envoy, found: RoutedService
) -> AsyncIterator[Callable[[bytes], Awaitable[tuple[str, str]]]]:
    """Calls a method through the gateway; gives the status's name and who answered."""
    options = [("grpc.default_authority", found.hostname), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.port}", options=options) as channel:

        async def ask(message: bytes) -> tuple[str, str]:
            one = channel.unary_unary(f"{names.GRPC_PATH}Echo")(message, timeout=10)
            code = (await one.code()).name
            headers = dict(await one.initial_metadata()) | dict(await one.trailing_metadata())
            return code, str(headers.get(routes.VARIANT_HEADER, ""))

        yield ask
