"""Records as an Open Inference Protocol (V2) request: what a client of a domain's model sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from hallmark.features.fields import Columns, Field


def request(fields: Sequence[Field], columns: Columns, *, start: int = 0, stop: int | None = None) -> bytes:
    """The V2 JSON body for rows `start` to `stop` of `columns`, a tensor a field, the batch as first axis.

    Photos travel as base64 strings, other BYTES as UTF-8 strings.
    """
    tensors = []
    for field in fields:
        values = columns[field.name][start:stop]
        tensors.append(
            {
                "name": field.name,
                "shape": [len(values), *field.shape],
                "datatype": field.datatype,
                "data": [_plain(value, field) for value in np.asarray(values, dtype=field.dtype).ravel()],
            }
        )
    return json.dumps({"inputs": tensors}).encode()


def _plain(value: Any, field: Field) -> Any:
    if field.media is not None:
        return base64.b64encode(value).decode("ascii")
    if field.datatype == "BYTES":
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    return value.item()
