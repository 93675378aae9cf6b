"""Records as an Open Inference Protocol (V2) request: what a client of a domain's model sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from hallmark.features import arrays
from hallmark.features.fields import Columns, Field


def request(fields: Sequence[Field], columns: Columns, *, start: int = 0, stop: int | None = None) -> bytes:
    """The V2 JSON body for rows `start` to `stop` of `columns`, a tensor a field, the batch as first axis.

    Photos travel as base64 strings, other BYTES as UTF-8 strings; null is missing, and fills up records that are shorter.
    """
    tensors = []
    for field in fields:
        values = columns[field.name][start:stop]
        shape, data = arrays.flat(np.asarray(values, dtype=field.dtype) if field.plain else values, field)
        tensors.append(
            {
                "name": field.name,
                "shape": shape,
                "datatype": field.datatype,
                "data": [_text(value, field) for value in data] if field.datatype == "BYTES" else data,
            }
        )
    return json.dumps({"inputs": tensors}).encode()


def _text(value: Any, field: Field) -> str | None:
    if value is None or value == "":
        return value  # type: ignore[no-any-return]
    if field.media == "image":
        return base64.b64encode(value).decode("ascii")
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
