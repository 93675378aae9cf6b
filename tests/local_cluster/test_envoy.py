"""The gateway: what Envoy is told, and what a real Envoy does with it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import grpc
import httpx
import pytest
from gateways import call, gateway, grpc_server, service, upstream
from hypothesis import given
from hypothesis import strategies as st

from hallmark import names
from hallmark.errors import HallmarkError, Unavailable
from hallmark.leash import Leash
from local_cluster import routes
from local_cluster.envoy import Envoy
from local_cluster.routes import PodAddress, RoutedService


@given(
    percent=st.integers(0, 100),
    stable=st.booleans(),
    canary=st.booleans(),
)
def test_resources_hang_together(percent: int, stable: bool, canary: bool) -> None:
    made = service(percent, PodAddress(port=1) if stable else None, PodAddress(port=3) if canary else None)
    clusters = {c["name"] for c in routes.clusters((made,), Path("/x"))}
    text = json.dumps(routes.routes((made,)))
    named = {c for c in clusters if f'"name": "{c}"' in text}
    assert named == clusters
    assignments = routes.assignments((made,))
    assert assignments.keys() == clusters
    ranks = assignments["fraud/r2"]["endpoints"]
    variants = [[e["metadata"]["filter_metadata"]["envoy.lb"]["variant"] for e in r["lb_endpoints"]] for r in ranks]
    assert variants[0] == (["canary"] if canary else [])
    if stable and percent < 100:
        assert variants[1] == ["stable"]
    assert len(assignments["fraud/r1"]["endpoints"]) == 1


def test_a_gateway_with_nothing_answers_in_json(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, _), httpx.AsyncClient(trust_env=False) as client:
            base = f"http://127.0.0.1:{envoy.port}"
            answer = await client.get(f"{base}/serving/fraud/fraud/v2")
            assert (answer.status_code, answer.json()["code"]) == (404, 404)
            await envoy.apply((RoutedService(namespace="fraud", name="fraud"),))
            answer = await client.get(f"{base}/serving/fraud/fraud/v2")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            await envoy.apply((service(50, None, None),))
            answer = await client.get(f"{base}/serving/fraud/fraud/v2")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.headers["x-hallmark-variant"] == "gateway"
            assert answer.json()["code"] == 503
            many = await client.get(f"{base}/serving/fraud/fraud", headers={"x-big": "x" * 40_000})
            assert many.status_code == 431

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["example.com:443", "fraud.fraud.localhost:80"])
def test_a_tunnel_is_refused_at_once(tmp_path: Path, host: str) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            await envoy.apply((service(0, await upstream(tmp_path, on, "r1"), None),))
            reader, writer = await asyncio.open_connection("127.0.0.1", envoy.port)
            writer.write(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            try:
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                said = json.loads(await reader.read(1000))
                assert answer.startswith(b"HTTP/1.1 404 ") and said["code"] == 404
            finally:
                writer.close()
                await writer.wait_closed()

    asyncio.run(scenario())


def test_a_slow_canary_is_passed_over_after_the_services_timeout(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            canary = await upstream(tmp_path, on, "r2", delay="5")
            await envoy.apply((service(100, stable, canary, timeout=0.5),))
            # At 100 nothing stands behind a revision: there is no stable one beside it.
            assert {a.status_code for a in await call(envoy, 2)} == {504}
            await envoy.apply((service(99, stable, canary, timeout=0.5),))
            answers = await call(envoy, 20)
            assert {(a.status_code, a.headers["x-hallmark-variant"]) for a in answers} == {(200, "stable")}
            assert max(a.elapsed.total_seconds() for a in answers) < 4

    asyncio.run(scenario())


def test_what_the_client_got_wrong_is_an_answer_and_ejects_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            canary = await upstream(tmp_path, on, "r2", status="422")
            await envoy.apply((service(50, stable, canary),))
            for _ in range(4):
                seen = {(a.status_code, a.headers["x-hallmark-variant"]) for a in await call(envoy, 50)}
                assert seen == {(200, "stable"), (422, "canary")}

    asyncio.run(scenario())


def test_a_full_stable_server_is_neither_ejected_nor_buried_under_retries(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1", status="503", delay="0.05")
            await envoy.apply((service(0, stable, None),))
            answers = [a for _ in range(3) for a in await call(envoy, 50)]
            assert {a.status_code for a in answers} == {503}
            lines = (await envoy.stats()).splitlines()
            tries = sum(
                int(line.rpartition(" ")[2])
                for line in lines
                if line.startswith("envoy_cluster_upstream_rq_total") and "fraud/r1" in line
            )
            assert tries < 2 * len(answers)
            (tmp_path / "r1" / "status").unlink()
            assert {a.status_code for a in await call(envoy, 20)} == {200}

    asyncio.run(scenario())


def test_shares_are_counted_by_revision(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable, canary = await upstream(tmp_path, on, "r1"), await upstream(tmp_path, on, "r2")
            await envoy.apply((service(50, stable, canary),))
            answers = await call(envoy, 100)
            counted = {}
            for line in (await envoy.stats()).splitlines():
                if line.startswith('envoy_cluster_upstream_rq_xx{envoy_response_code_class="2"'):
                    counted[line.partition("fraud/")[2][:2]] = int(line.rpartition(" ")[2])
            variants = [a.headers["x-hallmark-variant"] for a in answers]
            assert counted == {"r1": variants.count("stable"), "r2": variants.count("canary")}

    asyncio.run(scenario())


def test_a_configuration_that_envoy_refuses_is_an_error_and_the_old_one_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            await envoy.apply((service(0, stable, None),))
            broken = routes.routes((service(0, stable, None).model_copy(update={"name": "unknown"}),))
            text = json.dumps(broken).replace("fraud/r1", "fraud/nobody")
            with pytest.raises(HallmarkError, match="refused") as caught:
                await envoy._push("rds.json", [json.loads(text)], fresh=["hallmark"], timeout=3)
            assert "nobody" in caught.value.got
            assert {a.status_code for a in await call(envoy, 5)} == {200}

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_an_error_with_envoys_own_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            on = Leash(tmp_path)
            envoy = Envoy(tmp_path / "envoy", port=taken.getsockname()[1], on=on)
            with pytest.raises(Unavailable) as caught:
                await envoy.start()
            assert "in use" in caught.value.got
            # What was asked while it started is closed, though nobody stops what did not start.
            assert envoy.pid is None and envoy._client is None
            on.end()

    asyncio.run(scenario())


def test_grpc_is_routed_by_authority_to_the_one_port(tmp_path: Path) -> None:
    """Fine, refused with a message, not there, and by a server that does not know gRPC: each is the status that a client can use."""

    def answer(message: bytes, headers: Mapping[bytes, bytes]) -> tuple[grpc.StatusCode, bytes]:
        assert headers[b"content-type"] == b"application/grpc"
        if message == b"bad":
            return grpc.StatusCode.INVALID_ARGUMENT, "a reason, é".encode()
        return grpc.StatusCode.OK, message.upper()

    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on), grpc_server(answer) as address:
            made = service(0, address, None)
            await envoy.apply((made,))
            options = [("grpc.default_authority", made.hostname), ("grpc.enable_http_proxy", 0)]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.port}", options=options) as channel:
                ask = channel.unary_unary(f"{names.GRPC_PATH}ModelInfer")
                call = ask(b"hello", timeout=30)
                assert await call == b"HELLO"
                assert dict(await call.initial_metadata())["x-hallmark-variant"] == "stable"
                large = b"x" * (3 << 20)
                assert await ask(large, timeout=30) == large.upper()
                for message, code, text in (
                    (b"bad", grpc.StatusCode.INVALID_ARGUMENT, "a reason, é"),
                    (b"x", grpc.StatusCode.UNKNOWN, "unsupported content-type application/json, status code 404"),
                    (b"x", grpc.StatusCode.UNAVAILABLE, "no healthy upstream"),
                ):
                    if code is grpc.StatusCode.UNKNOWN:
                        await envoy.apply((service(0, await upstream(tmp_path, on, "r1"), None),))
                    elif code is grpc.StatusCode.UNAVAILABLE:
                        await envoy.apply((service(0, None, None),))
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await ask(message, timeout=30)
                    assert (refused.value.code(), text in (refused.value.details() or "")) == (code, True)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.port}") as channel:
                with pytest.raises(grpc.aio.AioRpcError) as nobody:
                    await channel.unary_unary(f"{names.GRPC_PATH}ModelInfer")(b"x", timeout=30)
                assert nobody.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_where_nothing_fails_over_a_client_gets_what_the_canary_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable, canary = await upstream(tmp_path, on, "r1"), await upstream(tmp_path, on, "r2", status="503")
            await envoy.apply((service(50, stable, canary).model_copy(update={"fails_over": False}),))
            found = Counter((a.status_code, a.headers["x-hallmark-variant"]) for a in await call(envoy, 100))
            assert set(found) == {(200, "stable"), (503, "canary")} and min(found.values()) > 20

    asyncio.run(scenario())
