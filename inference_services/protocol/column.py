"""Tensors as they come over the wire, checked against the field they claim to be; knows no protocol and no model."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects
from hallmark.features.fields import Field
from inference_services.protocol.errors import BadRequest

DATATYPES = frozenset(
    "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 BF16 FP32 FP64 BYTES".split()  # noqa: SIM905
)
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for JSON that is broken, of the wrong type, not UTF-8, or nested too deep."""
_LIMITS: dict[str, tuple[float, float]] = {
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "FP32": (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max)),
    "FP64": (-float(np.finfo(np.float64).max), float(np.finfo(np.float64).max)),
}
_NOTHING = b"\xff\xff\xff\xff"
"""In a key, where there is no string: a length that no request has."""
_NESTED = re.compile(rb"\s*\[\s*\[")
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$?(?P<where>.*)`)?$", re.DOTALL)


def explain(error: Exception, expected: str = "") -> str:
    """The fault of a JSON text, without a word of what was in it."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "text is not UTF-8"
    match = _PLACE.match(str(error))
    what, where = (match["what"], match["where"] or "") if match else (str(error), "")
    if what.startswith(("Invalid enum value", "Invalid base64")):
        what = f"expected {expected}"
    elif what.startswith("Object contains unknown field"):
        what = "unknown field"
    elif what.startswith(("Input data was truncated", "JSON is malformed")):
        what = "not valid JSON"
    return f"{what[0].lower()}{what[1:]}".replace("`", "") + (f" at {where}" if where else "")


