"""The models that every server in the benchmark serves, as plain ONNX in Hallmark model folders. Weights are random."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hallmark.artifacts.folder import seal
from hallmark.artifacts.signature import Signature, ViewUse
from hallmark.features.fields import Field, Output
from hallmark.tasks import Binary

FLOATS = "def encode(columns):\n    return columns['input']\n"
PHOTOS = """from hallmark.features import image


def encode(columns):
    return image.batch(columns["image"].ravel(), size=(224, 224))
"""
CLASSES = 17
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2's table: how much wider inside, channels out, how many, stride of the first."""


def folders(root: Path) -> dict[str, Path]:
    """All of them, by name: small, cnn, photo, order."""
    score = Output(name="score", datatype="FP32", shape=(1,), minimum=0, maximum=1)
    scores = score.model_copy(update={"shape": (CLASSES,)})
    plain = Field(name="input", datatype="FP32", shape=(32,))
    pixels = plain.model_copy(update={"shape": (3, 224, 224)})
    image = Field(name="image", datatype="BYTES", media="image")
    write(root / "small", small(), fields=[plain], output=score, features=FLOATS)
    write(root / "cnn", cnn(), fields=[pixels], output=scores, features=FLOATS)
    write(root / "photo", mobilenet(), fields=[image], output=scores, features=PHOTOS)
    from domains.fraud import features

    chance = score.model_copy(update={"shape": ()})
    write(root / "order", forest(), fields=features.FIELDS, output=chance, features=inspect.getsource(features))
    return {name: root / name for name in ("small", "cnn", "photo", "order")}


def write(
    folder: Path,
    model: bytes,
    *,
    fields: Sequence[Field],
    output: Output,
    features: str,
    views: tuple[ViewUse, ...] = (),
) -> str:
    """A sealed model folder; gives its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    signature = Signature(domain="bench", task=Binary(), fields=tuple(fields), outputs=(output,), views=views)
    (folder / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    (folder / "features.py").write_text(features, encoding="utf-8")
    return seal(folder)


def small() -> bytes:
    """32 floats in, one score out, a layer of 32 between: all overhead."""
    made = Graph([None, 32])
    last = made.node("Relu", made.node("MatMul", "input", made.weight((32, 32), scale=0.1)))
    made.node("Sigmoid", made.node("MatMul", last, made.weight((32, 1), scale=0.1)), name="score")
    return made.model((1,))


def cnn() -> bytes:
    """3 x 224 x 224 floats in: four strided convolutions, a few milliseconds."""
    made, last, width = Graph([None, 3, 224, 224]), "input", 3
    for at in range(4):
        last, width = made.node("Relu", made.conv(last, width, 16 * 2**at, stride=2)), 16 * 2**at
    return made.classified(last, width)


def mobilenet() -> bytes:
    """MobileNetV2 at 224: 300 million multiplications, 2.2 million weights (its 1,000-class head would add 1.3 million)."""
    made = Graph([None, 3, 224, 224])
    last, width = made.clipped(made.conv("input", 3, 32, stride=2)), 32
    for wider, out, count, stride in _BLOCKS:
        for at in range(count):
            into, inside = last, width * wider
            if wider > 1:
                last = made.clipped(made.conv(last, width, inside, side=1))
            last = made.clipped(made.conv(last, inside, inside, stride=stride if at == 0 else 1, groups=inside))
            last = made.conv(last, inside, out, side=1)
            last = made.node("Add", into, last) if at else last
            width = out
    return made.classified(made.clipped(made.conv(last, width, 1280, side=1)), 1280)


def forest() -> bytes:
    """Trees as the fraud domain trains them, grown on noise: 32 features in, the chance of fraud out."""
    import lightgbm

    from hallmark.learners import trees

    random = np.random.default_rng(7)
    rows = random.normal(0, 1, (4000, 32))
    labels = random.random(4000) < 1 / (1 + np.exp(-rows[:, 0]))
    settings = {"objective": "binary", "num_leaves": 31, "seed": 7, "num_threads": 1, "verbose": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), num_boost_round=300)
    made: bytes = trees.forest_onnx([booster.dump_model()], output="score").SerializeToString()
    return made


class Graph:
    """An ONNX graph of one float input and one output `score`, node by node."""

    def __init__(self, shape: list[int | None]) -> None:
        self._shape = [size or "n" for size in shape]
        self._random = np.random.default_rng(7)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One more node; gives the name of its output."""
        from onnx import helper

        name = name or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, shape: tuple[int, ...], *, scale: float) -> str:
        """Normal numbers."""
        return self._constant(self._random.normal(0, scale, shape).astype(np.float32))

    def conv(self, last: str, width: int, out: int, *, side: int = 3, stride: int = 1, groups: int = 1) -> str:
        """A convolution that keeps the size of what goes through it, but for its stride."""
        shape = (out, width // groups, side, side)
        weights = self.weight(shape, scale=float(np.sqrt(2 / (shape[1] * side * side))))
        return self.node("Conv", last, weights, strides=[stride] * 2, pads=[side // 2] * 4, group=groups)

    def clipped(self, last: str) -> str:
        """ReLU6."""
        return self.node("Clip", last, self._constant(np.float32(0)), self._constant(np.float32(6)))

    def classified(self, last: str, width: int) -> bytes:
        """The mean over the picture, and a softmax over the classes."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", last), axis=1)
        self.node("Softmax", self.node("MatMul", flat, self.weight((width, CLASSES), scale=0.01)), name="score")
        return self.model((CLASSES,))

    def model(self, shape: tuple[int, ...]) -> bytes:
        """The whole model; `shape` is a record's score's."""
        from onnx import TensorProto, helper

        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, self._shape)
        score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", *shape])
        graph = helper.make_graph(self._nodes, "bench", [given], [score], self._weights)
        made: bytes = helper.make_model(
            graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]
        ).SerializeToString()
        return made

    def _constant(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name
