"""Open Inference Protocol over REST: JSON and the binary tensor extension, both ways, straight to and from arrays."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from numpy.typing import NDArray

from hallmark.features.arrays import flat
from hallmark.features.fields import Columns
from hallmark.features.record import Record
from inference_services.protocol.column import UNREADABLE, explain, to_bytes, to_list
from inference_services.protocol.errors import BadRequest
from inference_services.protocol.schema import Outputs, Schema

Parameter = bool | int | float | str
_NOTHING = msgspec.Raw(b"")
_encode_json = msgspec.json.Encoder().encode
ID_LIMIT = 512
"""Characters of a request's id."""
_numbers = itertools.count(1)
_PROCESS = secrets.token_hex(12)


class Tensor(msgspec.Struct):
    """An input as it stands in a request: `data` in JSON, or so many bytes behind it."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _NOTHING
    parameters: dict[str, Parameter] | None = None


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Parameter] | None = None


class Envelope(msgspec.Struct):
    """A request before anybody knows what its tensors are."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Wanted] | None = None
    parameters: dict[str, Parameter] | None = None


_envelope = msgspec.json.Decoder(Envelope)


@dataclass(slots=True)
class InferenceRequest:
    """One inference request, checked.

    columns: every field of the model, (rows, …).
    wanted:  the outputs asked for, in order; empty for all.
    binary:  of those, which are to come as bytes; `all_binary` for every one not named.
    notes:   further header lines of its answer.
    record:  what the columns were made from, where it is one record in the model's layout.
    """

    id: str
    columns: Columns
    rows: int
    wanted: tuple[str, ...] = ()
    binary: Mapping[str, bool] = field(default_factory=dict)
    all_binary: bool = False
    notes: bytes = b""
    record: Record | None = None


def decode(schema: Schema, body: bytes, json_length: int | None = None) -> InferenceRequest:
    """The request in `body`, of which `json_length` bytes are JSON where tensors follow in binary; or `BadRequest`."""
    envelope, tail = enveloped(body, json_length)
    columns, rows, record = _columns(schema, envelope.inputs, tail)
    wanted, binary = _wanted(schema, envelope.outputs)
    everything = _flag(envelope.parameters, "binary_data_output", "parameters")
    return InferenceRequest(request_id(envelope.id), columns, rows, wanted, binary, everything, record=record)


def enveloped(body: bytes, json_length: int | None = None) -> tuple[Envelope, memoryview]:
    """The JSON part of a request, and the bytes behind it; or `BadRequest`."""
    if json_length is not None and not 0 < json_length <= len(body):
        raise BadRequest("Inference-Header-Content-Length: expected the length of the JSON part of the body")
    try:
        envelope = _envelope.decode(body if json_length is None else memoryview(body)[:json_length])
    except UNREADABLE as error:
        raise BadRequest(f"body: {explain(error)}") from None
    return envelope, memoryview(body)[len(body) if json_length is None else json_length :]


Tensors = Mapping[str, tuple[Tensor, memoryview | None]]
"""Inputs by name, with the bytes behind the JSON that each has."""


def named(body: bytes, json_length: int | None = None) -> tuple[Envelope, Tensors]:
    """A request of which nobody says beforehand what its inputs are, each once; or `BadRequest`."""
    envelope, tail = enveloped(body, json_length)
    tensors: dict[str, tuple[Tensor, memoryview | None]] = {}
    at = 0
    for tensor in envelope.inputs:
        if tensor.name in tensors:
            raise BadRequest(f"input {tensor.name!r}: given twice")
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            if not memoryview(tensor.data):
                raise BadRequest(f"input {tensor.name!r}: has neither data nor binary_data_size")
            tensors[tensor.name] = (tensor, None)
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - at or memoryview(tensor.data):
            raise BadRequest(
                f"input {tensor.name!r}: expected binary_data_size to be a length within the body, and no data"
            )
        tensors[tensor.name] = (tensor, tail[at : at + size])
        at += size
    if at != len(tail):
        raise BadRequest(f"body: {len(tail) - at} bytes belong to no input")
    return envelope, tensors


def request_id(given: str | None) -> str:
    """The client's id, or a new one where it sent none."""
    if not given:
        return f"{_PROCESS}-{os.getpid():x}-{next(_numbers):x}"
    if len(given) > ID_LIMIT:
        raise BadRequest(f"id: expected at most {ID_LIMIT} characters")
    return given


