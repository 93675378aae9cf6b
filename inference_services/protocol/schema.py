"""Inputs and outputs of a served model, compiled once for the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.signature import Signature
from hallmark.features import arrays
from hallmark.features.arrays import objects
from hallmark.features.fields import Columns, Output
from hallmark.features.image import BadImage, header
from hallmark.features.record import RecordLayout
from inference_services.protocol.column import Column
from inference_services.protocol.errors import BadRequest, UnknownPath
from inference_services.protocol.sparse import compiled

Outputs = Mapping[str, NDArray[Any]]
"""A model's answers by name, the batch as first axis."""


@dataclass(frozen=True)
class RequestLimits:
    """Bounds of one request to a model.

    rows:    records per request.
    photos:  photos per request, and records per request where a record holds one; a record that may hold more is still taken alone.
    pixels:  of all photos of a request together, by their headers.
    """

    rows: int = 4096
    photos: int = 64
    pixels: int = 64 * 1024 * 1024


class Schema:
    """A model's name and version, the fields that callers send as columns, its outputs, and `given`, the fields that feature views give.

    layout: of a request on one record, where a model has such.
    put: the fields of an item that is put in, of a model that answers with items.
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        *,
        version: str = "",
        added: Sequence[Output] = (),
        limits: RequestLimits | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.limits = limits or RequestLimits()
        self.columns = {field.name: compiled(field) for field in signature.sent}
        self.given = {field.name: compiled(field) for field in signature.asked if field.name not in self.columns}
        put = signature.retriever.put if signature.retriever else ()
        self.put = {field.name: compiled(field) for field in put}
        self.layout = None if self.given or signature.retriever else RecordLayout.of(signature.sent)
        self.photos = [column.name for column in self.columns.values() if column.image]
        held = sum((column.field.at_most or 1) * column.size for column in self.columns.values() if column.image)
        self.photo_limit = max(self.limits.photos, held)
        self.row_limit = self.limits.photos if self.photos else self.limits.rows
        self.outputs: dict[str, Output] = {output.name: output for output in (*signature.answered, *added)}

    def metadata(self) -> dict[str, Any]:
        """The Open Inference Protocol's model metadata; -1 is the batch, and an axis that varies."""
        return {
            "name": self.name,
            "versions": [self.version] if self.version else [],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(column.field) for column in self.columns.values()],
            "outputs": [_described(output) for output in self.outputs.values()],
        }

    def check_name(self, name: str, version: str = "") -> None:
        """Refuse any model but the one that is served, and every version: during a rollout two answer at one address."""
        if name != self.name:
            raise UnknownPath(f"no such model; this server has {self.name}")
        if version:
            raise BadRequest("version: expected none, since the rollout chooses it; the answer names it")

    def column(self, place: int, name: str, seen: Mapping[str, Any]) -> Column:
        """The column that the input at `place` is for, if there is one and it was not given before."""
        column = self.columns.get(name)
        if column is None:
            raise BadRequest(f"inputs[{place}]: no such input; expected {', '.join(self.columns)}")
        if name in seen:
            raise BadRequest(f"input {name!r}: given twice")
        return column

    def complete(self, found: Mapping[str, NDArray[Any]], rows: Mapping[str, int]) -> tuple[Columns, int]:
        """`found` if it is all the model's fields with one batch size, and photos that may be decoded.

        Optional fields that were left out come as missing.
        """
        left_out = [name for name in self.columns if name not in found] if len(found) != len(self.columns) else ()
        for name in left_out:
            if not self.columns[name].field.optional or not found:
                raise BadRequest(f"input {name!r}: missing; expected {', '.join(self.columns)}")
        sizes = set(rows.values())
        if len(sizes) != 1:
            first = next(iter(rows))
            other = next(name for name, size in rows.items() if size != rows[first])
            raise BadRequest(f"input {other!r}: expected {rows[first]} rows as in {first!r}, got {rows[other]}")
        count = sizes.pop()
        if left_out:
            found = {**found, **{name: arrays.empty(self.columns[name].field, count) for name in left_out}}
        if self.photos:
            self._weigh(found)
        return found, count

    def wanted(self, names: Sequence[str]) -> tuple[str, ...]:
        """The outputs asked for, if the model has them, each once."""
        for at, name in enumerate(names):
            if name not in self.outputs:
                raise BadRequest(f"outputs[{at}]: no such output; expected {', '.join(self.outputs)}")
        if len(set(names)) != len(names):
            raise BadRequest("outputs: one is asked for twice")
        return tuple(names)

    def example(self, rows: int = 1) -> Columns:
        """Records that the fields allow, those that views give too, for warming up and measuring."""
        return {column.name: _example(column, rows) for column in (*self.columns.values(), *self.given.values())}

    def _weigh(self, columns: Columns) -> None:
        """Refuse photos that must not be decoded: by their number, by their headers, one by one and together."""
        found = {name: arrays.photos(columns[name]) for name in self.photos}
        if sum(map(len, found.values())) > self.photo_limit:
            raise BadRequest(f"input {self.photos[0]!r}: expected at most {self.photo_limit} photos a request")
        total = 0
        for name, photos in found.items():
            for row, place, photo in photos:
                try:
                    about = header(photo)
                except BadImage as error:
                    where = f"row {row}: photo {place}" if self.columns[name].shape else f"photo {row}"
                    raise BadRequest(f"input {name!r}: {where}: {reason(error)}") from None
                total += about.width * about.height
        if total > self.limits.pixels:
            raise BadRequest(f"input {self.photos[0]!r}: expected at most {self.limits.pixels} pixels in all photos")


def reason(error: BadImage) -> str:
    """The fault of a photo, in one line."""
    return f"{error.message}, expected {error.expected}" if error.expected else error.message


def _described(tensor: Any) -> dict[str, Any]:
    sides = [-1 if side is None else side for side in tensor.shape]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1, *sides]}


def _example(column: Column, rows: int) -> NDArray[Any]:
    field = column.field
    if column.datatype == "BYTES":
        value: Any = _photo() if column.image else min(column.categories or {"" if field.plain else "a"})
    else:
        value = False if column.datatype == "BOOL" else min(max(1.0, column.low), column.high)
    if not field.varies:
        return np.full((rows, *field.rest), value, dtype=field.dtype)
    half = math.ceil((field.at_most or 1) / 2)
    return objects([np.full((half, *field.rest), value, dtype=field.dtype) for _ in range(rows)])


def _photo() -> bytes:
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.linear_gradient("L").resize((224, 224)).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()
