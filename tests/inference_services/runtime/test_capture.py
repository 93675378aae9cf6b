"""Rows 8, 9 and 10 of the faults: captured requests are bounded, counted, ours by id, and never in the way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from served import Server, free_port, jpeg, order_inputs, watched_photos_folder

from hallmark.artifacts import bundle
from hallmark.declaration.serving_config import CaptureLimits
from hallmark.features import image
from inference_services.capture import exchanges
from inference_services.capture.exchanges import NO_MARKS, Answered, Exchanges
from inference_services.capture.observing import EMBEDDED, OBSERVED
from inference_services.capture.queue import DROPS, Capture, Origin
from inference_services.capture.records import Call
from inference_services.protocol import pb
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.model import Model

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"


class Sink:
    """A real HTTP server that keeps what it is sent; `status` and `delay` make it a bad one."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.status, self.delay = 200, 0.0
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(sink.delay)
                if sink.status == 200:
                    sink.posts.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(sink.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def read(self) -> list[Exchanges]:
        return [exchanges.read(body) for _, body in self.posts]

    @property
    def ids(self) -> list[str]:
        """Of the exchanges that came."""
        return [each for found in self.read for each in found.ids]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    found = Sink()
    yield found
    found.close()


def balanced(server: Server) -> dict[str, float]:
    """The counters, after a check that none is lost: offered = sent + dropped + queued."""
    found = dict.fromkeys(("offered", "sent", "dropped", "queued"), 0.0)
    for name, value in re.findall(
        r"^hallmark_capture_(\w+?)(?:_total)?\{[^}]*\} (\S+)", server.client.get("/metrics").text, re.M
    ):
        found[name] = found.get(name, 0.0) + float(value)
    numbers = {name: found[name] for name in ("offered", "sent", "dropped", "queued")}
    assert numbers["offered"] == numbers["sent"] + numbers["dropped"] + numbers["queued"]
    return numbers


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_requests_and_answers_arrive_as_one_event_of_columns(
    start: Callable[..., Server], orders: tuple[Path, str], sink: Sink
) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}", env={"HALLMARK_MODEL_DIGEST": orders[1]})
    server.wait_ready()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    server.infer({"id": "order-4711", "inputs": order_inputs(2)}, headers={"traceparent": trace})
    wait_until(lambda: len(sink.ids) == 1)
    ((headers, body),) = sink.posts
    assert (headers["ce-specversion"], headers["ce-type"]) == ("1.0", exchanges.TYPE)
    assert (headers["ce-inferenceservicename"], headers["ce-namespace"]) == ("orders", "orders")
    assert (headers["ce-endpoint"], headers["ce-revision"]) == ("orders-00001", "orders-00001")
    assert headers["ce-component"] == "predictor" and b"order-4711" not in body
    (found,) = sink.read
    assert found.ids[0] != "order-4711" and found.records.tolist() == [2]
    assert found.requests == [hashlib.sha256(b"order-4711").hexdigest()[:32]]
    assert found.traces == [trace.split("-")[1]]
    assert list(found.columns)[:2] == ["amount", "age"]
    assert found.columns["note"].tolist() == ["é", "é"]
    assert found.outputs["score"].shape == (2,)


def test_records_of_one_call_of_the_model_keep_their_order_and_their_requests(
    start: Callable[..., Server], orders: tuple[Path, str], sink: Sink
) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}")
    server.wait_ready()

    def ask(number: int) -> None:
        inputs = order_inputs(1 + number % 3)
        inputs[0]["data"] = [number + 0.5] * (1 + number % 3)
        server.infer({"id": f"c-{number}", "inputs": inputs})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(200)))
    wait_until(lambda: len(sink.ids) == 200)
    amounts = {}
    for found in sink.read:
        ends = np.cumsum(found.records)
        for request, count, end in zip(found.requests, found.records, ends, strict=True):
            amounts[request] = found.columns["amount"][end - count : end].tolist()
    expected = {f"c-{number}": [number + 0.5] * (1 + number % 3) for number in range(200)}
    assert amounts == {hashlib.sha256(name.encode()).hexdigest()[:32]: each for name, each in expected.items()}
    assert max(len(found.ids) for found in sink.read) > 1


