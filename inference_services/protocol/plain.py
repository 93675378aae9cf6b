"""Values of tensors one by one, for services that have no schema of a model: in JSON or behind it, as numbers, truths, texts or bytes."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hallmark.declaration.condition import Kind
from inference_services.protocol import v2
from inference_services.protocol.column import UNREADABLE, explain

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode
_NUMBERS = {"FP64": "<d", "FP32": "<f", "INT64": "<q", "INT32": "<i"}
DATATYPES: Mapping[Kind, str] = {"number": "FP64", "text": "BYTES", "truth": "BOOL", "texts": "BYTES"}


def values(tensor: v2.Tensor, blob: memoryview | None = None) -> list[Any]:
    """The values of a tensor, flat; ValueError where they are none."""
    if blob is None:
        try:
            found = _decode(tensor.data)
        except UNREADABLE as error:
            raise ValueError(explain(error)) from None
        if not isinstance(found, list):
            raise ValueError("data is no list")
        while found and all(isinstance(each, list) for each in found):
            found = [value for each in found for value in each]
        return found
    if tensor.datatype == "BYTES":
        return [str(each, "utf-8") for each in _parted(blob)]
    if tensor.datatype == "BOOL":
        return [each != 0 for each in bytes(blob)]
    code = _NUMBERS.get(tensor.datatype)
    if code is None or len(blob) % struct.calcsize(code):
        raise ValueError(f"its bytes are no {', '.join(_NUMBERS)}, BOOL or BYTES")
    return [value for (value,) in struct.iter_unpack(code, blob)]


def files(tensor: v2.Tensor, blob: memoryview | None = None) -> list[bytes]:
    """Files, such as photos, in a tensor of BYTES: in base64 where it is JSON; ValueError where they are none."""
    if tensor.datatype != "BYTES":
        raise ValueError("expected BYTES")
    if blob is not None:
        return [bytes(each) for each in _parted(blob)]
    try:
        return [base64.b64decode(each, validate=True) for each in values(tensor)]
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("expected files in base64") from None


def _parted(blob: memoryview) -> list[memoryview]:
    """What stands behind each length."""
    found, at = [], 0
    while at + 4 <= len(blob):
        (length,) = struct.unpack_from("<I", blob, at)
        at += 4 + length
        if at <= len(blob):
            found.append(blob[at - length : at])
    if at != len(blob):
        raise ValueError("its bytes are no strings after their lengths")
    return found


def tensor(name: str, kind: Kind, data: Sequence[Any]) -> bytes:
    """An input or output of these values, in JSON."""
    return b'{"name":%b,"shape":[%d],"datatype":"%b","data":%b}' % (
        _encode(name),
        len(data),
        DATATYPES[kind].encode(),
        _encode(data),
    )
