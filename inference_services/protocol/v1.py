"""KServe's V1 protocol: `instances` by row or `inputs` by column in, `predictions` out."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from inference_services.protocol.column import UNREADABLE, Column, explain
from inference_services.protocol.errors import BadRequest
from inference_services.protocol.schema import Outputs, Schema
from inference_services.protocol.v2 import Request, request_id


class _Photo(msgspec.Struct):
    b64: bytes


class Codec:
    """V1 for one model, its rows compiled to a strict struct once."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        columns = list(schema.columns.values())
        keys = [f"field_{at}" for at in range(len(columns))]
        names = dict(zip(keys, schema.columns, strict=True))
        row = msgspec.defstruct(
            "Row",
            [(key, _kind(column)) for key, column in zip(keys, columns, strict=True)],
            rename=names,
            forbid_unknown_fields=True,
        )
        table = msgspec.defstruct(
            "Table",
            [(key, list[_kind(column)]) for key, column in zip(keys, columns, strict=True)],  # type: ignore[misc]
            rename=names,
            forbid_unknown_fields=True,
        )
        body = msgspec.defstruct(
            "Body",
            [("instances", list[row] | None, None), ("inputs", table | None, None)],  # type: ignore[valid-type]
        )
        self._keys = dict(zip(keys, columns, strict=True))
        self._decoder = msgspec.json.Decoder(body)

    def decode(self, body: bytes) -> Request:
        """The request in `body`, or `BadRequest`."""
        try:
            found: Any = self._decoder.decode(body)
        except UNREADABLE as error:
            raise BadRequest(f"body: {explain(error, 'a value that the field allows')}") from None
        if (found.instances is None) == (found.inputs is None):
            raise BadRequest("body: expected either instances or inputs")
        arrays, rows = {}, {}
        for key, column in self._keys.items():
            if found.inputs is None:
                values = [getattr(row, key) for row in found.instances]
            else:
                values = getattr(found.inputs, key)
            rows[column.name] = column.rows([len(values), *column.shape], column.datatype, limit=self._schema.row_limit)
            arrays[column.name] = _array(column, values)
        columns, count = self._schema.complete(arrays, rows)
        return Request(request_id(None), columns, count)

    def encode(self, outputs: Outputs) -> bytes:
        """`predictions`: a value a row, or an object a row where the model has several outputs."""
        names = list(self._schema.outputs)
        lists = [outputs[name].tolist() for name in names]
        rows = lists[0] if len(names) == 1 else [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
        return msgspec.json.encode({"predictions": rows})


def _kind(column: Column) -> Any:
    if column.image:
        return bytes | _Photo
    kind: Any = column.element
    for size in reversed(column.shape):
        kind = _exactly(kind, size)
    return kind


def _exactly(kind: Any, size: int) -> Any:
    """A list of exactly `size` values of `kind`."""
    return Annotated[list[kind], msgspec.Meta(min_length=size, max_length=size)]


def _array(column: Column, values: list[Any]) -> Any:
    if column.datatype != "BYTES":
        return np.array(values, dtype=column.dtype)
    if column.image:
        values = [value.b64 if isinstance(value, _Photo) else value for value in values]
    array = np.empty((len(values), *column.shape), dtype=np.object_)
    array[...] = values
    return array
