"""Open Inference Protocol over REST: JSON and the binary tensor extension, both ways, straight to and from arrays."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns
from inference_services.runtime.errors import BadRequest
from inference_services.runtime.model import Model, Outputs
from inference_services.runtime.tensors import UNREADABLE, explain, to_bytes, to_list

Parameter = bool | int | float | str
_NOTHING = msgspec.Raw(b"")
_encode_json = msgspec.json.Encoder().encode
_ID_LIMIT = 512
_numbers = itertools.count(1)
_PROCESS = secrets.token_hex(12)


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _NOTHING
    parameters: dict[str, Parameter] | None = None


class _Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Parameter] | None = None


class _Envelope(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None
    parameters: dict[str, Parameter] | None = None


_envelope = msgspec.json.Decoder(_Envelope)


@dataclass(slots=True)
class Request:
    """One inference request, checked.

    columns: every field of the model, (rows, …).
    wanted:  the outputs asked for, in order; empty for all.
    binary:  of those, which are to come as bytes; `all_binary` for every one not named.
    """

    id: str
    columns: Columns
    rows: int
    wanted: tuple[str, ...] = ()
    binary: Mapping[str, bool] = field(default_factory=dict)
    all_binary: bool = False


def decode(model: Model, body: bytes, json_length: int | None = None) -> Request:
    """The request in `body`, of which `json_length` bytes are JSON where tensors follow in binary; or `BadRequest`."""
    if json_length is not None and not 0 < json_length <= len(body):
        raise BadRequest("Inference-Header-Content-Length: expected the length of the JSON part of the body")
    try:
        envelope = _envelope.decode(body if json_length is None else memoryview(body)[:json_length])
    except UNREADABLE as error:
        raise BadRequest(f"body: {explain(error)}") from None
    tail = memoryview(body)[len(body) if json_length is None else json_length :]
    columns, rows = _columns(model, envelope.inputs, tail)
    model.admit(columns)
    wanted, binary = _wanted(model, envelope.outputs)
    everything = _flag(envelope.parameters, "binary_data_output", "parameters")
    return Request(request_id(envelope.id), columns, rows, wanted, binary, everything)


def request_id(given: str | None) -> str:
    """The client's id, or a new one where it sent none."""
    if not given:
        return f"{_PROCESS}-{os.getpid():x}-{next(_numbers):x}"
    if len(given) > _ID_LIMIT:
        raise BadRequest(f"id: expected at most {_ID_LIMIT} characters")
    return given


def complete(model: Model, arrays: Mapping[str, NDArray[Any]], rows: Mapping[str, int]) -> tuple[Columns, int]:
    """`arrays` if they are all the model's fields with one batch size."""
    if len(arrays) != len(model.columns):
        missing = [name for name in model.columns if name not in arrays]
        raise BadRequest(f"input {missing[0]!r}: missing; expected {', '.join(model.columns)}")
    sizes = set(rows.values())
    if len(sizes) != 1:
        first = next(iter(rows))
        other = next(name for name, size in rows.items() if size != rows[first])
        raise BadRequest(f"input {other!r}: expected {rows[first]} rows as in {first!r}, came {rows[other]}")
    return arrays, sizes.pop()


def check_wanted(model: Model, names: Sequence[str]) -> tuple[str, ...]:
    """The outputs asked for, if the model has them, each once."""
    for at, name in enumerate(names):
        if name not in model.outputs:
            raise BadRequest(f"outputs[{at}]: no such output; expected {', '.join(model.outputs)}")
    if len(set(names)) != len(names):
        raise BadRequest("outputs: one is asked for twice")
    return tuple(names)


