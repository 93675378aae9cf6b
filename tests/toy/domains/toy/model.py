"""Logistic regression in numpy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Output
from hallmark.learners.model import Examples, ModelSpec, Progress

OUTPUTS = (Output(name="score", datatype="FP32", minimum=0, maximum=1),)


class Logistic:
    """Weights (2,) and a bias (1,)."""

    def __init__(self, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self.weights, self.bias = weights, bias

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) scores."""
        return np.asarray(1 / (1 + np.exp(-(inputs @ self.weights + self.bias[0]))), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """As safetensors."""
        from safetensors.numpy import save_file

        save_file({"weights": self.weights, "bias": self.bias}, folder / "weights.safetensors")

    def export(self, path: Path) -> None:
        """As ONNX."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        graph = helper.make_graph(
            [
                helper.make_node("MatMul", ["input", "weights"], ["dot"]),
                helper.make_node("Add", ["dot", "bias"], ["logit"]),
                helper.make_node("Sigmoid", ["logit"], ["score"]),
            ],
            "toy",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
            [numpy_helper.from_array(self.weights, "weights"), numpy_helper.from_array(self.bias, "bias")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, str(path))


def fit(
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    progress: Progress | None = None,
    pause: float = 0.0,
    fail: str = "",
    **options: Any,
) -> Logistic:
    """By gradient descent; `pause` seconds a step, or an error that says `fail`, where a test wants that."""
    weights, bias = np.zeros(2), 0.0
    for done in range(10):
        score = 1 / (1 + np.exp(-(train.inputs @ weights + bias)))
        error = score - train.labels
        weights = weights - train.inputs.T @ error / len(train)
        bias = bias - float(error.mean())
        if fail:
            raise ValueError(fail)
        time.sleep(pause)
        if progress is not None:
            progress(done + 1, 10, f"loss {float(np.abs(error).mean()):.3f}")
    return Logistic(weights.astype(np.float32), np.array([bias], dtype=np.float32))


def restore(folder: Path) -> Logistic:
    """From safetensors."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "weights.safetensors")
    return Logistic(tensors["weights"], tensors["bias"])


SPEC = ModelSpec(task="binary", outputs=OUTPUTS, fit=fit, restore=restore)
