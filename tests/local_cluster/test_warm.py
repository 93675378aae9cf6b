"""The former stable revision stays warm for the time that Knative's annotation says, so that a roll-back starts nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from local_cluster.pods import WARM_ANNOTATION
from local_cluster.predictor import RETENTION_ANNOTATION, InvalidSpec, retention

Open = Callable[..., Any]
ONE, TWO = "00001", "00002"


def kept(duration: str) -> dict[str, Any]:
    return {"annotations": {RETENTION_ANNOTATION: duration}}


def started(c: Any) -> int:
    return sum(event["reason"] == "Started" for event in c.store.list("events", namespace="fraud")[0])


@pytest.mark.parametrize(
    ("given", "seconds"), [("30m", 1800), ("1h", 3600), ("1m30s", 90), ("0s", 0), ("1.5s", 1.5), ("250ms", 0.25)]
)
def test_a_retention_is_knatives_duration(given: str, seconds: float) -> None:
    assert retention(kept(given)) == seconds
    assert retention({"annotations": {}}) == 0


@pytest.mark.parametrize("given", ["", "30", "-1s", "2h", "30 m", "m", "1d"])
def test_what_knative_would_refuse_is_refused(given: str) -> None:
    with pytest.raises(InvalidSpec, match="0s to 1h"):
        retention(kept(given))


@pytest.mark.serial
def test_a_rollback_to_a_warm_revision_is_a_change_of_weight(cluster: Open) -> None:
    """Under 200 requests a second: none fails, no pod is started, and the share moves within a second."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1, **kept("30m"))
            await c.ready({ONE: 100})
            c.apply(2, percent=50, **kept("30m"))
            await c.ready({ONE: 50, TWO: 50})
            # 20 clients, 10 requests a second each.
            async with c.load(clients=20, pause=0.08) as seen:
                c.patch(canaryTrafficPercent=None)
                await c.ready({TWO: 100})
                await asyncio.sleep(1.2)
                assert c.revisions() == [1, 2]
                pod = c.pod(1)
                assert pod["status"]["phase"] == "Running"
                assert pod["metadata"]["annotations"][WARM_ANNOTATION] > time.strftime(
                    "%Y-%m-%dT%H:%M:%SZ", time.gmtime()
                )
                before, names = started(c), {p["metadata"]["name"] for p in c.store.list("pods")[0]}
                begun = time.monotonic()
                c.patch(canaryTrafficPercent=0)
                while (await c.infer()).json()["revision"] != f"fraud-predictor-{ONE}":
                    assert time.monotonic() < begun + 5
                await c.ready({ONE: 100, TWO: 0}, seconds=5)
                assert time.monotonic() < begun + 5
                seen_before = seen.total()
                await c.until(lambda: seen.total() > seen_before + 100)
            assert {status for status, _ in seen} == {200}, seen
            assert started(c) == before
            assert {p["metadata"]["name"] for p in c.store.list("pods")[0]} == names
            assert WARM_ANNOTATION not in c.pod(1)["metadata"]["annotations"]

    asyncio.run(scenario())


def test_after_its_time_the_former_revision_is_retired_and_a_rollback_starts_it_again(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1, **kept("1s"))
            await c.ready({ONE: 100})
            begun = time.monotonic()
            c.apply(2, **kept("1s"))
            await c.ready({TWO: 100})
            await c.until(lambda: c.revisions() == [2], seconds=20)
            assert time.monotonic() >= begun + 1
            c.patch(canaryTrafficPercent=0)
            await c.ready({ONE: 100, TWO: 0})

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_restart_of_the_cluster_forgets_neither_the_warm_pod_nor_since_when(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1, **kept("30m"))
            await c.ready({ONE: 100})
            c.apply(2, **kept("30m"))
            await c.ready({TWO: 100})
            until = c.pod(1)["metadata"]["annotations"][WARM_ANNOTATION]
        await asyncio.sleep(1.1)
        async with cluster() as c:
            await c.ready({TWO: 100})
            await c.until(lambda: all(p["status"]["phase"] == "Running" for p in c.store.list("pods")[0]))
            assert c.revisions() == [1, 2]
            assert c.pod(1)["metadata"]["annotations"][WARM_ANNOTATION] == until
            c.patch(canaryTrafficPercent=0)
            await c.ready({ONE: 100, TWO: 0}, seconds=15)
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.post(f"{c.url}/v2/models/fraud/infer", json={"inputs": []})
            assert answer.json()["revision"] == f"fraud-predictor-{ONE}"

    asyncio.run(scenario())