def test_of_a_photo_what_is_watched_is_captured_and_the_photo_is_not(
    start: Callable[..., Server], tmp_path: Path, sink: Sink
) -> None:
    watched_photos_folder(tmp_path)
    server = start(tmp_path, "photos", f"--capture-url={sink.url}", cache=1_000_000)
    server.wait_ready()
    photo = jpeg(640, 480)
    sent = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(photo).decode()]}
    sizes = {"name": "size", "shape": [1], "datatype": "BYTES", "data": ["M"]}
    for at in range(3):  # the first is observed, the others come out of the cache
        server.infer({"id": f"c-{at}", "inputs": [sent, sizes]})
        wait_until(lambda at=at: len(sink.ids) == at + 1)  # type: ignore[misc]
    assert photo[100:200] not in b"".join(body for _, body in sink.posts)
    assert sum(len(body) for _, body in sink.posts) < len(photo)
    told, described = image.statistics([photo]), image.descriptors([photo])
    for found in sink.read:
        assert set(found.columns) == {"size", EMBEDDED, *(f"{OBSERVED}{name}" for name in (*told, "size"))}
        assert all(found.columns[f"{OBSERVED}{name}"].tolist() == told[name].tolist() for name in told)
        assert found.columns[EMBEDDED].tolist() == described.tolist() and found.outputs["label"].tolist() == ["shoe"]
    assert server.client.get("/metrics").text.count('hallmark_stage_seconds_count{model="photos"') == 6
    balanced(server)


def test_what_was_answered_last_before_the_end_is_captured_too(
    start: Callable[..., Server], tmp_path: Path, sink: Sink
) -> None:
    watched_photos_folder(tmp_path)
    server = start(tmp_path, "photos", f"--capture-url={sink.url}", notice=0)
    server.wait_ready()
    sent = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(jpeg(1200, 900)).decode()]}
    sizes = {"name": "size", "shape": [1], "datatype": "BYTES", "data": ["M"]}
    for _ in range(3):
        server.infer({"inputs": [sent, sizes]})
    assert server.stop() == 0 and len(sink.ids) == 3


def test_a_photo_of_a_model_that_watches_nothing_is_captured_as_it_came(
    start: Callable[..., Server], photos: tuple[Path, str], sink: Sink
) -> None:
    server = start(photos[0], "photos", f"--capture-url={sink.url}", env={"HALLMARK_VARIANT": "canary"})
    server.wait_ready()
    photo = base64.b64encode(jpeg()).decode()
    server.infer({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [photo]}]})
    wait_until(lambda: len(sink.ids) == 1)
    (found,) = sink.read
    assert found.columns["image"].tolist() == [base64.b64decode(photo)]
    assert found.outputs["label"].tolist() == ["shoe"]
    assert sink.posts[0][0]["ce-endpoint"] == "canary"


def test_kserves_own_form_on_request(start: Callable[..., Server], orders: tuple[Path, str], sink: Sink) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}", capture={"batch": 1})
    server.wait_ready()
    server.infer()
    wait_until(lambda: len(sink.posts) == 2)
    (request, body), (response, _) = sink.posts
    assert (request["ce-type"], response["ce-type"]) == (REQUEST, RESPONSE)
    assert request["ce-id"] == response["ce-id"]
    assert request["content-type"] == "application/json"
    assert json.loads(body)["inputs"][0]["data"] == [12.5]


@pytest.mark.parametrize("batch", ["64", "1"])
def test_the_gateways_own_id_and_the_mark_of_a_copy_go_with_them(
    start: Callable[..., Server], orders: tuple[Path, str], sink: Sink, batch: str
) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}", capture={"batch": batch})
    server.wait_ready()

    def said(headers: dict[str, str]) -> list[tuple[str | None, str | None]]:
        sink.posts.clear()
        server.infer(headers=headers)
        if batch == "1":
            wait_until(lambda: len(sink.posts) == 2)
            return [(found.get("ce-exchangeid"), found.get("ce-shadow")) for found, _ in sink.posts]
        wait_until(lambda: len(sink.ids) == 1)
        (found,) = sink.read
        return [(found.exchanges[0] or None, "1" if found.shadows[0] else None)] * 2

    exchange = "0f9c1a2e-8f1b-4f6e-9f55-0a5d5e0a7c11"
    assert said({"x-hallmark-request-id": exchange}) == [(exchange, None)] * 2
    assert said({"x-hallmark-request-id": exchange, "x-hallmark-shadow": "1"}) == [(exchange, "1")] * 2
    assert said({"x-hallmark-request-id": "a b", "x-hallmark-shadow": "yes"}) == [(None, None)] * 2
    assert said({}) == [(None, None)] * 2


