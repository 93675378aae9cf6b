"""More than the server can take, requests that share a call, answers that are kept, and what is written of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from served import ORDER_FEATURES, ORDER_FIELDS, Server, jpeg, linear, order_inputs, write_folder

from hallmark.features.fields import Output

_SLOW = ORDER_FEATURES.replace("import numpy as np\n", "import time\n\nimport numpy as np\n").replace(
    "    first =", "    time.sleep(0.01)\n    first ="
)
BODY = json.dumps({"inputs": order_inputs()}).encode()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes 10 ms a call, whatever is in it."""
    folder = tmp_path_factory.mktemp("slow")
    score = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    write_folder(folder, model=linear(9, 1), fields=ORDER_FIELDS, outputs=(score,), features=_SLOW)
    return folder


async def offer(
    server: Server, *, rate: float, seconds: float, connections: int = 32
) -> list[tuple[int, float, bytes]]:
    """An open loop: requests at their times whatever the server does; status, seconds from sending, and head of each."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", server.http))
    head = b"POST /v2/models/%b/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    message = head % (server.name.encode(), len(BODY)) + BODY

    async def ask() -> tuple[int, float, bytes]:
        reader, writer = await free.get()
        begun = time.perf_counter()
        writer.write(message)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        taken = time.perf_counter() - begun
        free.put_nowait((reader, writer))
        return int(answer[9:12]), taken, answer

    begun, tasks = time.perf_counter(), []
    for at in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + at / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(ask()))
    answers = await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return answers


@pytest.mark.serial
def test_twice_the_load_is_answered_in_time_or_refused_at_once(start: Callable[..., Server], slow: Path) -> None:
    server = start(slow, "slow", batching="off", timeout=0.15, saturated=0)
    server.wait_ready()
    asyncio.run(offer(server, rate=80, seconds=0.5))
    before = server.memory()
    answers = asyncio.run(offer(server, rate=200, seconds=3))
    good = [taken for status, taken, _ in answers if status == 200]
    refused = sorted(taken for status, taken, _ in answers if status == 503)
    assert len(good) + len(refused) == 600
    assert len(good) >= 0.75 * 300
    assert max(good) <= 0.15 + 0.05
    assert refused[len(refused) // 2] <= 0.005
    assert all(b"retry-after: " in head for status, _, head in answers if status == 503)
    assert server.metric("hallmark_refused_total", reason="overloaded") == len(refused)
    assert server.metric("hallmark_in_flight") == 0
    assert server.memory() - before <= 8


@pytest.mark.slow
def test_a_server_that_refuses_for_long_is_not_ready_until_it_is_calm(start: Callable[..., Server], slow: Path) -> None:
    server = start(slow, "slow", batching="off", timeout=0.05, saturated=0.3)
    server.wait_ready()

    async def watch() -> list[int]:
        load = asyncio.create_task(offer(server, rate=300, seconds=1.2))
        async with httpx.AsyncClient(base_url=server.url) as client:
            codes = []
            while not load.done():
                codes.append((await client.get("/v2/health/ready")).status_code)
                assert (await client.get("/v2/health/live")).status_code == 200
                await asyncio.sleep(0.02)
        return codes

    codes = asyncio.run(watch())
    assert codes[0] == 200
    assert codes[-1] == 503
    server.wait_ready(3.0)


def test_the_gateways_own_time_limit_counts(start: Callable[..., Server], slow: Path) -> None:
    server = start(slow, "slow")
    server.wait_ready()
    assert server.infer().status_code == 200
    assert server.infer(headers={"x-envoy-expected-rq-timeout-ms": "1"}).status_code == 503
    assert server.infer(headers={"x-envoy-expected-rq-timeout-ms": "1000"}).status_code == 200
    assert server.infer(headers={"x-envoy-expected-rq-timeout-ms": "soon"}).status_code == 200


def test_one_slow_call_does_not_shut_the_door_for_ever(start: Callable[..., Server], slow: Path) -> None:
    server = start(slow, "slow", batching="off", timeout=0.015)
    server.wait_ready()
    codes = []
    for _ in range(2):
        codes.append(server.infer().status_code)
        time.sleep(1.05)
    assert codes == [200] * 2
    assert server.infer().status_code == 200
    assert server.infer().status_code == 503


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["on", "auto", "off"])
def test_requests_that_share_a_call_get_their_own_answers(
    start: Callable[..., Server], slow: Path, batching: str
) -> None:
    server = start(slow, "slow", batching=batching)
    server.wait_ready()

    def ask(at: int) -> tuple[int, httpx.Response]:
        inputs = order_inputs(1 + at % 3)
        inputs[0]["data"] = [float(1 + at)] * (1 + at % 3)
        if at % 10 == 3:
            inputs[5]["data"] = ["raise" if at % 20 == 3 else "nan"] * (1 + at % 3)
        return at, httpx.post(f"{server.url}/v2/models/slow/infer", json={"id": str(at), "inputs": inputs})

    with ThreadPoolExecutor(16) as pool:
        answers = dict(pool.map(ask, range(80)))
    alone = {}
    for at, response in answers.items():
        if at % 10 == 3:
            assert response.status_code == 500
            continue
        assert response.status_code == 200
        assert response.json()["id"] == str(at)
        data = response.json()["outputs"][0]["data"]
        assert len(data) == 1 + at % 3
        alone[at] = data[0]
    for at in list(alone)[::9]:
        assert ask(at)[1].json()["outputs"][0]["data"][0] == pytest.approx(alone[at], abs=1e-6)
    calls = server.metric("hallmark_batch_rows_count")
    shared = calls - server.metric("hallmark_batch_rows_bucket", le="4")
    assert (shared > 0) == (batching != "off")
    assert server.metric("hallmark_batch_rows_sum") >= sum(1 + at % 3 for at in range(80))


def test_an_answer_is_kept_where_the_domain_asks_for_it(start: Callable[..., Server], photos: tuple[Path, str]) -> None:
    server = start(photos[0], "photos", cache=10486, env={"HALLMARK_MODEL_DIGEST": photos[1]})
    server.wait_ready()

    def ask(photo: bytes) -> httpx.Response:
        text = json.dumps(
            {
                "inputs": [
                    {
                        "name": "image",
                        "shape": [1],
                        "datatype": "BYTES",
                        "parameters": {"binary_data_size": len(photo) + 4},
                    }
                ]
            }
        ).encode()
        headers = {"inference-header-content-length": str(len(text))}
        content = text + len(photo).to_bytes(4, "little") + photo
        return server.client.post("/v2/models/photos/infer", content=content, headers=headers)

    first, second = ask(jpeg()), ask(jpeg())
    assert first.status_code == second.status_code == 200
    assert first.json()["outputs"] == second.json()["outputs"]
    assert first.json()["id"] != second.json()["id"]
    assert server.metric("hallmark_model_calls_total") == 1
    assert ask(jpeg(65, 48)).json()["outputs"] is not None
    assert server.metric("hallmark_cache_requests_total", result="hit") == 1
    assert server.metric("hallmark_cache_requests_total", result="miss") == 2
    for width in range(70, 100):
        ask(jpeg(width, 48))
    assert 0 < server.metric("hallmark_cache_bytes") <= 0.01 * 1024 * 1024
    assert ask(jpeg()).json()["outputs"] == first.json()["outputs"]
    assert server.metric("hallmark_cache_requests_total", result="hit") == 1
    assert ask(b"no photo").status_code == 400
    assert ask(b"no photo").status_code == 400


def test_the_access_log_says_who_what_and_how_long_but_no_payload(
    start: Callable[..., Server], orders: tuple[Path, str], tmp_path: Path
) -> None:
    server = start(orders[0], "orders", access_log=1, log=tmp_path / "log", env={"HALLMARK_VARIANT": "canary"})
    server.wait_ready()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    inputs = order_inputs()
    inputs[5]["data"] = ["a secret of the client"]
    assert server.infer({"inputs": inputs, "id": "who"}, headers={"traceparent": trace}).status_code == 200
    inputs[4]["data"] = ["a secret of the client"]
    assert server.infer({"inputs": inputs}).status_code == 400
    assert server.stop() == 0
    text = (tmp_path / "log").read_text(encoding="utf-8")
    good, bad = (json.loads(line) for line in text.splitlines())
    assert good.items() >= {
        "protocol": "rest", "status": 200, "rows": 1, "model": "orders", "version": "2", "variant": "canary",
        "revision": "orders-00001", "trace_id": trace[3:35], "span_id": trace[36:52],
    }.items()  # fmt: skip
    assert 0 < good["ms"] < 5000
    assert good["bytes_in"] > 500
    assert bad["status"] == 400
    assert "secret" not in text