def encode(model: Model, request: Request, outputs: Outputs) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON part where tensors follow in binary."""
    parts, blobs = [], []
    for name in request.wanted or model.outputs:
        array = outputs[name]
        head = _head(model, name, array)
        if request.binary.get(name, request.all_binary):
            blob = to_bytes(array)
            blobs.append(blob)
            parts.append(b'%b,"parameters":{"binary_data_size":%d}}' % (head, len(blob)))
        else:
            parts.append(b'%b,"data":%b}' % (head, _encode_json(to_list(array))))
    text = answer_text(model, request.id, parts)
    return (text + b"".join(blobs), len(text)) if blobs else (text, None)


def answer_text(model: Model, request_id: str, parts: list[bytes]) -> bytes:
    """The JSON of an answer, around its encoded outputs."""
    return b'{"model_name":%b,"model_version":%b,"id":%b,"outputs":[%b]}' % (
        _encode_json(model.name),
        _encode_json(model.version),
        _encode_json(request_id),
        b",".join(parts),
    )


def request_text(model: Model, columns: Columns, rows: int) -> bytes:
    """A request as V2 JSON without its id, for the capture; photos in base64."""
    parts = []
    for column in model.columns.values():
        values = to_list(columns[column.name])
        head = b'{"name":%b,"shape":%b,"datatype":"%b"' % (
            _encode_json(column.name),
            _encode_json([rows, *column.shape]),
            column.datatype.encode(),
        )
        parts.append(b'%b,"data":%b}' % (head, _encode_json(values)))
    return b'{"inputs":[%b]}' % b",".join(parts)


def response_text(model: Model, outputs: Outputs) -> bytes:
    """All outputs as V2 JSON without an id, for the capture."""
    parts = [
        b'%b,"data":%b}' % (_head(model, name, outputs[name]), _encode_json(to_list(outputs[name])))
        for name in model.outputs
    ]
    return b'{"model_name":%b,"model_version":%b,"outputs":[%b]}' % (
        _encode_json(model.name),
        _encode_json(model.version),
        b",".join(parts),
    )


def _head(model: Model, name: str, array: NDArray[Any]) -> bytes:
    return b'{"name":%b,"shape":%b,"datatype":"%b"' % (
        _encode_json(name),
        _encode_json(array.shape),
        model.outputs[name].datatype.encode(),
    )


def _columns(model: Model, tensors: list[_Tensor], tail: memoryview) -> tuple[Columns, int]:
    arrays: dict[str, NDArray[Any]] = {}
    rows: dict[str, int] = {}
    at = 0
    for place, tensor in enumerate(tensors):
        column = model.columns.get(tensor.name)
        if column is None:
            raise BadRequest(f"inputs[{place}]: no such input; expected {', '.join(model.columns)}")
        if tensor.name in arrays:
            raise BadRequest(f"input {tensor.name!r}: given twice")
        count = rows[tensor.name] = column.rows(tensor.shape, tensor.datatype, limit=model.row_limit)
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            if not memoryview(tensor.data):
                raise column.wrong("has neither data nor binary_data_size")
            arrays[tensor.name] = column.from_json(tensor.data, count)
            continue
        if type(size) is not int or size < 0 or memoryview(tensor.data):
            raise column.wrong("expected binary_data_size to be a length, and no data beside it")
        if at + size > len(tail):
            raise column.wrong("binary_data_size goes beyond the body")
        arrays[tensor.name] = column.from_bytes(tail[at : at + size], count)
        at += size
    if at != len(tail):
        raise BadRequest(f"body: {len(tail) - at} bytes belong to no input")
    return complete(model, arrays, rows)


def _wanted(model: Model, asked: list[_Wanted] | None) -> tuple[tuple[str, ...], dict[str, bool]]:
    if not asked:
        return (), {}
    names = check_wanted(model, [item.name for item in asked])
    binary = {}
    for item in asked:
        if item.parameters and "binary_data" in item.parameters:
            binary[item.name] = _flag(item.parameters, "binary_data", f"output {item.name!r}")
        if item.parameters and item.parameters.get("classification"):
            raise BadRequest(f"output {item.name!r}: classification is not offered")
    return names, binary


def _flag(parameters: dict[str, Parameter] | None, name: str, where: str) -> bool:
    value = parameters.get(name, False) if parameters else False
    if not isinstance(value, bool):
        raise BadRequest(f"{where}: expected {name} to be true or false")
    return value


def as_strings(array: NDArray[Any]) -> list[bytes]:
    """BYTES values as bytes, for protobuf."""
    return [value if isinstance(value, bytes) else str(value).encode() for value in np.ravel(array)]
