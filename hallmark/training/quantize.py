"""An ONNX model in eight bits: static quantization, in the QDQ form that ONNX Runtime turns into integer kernels.

Activations are unsigned, with one scale a tensor from the least and greatest value that training examples give it; weights
are signed, with a scale for each output channel, and keep to seven bits: on a processor without VNNI two products of full
eight bits overflow the sixteen they are added in, and the model would answer otherwise there than where it was judged.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused
from hallmark.learners import onnx_model

WEIGHTED = ("Conv", "Gemm", "MatMul")
OPERATORS = (*WEIGHTED, "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten")
"""Operators that have integer kernels on a processor and stand among layers; anything else stays in float32."""
_BATCH = 8


def quantize(fp32: Path, int8: Path, inputs: NDArray[np.float32]) -> dict[str, int]:
    """Write the ONNX model `fp32` as `int8`, its scales from `inputs`; give how many layers run on integers, by operator.

    The same model and inputs give the same bytes. `ModelRefused` where there is nothing to quantize, or it goes wrong.
    """
    import onnx

    graph = onnx.load(str(fp32)).graph
    if not _layers(graph):
        raise ModelRefused(
            "there is nothing to quantize",
            expected=f"{', '.join(WEIGHTED)} with weights",
            got=", ".join(sorted({str(node.op_type) for node in graph.node})),
        )
    try:
        _quantize(fp32, int8, inputs)
    except OSError:  # a full disk is no trait of the model
        raise
    except Exception as error:  # whatever ONNX Runtime's tools raise at a graph they were not made for
        got = f"{type(error).__name__}: {error}"[:300]
        raise ModelRefused("ONNX Runtime cannot quantize it", expected="a QDQ model", got=got) from error
    onnx_model.tidy(int8)
    layers = _layers(onnx.load(str(int8)).graph, behind="DequantizeLinear")
    if not layers:
        raise ModelRefused("no layer was quantized", expected="one at least", got="every layer still in float32")
    return layers


def _quantize(fp32: Path, int8: Path, inputs: NDArray[np.float32]) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """`inputs`, a few rows at a time."""

        def __init__(self) -> None:
            starts = range(0, len(inputs), _BATCH)
            self._parts = ({onnx_model.INPUT: inputs[start : start + _BATCH]} for start in starts)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._parts, None)

    prepared = int8.with_name(f"prepared-{int8.name}")
    quant_pre_process(str(fp32), str(prepared))  # folds batch norms, tells shapes: what torch exports needs both
    quantization.quantize_static(
        str(prepared),
        str(int8),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        extra_options={"MatMulConstBOnly": True},
    )
    prepared.unlink()


def _layers(graph: Any, *, behind: str = "") -> dict[str, int]:
    """Number of operators with weights, by type; with `behind`, only those whose weights come through that operator."""
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    if behind:
        weights = {node.output[0] for node in graph.node if node.op_type == behind and node.input[0] in weights}
    found = Counter(str(n.op_type) for n in graph.node if n.op_type in WEIGHTED and n.input[1] in weights)
    return dict(sorted(found.items()))
