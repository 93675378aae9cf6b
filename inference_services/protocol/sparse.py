"""Fields whose values may be missing, or whose first axis varies, as they come over the wire.

A tensor is a rectangle, so a varying axis is as long in every record of a request, and what is shorter is filled up at its
end: with null in JSON, NaN in binary, "" of BYTES. Binary INT and BOOL have no such value: where one is needed they come as FP64.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.features import arrays
from hallmark.features.fields import Field
from hallmark.section import EXACT
from inference_services.protocol.column import Column, shown

_WHOLE = ("BOOL", "INT32", "INT64")


class Sparse(Column):
    """A field that is optional or varies, compiled once; `as_sent` gives the column that a tensor of one shape is read by."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        if field.optional and not field.varies and field.datatype == "INT64":
            self.low, self.high = max(self.low, -EXACT), min(self.high, EXACT)
        self.element = self._element() | None
        self._compile(len(field.shape))
        self._whole = False
        self._floats: Sparse | None = None
        if field.datatype in _WHOLE:
            low, high = (0.0, 1.0) if field.datatype == "BOOL" else (self.low, self.high)
            self._floats = Sparse(field.model_copy(update={"datatype": "FP64", "minimum": low, "maximum": high}))
            self._floats.field = field
            self._floats._whole = True

    @property
    def expected(self) -> str:
        """Values that are accepted, in words."""
        return f"{'a whole number' + super().expected.removeprefix('a number') if self._whole else super().expected} or null"

    def as_sent(self, shape: Sequence[int], datatype: str) -> Column:
        """The column for a tensor of this shape and datatype; where they do not fit, one whose `rows` is the error."""
        found = self._floats if datatype == "FP64" and self._floats is not None else self
        fits = len(shape) == 1 + len(self.shape) and list(shape[2:]) == self.shape[1:]
        least = 0 if self.field.optional else 1
        if self.field.varies and fits and least <= shape[1] <= (self.field.at_most or 0):
            found = copy.copy(found)
            found.shape = list(shape[1:])
            found.size = math.prod(found.shape)
        return found

    def rows(self, shape: Sequence[int], datatype: str, *, limit: int) -> int:
        """As of any column; of one that varies, the column that `as_sent` gave."""
        if self.shape[:1] == [-1] and datatype == self.datatype:
            sides = [f"{0 if self.field.optional else 1} to {self.field.at_most}", *map(str, self.shape[1:])]
            raise self.wrong(f"expected shape [-1, {', '.join(sides)}], got {shown(shape)}")
        return super().rows(shape, datatype, limit=limit)

    def from_records(self, values: list[Any]) -> NDArray[Any]:
        """The column of one value a record, each of them checked and None where it is missing."""
        try:
            return arrays.column(values, self.field)
        except arrays.Misfit as error:
            raise self.wrong(str(error)) from None

    def from_bytes(self, buffer: memoryview, rows: int) -> NDArray[Any]:
        """As of any column; NaN, and an empty string, is missing."""
        if self.datatype != "BOOL":
            return super().from_bytes(buffer, rows)
        if len(buffer) != rows * self.size:
            raise self.wrong(f"shape {[rows, *self.shape]} of BOOL needs {rows * self.size} bytes, got {len(buffer)}")
        raw = np.frombuffer(buffer, dtype=np.uint8)
        if raw.max(initial=0) > 1:
            raise self.wrong("expected bytes of 0 or 1")
        return self._kept(raw.view(np.bool_).reshape(rows, *self.shape))

    def from_values(self, values: Any, rows: int) -> NDArray[Any]:
        """As of any column; NaN is missing."""
        found = super().from_values(values, rows)
        return self._kept(found) if self.datatype == "BOOL" else found

    def checked(self, array: NDArray[Any], rows: int) -> NDArray[Any]:
        """Numbers within the field's range, or NaN where they are missing."""
        there = array[~np.isnan(array)] if array.dtype.kind == "f" else array
        if there.size and not (there.min() >= self.low and there.max() <= self.high):
            raise self.wrong(f"expected {self.expected}")
        if self._whole and (there != np.floor(there)).any():
            raise self.wrong(f"expected {self.expected}")
        return self._kept(array.reshape(rows, *self.shape))

    def _texts(self, values: Sequence[bytes]) -> list[str]:
        """Empty ones are missing, and of no closed set."""
        texts = [str(value, "utf-8") for value in values]
        self._check_texts([text for text in texts if text])
        return texts

    def _element(self) -> Any:
        if self.categories is not None:
            return Literal[("", *sorted(self.categories))]
        return super()._element()

    def _array(self, values: list[Any], rows: int) -> NDArray[Any]:
        kind = self.dtype if self.datatype.startswith("FP") else np.dtype(np.object_)
        if kind == np.object_:
            array = np.empty(len(values), dtype=kind)
            array[:] = values
        else:
            array = np.array(values, dtype=kind)
            if self._whole and (array[~np.isnan(array)] % 1 != 0).any():
                raise self.wrong(f"expected {self.expected}")
        return self._kept(array.reshape(rows, *self.shape))

    def _from_nested(self, raw: msgspec.Raw | bytes, rows: int) -> NDArray[Any]:
        values, shape = self._unnested(raw), [rows, *self.shape]
        flat: list[Any] = values
        for side in shape[1:]:
            if any(len(each) != side for each in flat):
                raise self.wrong(f"expected shape {shape}, got lists of another length")
            flat = [value for each in flat for value in each]
        if len(values) != rows:
            raise self.wrong(f"expected shape {shape}, got {len(values)} rows")
        return self._array(flat, rows)

    def _kept(self, array: NDArray[Any]) -> NDArray[Any]:
        """`array` (rows, *shape as sent) in the form that `encode` reads."""
        if self.field.varies:
            try:
                return arrays.trimmed(array, self.field)
            except arrays.Misfit as error:
                raise self.wrong(str(error)) from None
        if self.field.datatype != "BYTES":
            return array.astype(self.field.dtype)
        array[arrays.absent(array)] = None
        return array


def compiled(field: Field) -> Column:
    """A field as the column that reads it."""
    return Column(field) if field.plain else Sparse(field)
