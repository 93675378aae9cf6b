"""A served model: raw fields in, named tensors out; knows nothing of HTTP or gRPC."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hallmark.errors import DeclarationError, ModelRefused
from hallmark.features.fields import Columns
from hallmark.features.image import BadImage, header
from hallmark.registry.bundle import Bundle
from hallmark.registry.folder import Output
from inference_services.runtime.errors import BadRequest, ModelFault
from inference_services.runtime.tensors import Column

Outputs = Mapping[str, NDArray[Any]]
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_KINDS = {"BOOL": "b", "INT32": "i", "INT64": "i", "FP32": "f", "FP64": "f", "BYTES": "O"}
_SLACK = 1e-4
_MOST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Limits:
    """What one request may ask of a model.

    rows:    records a request; photos: the same where a record holds a photo.
    pixels:  of all photos of a request together, by their headers.
    """

    rows: int = 4096
    photos: int = 64
    pixels: int = 64 * 1024 * 1024


class Model:
    """One verified model folder behind one single-thread ONNX Runtime session."""

    def __init__(
        self, name: str, bundle: Bundle, *, version: str = "", provider: str = "cpu", limits: Limits | None = None
    ) -> None:
        self.name = name
        self.version = version
        self.digest = bundle.digest
        self.signature = bundle.signature
        self.columns = {field.name: Column(field) for field in self.signature.fields}
        self.photos = [column.name for column in self.columns.values() if column.image]
        self.limits = limits or Limits()
        self.row_limit = self.limits.photos if self.photos else self.limits.rows
        self._encode = bundle.code("features.py").encode
        self._answer, added = bundle.answer
        self.outputs: dict[str, Output] = {output.name: output for output in (*self.signature.outputs, *added)}
        self._bounds = {name: _bounds(output) for name, output in self.outputs.items()}
        self._session = _session(bundle.files["model.onnx"], provider)
        self._names = [output.name for output in self.signature.outputs]
        self._input = self.signature.onnx_input
        self._check_graph()

    def metadata(self) -> dict[str, Any]:
        """The Open Inference Protocol's model metadata; -1 is the batch."""
        return {
            "name": self.name,
            "versions": [self.version] if self.version else [],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(column.field) for column in self.columns.values()],
            "outputs": [_described(output) for output in self.outputs.values()],
        }

    def admit(self, columns: Columns) -> None:
        """Refuse photos that must not be decoded: by their headers, one by one and together."""
        total = 0
        for name in self.photos:
            for row, photo in enumerate(columns[name].ravel()):
                try:
                    found = header(photo)
                except BadImage as error:
                    raise BadRequest(f"input {name!r}: photo {row}: {_reason(error)}") from None
                total += found.width * found.height
        if total > self.limits.pixels:
            raise BadRequest(f"input {self.photos[0]!r}: expected at most {self.limits.pixels} pixels in all photos")

    def predict(self, columns: Columns, rows: int) -> Outputs:
        """The model's checked outputs for `rows` records; `ModelFault` where the model breaks its signature."""
        try:
            encoded = self._encode(columns)
        except BadImage as error:
            raise BadRequest(f"input {self.photos[0]!r}: {_reason(error)}") from None
        except Exception as error:  # the model's own feature code may raise anything
            raise ModelFault(f"the model's feature code failed: {type(error).__name__}") from error
        try:
            outputs: dict[str, Any] = dict(
                zip(self._names, self._session.run(self._names, {self._input: encoded}), strict=True)
            )
            for name in self._names:
                outputs[name] = self._sane(self.outputs[name], outputs[name], rows)
            if self._answer is not None:
                outputs.update(self._answer(outputs, self.signature.labels))
                for name in self.outputs.keys() - set(self._names):
                    outputs[name] = self._sane(self.outputs[name], outputs[name], rows)
        except ModelFault:
            raise
        except Exception as error:  # onnxruntime and the domain's answer code raise many kinds, all the model's fault
            raise ModelFault(f"the model failed: {type(error).__name__}") from error
        return outputs

    def example(self, rows: int = 1) -> Columns:
        """Records that the model's fields allow, for warming up and measuring."""
        return {column.name: _example(column, rows) for column in self.columns.values()}

    def cost(self, *, rows: int = 1, repeats: int = 5) -> float:
        """Seconds that one call with `rows` records takes now: the best of a few; raises what the model raises."""
        columns, best = self.example(rows), float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            self.predict(columns, rows)
            best = min(best, time.perf_counter() - start)
        return best

    def _sane(self, output: Output, array: NDArray[Any], rows: int) -> NDArray[Any]:
        if array.shape != (rows, *output.shape):
            if array.shape == (rows, 1) and output.shape == ():
                array = array.reshape(rows)
            else:
                raise ModelFault(f"output {output.name!r}: the model gave shape {list(array.shape)}")
        kind, low, high = self._bounds[output.name]
        if array.dtype.kind != kind and not (kind == "O" and array.dtype.kind == "U"):
            raise ModelFault(f"output {output.name!r}: the model gave {array.dtype}, not {output.datatype}")
        if kind in "fi" and not _within(array, low, high):
            raise ModelFault(f"output {output.name!r}: the model gave values that are not finite or out of range")
        return array

    def _check_graph(self) -> None:
        """Refuse a graph that cannot give what the signature says, while nobody waits for an answer."""
        inputs = [tensor.name for tensor in self._session.get_inputs()]
        given = {tensor.name: tensor for tensor in self._session.get_outputs()}
        if inputs != [self._input]:
            raise ModelRefused(
                "model.onnx does not fit its signature", expected=f"one input {self._input}", came=str(inputs)
            )
        for name in self._names:
            if name not in given:
                raise ModelRefused(
                    "model.onnx does not fit its signature", expected=f"an output {name!r}", came=", ".join(given)
                )