class Column:
    """One raw field, compiled once: JSON, raw bytes or plain values in, a checked array with the batch first out.

    special: is a tensor read by the column that `as_sent` gives for it (inference_services.protocol.sparse)?
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        self.special = not field.plain
        self.name = field.name
        self.datatype = field.datatype
        self.dtype = np.dtype(field.sent)
        self.shape = [-1 if side is None else side for side in field.shape]
        self.size = math.prod(field.rest)
        self.image = field.media == "image"
        low, high = _LIMITS.get(field.datatype, (0.0, 0.0))
        self.low = low if field.minimum is None else max(low, field.minimum)
        self.high = high if field.maximum is None else min(high, field.maximum)
        self.categories = None if field.categories is None else frozenset(field.categories)
        self.longest = field.longest
        self.element: Any = self._element()
        self._compile(len(self.shape))

    @property
    def expected(self) -> str:
        """Values that are accepted, in words."""
        if self.image:
            return "a photo in base64"
        if self.categories is not None:
            return "one of " + ", ".join(sorted(self.categories))
        if self.datatype == "BYTES":
            return "a string" if self.longest is None else f"a string of at most {self.longest} characters"
        return "true or false" if self.datatype == "BOOL" else f"a number from {self.low:g} to {self.high:g}"

    def rows(self, shape: Sequence[int], datatype: str, *, limit: int) -> int:
        """The batch that a declared shape and datatype announce, or why they cannot be."""
        if datatype != self.datatype:
            got = f"got {datatype}" if datatype in DATATYPES else "got an unknown datatype"
            raise self.wrong(f"expected datatype {self.datatype}, {got}")
        if len(shape) != 1 + len(self.shape) or list(shape[1:]) != self.shape:
            raise self.wrong(f"expected shape {[-1, *self.shape]}, got {shown(shape)}")
        if not 1 <= shape[0] <= limit:
            raise self.wrong(f"expected 1 to {limit} rows, got shape {shown(shape)}")
        return int(shape[0])

    def from_json(self, raw: msgspec.Raw | bytes, rows: int) -> NDArray[Any]:
        """`data` of a JSON tensor, flat or nested as its shape."""
        try:
            values = self._flat.decode(raw)
        except UNREADABLE as error:
            if self.shape and _NESTED.match(memoryview(raw)):
                return self._from_nested(raw, rows)
            raise self.wrong(explain(error, self.expected)) from None
        if len(values) != rows * self.size:
            raise self.wrong(f"shape {[rows, *self.shape]} needs {rows * self.size} values, got {len(values)}")
        return self._array(values, rows)

    def value_from_json(self, raw: msgspec.Raw | bytes) -> Any:
        """The one value in `data` of a JSON tensor of shape [1]."""
        try:
            values = self._flat.decode(raw)
        except UNREADABLE as error:
            raise self.wrong(explain(error, self.expected)) from None
        if len(values) != 1:
            raise self.wrong(f"shape [1] needs 1 values, got {len(values)}")
        return values[0]

    def from_bytes(self, buffer: memoryview, rows: int) -> NDArray[Any]:
        """Raw little-endian values, or length-prefixed strings, without a copy where there need not be one."""
        if self.datatype == "BYTES":
            return self.from_strings(self._split(buffer, rows * self.size), rows)
        wanted = rows * self.size * self.dtype.itemsize
        if len(buffer) != wanted:
            raise self.wrong(f"shape {[rows, *self.shape]} of {self.datatype} needs {wanted} bytes, got {len(buffer)}")
        if self.datatype == "BOOL":
            raw = np.frombuffer(buffer, dtype=np.uint8)
            if raw.max() > 1:
                raise self.wrong("expected bytes of 0 or 1")
            return raw.view(np.bool_).reshape(rows, *self.shape)
        return self.checked(np.frombuffer(buffer, dtype=self.dtype), rows)

    def from_values(self, values: Any, rows: int) -> NDArray[Any]:
        """Numbers or booleans that are already of the right kind, such as a protobuf's repeated field."""
        if len(values) != rows * self.size:
            raise self.wrong(f"shape {[rows, *self.shape]} needs {rows * self.size} values, got {len(values)}")
        array = np.array(values, dtype=self.dtype)
        return array.reshape(rows, *self.shape) if self.datatype == "BOOL" else self.checked(array, rows)

    def from_strings(self, values: Sequence[bytes], rows: int) -> NDArray[Any]:
        """Byte strings: photos as they are, text as UTF-8 from the closed set, if there is one."""
        if len(values) != rows * self.size:
            raise self.wrong(f"shape {[rows, *self.shape]} needs {rows * self.size} values, got {len(values)}")
        if self.image:
            return self._array(list(values), rows)
        try:
            texts = self._texts(values)
        except UnicodeDecodeError:
            raise self.wrong("text is not UTF-8") from None
        return self._array(texts, rows)

    def checked(self, array: NDArray[Any], rows: int) -> NDArray[Any]:
        """Numbers within the field's range; NaN and infinity are in no range."""
        if not (array.min() >= self.low and array.max() <= self.high):
            raise self.wrong(f"expected {self.expected}, every one finite")
        return array.reshape(rows, *self.shape)

    def wrong(self, reason: str) -> BadRequest:
        """The error that names this field."""
        return BadRequest(f"input {self.name!r}: {reason}")

    def as_sent(self, shape: Sequence[int], datatype: str) -> Column:
        """The column that reads a tensor of this shape and datatype."""
        return self

    def from_records(self, values: list[Any]) -> NDArray[Any]:
        """The column of one value a record, nested lists where a record holds many, each value checked already."""
        if self.datatype != "BYTES":
            return np.array(values, dtype=self.dtype)
        rows = len(values)
        for _ in self.shape:
            values = [value for each in values for value in each]
        return self._array(values, rows)

    def _compile(self, depth: int) -> None:
        """Make the decoders of flat and of nested `data`."""
        kind: Any = self.element
        nested: Any = list[kind]
        self._flat = msgspec.json.Decoder(nested)
        for _ in range(depth):
            nested = list[nested]
        self._nested = msgspec.json.Decoder(nested)

    def _texts(self, values: Sequence[bytes]) -> list[str]:
        """Strings that the field allows; UnicodeDecodeError for what is not UTF-8."""
        texts = [str(value, "utf-8") for value in values]
        self._check_texts(texts)
        return texts

    def _check_texts(self, texts: Sequence[str]) -> None:
        if self.categories is not None and not self.categories.issuperset(texts):
            raise self.wrong(f"expected {self.expected}")
        if self.longest is not None and any(len(text) > self.longest for text in texts):
            raise self.wrong(f"expected {self.expected}")

    def _element(self) -> Any:
        if self.image:
            return bytes
        if self.datatype == "BYTES" and self.longest is not None and self.categories is None:
            return Annotated[str, msgspec.Meta(max_length=self.longest)]
        if self.datatype == "BYTES":
            return str if self.categories is None else Literal[tuple(sorted(self.categories))]
        if self.datatype == "BOOL":
            return bool
        if self.datatype.startswith("INT"):
            return Annotated[int, msgspec.Meta(ge=math.ceil(self.low), le=math.floor(self.high))]
        return Annotated[float, msgspec.Meta(ge=self.low, le=self.high)]

    def _array(self, values: list[Any], rows: int) -> NDArray[Any]:
        if self.datatype != "BYTES":
            array: NDArray[Any] = np.array(values, dtype=self.dtype)
        else:
            array = objects(values)
        return array.reshape(rows, *self.shape) if self.shape else array

    def _unnested(self, raw: msgspec.Raw | bytes) -> Any:
        try:
            return self._nested.decode(raw)
        except UNREADABLE as error:
            raise self.wrong(explain(error, self.expected)) from None

    def _from_nested(self, raw: msgspec.Raw | bytes, rows: int) -> NDArray[Any]:
        values = self._unnested(raw)
        try:
            array = np.array(values, dtype=self.dtype)
        except ValueError:
            raise self.wrong(f"expected shape {[rows, *self.shape]}, got lists of unequal length") from None
        if list(array.shape) != [rows, *self.shape]:
            raise self.wrong(f"expected shape {[rows, *self.shape]}, got data of shape {list(array.shape)}")
        return array

    def _split(self, buffer: memoryview, count: int) -> list[bytes]:
        values: list[bytes] = []
        at, end = 0, len(buffer)
        while at + 4 <= end and len(values) < count:
            (length,) = struct.unpack_from("<I", buffer, at)
            at += 4 + length
            if at > end:
                break
            values.append(bytes(buffer[at - length : at]))
        if at != end or len(values) != count:
            raise self.wrong(f"expected {count} strings, each after its length in 4 bytes, and nothing more")
        return values


