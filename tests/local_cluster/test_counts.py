"""Counts of the gateway: who really answered a request that was meant for a revision, and how long it took."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest
from gateways import (
    call,
    counted,
    gateway,
    grpc_caller,
    grpc_server,
    milliseconds,
    received,
    server,
    service,
    steady,
    upstream,
)

from local_cluster import listener, routes


def variants(answers: list[httpx.Response]) -> Counter[tuple[int, str]]:
    return Counter((a.status_code, a.headers["x-hallmark-variant"]) for a in answers)


def test_every_request_is_counted_once_by_the_revision_it_was_meant_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable, canary = await upstream(tmp_path, on, "r1"), await upstream(tmp_path, on, "r2")
            await envoy.apply((service(50, stable, canary),))
            seen = variants(await call(envoy, 100))
            assert await counted(envoy) == {
                ("r1", "stable", "200", ""): seen[200, "stable"],
                ("r2", "canary", "200", ""): seen[200, "canary"],
            }

    asyncio.run(scenario())


@pytest.mark.parametrize("status", ["500", "503"])
def test_a_canary_that_fails_is_hidden_from_clients_and_counted_against_it(tmp_path: Path, status: str) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable, canary = await upstream(tmp_path, on, "r1"), await upstream(tmp_path, on, "r2", status=status)
            await envoy.apply((service(50, stable, canary),))
            answers = [a for _ in range(4) for a in await call(envoy, 50)]
            assert variants(answers) == {(200, "stable"): 200}
            found = await counted(envoy)
            assert found.keys() == {("r1", "stable", "200", ""), ("r2", "stable", "200", "")}
            assert found.total() == 200
            assert 60 <= found["r2", "stable", "200", ""] <= 140

    asyncio.run(scenario())


def test_what_the_client_got_wrong_is_not_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable, canary = await upstream(tmp_path, on, "r1"), await upstream(tmp_path, on, "r2", status="422")
            await envoy.apply((service(50, stable, canary),))
            seen = variants(await call(envoy, 100))
            assert await counted(envoy) == {
                ("r1", "stable", "200", ""): seen[200, "stable"],
                ("r2", "canary", "422", ""): seen[422, "canary"],
            }

    asyncio.run(scenario())


def test_a_stable_server_that_fails_is_not_asked_more_often(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1", status="500")
            canary = await upstream(tmp_path, on, "r2", status="500")
            await envoy.apply((service(50, stable, canary),))
            assert variants(await call(envoy, 100)) == {(500, "stable"): 100}
            found = await counted(envoy)
            meant = found["r2", "stable", "500", ""]
            assert found == {("r1", "stable", "500", ""): 100 - meant, ("r2", "stable", "500", ""): meant}
            assert len(await received(stable)) == 100
            assert len(await received(canary)) == meant

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_stable_answers_for_an_ejected_canary_is_no_retry_and_still_counted_as_failover(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            canary, process = await server(tmp_path, on, "r2")
            await envoy.apply((service(50, stable, canary),))
            os.kill(process.pid, signal.SIGKILL)
            seen = await steady(envoy, rate=200, seconds=2)
            assert seen.seen == {(200, "stable"): 400}
            found = await counted(envoy)
            assert found.keys() == {("r1", "stable", "200", ""), ("r2", "stable", "200", "")}
            assert found.total() == 400
            lines = (await envoy.stats()).splitlines()
            retries = next(
                line
                for line in lines
                if line.startswith('envoy_cluster_upstream_rq_retry{envoy_cluster_name="fraud/r2"')
            )
            # Most were never tried on the canary: it was ejected, or its health checks failed.
            assert int(retries.rpartition(" ")[2]) < found["r2", "stable", "200", ""] / 2

    asyncio.run(scenario())


@pytest.mark.serial
def test_a_hanging_canary_costs_one_try_and_is_counted_against_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on):
            stable = await upstream(tmp_path, on, "r1")
            canary, process = await server(tmp_path, on, "r2")
            await envoy.apply((service(50, stable, canary, timeout=0.4),))
            os.kill(process.pid, signal.SIGSTOP)
            try:
                seen = await steady(envoy, rate=200, seconds=2)
            finally:
                os.kill(process.pid, signal.SIGCONT)
            assert seen.seen == {(200, "stable"): 400}
            assert seen.p99 <= 500, seen.p99
            found = await counted(envoy)
            assert found.keys() == {("r1", "stable", "200", ""), ("r2", "stable", "200", "")}
            slow: dict[str, int] = {}
            for _ in range(100):  # Envoy merges its threads' histograms once a second or so
                slow = await milliseconds(envoy, "r2")
                if slow.get("+Inf") == found["r2", "stable", "200", ""]:
                    break
                await asyncio.sleep(0.05)
            assert slow["350"] < slow["+Inf"] == found["r2", "stable", "200", ""]

    asyncio.run(scenario())


def test_the_gateways_own_answers_are_counted_as_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on), httpx.AsyncClient(trust_env=False) as client:
            base = f"http://127.0.0.1:{envoy.port}"
            await client.get(f"{base}/x", headers={"x-hallmark-variant": "forged"})
            await client.get(f"{base}/x", headers={"x-big": "x" * 40_000})
            await envoy.apply((service(0, None, None),))
            await call(envoy, 3)
            hung = await upstream(tmp_path, on, "r1", delay="3")
            await envoy.apply((service(0, hung, None, timeout=0.2),))
            assert variants(await call(envoy, 1)) == {(504, "gateway"): 1}
            assert await counted(envoy) == {("r1", "gateway", "503", ""): 3, ("r1", "gateway", "504", ""): 1}
            text = await envoy.stats()
            for code in ("404", "431"):
                labels = f'service="",revision="",answered="gateway",code="{code}",grpc=""'
                assert f"{routes.REQUESTS}{{{labels}}} 1" in text

    asyncio.run(scenario())


def test_a_client_that_leaves_is_counted_without_an_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path) as (envoy, on), httpx.AsyncClient(trust_env=False, timeout=0.2) as client:
            await envoy.apply((service(0, await upstream(tmp_path, on, "r1", delay="1"), None),))
            with pytest.raises(httpx.ReadTimeout):
                await client.post(f"http://127.0.0.1:{envoy.port}/serving/fraud/fraud/v2/models/m/infer", json={})
            for _ in range(100):
                if found := await counted(envoy):
                    break
                await asyncio.sleep(0.02)
            assert found == {("r1", "", "0", ""): 1}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "code", ["INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT"]
)
def test_grpc_failures_of_a_canary_are_hidden_and_counted_and_refusals_are_not(tmp_path: Path, code: str) -> None:
    async def scenario() -> None:
        async with (
            gateway(tmp_path) as (envoy, _),
            grpc_server(lambda message, _: (grpc.StatusCode.OK, message)) as stable,
            grpc_server(lambda *_: (grpc.StatusCode[code], b"no")) as canary,
        ):
            made = service(50, stable, canary)
            await envoy.apply((made,))
            async with grpc_caller(envoy, made) as ask:
                seen = Counter([await ask(b"x") for _ in range(40)])
            found = await counted(envoy)
            if code == "INVALID_ARGUMENT":
                assert seen.keys() == {("OK", "stable"), (code, "canary")}
                assert found["r2", "canary", "200", "3"] == seen[code, "canary"]
            else:
                assert seen == {("OK", "stable"): 40}
                assert found.keys() == {("r1", "stable", "200", "0"), ("r2", "stable", "200", "0")}
            assert found.total() == 40
            await envoy.apply((service(0, None, None),))
            async with grpc_caller(envoy, made) as ask:
                assert await ask(b"x") == ("UNAVAILABLE", "gateway")
            assert (await counted(envoy))["r1", "gateway", "200", "14"] == 1

    asyncio.run(scenario())


def test_the_objectives_are_edges_of_the_buckets() -> None:
    assert {50, 200} <= set(listener.MILLISECONDS_LE)
