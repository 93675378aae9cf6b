"""Mirrored copies: which requests the candidate sees, and that nothing of it ever reaches a client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from gateways import (
    call,
    counted,
    gateway,
    grpc_caller,
    grpc_server,
    received,
    server,
    service,
    steady,
    upstream,
)
from real_model import configured, real_model

from hallmark import names
from local_cluster import predictor, routes
from local_cluster.routes import PodAddress

ROOT = Path(__file__).parents[2]


async def caught_up(address: PodAddress, wanted: int) -> list[dict[str, str]]:
    """Requests that a fake server received, once that is as much as `wanted`, or no more came for half a second."""
    found: list[dict[str, str]] = []
    for _ in range(10):
        found = await received(address)
        if len(found) >= wanted:
            break
        await asyncio.sleep(0.05)
    return found


def test_the_candidate_gets_every_request_under_the_same_id_and_marked_as_a_copy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            candidate = await upstream(tmp_path, on, "r2", status="500")
            await envoy.apply((service(0, stable, candidate, shadow=100),))
            answers = await call(envoy, 60)
            assert {(a.status_code, a.headers["x-hallmark-variant"]) for a in answers} == {(200, "stable")}
            originals, copies = await received(stable), await caught_up(candidate, 60)
            assert len(originals) == len(copies) == 60
            key = routes.REQUEST_HEADER
            assert {one[key] for one in originals} == {one[key] for one in copies}
            assert len({one[key] for one in copies}) == 60
            assert {one.get(routes.SHADOW_HEADER) for one in originals} == {None}
            assert {one.get(routes.SHADOW_HEADER) for one in copies} == {"1"}
            assert {(one[":path"], one["host"]) for one in copies} == {(o[":path"], o["host"]) for o in originals}
            # Copies are nobody's requests: they are counted by their own cluster alone, and never tried again.
            assert await counted(envoy) == {("r1", "stable", "200", ""): 60}
            labels = 'envoy_response_code_class="5",envoy_cluster_name="fraud/r2/shadow"'
            assert f"{routes.MIRRORED}{{{labels}}} 60" in await envoy.stats()
            await envoy.apply((service(0, stable, candidate),))
            await call(envoy, 10)
            assert len(await caught_up(candidate, 70)) == 60
            await envoy.apply((service(0, stable, candidate, shadow=100),))
            await call(envoy, 10)
            assert len(await caught_up(candidate, 70)) == 70

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_share_of_the_requests_is_mirrored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable, candidate = await upstream(tmp_path, on, "r1"), await upstream(tmp_path, on, "r2")
            await envoy.apply((service(0, stable, candidate, shadow=25),))
            for _ in range(8):
                await call(envoy, 50)
            # 25% of 400, within four standard errors.
            assert 65 <= len(await caught_up(candidate, 135)) <= 135

    asyncio.run(scenario())


@pytest.mark.serial
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_candidate_that_dies_or_hangs_in_shadow_changes_nothing_for_clients(
    tmp_path: Path, how: signal.Signals
) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1", delay="0.005")
            candidate, process = await server(tmp_path, on, "r2")
            await envoy.apply((service(0, stable, candidate),))
            without = await steady(envoy, rate=200, seconds=1)
            await envoy.apply((service(0, stable, candidate, shadow=100),))
            later = asyncio.get_running_loop().call_later(0.5, os.kill, process.pid, how)
            try:
                seen = await steady(envoy, rate=200, seconds=2)
            finally:
                later.cancel()
                if how == signal.SIGSTOP:
                    os.kill(process.pid, signal.SIGCONT)
            assert seen.seen == {(200, "stable"): 400}
            assert seen.p50 <= without.p50 + 2, (seen.p50, without.p50)
            assert seen.p99 <= without.p99 + 15, (seen.p99, without.p99)

    asyncio.run(scenario())


def test_a_full_candidate_holds_few_copies_and_no_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            candidate, process = await server(tmp_path, on, "r2", delay="10")
            await envoy.apply((service(0, stable, candidate, shadow=100),))
            answers = [a for _ in range(4) for a in await call(envoy, 100)]
            assert {(a.status_code, a.headers["x-hallmark-variant"]) for a in answers} == {(200, "stable")}
            assert max(a.elapsed.total_seconds() for a in answers) < 9
            assert 0 < await envoy.active("fraud/r2/shadow") <= routes.MAX_MIRRORED
            await process.stop(0)

    asyncio.run(scenario())


def test_grpc_is_mirrored_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: Counter[tuple[str, str, int]] = Counter()

        def handler(name: str) -> Any:
            def answer(message: bytes, headers: Mapping[bytes, bytes]) -> tuple[grpc.StatusCode, bytes]:
                assert len(headers[routes.REQUEST_HEADER.encode()]) == 36
                seen[name, headers.get(routes.SHADOW_HEADER.encode(), b"").decode(), len(message)] += 1
                return grpc.StatusCode.OK, b""

            return answer

        async with (
            gateway(tmp_path) as (envoy, _),
            grpc_server(handler("r1")) as stable,
            grpc_server(handler("r2")) as candidate,
        ):
            made = service(0, stable, candidate, shadow=100)
            await envoy.apply((made,))
            size = 3 << 20
            async with grpc_caller(envoy, made) as ask:
                for _ in range(8):
                    assert await ask(b"x" * size) == ("OK", "stable")
            for _ in range(50):
                if seen["r2", "1", size] == 8:
                    break
                await asyncio.sleep(0.02)
            assert seen == {("r1", "", size): 8, ("r2", "1", size): 8}

    asyncio.run(scenario())


def test_large_messages_wait_for_no_candidate_that_does_not_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            gateway(tmp_path) as (envoy, _),
            grpc_server(lambda message, _: (grpc.StatusCode.OK, message[:1])) as stable,
            deaf_server() as candidate,
        ):
            made = service(0, stable, candidate, shadow=100)
            await envoy.apply((made,))
            async with grpc_caller(envoy, made) as ask:
                for _ in range(12):
                    assert await asyncio.wait_for(ask(b"x" * (3 << 20)), 2) == ("OK", "stable")
                assert await envoy.active("fraud/r2/shadow") == 12

    asyncio.run(scenario())


def test_a_candidate_without_traffic_is_mirrored_to_by_annotation_alone(cluster: Callable[..., Any]) -> None:
    def annotate(value: str | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def change(found: dict[str, Any]) -> dict[str, Any]:
            found["metadata"].setdefault("annotations", {})[predictor.SHADOW_ANNOTATION] = value
            if value is None:
                del found["metadata"]["annotations"][predictor.SHADOW_ANNOTATION]
            return found

        return change

    async def copies(c: Any) -> int:
        """Number of copies of ten requests that the candidate gets: ten within two seconds, or what came in a tenth of one."""
        for _ in range(10):
            assert (await c.infer()).headers[routes.VARIANT_HEADER] == "stable"
        port = c.reconciler.address("fraud", c.pod(2)["metadata"]["name"], 8080)[1]
        found = 0
        for turn in range(41):
            await asyncio.sleep(0.05)
            found = len([one for one in await received(PodAddress(port=port)) if one.get(routes.SHADOW_HEADER) == "1"])
            if found == 10 or (turn > 1 and not found):
                break
        return found

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({"00001": 100})
            c.apply(2, percent=0)
            await c.ready({"00001": 100, "00002": 0})
            assert await copies(c) == 0
            c.store.modify("inferenceservices", "fraud", "fraud", annotate("100"))
            await c.until(lambda: c.reconciler._services["fraud", "fraud"].backends[0].shadow == 100)
            await c.reconciler.settled()
            assert await copies(c) == 10
            assert c.revisions() == [1, 2], "an annotation of ours makes no revision"
            assert c.pod(2)["metadata"]["labels"]["endpoint"] == "canary"
            # One that has requests of its own needs no copies.
            c.patch(canaryTrafficPercent=1)
            await c.ready({"00001": 99, "00002": 1})
            assert c.reconciler._services["fraud", "fraud"].backends[0].shadow == 0
            c.patch(canaryTrafficPercent=0)
            c.store.modify("inferenceservices", "fraud", "fraud", annotate("all"))
            await c.until(lambda: "got 'all'" in c.condition("PredictorConfigurationReady").get("message", ""))
            assert (await c.infer()).status_code == 200
            c.store.modify("inferenceservices", "fraud", "fraud", annotate(None))
            await c.ready({"00001": 100, "00002": 0})

    asyncio.run(scenario())


@pytest.mark.slow
def test_both_revisions_answers_are_joined_by_the_gateways_id(cluster: Callable[..., Any], tmp_path: Path) -> None:
    """The real model server and drift monitor of two revisions: the candidate in shadow, then behind a share."""
    runtime = yaml.safe_load((ROOT / "inference_services" / "runtime" / "servingruntime.yaml").read_text())
    body = {"id": "order-1", "inputs": [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [0.0]}]}

    def model(version: int) -> dict[str, Any]:
        digest = real_model(tmp_path / "models" / "fraud" / str(version))
        env = [{"name": "HALLMARK_MODEL_DIGEST", "value": digest}]
        named = {"modelFormat": {"name": "onnx"}, "protocolVersion": "v2", "runtime": "hallmark-runtime", "env": env}
        return named | {"storageUri": f"pvc://models/fraud/{version}"}

    async def rows(c: Any, number: int, wanted: int) -> list[dict[str, Any]]:
        port = c.reconciler.address("fraud", c.pod(number)["metadata"]["name"], names.MONITOR_PORT)[1]
        for _ in range(100):
            whole = (await c.client.get(f"http://127.0.0.1:{port}/answers")).json()
            if len(whole["rows"]) >= wanted:
                assert whole["variant"] == f"fraud-predictor-{number:05d}"
                break
            await asyncio.sleep(0.05)
        found: list[dict[str, Any]] = whole["rows"]
        return found

    async def scenario() -> None:
        async with cluster() as c:
            c.store.create(runtime)
            volumes, _ = configured(c.store)
            c.apply(1, model=model(1), volumes=volumes)
            await c.ready({"00001": 100}, seconds=40)
            service = c.apply(2, percent=0, model=model(2), volumes=volumes)
            service["metadata"]["annotations"] = {predictor.SHADOW_ANNOTATION: "100"}
            c.store.update(service)
            await c.ready({"00001": 100, "00002": 0}, seconds=40)
            trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
            for _ in range(20):
                answer = await c.client.post(f"{c.url}/v2/models/fraud/infer", json=body, headers=trace)
                assert (answer.status_code, answer.headers[routes.VARIANT_HEADER]) == (200, "stable")
            stable, candidate = await rows(c, 1, 20), await rows(c, 2, 20)
            assert len(stable) == len(candidate) == 20
            assert {row["exchange"] for row in stable} == {row["exchange"] for row in candidate}
            assert len({row["exchange"] for row in stable}) == 20
            assert ({row["shadow"] for row in stable}, {row["shadow"] for row in candidate}) == ({False}, {True})
            for row in (*stable, *candidate):
                assert (row["outputs"], row["columns"], row["trace"]) == ({"score": 0.5}, {"amount": 0.0}, "ab" * 16)

    asyncio.run(scenario())


@asynccontextmanager
async def deaf_server() -> AsyncIterator[PodAddress]:
    """A server that answers its health route, and reads no further than the head of any other request."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /v2/health/ready"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as opened:
        yield PodAddress(port=opened.sockets[0].getsockname()[1])
        over.set()
