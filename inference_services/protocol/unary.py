"""Unary gRPC calls in HTTP/1.1 bodies, as Envoy's `grpc_http1_reverse_bridge` brings them (docs/decisions/0022).

A body is one message behind five bytes: is it compressed, and its length. An answer without a message has its status in headers, which
the gateway passes on as gRPC's "trailers only"; to one with a message the gateway adds the trailers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from urllib.parse import quote

from hallmark.names import GRPC_PATH
from inference_services.protocol.coding import opened
from inference_services.protocol.errors import BadRequest
from inference_services.transport.http1 import LARGE, zipped

PREFIX = GRPC_PATH.encode()
MEDIA = b"application/grpc"
_MEDIA = frozenset((MEDIA, MEDIA + b"+proto"))
_HEAD = struct.Struct("!BL")
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PRINTABLE = bytes(range(0x20, 0x7F)).replace(b"%", b"")


def is_call(headers: Mapping[bytes, bytes]) -> bool:
    """By its content type, is the request a gRPC call?"""
    return headers.get(b"content-type", b"").partition(b";")[0] in _MEDIA


def message(body: bytes, headers: Mapping[bytes, bytes], *, limit: int) -> bytes | memoryview:
    """The message of a call, of at most `limit` bytes once it is decompressed; `BadRequest` where there is not one alone."""
    if len(body) < _HEAD.size:
        raise BadRequest("expected one message, got less")
    packed, size = _HEAD.unpack_from(body)
    found = memoryview(body)[_HEAD.size :]
    if size != len(found) or packed > 1:
        raise BadRequest("expected one message of the length that it declares")
    return opened(found, headers.get(b"grpc-encoding", b""), where="grpc-encoding", limit=limit) if packed else found


def framed(answer: bytes, asked: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """The body with this message, and further header lines; in gzip where it is large, and the request was compressed too."""
    large, packed = len(answer) >= LARGE, asked.get(b"grpc-encoding", b"identity") != b"identity"
    if large and packed and b"gzip" in asked.get(b"grpc-accept-encoding", b""):
        answer = zipped(answer)
        return _HEAD.pack(1, len(answer)) + answer, b"grpc-encoding: gzip\r\n"
    return _HEAD.pack(0, len(answer)) + answer, b""


def status(code: int, text: str) -> bytes:
    """Header lines of an answer without a message."""
    return f"grpc-status: {code}\r\ngrpc-message: {quote(text[:1024], safe=_PRINTABLE)}\r\n".encode("ascii")


def seconds(timeout: bytes) -> float | None:
    """The time that `grpc-timeout` gives; None where it has not that form."""
    found = _TIMEOUT.fullmatch(timeout)
    return int(found[1]) * _SECONDS[found[2]] if found else None
