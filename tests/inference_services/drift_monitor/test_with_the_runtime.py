"""The model server and the monitor as two processes, over the wire that they share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sidecar import ROOT, Sidecar, draw, exchange, free_port


@pytest.fixture
def served(sealed: Path) -> Iterator[Callable[[int, int], httpx.Client]]:
    """Start the model server on a port, with its capture sent to another."""
    running: list[tuple[subprocess.Popen[bytes], httpx.Client]] = []

    def begin(port: int, sink: int) -> httpx.Client:
        command = [sys.executable, "-m", "inference_services.runtime", "--model-name=shop", f"--model-dir={sealed}"]
        command += ["--host=127.0.0.1", f"--http-port={port}"]
        command += [f"--capture-url=http://127.0.0.1:{sink}/"]
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "K_REVISION": "shop-00007"}, stderr=subprocess.DEVNULL
        )
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        running.append((process, client))
        wait_for(lambda: ready(client))
        return client

    yield begin
    for process, client in running:
        client.close()
        process.terminate()
        process.wait(timeout=20)


def test_what_was_served_is_what_the_window_holds(
    start: Callable[..., Sidecar], served: Callable[[int, int], httpx.Client]
) -> None:
    port = free_port()
    sidecar = start(f"--runtime-metrics-url=http://127.0.0.1:{port}/metrics", config='{"minimum": 100, "window": 500}')
    client = served(port, sidecar.client.base_url.port or 0)
    wait_for(lambda: sidecar.client.get("/verdict").json()["served"] is not None)
    columns, scores = draw(150, seed=4)
    answers = []
    for row in range(150):
        request, _ = exchange(columns, scores, slice(row, row + 1))
        headers = {"x-hallmark-request-id": f"e-{row}"} | ({"x-hallmark-shadow": "1"} if row % 2 else {})
        answers.append(client.post("/v2/models/shop/infer", json={"id": "the same", **request}, headers=headers))
    refused = client.post("/v2/models/shop/infer", json={"inputs": []})
    wait_for(lambda: sidecar.counts()["joined"] >= 150)
    wait_for(lambda: sidecar.verdict("shop-00007")["captured"] is not None)
    window = sidecar.client.get("/window").json()
    assert {answer.status_code for answer in answers} == {200} and refused.status_code == 400
    assert (window["variant"], window["rows"], window["verdict"]["captured"]) == ("shop-00007", 150, 1.0)
    assert window["columns"]["amount"] == columns["amount"].tolist()
    assert window["columns"]["payment"] == columns["payment"].tolist()
    given = [answer.json()["outputs"][0]["data"][0] for answer in answers]
    assert window["columns"]["score"] == pytest.approx(given)
    by_name: dict[str, Any] = {column["name"]: column for column in window["verdict"]["columns"]}
    assert not by_name["amount"]["drifted"] and by_name["amount"]["missing"] == 0
    ring = sidecar.client.get("/answers").json()
    assert (ring["variant"], ring["lost"]) == ("shop-00007", 0)
    assert [(row["exchange"], row["shadow"]) for row in ring["rows"]] == [(f"e-{n}", n % 2 == 1) for n in range(150)]
    assert [row["outputs"]["score"] for row in ring["rows"]] == pytest.approx(given)
    assert len({row["request"] for row in ring["rows"]}) == 1
    label = [{"request": "the same", "label": 1, "at": "2026-11-21T12:00:00Z"}]
    assert sidecar.client.post("/labels", json=label).json() == {"joined": 1, "unknown": 0}
    fates = sidecar.counts()
    assert fates.pop("joined") == 150 and not any(fates.values())


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], object], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
