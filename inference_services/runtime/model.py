"""A served model: raw fields in, named tensors out; knows nothing of HTTP or gRPC."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hallmark.artifacts.bundle import Bundle
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.features.encoding import Input
from hallmark.features.fields import Columns, Output
from hallmark.features.image import BadImage
from hallmark.policy import served
from inference_services.protocol.errors import BadRequest, ModelFault
from inference_services.protocol.schema import Outputs, RequestLimits, Schema, reason

if TYPE_CHECKING:
    from inference_services.runtime.references import NearestReferences

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_KINDS = {"BOOL": "b", "INT32": "i", "INT64": "i", "FP32": "f", "FP64": "f", "BYTES": "O"}
_TYPES = {
    "BOOL": "bool",
    "FP16": "float16",
    "FP32": "float",
    "FP64": "double",
    "BYTES": "string",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""What onnxruntime calls the datatypes."""
Bounds = tuple[str, float, float]
_SLACK = 1e-4
_MOST = float(np.finfo(np.float64).max)


class Model:
    """One verified model folder behind one single-thread ONNX Runtime session."""

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        *,
        version: str = "",
        provider: str = "cpu",
        limits: RequestLimits | None = None,
    ) -> None:
        self.digest = bundle.digest
        self.signature = bundle.signature
        self.names = [field.name for field in self.signature.fields]
        if self.signature.choice:
            self.names.append(self.signature.choice.entity)
        self._features = bundle.features
        self._answer, added = bundle.answer
        self._choice = self.signature.choice
        self._references: NearestReferences | None = None
        if self.signature.references is not None:
            from inference_services.runtime.references import NearestReferences  # which only such a model needs

            self._references = NearestReferences(bundle, self.signature.references)
        added = (*added, *(served.OUTPUTS if self._choice else ()))
        self.schema = Schema(name, self.signature, version=version, added=added, limits=limits)
        self._bounds = {name: bounds_of(output) for name, output in self.schema.outputs.items()}
        self._session = session(bundle.files["model.onnx"], provider)
        self._names = [output.name for output in self.signature.outputs]
        self._check_graph()

    @property
    def blocking(self) -> bool:
        """It only computes."""
        return False

    @property
    def generation(self) -> int:
        """The same for ever; of a model that chooses the day, whose lots they are."""
        return int(time.time() // served.DAY) if self._choice else 0

    def predict(self, columns: Columns, rows: int) -> Outputs:
        """The model's checked outputs for `rows` records; `ModelFault` where the model breaks its signature."""
        try:
            encoded = self._features.encode(columns, rows=rows)
        except BadImage as error:
            raise BadRequest(f"input {self.schema.photos[0]!r}: {reason(error)}") from None
        except ModelRefused as error:
            raise ModelFault(f"the model's feature code failed: {error.message}") from error
        except Exception as error:  # the model's own feature code may raise anything
            raise ModelFault(f"the model's feature code failed: {type(error).__name__}") from error
        try:
            outputs: dict[str, Any] = dict(zip(self._names, self._session.run(self._names, encoded), strict=True))
            for name in self._names:
                outputs[name] = sane(self.schema.outputs[name], self._bounds[name], outputs[name], rows)
            if self._answer is not None:
                outputs.update(self._answer(outputs, self.signature.labels))
            if self._choice is not None:
                outputs.update(self._choice.of(outputs[self._names[0]], columns))
            if self._references is not None and (declared := self.signature.references) is not None:
                outputs[declared.items] = self._references.of(outputs[declared.vector], columns)
            if len(outputs) > len(self._names):
                for name in self.schema.outputs.keys() - set(self._names):
                    outputs[name] = sane(self.schema.outputs[name], self._bounds[name], outputs[name], rows)
        except ModelFault:
            raise
        except Exception as error:  # onnxruntime and the domain's answer code raise many kinds, all the model's fault
            raise ModelFault(f"the model failed: {type(error).__name__}") from error
        return outputs

    def cost(self, *, rows: int = 1, repeats: int = 5) -> float:
        """Seconds that one call with `rows` records takes now: the best of a few; raises what the model raises."""
        columns, best = self.schema.example(rows), float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            self.predict(columns, rows)
            best = min(best, time.perf_counter() - start)
        return best

    def _check_graph(self) -> None:
        """Refuse a graph that cannot take or give what the signature declares, while nobody waits for an answer."""
        check_graph(self._session, self.signature.inputs, self._names)


def check_graph(
    running: onnxruntime.InferenceSession, inputs: Sequence[Input], outputs: Sequence[str], *, shown: str = "model.onnx"
) -> None:
    """`ModelRefused` where a graph cannot take these inputs or give these outputs."""
    takes = {tensor.name: (tensor.type, tensor.shape) for tensor in running.get_inputs()}
    gives = [tensor.name for tensor in running.get_outputs()]
    if takes.keys() != {each.name for each in inputs} or not set(outputs) <= set(gives):
        raise ModelRefused(
            f"{shown} does not fit its signature",
            expected=f"inputs {', '.join(each.name for each in inputs)}, and outputs {', '.join(outputs)}",
            got=f"inputs {', '.join(takes)}, and outputs {', '.join(gives)}",
        )
    for each in inputs:
        kind, shape = takes[each.name]
        if kind != f"tensor({_TYPES[each.datatype]})":
            raise ModelRefused(
                f"input {each.name} of {shown} does not fit its signature",
                expected=f"{each.datatype}, which is tensor({_TYPES[each.datatype]})",
                got=kind,
            )
        if each.shape is not None and shape and not _alike(shape[1:], each.shape):
            raise ModelRefused(
                f"input {each.name} of {shown} does not fit its signature",
                expected=f"shape {list(each.shape)} a record",
                got=str(shape[1:]),
            )


def session(model: bytes, provider: str, *, shown: str = "model.onnx") -> onnxruntime.InferenceSession:
    """A single-thread session of an ONNX model, which errors call `shown`; `ModelRefused` where it cannot be loaded."""
    if provider not in PROVIDERS:
        raise DeclarationError("no such execution provider", expected=", ".join(PROVIDERS), got=provider)
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise DeclarationError(
            f"execution provider {provider} is not in this image",
            expected=f"one of {', '.join(onnxruntime.get_available_providers())}",
            got=PROVIDERS[provider],
            fix="serve with --provider cpu, or use the image that has it",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[provider]])
    except Exception as error:  # onnxruntime's own exceptions have no common base but Exception
        raise ModelRefused(f"{shown} cannot be loaded", expected="an ONNX model", got=type(error).__name__) from error
    if (started := session.get_providers()[0]) != PROVIDERS[provider]:  # it goes on without one that fails to start
        raise DeclarationError(
            f"execution provider {provider} did not start", expected=PROVIDERS[provider], got=started
        )
    return session


