"""The same model in the KServe SDK's own server: its `Model` interface is kept."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from served import ROOT, free_port, order_inputs

PROGRAM = """
import sys
from pathlib import Path

from kserve import ModelServer

from inference_services.runtime.sdk import OnnxModel

model = OnnxModel("orders", Path(sys.argv[1]), digest=sys.argv[2], version="2")
model.load()
ModelServer(http_port=int(sys.argv[3]), enable_grpc=False, workers=1).start([model])
"""


@pytest.fixture(scope="module")
def stock(orders: tuple[Path, str]) -> Iterator[httpx.Client]:
    """`kserve.ModelServer` with an OnnxModel."""
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, str(orders[0]), orders[1], str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert process.poll() is None
            try:
                if client.get("/v2/models/orders/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield client
    process.terminate()
    process.wait(20)


def test_kserves_own_server_serves_it(stock: httpx.Client) -> None:
    answer = stock.post("/v2/models/orders/infer", json={"id": "7", "inputs": order_inputs(2)}).json()
    assert answer["id"] == "7"
    assert answer["outputs"][0]["name"] == "score"
    assert answer["outputs"][0]["data"] == pytest.approx([0.444066] * 2, abs=1e-5)


def test_it_is_as_strict_there(stock: httpx.Client) -> None:
    inputs = order_inputs()
    inputs[0]["data"] = [-1.0]
    response = stock.post("/v2/models/orders/infer", json={"inputs": inputs})
    assert response.status_code == 400
    assert "amount" in response.text


def test_metadata_is_the_same(stock: httpx.Client) -> None:
    model = stock.get("/v2/models/orders").json()
    assert model["inputs"][6] == {"name": "vector", "datatype": "FP32", "shape": [-1, 2, 2]}
    assert model["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1]}]