def to_list(array: NDArray[Any]) -> list[Any]:
    """Values for JSON, flat: numbers, booleans or strings."""
    return array.ravel().tolist()  # type: ignore[no-any-return]


def to_key(array: NDArray[Any]) -> bytes:
    """Bytes that are the same for the same values of a column, whatever is missing in it, and for no others."""
    if array.dtype != np.object_:
        return to_bytes(array)
    parts: list[bytes] = []
    for value in array.ravel():
        if isinstance(value, np.ndarray):
            content = to_key(value)
            parts.append(f"\n{value.shape} {len(content)}\n".encode() + content)
        elif value is None:
            parts.append(_NOTHING)
        else:
            text = value if isinstance(value, bytes) else value.encode()
            parts.append(struct.pack("<I", len(text)) + text)
    return b"".join(parts)


def to_strings(array: NDArray[Any]) -> list[bytes]:
    """BYTES values as bytes, flat."""
    return [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]


def to_bytes(array: NDArray[Any]) -> bytes:
    """Values as the binary tensor extension and gRPC's raw contents have them."""
    if array.dtype != np.object_:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in to_strings(array))


def shown(shape: Sequence[int]) -> str:
    """A shape as an error writes it."""
    if len(shape) > 8:
        return f"one of {len(shape)} dimensions"
    return str([size if abs(size) < 2**31 else "too large" for size in shape]).replace("'", "")