def test_a_grpc_call_has_them_too(start: Callable[..., Server], orders: tuple[Path, str], sink: Sink) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}")
    server.wait_ready()
    messages = pb.protobufs()
    asked = messages.ModelInferRequest(model_name="orders")
    for tensor in order_inputs():
        given = asked.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        kind = {"FP64": "fp64", "FP32": "fp32", "INT32": "int", "INT64": "int64", "BOOL": "bool", "BYTES": "bytes"}[
            tensor["datatype"]
        ]
        data = [each.encode() if kind == "bytes" else each for each in np.ravel(tensor["data"]).tolist()]
        getattr(given.contents, f"{kind}_contents").extend(data)
    metadata = [("x-hallmark-request-id", "7-of-9"), ("x-hallmark-shadow", "1")]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        call(asked.SerializeToString(), metadata=metadata, timeout=30)
    wait_until(lambda: len(sink.ids) == 1)
    assert [(found.exchanges, found.shadows) for found in sink.read] == [(["7-of-9"], [True])]


@pytest.mark.parametrize("batch", [512, 1])
def test_a_callers_token_is_in_no_event_no_answer_and_no_line_of_the_log(
    start: Callable[..., Server], orders: tuple[Path, str], sink: Sink, tmp_path: Path, batch: int
) -> None:
    """The gateway takes it away; where there is none, as on a laptop, the server keeps nothing of it either."""
    token = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2lnbmF0dXJl"
    given = {"authorization": f"Bearer {token}", "cookie": f"session={token}", "x-forwarded-access-token": token}
    given |= {"traceparent": token, "tracestate": f"a={token}", "x-hallmark-shadow": token}
    log = tmp_path / "stdout.log"
    server = start(orders[0], "orders", f"--capture-url={sink.url}", capture={"batch": batch}, log=log)
    server.wait_ready()
    inputs = order_inputs()
    asked = [
        server.infer(headers=given),
        server.infer({"inputs": inputs[1:]}, headers=given),
        server.infer(b"{", headers=given),
        server.infer(
            {"inputs": [{**each, "data": ["raise"]} if each["name"] == "note" else each for each in inputs]},
            headers=given,
        ),
        server.client.get("/v2/models/another", headers=given),
        server.client.delete("/v2/models/orders", headers=given),
        server.infer(headers=given | {"x-large": "x" * (64 << 10)}),
    ]
    assert [each.status_code for each in asked][:3] == [200, 400, 400]
    assert {each.status_code for each in asked} >= {200, 400, 404, 431, 500}
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        metadata = [(name, value) for name, value in given.items() if name != "cookie"]
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", metadata=metadata, timeout=30)
    wait_until(lambda: len(sink.posts) >= 1 + (batch == 1))
    metrics = server.client.get("/metrics").text
    server.stop()
    kept = [server.errors, log.read_text(encoding="utf-8"), metrics, str(refused.value)]
    kept += [each.text + str(each.headers) for each in asked]
    kept += [str(headers) + body.decode(errors="replace") for headers, body in sink.posts]
    assert not [text for text in kept if token in text or "c2VjcmV0" in text]


@pytest.mark.slow
def test_one_client_id_a_thousand_times_is_a_thousand_events(
    start: Callable[..., Server], orders: tuple[Path, str], sink: Sink
) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}")
    server.wait_ready()
    for _ in range(1000):
        server.infer({"id": "again", "inputs": order_inputs()})
    wait_until(lambda: len(sink.ids) == 1000)
    assert len(set(sink.ids)) == 1000
    assert balanced(server) == {"offered": 1000, "sent": 1000, "dropped": 0, "queued": 0}


