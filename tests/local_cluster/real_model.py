"""A small model that the real model server and the real drift monitor take, and requests to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from hallmark.artifacts.folder import seal
from hallmark.artifacts.signature import Signature
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.drift import profile
from hallmark.features.fields import Field, Output
from hallmark.render import inferenceservice
from hallmark.settings import Settings
from hallmark.tasks import Binary
from local_cluster.store import ObjectStore

NAME = "fraud"
FEATURES = """import numpy as np

def encode(columns):
    return columns["amount"].astype(np.float32)[:, None]

def observe(columns):
    return {"amount": columns["amount"]}
"""


def real_model(folder: Path, *, backwards: bool = False) -> str:
    """A model folder for the real model server: one field in, a sigmoid of it out, or of its opposite; gives its digest."""
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Neg" if backwards else "Identity", ["input"], ["signed"]),
        helper.make_node("Sigmoid", ["signed"], ["column"]),
        helper.make_node("Squeeze", ["column", "axes"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
    )
    graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [1], [1]))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    (folder / "features.py").write_text(FEATURES)
    amounts = np.linspace(0.0, 100.0, 500)
    scores = {"score": 1 / (1 + np.exp(amounts if backwards else -amounts))}
    (folder / "profile.json").write_text(profile.build({"amount": amounts}, scores=scores).model_dump_json())
    field = Field(name="amount", datatype="FP64", minimum=0, maximum=100)
    output = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    signature = Signature(domain=NAME, task=Binary(), fields=(field,), outputs=(output,))
    (folder / "signature.json").write_text(signature.model_dump_json())
    return seal(folder)


def configured(store: ObjectStore) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The serving config of the fraud domain, put into the store; gives the volumes and the variable of who is served with it."""
    domain = domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(Path(__file__).parents[2])}))
    store.create(inferenceservice.config_map(domain))
    reference = serving_config.of(domain).reference
    volumes = [{"name": inferenceservice.VOLUME, "configMap": {"name": reference.name}}]
    return volumes, {"name": serving_config.DIGEST_ENV, "value": reference.digest}


def request(amount: float) -> bytes:
    """A V2 request of one row."""
    given = {"name": "amount", "shape": [1], "datatype": "FP64", "data": [amount]}
    return json.dumps({"inputs": [given]}).encode()


def answering(url: str, *, count: int = 100) -> frozenset[int]:
    """Versions that answer so many requests, of which none may fail."""
    found = set()
    with httpx.Client(trust_env=False, timeout=10) as client:
        for at in range(count):
            answer = client.post(url, content=request(float(at % 100)))
            assert answer.status_code == 200, answer.text
            found.add(int(answer.headers["x-hallmark-model-version"]))
    return frozenset(found)
