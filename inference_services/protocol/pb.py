"""The Open Inference Protocol over gRPC: protobufs, straight to and from arrays."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from inference_services.protocol import messages
from inference_services.protocol.column import Column, to_bytes, to_strings
from inference_services.protocol.errors import BadRequest
from inference_services.protocol.schema import Outputs, Schema
from inference_services.protocol.v2 import InferenceRequest, request_id

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_PACKED = {"BOOL": b"\x0a", "FP32": b"\x32", "FP64": b"\x3a"}
"""Contents that protobuf writes as numpy has them in memory, by the byte before their length."""


def protobufs() -> Any:
    """The messages of the protocol, as attributes."""
    return SimpleNamespace(**messages.classes())


def parsed(kind: Any, message: bytes | memoryview) -> Any:
    """The message that a method takes, or `BadRequest`."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise BadRequest("the message is not what its method takes") from None


class ProtobufCodec:
    """ModelInfer's messages for one model."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        found = protobufs()
        self._request, self._response = found.ModelInferRequest, found.ModelInferResponse

    def decode(self, data: bytes | memoryview) -> InferenceRequest:
        """The checked request, its answer to be raw where its contents are; or `BadRequest`."""
        message = parsed(self._request, data)
        self._schema.check_name(message.model_name, message.model_version)
        tensors, raw = message.inputs, message.raw_input_contents
        if raw and len(raw) != len(tensors):
            raise BadRequest(f"raw_input_contents: expected one for each of {len(tensors)} inputs, got {len(raw)}")
        arrays: dict[str, NDArray[Any]] = {}
        rows: dict[str, int] = {}
        for place, tensor in enumerate(tensors):
            column = self._schema.column(place, tensor.name, arrays)
            if column.special:
                column = column.as_sent(tensor.shape, tensor.datatype)
            count = rows[column.name] = column.rows(tensor.shape, tensor.datatype, limit=self._schema.row_limit)
            if not raw:
                arrays[column.name] = _values(column, tensor.contents, count)
            elif tensor.HasField("contents"):
                raise column.wrong("has contents beside raw_input_contents")
            else:
                arrays[column.name] = column.from_bytes(memoryview(raw[place]), count)
        columns, total = self._schema.complete(arrays, rows)
        wanted = self._schema.wanted([output.name for output in message.outputs])
        return InferenceRequest(request_id(message.id), columns, total, wanted, all_binary=bool(raw))

    def encode(self, request: InferenceRequest, outputs: Outputs) -> bytes:
        """The answer's message."""
        schema = self._schema
        answer = self._response(model_name=schema.name, model_version=schema.version, id=request.id)
        for name in request.wanted or schema.outputs:
            array, datatype = outputs[name], schema.outputs[name].datatype
            tensor = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if request.all_binary:
                answer.raw_output_contents.append(to_bytes(array))
            else:
                _fill(tensor.contents, datatype, array)
        return answer.SerializeToString()  # type: ignore[no-any-return]


def _values(column: Column, contents: Any, rows: int) -> NDArray[Any]:
    """A tensor's values; packed numbers in one piece, since taking them one by one costs as much as the model."""
    tag = _PACKED.get(column.datatype)
    if tag is not None:
        size = rows * column.size * column.dtype.itemsize
        head = tag + _varint(size)
        packed = contents.SerializeToString()
        if len(packed) == len(head) + size and packed.startswith(head):
            return column.from_bytes(memoryview(packed)[len(head) :], rows)
    wanted = _CONTENTS[column.datatype]
    for descriptor, _ in contents.ListFields():
        if descriptor.name != wanted:
            raise column.wrong(f"expected {wanted}, got {descriptor.name}")
    values = getattr(contents, wanted)
    return column.from_strings(values, rows) if column.datatype == "BYTES" else column.from_values(values, rows)


def _fill(contents: Any, datatype: str, array: NDArray[Any]) -> None:
    """Put an output's values into its tensor."""
    tag = _PACKED.get(datatype)
    if tag is not None and array.size:
        packed = array.tobytes()
        contents.MergeFromString(tag + _varint(len(packed)) + packed)
    else:
        values = to_strings(array) if datatype == "BYTES" else array.ravel().tolist()
        getattr(contents, _CONTENTS[datatype]).extend(values)


@lru_cache(1024)
def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