def sane(output: Output, bounds: Bounds, array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The answer of `rows` records if it is what `output` declares; `ModelFault` where it is not."""
    if array.shape != (rows, *output.shape):
        if array.shape == (rows, 1) and output.shape == ():
            array = array.reshape(rows)
        else:
            raise ModelFault(f"output {output.name!r}: the model gave shape {list(array.shape)}")
    kind, low, high = bounds
    if array.dtype.kind != kind and not (kind == "O" and array.dtype.kind == "U"):
        raise ModelFault(f"output {output.name!r}: the model gave {array.dtype}, not {output.datatype}")
    if kind in "fi" and not _within(array, low, high):
        raise ModelFault(f"output {output.name!r}: the model gave values that are not finite or out of range")
    return (
        array.astype(object) if array.dtype.kind == "U" else array
    )  # numpy's own strings travel as four bytes a letter


def bounds_of(output: Output) -> Bounds:
    """Kind of dtype, and the least and most that a sane answer holds; with some slack for rounding."""
    least = -_MOST if output.minimum is None else output.minimum - _SLACK
    most = _MOST if output.maximum is None else output.maximum + _SLACK
    return _KINDS[output.datatype], least, most


def _alike(graph: Sequence[int | str | None], declared: Sequence[int | None]) -> bool:
    """Could one shape be both? A side that the graph names, or that varies, may be any."""
    return len(graph) == len(declared) and all(
        mine is None or not isinstance(theirs, int) or mine == theirs
        for mine, theirs in zip(declared, graph, strict=True)
    )


def _within(array: NDArray[Any], low: float, high: float) -> bool:
    """Every value from `low` to `high`; NaN is not. A few values are checked faster one by one."""
    if array.size <= 8:
        return all(low <= value <= high for value in array.ravel().tolist())
    return low <= float(array.min()) and float(array.max()) <= high


def joined(parts: Sequence[Columns]) -> Columns:
    """Several requests' records as one batch."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