def _session(model: bytes, provider: str) -> onnxruntime.InferenceSession:
    if provider not in PROVIDERS:
        raise DeclarationError("no such execution provider", expected=", ".join(PROVIDERS), came=provider)
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise DeclarationError(
            f"execution provider {provider} is not in this image",
            expected=f"one of {', '.join(onnxruntime.get_available_providers())}",
            came=PROVIDERS[provider],
            do="serve with --provider cpu, or use the image that has it",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[provider]])
    except Exception as error:  # onnxruntime's own exceptions have no common base but Exception
        raise ModelRefused(
            "model.onnx cannot be loaded", expected="an ONNX model", came=type(error).__name__
        ) from error


def _bounds(output: Output) -> tuple[str, float, float]:
    """Kind of dtype, and the least and most that a sane answer holds; with some slack for rounding."""
    least = -_MOST if output.minimum is None else output.minimum - _SLACK
    most = _MOST if output.maximum is None else output.maximum + _SLACK
    return _KINDS[output.datatype], least, most


def _within(array: NDArray[Any], low: float, high: float) -> bool:
    """Every value from `low` to `high`; NaN is not. A few values are looked at faster one by one."""
    if array.size <= 8:
        return all(low <= value <= high for value in array.ravel().tolist())
    return bool(low <= array.min() and array.max() <= high)


def _described(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1, *tensor.shape]}


def _reason(error: BadImage) -> str:
    return f"{error.message}, expected {error.expected}" if error.expected else error.message


def _example(column: Column, rows: int) -> NDArray[Any]:
    if column.datatype == "BYTES":
        value: Any = _photo() if column.image else min(column.categories or {""})
        array = np.empty((rows, *column.shape), dtype=np.object_)
        array.fill(value)
        return array
    value = False if column.datatype == "BOOL" else min(max(1.0, column.low), column.high)
    return np.full((rows, *column.shape), value, dtype=column.dtype)


def _photo() -> bytes:
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.linear_gradient("L").resize((224, 224)).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def joined(parts: Sequence[Columns]) -> Columns:
    """Several requests' records as one batch."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
