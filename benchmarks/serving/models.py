"""The models that every server in the benchmark serves, as plain ONNX and as Hallmark model folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hallmark.features.fields import Field
from hallmark.registry.folder import Output, Signature, seal

_FEATURES = "def encode(columns):\n    return columns['input']\n"


def small(width: int = 32) -> bytes:
    """32 floats in, one score out, two layers between."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    weights = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((width, 32), (32, 1))]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "w0"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w1"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["score"]),
        ],
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(array, f"w{at}") for at, array in enumerate(weights)],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def cnn(side: int = 224, *, channels: int = 16, blocks: int = 4) -> bytes:
    """3 x side x side floats in, ten probabilities out: strided convolutions of a small image model."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    nodes, weights, last, width = [], [], "input", 3
    for at in range(blocks):
        out = channels * 2**at
        weights.append(numpy_helper.from_array(rng.normal(0, 0.1, (out, width, 3, 3)).astype(np.float32), f"w{at}"))
        nodes.append(helper.make_node("Conv", [last, f"w{at}"], [f"c{at}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"r{at}"]))
        last, width = f"r{at}", out
    weights.append(numpy_helper.from_array(rng.normal(0, 0.1, (width, 10)).astype(np.float32), "head"))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "head"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def write(folder: Path, model: bytes, *, shape: tuple[int, ...], output: tuple[int, ...]) -> str:
    """A sealed model folder that takes plain floats; gives its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    signature = Signature(
        domain="bench",
        fields=(Field(name="input", datatype="FP32", shape=shape),),
        outputs=(Output(name="score", datatype="FP32", shape=output, minimum=0, maximum=1),),
    )
    (folder / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    (folder / "features.py").write_text(_FEATURES, encoding="utf-8")
    return seal(folder)
