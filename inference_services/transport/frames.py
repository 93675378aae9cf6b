"""The frames of HTTP/2 (RFC 9113) that a unary gRPC server meets."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END = ACK = 0x1
WHOLE, PADDED, RANKED = 0x4, 0x8, 0x20
CONCURRENT, INITIAL, LARGEST, WEIGHT = 3, 4, 5, 6
"""Settings: streams at once, a stream's first window, bytes of a frame, bytes of headers."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct("!HBBBL")
"""Length in two parts, kind, flags, stream."""
SETTING = struct.Struct("!HL")
MOST = 2**31 - 1
"""The largest window, and the last of all streams."""


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Fault(Exception):
    """What ends a connection."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """One frame on stream `number`."""
    return HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, number) + payload


def settings(values: dict[int, int]) -> bytes:
    """What this side takes."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in values.items()))


def goaway(last: int, code: Code, text: str = "") -> bytes:
    """The end of a connection, after stream `last`."""
    return frame(GOAWAY, 0, 0, struct.pack("!LL", last, code) + text.encode())


def expect(size: bool, stream: bool) -> None:
    """A frame of a size that its kind can have, on a stream where it can be."""
    if not size:
        raise Fault(Code.FRAME_SIZE_ERROR, "a frame of a size that its kind cannot have")
    if not stream:
        raise Fault(Code.PROTOCOL_ERROR, "a frame on a stream where it cannot be")


def content(flags: int, data: bytes | bytearray, at: int, stop: int) -> tuple[int, int]:
    """Where the content of a DATA or HEADERS frame is, between padding and priority."""
    if flags & PADDED:
        if at == stop or data[at] >= stop - at:
            raise Fault(Code.PROTOCOL_ERROR, "more padding than frame")
        at, stop = at + 1, stop - data[at]
    if flags & RANKED:
        at += 5
        expect(at <= stop, True)
    return at, stop


class Frame(NamedTuple):
    """One frame of a client: its payload is `data[at:stop]`."""

    kind: int
    flags: int
    number: int
    data: bytes | bytearray
    at: int
    stop: int


class Reader:
    """Cuts what a client sends into frames, and puts headers that come in pieces together.

    largest: bytes of a frame, and of what is kept until its rest comes;  block, pieces: of headers.
    since:   when the client last began what it must now go on with, the connection itself or headers; None after that.
    """

    def __init__(self, *, largest: int, block: int, pieces: int) -> None:
        self._largest = largest
        self._most = block
        self._most_pieces = pieces
        self._rest, self._need = bytearray(), len(PREFACE)
        self._greeted = self._settled = False
        self._block: tuple[int, int, bytearray] | None = None
        self._pieces = 0
        self.since: float | None = time.monotonic()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes | bytearray, int, int]]:
        """Every whole frame: kind, flags, stream, and where in what bytes its payload is. `Fault` ends it."""
        read: bytes | bytearray = data
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return
            read, self._rest = self._rest, bytearray()
        at, end = 0, len(read)
        if not self._greeted:
            if not PREFACE.startswith(bytes(read[: len(PREFACE)])):
                raise Fault(Code.PROTOCOL_ERROR, "this port speaks gRPC, over HTTP/2 in clear text")
            self._greeted = end >= len(PREFACE)
            at = len(PREFACE) if self._greeted else end + 1
        self._need = 9 if self._greeted else len(PREFACE)
        while end - at >= 9:
            high, low, kind, flags, number = HEAD.unpack_from(read, at)
            length = high << 8 | low
            if length > self._largest:
                raise Fault(Code.FRAME_SIZE_ERROR, f"expected frames of at most {self._largest} bytes")
            begin, at = at + 9, at + 9 + length
            if at > end:
                self._need, at = 9 + length, begin - 9
                break
            number &= MOST
            if self.since is None and (kind != HEADERS or flags & WHOLE) and kind != CONTINUATION:
                yield kind, flags, number, read, begin, at
            else:
                yield from self._unusual(kind, flags, number, read, begin, at)
        if not self._greeted:
            at = 0
        if at < end:
            self._rest += memoryview(read)[at:]