@pytest.mark.slow
def test_serving_does_not_notice_a_sink_that_is_down(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", f"--capture-url=http://127.0.0.1:{free_port()}/")
    server.wait_ready()
    assert all(server.infer().status_code == 200 for _ in range(200))
    numbers = balanced(server)
    assert numbers["offered"] == 200
    assert numbers["sent"] == 0
    assert numbers["dropped"] + numbers["queued"] == 200
    assert server.stop() == 0


def test_a_full_queue_drops_and_counts(start: Callable[..., Server], orders: tuple[Path, str], sink: Sink) -> None:
    sink.delay = 0.5
    server = start(orders[0], "orders", f"--capture-url={sink.url}", capture={"queued": 20, "timeout": 5.0})
    server.wait_ready()
    with ThreadPoolExecutor(4) as pool:
        assert all(answer.status_code == 200 for answer in pool.map(lambda _: server.infer(), range(300)))
    assert server.metric("hallmark_capture_dropped_total", reason="full") > 0
    assert server.metric("hallmark_capture_queued") <= 20
    sink.delay = 0.0
    wait_until(lambda: server.metric("hallmark_capture_queued") == 0)
    numbers = balanced(server)
    assert numbers["offered"] == 300 == numbers["sent"] + numbers["dropped"]
    assert len(sink.ids) == numbers["sent"]


def test_what_is_queued_is_sent_before_the_end(
    start: Callable[..., Server], orders: tuple[Path, str], sink: Sink
) -> None:
    server = start(orders[0], "orders", f"--capture-url={sink.url}", notice=0)
    server.wait_ready()
    sink.status = 503
    for _ in range(50):
        server.infer()
    sink.status = 200
    server.client.close()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert len(sink.ids) == 50


@pytest.fixture(scope="module")
def model(orders: tuple[Path, str]) -> Model:
    return Model("orders", bundle.read(orders[0], expected=orders[1]), version="2")


def run(model: Model, url: str, limits: CaptureLimits, offers: int, *, size: int = 100, close: float = 2.0) -> Metrics:
    """Offer some requests to a capture of its own, then close it."""
    metrics = Metrics({})

    async def main() -> None:
        capture = Capture(url, origin=Origin("o", "n", "r", "e"), metrics=metrics, limits=limits)
        capture.start()
        columns = model.schema.example()
        outputs = model.predict(columns, 1)
        calls = [Call(columns, outputs, 1)] * offers
        capture.offer(Answered(calls, [1] * offers, [size] * offers, [""] * offers, [NO_MARKS] * offers))
        await asyncio.sleep(0)
        total = metrics.value("capture_sent") + metrics.value("capture_queued")
        total += sum(metrics.value("capture_dropped", reason) for reason in DROPS)
        assert total == metrics.value("capture_offered")
        await capture.close(timeout=close)
        total = metrics.value("capture_sent") + sum(metrics.value("capture_dropped", reason) for reason in DROPS)
        assert total == metrics.value("capture_offered")
        assert metrics.value("capture_queued") == metrics.value("capture_queued_bytes") == 0

    asyncio.run(main())
    return metrics


def test_bytes_are_bounded_too(model: Model, sink: Sink) -> None:
    metrics = run(model, sink.url, CaptureLimits(queued_bytes=1000), 30)
    assert metrics.value("capture_dropped", "bytes") == 20
    assert metrics.value("capture_sent") == 10


def test_a_sink_that_refuses_is_not_asked_again(model: Model, sink: Sink) -> None:
    sink.status = 400
    assert run(model, sink.url, CaptureLimits(), 10).value("capture_dropped", "refused") == 10


def test_a_failing_sink_is_tried_a_few_times(model: Model, sink: Sink) -> None:
    sink.status = 500
    assert run(model, sink.url, CaptureLimits(), 10).value("capture_dropped", "unsent") == 10


def test_a_stopped_sink_costs_no_more_than_the_time_to_drain(model: Model, sink: Sink) -> None:
    sink.delay = 1.0
    begun = time.monotonic()
    metrics = run(model, sink.url, CaptureLimits(batch=4), 20, close=0.2)
    assert time.monotonic() - begun < 1.0
    assert metrics.value("capture_dropped", "shutdown") == 20


def test_a_sample_is_a_share(model: Model, sink: Sink) -> None:
    offered = run(model, sink.url, CaptureLimits(sample=0.2), 2000).value("capture_offered")
    assert 300 <= offered <= 500


@pytest.mark.slow
def test_capture_memory_does_not_grow(start: Callable[..., Server], orders: tuple[Path, str], sink: Sink) -> None:
    sink.delay = 30.0
    server = start(orders[0], "orders", f"--capture-url={sink.url}", capture={"queued_bytes": 4_000_000}, notice=0)
    server.wait_ready()
    inputs = order_inputs()
    inputs[5]["data"] = ["x" * 100_000]
    body = json.dumps({"inputs": inputs}).encode()
    server.infer(body)
    before = server.memory()
    with httpx.Client(base_url=server.url) as client:
        for _ in range(300):
            assert client.post("/v2/models/orders/infer", content=body).status_code == 200
    assert server.memory() - before <= 32
    assert server.metric("hallmark_capture_dropped_total", reason="bytes") > 200
    sink.delay = 0.0
