"""The raw fields of a domain's request, declared once: the contract, the server's checks and the drift profile read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Columns = Mapping[str, NDArray[Any]]
"""A batch of raw records by column: every array has the batch as first axis; strings and bytes are object arrays."""

Datatype = Literal["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"]

_NUMPY: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


class Field(BaseModel):
    """One raw field of a record.

    datatype:    Open Inference Protocol name; BYTES holds a UTF-8 string, or a photo where `media` says so.
    shape:       per record, without the batch; () is a scalar.
    minimum, maximum: what a number may be, both included.
    categories:  the closed set a string may be from; none leaves it open.
    media:       "image" for a JPEG, PNG or WebP file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    media: Literal["image"] | None = None
    description: str = ""

    @property
    def dtype(self) -> Any:
        """The numpy type that holds it."""
        return _NUMPY[self.datatype]


class Output(BaseModel):
    """One output tensor; `shape` is per record, `minimum` and `maximum` are what a sane answer keeps to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
