"""A small model that the real model server and the real drift monitor take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hallmark.artifacts.folder import Signature, seal
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.drift import profile
from hallmark.features.fields import Field, Output
from hallmark.render import inferenceservice
from hallmark.settings import Settings
from hallmark.tasks import Binary
from local_cluster.store import ObjectStore

FEATURES = """import numpy as np

def encode(columns):
    return columns["amount"].astype(np.float32)[:, None]

def observe(columns):
    return {"amount": columns["amount"]}
"""


def real_model(folder: Path) -> str:
    """A model folder for the real model server: one field in, a sigmoid of it out; gives its digest."""
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Sigmoid", ["input"], ["column"]),
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
    scores = {"score": 1 / (1 + np.exp(-amounts))}
    (folder / "profile.json").write_text(profile.build({"amount": amounts}, scores=scores).model_dump_json())
    field = Field(name="amount", datatype="FP64", minimum=0, maximum=100)
    output = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    signature = Signature(domain="fraud", task=Binary(), fields=(field,), outputs=(output,))
    (folder / "signature.json").write_text(signature.model_dump_json())
    return seal(folder)


def configured(store: ObjectStore) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The serving config of the fraud domain, put into the store; gives the volumes and the variable of who is served with it."""
    domain = domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(Path(__file__).parents[2])}))
    store.create(inferenceservice.config_map(domain))
    reference = serving_config.of(domain).reference
    volumes = [{"name": inferenceservice.VOLUME, "configMap": {"name": reference.name}}]
    return volumes, {"name": serving_config.DIGEST_ENV, "value": reference.digest}
