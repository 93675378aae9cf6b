"""The frames of HTTP/2 (RFC 9113) that a unary gRPC server meets."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from enum import IntEnum

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


Piece = tuple[int, int, int, bytes | bytearray, int, int]
"""A frame as it was read: kind, flags, stream, and in what bytes its payload begins and stops."""


class ErrorCode(IntEnum):
    """Reasons for the end of a stream or a connection (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """A protocol fault that ends a connection."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """One frame on stream `number`."""
    return HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, number) + payload


def settings(values: dict[int, int]) -> bytes:
    """The SETTINGS frame: what this side accepts."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in values.items()))


def goaway(last: int, code: ErrorCode, text: str = "") -> bytes:
    """The end of a connection, after stream `last`."""
    return frame(GOAWAY, 0, 0, struct.pack("!LL", last, code) + text.encode())


def expect(size: bool, stream: bool) -> None:
    """A frame of a size that its kind can have, on a stream where it can be."""
    if not size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame of a size that its kind cannot have")
    if not stream:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on a stream where it cannot be")


def content(flags: int, data: bytes | bytearray, at: int, stop: int) -> tuple[int, int]:
    """Bounds of the content of a DATA or HEADERS frame, between padding and priority."""
    if flags & PADDED:
        if at == stop or data[at] >= stop - at:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
        at, stop = at + 1, stop - data[at]
    if flags & RANKED:
        at += 5
        expect(at <= stop, True)
    return at, stop


class FrameReader:
    """Cuts what a client sends into frames, and puts headers that come in pieces together.

    largest: bytes of a frame, and of what is kept until its rest comes;  block, pieces: of headers.
    since:   when the client began what it must go on with next, be it the connection or headers; None where nothing.
    """

    def __init__(self, *, largest: int, block: int, pieces: int) -> None:
        self._largest = largest
        self._limits = block, pieces
        self._rest, self._need = bytearray(), len(PREFACE)
        self._greeted = False
        self._begun: tuple[int, int, bytearray] | None = None
        self._pieces = 0
        self.since: float | None = time.monotonic()

    def feed(self, data: bytes | bytearray) -> Iterator[Piece]:
        """Every frame that is whole now; `ConnectionFault` where there can be none."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return
            data, self._rest = self._rest, bytearray()
        at, end = 0, len(data)
        if not self._greeted:
            if not PREFACE.startswith(bytes(data[: len(PREFACE)])):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this port speaks gRPC, over HTTP/2 in clear text")
            if end < len(PREFACE):
                self._rest += data
                return
            self._greeted, at = True, len(PREFACE)
        self._need = 9
        while end - at >= 9:
            high, low, kind, flags, number = HEAD.unpack_from(data, at)
            begin, stop = at + 9, at + 9 + (high << 8 | low)
            if stop - begin > self._largest:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"expected frames of at most {self._largest} bytes")
            if stop > end:
                self._need = stop - at
                break
            at = stop
            piece = (kind, flags, number & MOST, data, begin, stop)
            if self.since is None and kind != CONTINUATION and (flags & WHOLE or kind != HEADERS):
                yield piece
            elif whole := self._joined(*piece):
                yield whole
        if at < end:
            self._rest += memoryview(data)[at:]

    def _joined(self, kind: int, flags: int, number: int, data: bytes | bytearray, at: int, stop: int) -> Piece | None:
        """The first settings, or headers once their last piece has come."""
        if self._begun is not None:
            begun, stream, block = self._begun
            if kind != CONTINUATION or number != stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers were not continued")
            block += memoryview(data)[at:stop]
            self._pieces += 1
            if len(block) > self._limits[0] or self._pieces > self._limits[1]:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the headers are far too large")
            if not flags & WHOLE:
                return None
            self._begun = self.since = None
            return HEADERS, begun, number, block, 0, len(block)
        if self.since is not None and kind != SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "expected settings first")
        if kind == CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        self.since = None
        if kind != HEADERS:
            return kind, flags, number, data, at, stop
        at, stop = content(flags, data, at, stop)
        self._begun, self._pieces, self.since = (flags & END, number, bytearray(data[at:stop])), 0, time.monotonic()
        return None
