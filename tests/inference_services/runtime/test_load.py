"""Rows 25, 27, 28 and 29 of the faults, the model's own failures, and the end of a server under load."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from served import Server, jpeg, order_inputs


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few KB that unpacks to width x height pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\0" * (1 + 3 * width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def photo_body(*photos: bytes) -> dict[str, object]:
    data = [base64.b64encode(photo).decode() for photo in photos]
    return {"inputs": [{"name": "image", "shape": [len(photos)], "datatype": "BYTES", "data": data}]}


@pytest.mark.serial
def test_an_image_bomb_is_refused_before_it_is_unpacked(photos_server: Server) -> None:
    body = json.dumps(photo_body(png_bomb(12_000, 6000))).encode()
    photos_server.infer(photo_body(jpeg()))
    before, calls = photos_server.memory(), photos_server.metric("hallmark_model_calls_total")
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        response = photos_server.infer(body)
        taken.append(time.perf_counter() - start)
        assert response.status_code == 400
        assert "image" in response.json()["error"]
    assert min(taken) <= 0.010 + len(body) / 20e6
    assert photos_server.memory() - before <= 16
    assert photos_server.metric("hallmark_model_calls_total") == calls


def test_many_photos_are_weighed_together(photos_server: Server) -> None:
    large = png_bomb(2000, 2000)
    response = photos_server.infer(photo_body(*[large] * 20))
    assert response.status_code == 400
    assert "pixels in all photos" in response.json()["error"]
    assert photos_server.infer(photo_body(*[jpeg()] * 65)).status_code == 400


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_truncated_photo_is_the_clients_fault(photos_server: Server, cut: float) -> None:
    photo = jpeg()
    response = photos_server.infer(photo_body(jpeg(), photo[: int(len(photo) * cut)]))
    assert response.status_code == 400
    assert response.json()["error"].startswith("input 'image': ")
    assert photos_server.metric("hallmark_rest_requests_total", code="500") == 0


@pytest.mark.serial
def test_50_mb_are_refused_and_nobody_waits(orders_server: Server) -> None:
    orders_server.infer()
    before = orders_server.memory()
    stalls = []
    for chunked in (False, True, True):
        content = (b"x" * 1_000_000 for _ in range(50)) if chunked else b"x" * 50_000_000
        with watched(orders_server) as times:
            try:
                response = httpx.post(f"{orders_server.url}/v2/models/orders/infer", content=content)
            except httpx.WriteError:  # closed under the client, after the answer
                response = None
        stalls.append(sorted(times)[int(len(times) * 0.99) - 1])
        if response is not None:
            assert response.status_code == 413
            assert "16777216 bytes" in response.json()["error"]
    assert orders_server.memory() - before <= 32
    assert min(stalls) <= 0.1


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """Seconds that health took, asked all the while by another thread."""
    times: list[float] = []
    done = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=server.url) as client:
            while not done.is_set() or len(times) < 50:
                start = time.perf_counter()
                assert client.get("/v2/health/live").status_code == 200
                times.append(time.perf_counter() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield times
    finally:
        done.set()
        watcher.join()


@pytest.mark.serial
def test_deep_json_takes_no_time(orders_server: Server) -> None:
    body = b'{"inputs":' + b"[" * 1_000_000
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        assert orders_server.infer(body).status_code == 400
        taken.append(time.perf_counter() - start)
    assert min(taken) <= 0.05


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_is_refused_and_closed(orders_server: Server, sent: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", orders_server.http)) as connection:
        connection.settimeout(5)
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(received.split(b"\r\n\r\n")[1])["error"]


@pytest.mark.slow
@pytest.mark.serial
def test_slow_headers_are_closed(orders_server: Server) -> None:
    connections = [socket.create_connection(("127.0.0.1", orders_server.http)) for _ in range(300)]
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.1\r\nx")
    end = time.monotonic() + 15
    alive = 0
    for (
        connection
    ) in connections:  # each is read to its end, so nothing is concluded from what the server has not seen yet
        connection.settimeout(max(0.01, end - time.monotonic()))
        try:
            while connection.recv(4096):
                pass
        except TimeoutError:
            alive += 1
        except ConnectionError:
            pass
        connection.close()
    assert alive == 0
    assert orders_server.infer().status_code == 200


def test_a_model_that_fails_is_a_counted_500(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()
    for at, note in enumerate(("nan", "raise"), 1):
        inputs = order_inputs()
        inputs[5]["data"] = [note]
        response = server.infer({"inputs": inputs})
        assert response.status_code == 500
        assert list(response.json()) == ["error"]
        assert "null" not in response.text
        assert "secret" not in response.text
        assert server.metric("hallmark_refused_total", reason="model") == at
    assert server.infer().status_code == 200
    assert server.metric("hallmark_rest_requests_total", code="500") == 2


def test_no_request_is_lost_when_it_is_told_to_stop(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()
    body = json.dumps({"inputs": order_inputs()}).encode()
    answered, lost, refused = [0], [], [0]

    async def client() -> None:
        async with httpx.AsyncClient(base_url=server.url) as session:
            while True:
                try:
                    response = await session.post("/v2/models/orders/infer", content=body)
                except httpx.ConnectError:
                    refused[0] += 1
                    return
                except httpx.TransportError as error:
                    lost.append(repr(error))
                    return
                if response.status_code != 200:
                    lost.append(str(response.status_code))
                answered[0] += 1

    async def load() -> None:
        clients = [asyncio.create_task(client()) for _ in range(16)]
        while answered[0] < 200 and not lost:
            await asyncio.sleep(0.01)
        server.process.terminate()
        await asyncio.wait_for(asyncio.gather(*clients), 15)

    asyncio.run(load())
    assert server.process.wait(10) == 0
    assert lost == []
    assert refused[0] == 16
    assert answered[0] > 16


def test_readiness_drops_while_it_drains(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", notice=1, env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()
    with httpx.Client(base_url=server.url) as client:
        server.process.terminate()
        while (
            client.get("/v2/health/ready").status_code != 503
        ):  # the server ends a second after the signal: then this raises
            time.sleep(0.01)
        assert client.get("/v2/health/live").status_code == 200
        assert client.post("/v2/models/orders/infer", json={"inputs": order_inputs()}).status_code == 200
    assert server.process.wait(10) == 0


def test_what_would_be_late_is_refused_at_once(start: Callable[..., Server], photos: tuple[Path, str]) -> None:
    server = start(photos[0], "photos", queued=4, env={"HALLMARK_MODEL_DIGEST": photos[1]})
    server.wait_ready()
    body = json.dumps(photo_body(*[jpeg(1500, 1500)] * 20)).encode()

    async def load() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as session:
            return await asyncio.gather(*(session.post("/v2/models/photos/infer", content=body) for _ in range(16)))

    answers = asyncio.run(load())
    codes = {response.status_code for response in answers}
    assert codes == {200, 503}
    assert all("retry-after" in response.headers for response in answers if response.status_code == 503)
    assert server.metric("hallmark_refused_total", reason="overloaded") > 0
    assert server.metric("hallmark_in_flight") == 0


@pytest.mark.slow
def test_workers_share_a_port_and_their_numbers(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", "--workers=2", env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()

    def ask() -> None:
        with httpx.Client(base_url=server.url) as client:
            for _ in range(20):
                assert client.post("/v2/models/orders/infer", json={"inputs": order_inputs()}).status_code == 200

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.metric("hallmark_batch_rows_sum") == 160
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    assert len(children) == 2
    server.client.close()
    server.client = httpx.Client(base_url=server.url, timeout=10)
    assert server.stop() == 0


@pytest.mark.slow
def test_workers_take_clients_in_turn(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", "--workers=2", env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()
    serving = 0
    while serving < 2:  # the first to be ready takes whoever comes before the second is
        serving += " serving orders " in server.process.stderr.readline()  # type: ignore[union-attr]
    connections = [socket.create_connection(("127.0.0.1", server.http)) for _ in range(8)]

    def shares() -> list[int]:
        workers = psutil.Process(server.process.pid).children()
        return [
            sum(one.laddr.port == server.http for one in worker.connections() if one.status == "ESTABLISHED")
            for worker in workers
        ]

    end = time.monotonic() + 5
    while sum(shares()) < 8 and time.monotonic() < end:
        time.sleep(0.05)
    assert min(shares()) >= 2
    for connection in connections:
        connection.close()
    server.client.close()
    server.client = httpx.Client(base_url=server.url, timeout=10)


@pytest.mark.serial
def test_cold_start(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", env={"HALLMARK_MODEL_DIGEST": orders[1]})
    assert server.wait_ready() <= 5.0
    assert server.memory() <= 200
