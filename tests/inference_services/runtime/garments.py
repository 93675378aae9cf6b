"""A model of a garment with every kind of field there is: several named inputs of several types, and an asset that it reads."""

from __future__ import annotations

import json
from pathlib import Path

from served import write_folder

from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output

FIELDS = (
    Field(name="title", datatype="BYTES", media="text", longest=40),
    Field(name="tags", datatype="BYTES", shape=(None,), at_most=4, optional=True, longest=12),
    Field(name="views", datatype="BYTES", media="image", shape=(None,), at_most=3),
    Field(name="sides", datatype="BYTES", media="image", shape=(2,), optional=True),
    Field(name="price", datatype="FP64", minimum=0, maximum=10_000, optional=True),
    Field(name="stock", datatype="INT64", minimum=0, optional=True),
    Field(name="gift", datatype="BOOL", optional=True),
    Field(name="brand", datatype="BYTES", categories=("acme", "zeta"), optional=True),
    Field(name="sizes", datatype="INT32", shape=(None, 2), at_most=3, minimum=1),
)
INPUTS = (
    Input(name="tokens", datatype="INT64", shape=(None,)),
    Input(name="brand", datatype="BYTES", shape=()),
    Input(name="known", datatype="BOOL", shape=(3,)),
    Input(name="numbers", datatype="FP32", shape=(8,)),
)
VOCABULARY = {"wool": 3, "coat": 5, "red": 7}
FEATURES = """
import json

import numpy as np


def load(assets):
    return json.loads(assets["vocabulary.json"])


def encode(columns, vocabulary):
    words = [title.split() for title in columns["title"]]
    tokens = np.zeros((len(words), max(map(len, words), default=0) + 1), dtype=np.int64)
    for row, found in enumerate(words):
        tokens[row, : len(found)] = [vocabulary.get(word, 1) for word in found]
    known = np.stack([~np.isnan(columns[name]) for name in ("price", "stock", "gift")], axis=1)
    numbers = [np.nan_to_num(columns[name]) for name in ("price", "stock", "gift")]
    numbers += [[len(one) for one in columns[name]] for name in ("tags", "views", "sizes")]
    numbers += [[int(one.sum()) for one in columns["sizes"]]]
    numbers += [[sum(side is not None for side in sides) for sides in columns["sides"]]]
    brand = np.array([brand or "none" for brand in columns["brand"]], dtype=object)
    return {"tokens": tokens, "brand": brand, "known": known, "numbers": np.stack(numbers, axis=1).astype(np.float32)}


def observe(columns, vocabulary):
    return {
        "price": columns["price"],
        "gift": columns["gift"],
        "brand": columns["brand"],
        "views": np.array([len(one) for one in columns["views"]]),
        "sides": np.array([sum(side is not None for side in sides) for sides in columns["sides"]]),
        "known_words": np.array([sum(word in vocabulary for word in title.split()) for title in columns["title"]]),
    }
"""
SERVING = """
import json

import numpy as np

from hallmark.features.fields import Output

OUTPUTS = (Output(name="verdict", datatype="BYTES"),)


def load(assets):
    return json.loads(assets["thresholds.json"])


def answer(outputs, labels, thresholds):
    return {"verdict": np.array(["rich" if score >= thresholds["rich"] else "poor" for score in outputs["score"]], dtype=object)}
"""
ASSETS = {"vocabulary.json": json.dumps(VOCABULARY).encode(), "thresholds.json": b'{"rich": 5000}'}
WEIGHTS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 1.0, 10_000.0)
"""Of price, stock, gift, tags, views, sizes, the sum of sizes, and sides."""


def score(*, tokens: int, brand: str | None, known: int, numbers: tuple[float, ...]) -> float:
    """Answers of the model: sums of each input, in plain Python."""
    letters = {"acme": 0.25, "zeta": 0.5, None: 0.125}[brand]
    return (
        tokens + letters + known / 1000 + sum(weight * number for weight, number in zip(WEIGHTS, numbers, strict=True))
    )


def model() -> bytes:
    """An ONNX model of four inputs, each of another type, and one output."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    make = helper.make_node
    nodes = [
        make("ReduceSum", ["tokens", "second"], ["token_sum"], keepdims=0),
        make("Cast", ["token_sum"], ["a"], to=TensorProto.FLOAT),
        make(
            "LabelEncoder",
            ["brand"],
            ["b"],
            domain="ai.onnx.ml",
            keys_strings=["acme", "zeta"],
            values_floats=[0.25, 0.5],
            default_float=0.125,
        ),
        make("Cast", ["known"], ["known_numbers"], to=TensorProto.FLOAT),
        make("ReduceSum", ["known_numbers", "second"], ["known_sum"], keepdims=0),
        make("Mul", ["known_sum", "thousandth"], ["c"]),
        make("MatMul", ["numbers", "weights"], ["d"]),
        make("Sum", ["a", "b", "c", "d"], ["score"]),
    ]
    constants = {
        "second": np.array([1]),
        "thousandth": np.array(0.001, np.float32),
        "weights": np.array(WEIGHTS, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "garments",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "k"]),
            helper.make_tensor_value_info("brand", TensorProto.STRING, ["n"]),
            helper.make_tensor_value_info("known", TensorProto.BOOL, ["n", 3]),
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["n", 8]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, ir_version=10, opset_imports=sets).SerializeToString())


def garments_folder(folder: Path, **changes: object) -> str:
    """The sealed folder; gives its digest."""
    parts: dict[str, object] = {"inputs": INPUTS, "assets": tuple(ASSETS), **changes}
    return write_folder(
        folder,
        model=model(),
        fields=FIELDS,
        outputs=(Output(name="score", datatype="FP32"),),
        features=FEATURES,
        serving=SERVING,
        domain="garments",
        signature=parts,
        assets=ASSETS,
    )
