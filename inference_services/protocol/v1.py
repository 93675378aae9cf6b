"""KServe's V1 protocol: `instances` by row or `inputs` by column in, `predictions` out."""

from __future__ import annotations

import types
from typing import Annotated, Any

import msgspec

from inference_services.protocol.column import UNREADABLE, Column, explain
from inference_services.protocol.errors import BadRequest
from inference_services.protocol.schema import Outputs, Schema
from inference_services.protocol.v2 import InferenceRequest, request_id


class _Photo(msgspec.Struct):
    b64: bytes


class V1Codec:
    """V1 for one model, its rows compiled to a strict struct once."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        columns = list(schema.columns.values())
        keys = [f"field_{at}" for at in range(len(columns))]
        names = dict(zip(keys, schema.columns, strict=True))
        options: Any = {"rename": names, "forbid_unknown_fields": True, "kw_only": True}
        kinds = [_kind(column) for column in columns]
        row = msgspec.defstruct("Row", [_member(*each) for each in zip(keys, columns, kinds, strict=True)], **options)
        lists: list[Any] = [types.GenericAlias(list, kind) for kind in kinds]
        table = msgspec.defstruct(
            "Table", [_member(*each) for each in zip(keys, columns, lists, strict=True)], **options
        )
        body = msgspec.defstruct(
            "Body",
            [("instances", list[row] | None, None), ("inputs", table | None, None)],  # type: ignore[valid-type]
        )
        self._keys = dict(zip(keys, columns, strict=True))
        self._decoder = msgspec.json.Decoder(body)

    def decode(self, body: bytes) -> InferenceRequest:
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
                if values is None:
                    continue
            name, shape = column.name, [len(values), *column.shape]
            if column.special and column.field.varies:
                shape[1] = 1  # each record's own number of values was checked above
                column = column.as_sent(shape, column.datatype)
            rows[name] = column.rows(shape, column.datatype, limit=self._schema.row_limit)
            arrays[name] = column.from_records(_bare(values) if column.image else values)
        columns, count = self._schema.complete(arrays, rows)
        return InferenceRequest(request_id(None), columns, count)

    def encode(self, outputs: Outputs) -> bytes:
        """`predictions`: one value per row, or one object per row where the model has several outputs."""
        names = list(self._schema.outputs)
        lists = [outputs[name].tolist() for name in names]
        rows = lists[0] if len(names) == 1 else [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
        return msgspec.json.encode({"predictions": rows})


def _member(key: str, column: Column, kind: Any) -> tuple[Any, ...]:
    """A member of a struct, which an optional field may be left out of."""
    return (key, kind | None, None) if column.field.optional else (key, kind)


def _kind(column: Column) -> Any:
    field = column.field
    kind: Any = column.element | _Photo if column.image else column.element
    for side in reversed(field.shape):
        least, most = (side, side) if side is not None else (0 if field.optional else 1, field.at_most)
        kind = Annotated[list[kind], msgspec.Meta(min_length=least, max_length=most)]
    return kind | None if field.optional else kind


def _bare(value: Any) -> Any:
    """Photos without the object around them, in lists as they were."""
    if isinstance(value, list):
        return [_bare(each) for each in value]
    return value.b64 if isinstance(value, _Photo) else value
