"""An ONNX model on its way into a model folder: nothing outside it, nothing of this machine in it, and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused
from hallmark.features.fields import Output

BATCH = 256
INPUT = "input"


def tidy(path: Path) -> None:
    """Rewrite the model in place without names of files, stack traces and notes: same weights, same bytes."""
    import onnx

    made = onnx.load(str(path), load_external_data=False)
    _self_contained(made)
    _forget(made)
    path.write_bytes(made.SerializeToString(deterministic=True))


def _self_contained(message: Any) -> None:
    for tensor in (part for part in _parts(message) if part.DESCRIPTOR.name == "TensorProto"):
        if tensor.external_data or tensor.data_location == 1:
            raise ModelRefused(
                f"weights {tensor.name} lie outside the ONNX file",
                expected="one self-contained file",
                got=", ".join(entry.value for entry in tensor.external_data) or "external data",
                fix="export with external_data=False",
            )


def _forget(message: Any) -> None:
    for part in _parts(message):
        for name in ("metadata_props", "doc_string"):
            if name in part.DESCRIPTOR.fields_by_name:
                part.ClearField(name)


def _parts(message: Any) -> Any:
    """The message and every message within it."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting += list(value) if hasattr(value, "__len__") else [value]


def session(model: Path | bytes, *, threads: int = 2) -> Any:
    """An ONNX Runtime session on the CPU, of a file or of its bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores too
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def agrees(running: Any, outputs: Sequence[Output], *, inputs: Sequence[str] = (INPUT,)) -> None:
    """`ModelRefused` where a session's inputs and outputs are not what the domain declares."""
    made_of = running.get_inputs()
    fixed = [given.name for given in made_of if not isinstance(given.shape[0], str | None)]
    if sorted(given.name for given in made_of) != sorted(inputs) or fixed:
        raise ModelRefused(
            "the ONNX model takes something else",
            expected=", ".join(inputs) + " with a dynamic batch axis",
            got=", ".join(f"{given.name} {given.shape}" for given in running.get_inputs()),
        )
    made = {given.name: given.shape for given in running.get_outputs()}
    for output in outputs:
        shape = made.get(output.name)
        if shape is None or isinstance(shape[0], int) or tuple(shape[1:]) != output.shape:
            raise ModelRefused(
                f"the ONNX model does not give {output.name}",
                expected=f"{output.name} (batch, {', '.join(map(str, output.shape))}), as OUTPUTS declares",
                got=", ".join(f"{name} {given}" for name, given in made.items()),
            )


def within(values: NDArray[Any], output: Output) -> None:
    """`ModelRefused` where an output's values are not what the domain declares; words have no bounds."""
    if values.dtype.kind not in "biuf":
        return
    low = -np.inf if output.minimum is None else output.minimum
    high = np.inf if output.maximum is None else output.maximum
    wrong = ~((values >= low) & (values <= high))
    if wrong.any():
        raise ModelRefused(
            f"{int(wrong.sum())} values of {output.name} are not what it declares",
            expected=f"{low:g} to {high:g}",
            got=str(values[wrong].flat[0]),
        )


def run(
    running: Any, inputs: NDArray[Any] | Mapping[str, NDArray[Any]], outputs: Sequence[str], *, batch: int = BATCH
) -> dict[str, NDArray[Any]]:
    """The named outputs for all of `inputs` (one array is "input"), computed `batch` rows at a time."""
    named = inputs if isinstance(inputs, Mapping) else {INPUT: inputs}
    rows = len(next(iter(named.values())))
    parts = [
        running.run(list(outputs), {name: values[start : start + batch] for name, values in named.items()})
        for start in range(0, max(rows, 1), batch)
    ]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(outputs)}
