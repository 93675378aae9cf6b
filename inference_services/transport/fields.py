"""Header blocks of one HTTP/2 connection, in (HPACK, RFC 7541) and out, and what gRPC reads from them.

A client alone sends the same headers with every call, in the same bytes once they are in the table: those are read once. A proxy
adds ids that are always new, which takes this 50 µs a call and the `hpack` package 90.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from hpack.exceptions import HPACKDecodingError
from hpack.hpack import encode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

Field = tuple[bytes, bytes]
_STATIC: tuple[Field, ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_LARGEST = 4096
_KEPT, _SHORT = 64, 256
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PRINTABLE = bytes(range(0x20, 0x7F)).replace(b"%", b"")
_UPPER = re.compile(rb"[A-Z]")
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))


class HeaderError(Exception):
    """A block that cannot be read, after which no other of its connection can."""


class HeaderFlood(HeaderError):
    """A block that means far more than it may."""


class Headers(NamedTuple):
    """One request's headers; `status` is 200 where it is a gRPC call, else HTTP's word for what it is, 400 for malformed."""

    status: int
    path: bytes = b""
    fields: Mapping[bytes, bytes] = {}
    timeout: float | None = None


class ReceivedHeaders:
    """Headers that one client has sent before (HPACK's dynamic table). `weight` and `count` bound a request's headers; four times that is a flood."""

    def __init__(self, *, weight: int, count: int) -> None:
        self._weight = weight
        self._count = count
        self._entries: list[Field] = []
        self._size = 0
        self._size_limit = _LARGEST
        self._changed = False
        self._known: dict[bytes, Headers] = {}

    def read(self, block: bytes) -> Headers:
        """Decode a block; `HeaderError` ends the connection."""
        known = self._known.get(block)
        if known is not None:
            return known
        self._changed = False
        try:
            found = self._meaning(*self._decoded(block))
        except (IndexError, HPACKDecodingError) as error:
            raise HeaderError("the headers cannot be read") from error
        if self._changed or len(self._known) >= _KEPT:
            self._known.clear()
        if not self._changed and len(block) <= _SHORT:
            self._known[block] = found
        return found

    def _decoded(self, block: bytes) -> tuple[list[Field], int]:
        fields: list[Field] = []
        at, end, weight = 0, len(block), 0
        while at < end:
            first = block[at]
            if first & 0x80:
                index, at = _number(block, at, 0x7F)
                field = self._entry(index)
            elif first & 0xE0 == 0x20:
                limit, at = _number(block, at, 0x1F)
                if fields or limit > _LARGEST:
                    raise HeaderError("the header table cannot be of this size, or not here")
                self._size_limit = limit
                self._shrink()
                continue
            else:
                index, at = _number(block, at, 0x3F if first & 0x40 else 0x0F)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _text(block, at)
                value, at = _text(block, at)
                field = (name, value)
                if first & 0x40:
                    self._entries.insert(0, field)
                    self._size += len(name) + len(value) + 32
                    self._shrink()
            weight += len(field[0]) + len(field[1]) + 32
            if weight > 4 * self._weight:
                raise HeaderFlood("the headers are far too large")
            fields.append(field)
        return fields, weight

    def _entry(self, index: int) -> Field:
        if 0 < index < 62:
            return _STATIC[index]
        if not index:
            raise HeaderError("a header has no index 0")
        return self._entries[index - 62]

    def _shrink(self) -> None:
        """Keep the table within its size; from now on the same bytes may mean something else."""
        self._changed = True
        while self._size > self._size_limit:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + 32

    def _meaning(self, fields: list[Field], weight: int) -> Headers:
        pseudo: dict[bytes, bytes] = {}
        headers: dict[bytes, bytes] = {}
        for name, value in fields:
            if name[:1] == b":":
                if headers or name in pseudo or name not in _PSEUDO:
                    return Headers(400)
                pseudo[name] = value
            elif name in headers:
                headers[name] += b"," + value
            elif not name or _UPPER.search(name):
                return Headers(400)
            else:
                headers[name] = value
        if not (b":scheme" in pseudo and b":method" in pseudo and pseudo.get(b":path")) or b"connection" in headers:
            return Headers(400)
        if len(fields) > self._count or weight > self._weight:
            return Headers(431)
        if pseudo[b":method"] != b"POST":
            return Headers(405)
        media = headers.get(b"content-type", b"").partition(b";")[0]
        if media not in (b"application/grpc", b"application/grpc+proto"):
            return Headers(415)
        timeout = None
        if b"grpc-timeout" in headers:
            match = _TIMEOUT.fullmatch(headers[b"grpc-timeout"])
            if match is None:
                return Headers(400)
            timeout = int(match[1]) * _SECONDS[match[2]]
        return Headers(200, pseudo[b":path"], headers, timeout)


def literal(name: str, value: str) -> bytes:
    """A field as it is, out of every table."""
    raw = name.encode("ascii"), value.encode("ascii", "replace")
    return b"\0" + b"".join(bytes(encode_integer(len(text), 7)) + text for text in raw)


def percent(text: str) -> str:
    """A grpc-message."""
    return quote(text[:1024], safe=_PRINTABLE)


def _number(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer and where it ends."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
    raise HeaderError("a number in the headers is too large")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    """A string and where it ends."""
    length, begin = _number(block, at, 0x7F)
    end = begin + length
    raw = block[begin:end]
    if len(raw) != length:
        raise HeaderError("the headers end within a string")
    if not block[at] & 0x80:
        return raw, end
    return (_unpacked(raw) if length < 64 else decode_huffman(raw)), end


_unpacked = lru_cache(4096)(decode_huffman)