def encode(schema: Schema, request: InferenceRequest, outputs: Outputs) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON part where tensors follow in binary."""
    parts, blobs = [], []
    for name in request.wanted or schema.outputs:
        array = outputs[name]
        head = _head(schema, name, array)
        if request.binary.get(name, request.all_binary):
            blob = to_bytes(array)
            blobs.append(blob)
            parts.append(b'%b,"parameters":{"binary_data_size":%d}}' % (head, len(blob)))
        else:
            parts.append(b'%b,"data":%b}' % (head, _encode_json(to_list(array))))
    text = b'{"model_name":%b,"model_version":%b,"id":%b,"outputs":[%b]}' % (
        _encode_json(schema.name),
        _encode_json(schema.version),
        _encode_json(request.id),
        b",".join(parts),
    )
    return (text + b"".join(blobs), len(text)) if blobs else (text, None)


def request_text(schema: Schema, columns: Columns, rows: int, *, whole: bool = False) -> bytes:
    """A request as V2 JSON without its id; photos in base64, null where there is nothing. whole: with what feature views gave."""
    asked = []
    for column in (*schema.columns.values(), *(schema.given.values() if whole else ())):
        values, shape = columns[column.name], [rows, *column.shape]
        if column.special:
            shape, data = flat(values, column.field)
        else:
            data = to_list(values)
        head = b'{"name":%b,"shape":%b,"datatype":"%b"' % (
            _encode_json(column.name),
            _encode_json(shape),
            column.datatype.encode(),
        )
        asked.append(b'%b,"data":%b}' % (head, _encode_json(data)))
    return b'{"inputs":[%b]}' % b",".join(asked)


def texts(schema: Schema, columns: Columns, outputs: Outputs, rows: int) -> tuple[bytes, bytes]:
    """A request and its answer, all outputs of it, as V2 JSON without ids, for the capture."""
    answered = [
        b'%b,"data":%b}' % (_head(schema, name, outputs[name]), _encode_json(to_list(outputs[name])))
        for name in schema.outputs
    ]
    response = b'{"model_name":%b,"model_version":%b,"outputs":[%b]}' % (
        _encode_json(schema.name),
        _encode_json(schema.version),
        b",".join(answered),
    )
    return request_text(schema, columns, rows, whole=True), response


def _head(schema: Schema, name: str, array: NDArray[Any]) -> bytes:
    return b'{"name":%b,"shape":%b,"datatype":"%b"' % (
        _encode_json(name),
        _encode_json(array.shape),
        schema.outputs[name].datatype.encode(),
    )


def _columns(schema: Schema, tensors: list[Tensor], tail: memoryview) -> tuple[Columns, int, Record | None]:
    arrays: dict[str, Any] = {}
    single: list[str] = []
    layout = schema.layout
    rows: dict[str, int] = {}
    at = 0
    for place, tensor in enumerate(tensors):
        name = tensor.name
        column = schema.column(place, name, arrays)
        if column.special:
            column = column.as_sent(tensor.shape, tensor.datatype)
        count = rows[name] = column.rows(tensor.shape, tensor.datatype, limit=schema.row_limit)
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            if not memoryview(tensor.data):
                raise column.wrong("has neither data nor binary_data_size")
            if layout is not None and count == 1:
                arrays[name] = column.value_from_json(tensor.data)
                single.append(name)
            else:
                arrays[name] = column.from_json(tensor.data, count)
            continue
        if type(size) is not int or size < 0 or memoryview(tensor.data):
            raise column.wrong("expected binary_data_size to be a length, and no data beside it")
        if at + size > len(tail):
            raise column.wrong("binary_data_size goes beyond the body")
        arrays[name] = column.from_bytes(tail[at : at + size], count)
        at += size
    if at != len(tail):
        raise BadRequest(f"body: {len(tail) - at} bytes belong to no input")
    if layout is not None and len(single) == len(schema.columns):
        record = layout.record(arrays)
        return layout.columns(record), 1, record
    for name in single:
        arrays[name] = schema.columns[name].from_records([arrays[name]])
    return *schema.complete(arrays, rows), None


def _wanted(schema: Schema, asked: list[Wanted] | None) -> tuple[tuple[str, ...], dict[str, bool]]:
    if not asked:
        return (), {}
    names = schema.wanted([item.name for item in asked])
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
