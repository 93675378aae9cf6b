"""An ONNX model in eight bits: its scales, its bytes, and what has nothing to quantize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hallmark.declaration import domain as domains
from hallmark.errors import ModelRefused
from hallmark.learners import onnx_model
from hallmark.learners.model import Examples
from hallmark.training.quantize import quantize

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.uniform(-1.0, 3.0, (20, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """One convolution of 16 channels, the last of them a thousand times as large, and a head."""
    kernel = RANDOM.normal(0, 0.2, (16, 3, 3, 3)).astype(np.float32)
    kernel[15] *= 1000
    head = RANDOM.normal(0, 0.5, (16, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    weights = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(head, "head")]
    return write(tmp_path / "fp32.onnx", nodes, ["batch", 3, 8, 8], ["batch", 4], weights)


def write(
    path: Path, nodes: list[onnx.NodeProto], given: list[object], made: list[object], weights: list[object]
) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, made)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def tensors(path: Path) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def test_the_input_has_the_scale_of_the_examples_it_is_given(cnn: Path, tmp_path: Path) -> None:
    assert quantize(cnn, tmp_path / "int8.onnx", INPUTS) == {"Conv": 1, "MatMul": 1}
    found = tensors(tmp_path / "int8.onnx")
    assert found["input_scale"] == pytest.approx((INPUTS.max() - INPUTS.min()) / 255, rel=1e-6)
    assert found["input_zero_point"] == round(float(-INPUTS.min() * 255 / (INPUTS.max() - INPUTS.min())))
    assert found["input_zero_point"].dtype == np.uint8


def test_weights_have_a_scale_a_channel_and_keep_to_seven_bits(cnn: Path, tmp_path: Path) -> None:
    quantize(cnn, tmp_path / "int8.onnx", INPUTS)
    found, original = tensors(tmp_path / "int8.onnx"), tensors(cnn)["kernel"]
    small, scale = found["kernel_quantized"], found["kernel_scale"]
    assert small.dtype == np.int8 and np.abs(small.astype(int)).max() <= 64
    assert scale.shape == (16,)
    back = small.astype(np.float64) * scale[:, None, None, None]
    assert np.abs(back - original).max(axis=(1, 2, 3)) == pytest.approx(scale / 2, rel=0.3)  # half a step, of its own


def test_it_answers_nearly_as_before_for_any_batch_and_is_one_clean_file(cnn: Path, tmp_path: Path) -> None:
    quantize(cnn, tmp_path / "int8.onnx", INPUTS)
    before, after = (onnx_model.session(path) for path in (cnn, tmp_path / "int8.onnx"))
    whole = onnx_model.run(before, INPUTS, ["logits"])["logits"]
    small = onnx_model.run(after, INPUTS, ["logits"])["logits"]
    assert np.abs(small - whole).max() < 0.05 * np.abs(whole).max()
    assert np.array_equal(small, onnx_model.run(after, INPUTS, ["logits"], batch=1)["logits"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp32.onnx", "int8.onnx"]
    assert str(tmp_path).encode() not in (tmp_path / "int8.onnx").read_bytes()


def test_the_same_model_and_examples_give_the_same_bytes(cnn: Path, tmp_path: Path) -> None:
    for name, inputs in (("one", INPUTS), ("two", INPUTS), ("other", INPUTS[:10] * 2)):
        quantize(cnn, tmp_path / f"{name}.onnx", inputs)
    one, two, other = ((tmp_path / f"{name}.onnx").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_a_booster_has_nothing_to_quantize(tmp_path: Path) -> None:
    rows = Examples(RANDOM.normal(size=(400, 3)).astype(np.float32), RANDOM.integers(0, 2, 400))
    booster = domains.module("fraud", "model").fit(rows, rows, seed=1, rounds=2)
    booster.export(tmp_path / "fp32.onnx")
    with pytest.raises(ModelRefused, match="nothing to quantize") as refused:
        quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", rows.inputs)
    assert "TreeEnsemble" in refused.value.got
    assert not (tmp_path / "int8.onnx").exists()


def test_what_onnx_runtime_cannot_quantize_says_why(cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="ONNX Runtime cannot quantize it") as refused:
        quantize(cnn, tmp_path / "int8.onnx", INPUTS[:, :, :4])  # of another size than the model takes
    assert "Got: 4 Expected: 8" in refused.value.got
