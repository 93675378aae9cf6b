"""Traffic of a small shop as captured events, and the monitor on it as a real process."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

ROOT = Path(__file__).parents[3]
FEATURES = """
import numpy as np

from hallmark.features.fields import Columns, Field

FIELDS = (
    Field(name="amount", datatype="FP64", minimum=0),
    Field(name="orders", datatype="INT64", minimum=0),
    Field(name="express", datatype="BOOL"),
    Field(name="payment", datatype="BYTES", categories=("card", "wallet", "invoice")),
)

def encode(columns: Columns):
    return np.stack([np.log1p(columns["amount"]), columns["orders"]], axis=1).astype(np.float32)

def observe(columns: Columns) -> Columns:
    return {field.name: columns[field.name] for field in FIELDS}
"""


def onnx_model() -> bytes:
    """A model of two numbers in and one score out."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["column"]),
            helper.make_node("Squeeze", ["column", "axes"], ["score"]),
        ],
        "shop",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [
            numpy_helper.from_array(np.array([[0.2], [0.1]], dtype=np.float32), "weights"),
            numpy_helper.from_array(np.array([1]), "axes"),
        ],
    )
    return bytes(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()
    )


def draw(rows: int, *, seed: int, factor: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns and scores of ordinary traffic; `factor` makes everything dearer and riskier."""
    random = np.random.default_rng(seed)
    payment = random.choice(np.array(["card", "wallet", "invoice"], dtype=object), rows, p=[0.6, 0.3, 0.1])
    columns = {
        "amount": random.lognormal(4.0, 1.0, rows) * factor,
        "orders": random.poisson(0.7, rows),
        "express": random.random(rows) < 0.2,
        "payment": payment,
    }
    return columns, {"score": (random.beta(0.5, 8.0, rows) * factor).clip(0, 1).astype(np.float32)}


def exchange(columns: dict[str, Any], scores: dict[str, Any], row: slice) -> tuple[dict[str, Any], dict[str, Any]]:
    """The V2 request and response of some rows."""
    types = {"amount": "FP64", "orders": "INT64", "express": "BOOL", "payment": "BYTES"}
    inputs = [
        {"name": name, "shape": [len(values[row])], "datatype": types[name], "data": values[row].tolist()}
        for name, values in columns.items()
    ]
    outputs = [
        {"name": name, "shape": [len(values[row])], "datatype": "FP32", "data": values[row].tolist()}
        for name, values in scores.items()
    ]
    return {"inputs": inputs}, {"model_name": "shop", "outputs": outputs}


def event(
    event_id: str, half: str, data: Any, *, revision: str = "shop-00001", service: str = "shop"
) -> dict[str, Any]:
    """One CloudEvent in JSON form."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "type": f"org.kubeflow.serving.inference.{half}",
        "source": f"/{service}/{service}/{revision}",
        "inferenceservicename": service,
        "namespace": service,
        "component": "predictor",
        "endpoint": "",
        "revision": revision,
        "datacontenttype": "application/json",
        "data": data,
    }


def events(rows: int, *, seed: int, prefix: str = "", factor: float = 1.0, **more: str) -> list[dict[str, Any]]:
    """Both halves of one-row exchanges."""
    columns, scores = draw(rows, seed=seed, factor=factor)
    out = []
    for row in range(rows):
        request, response = exchange(columns, scores, slice(row, row + 1))
        out.append(event(f"{prefix}{seed}-{row}", "request", request, **more))
        out.append(event(f"{prefix}{seed}-{row}", "response", response, **more))
    return out


class Sidecar:
    """A monitor process, called as the runtime and the command line call it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    def batch(self, items: Any) -> httpx.Response:
        return self.client.post("/", json=items, headers={"content-type": "application/cloudevents-batch+json"})

    def single(self, item: dict[str, Any]) -> httpx.Response:
        headers = {f"ce-{name}": value for name, value in item.items() if name not in ("data", "datacontenttype")}
        return self.client.post("/", json=item["data"], headers=headers)

    def send(self, items: Sequence[dict[str, Any]]) -> None:
        for at in range(0, len(items), 128):
            assert self.batch(items[at : at + 128]).status_code == 202

    def verdict(self, variant: str = "shop-00001") -> Any:
        return self.client.get("/verdict").json()["variants"][variant]

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.client.get("/verdict").json()["events"]
        return counts


def wait_ready(sidecar: Sidecar) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if sidecar.client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            if sidecar.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(sidecar.process.communicate()[1].decode()) from None
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
