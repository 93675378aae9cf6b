"""Outgoing side of one HTTP/2 connection: frames in order, messages as far as the client's windows are open.

Whatever is made in one loop iteration leaves in one write, and an ordinary answer is always the same bytes but for its
stream, its message and their lengths; none of it goes into the client's header table.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from inference_services.transport import frames
from inference_services.transport.fields import Headers, literal, percent
from inference_services.transport.frames import ConnectionFault, ErrorCode

UNIMPLEMENTED = 12


class ResponseStream:
    """One call. `window` is what the client opened for it beyond the initial size, less what it was sent.

    ended: its request is whole;  running: it is with the handler;  gone: nothing more is said on it.
    touched: when it began, or last sent some of its answer's `rest`;  held: bytes of its request in memory.
    """

    __slots__ = ("body", "ended", "gone", "head", "held", "name", "number", "rest", "running", "touched", "window")

    def __init__(self, number: int, head: Headers) -> None:
        self.number = number
        self.name = number.to_bytes(4, "big")
        self.head = head
        self.touched = time.monotonic()
        self.ended = self.running = self.gone = False
        self.held = self.window = 0
        self.body: bytearray | None = None
        self.rest: memoryview | None = None


class ResponseWriter:
    """The way back to one client; `metadata` goes with every answer, before its message and after it."""

    def __init__(self, transport: asyncio.Transport, metadata: Mapping[str, str]) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes | memoryview] = []
        self._scheduled = False
        self._stuck: dict[int, ResponseStream] = {}
        self._window = self._initial = 65_535
        self._largest = 16_384
        own = b"".join(literal(*item) for item in metadata.items())
        self._own = own
        self._common = b"\x88" + literal("content-type", "application/grpc") + own  # 0x88 is :status 200
        first = frames.frame(frames.HEADERS, frames.WHOLE, 0, self._common)
        final = frames.frame(frames.HEADERS, frames.WHOLE | frames.END, 0, literal("grpc-status", "0") + own)
        self._first, self._final = (first[:5], first[9:]), (final[:5], final[9:])

    def put(self, frame: bytes) -> None:
        """Send a frame, with the next write."""
        self._out.append(frame)

    def success(self, stream: ResponseStream, message: bytes) -> bool:
        """Answer a call; False where the client must first take some of it."""
        size = len(message) + 5
        name, (kind, head) = stream.name, self._first
        if size > self._largest or size > self._window or size > self._initial + stream.window:
            self._out += (kind, name, head)
            stream.rest = memoryview((size - 5).to_bytes(5, "big") + message)
            stream.touched = time.monotonic()
            self._stuck[stream.number] = stream
            return self._send(stream)
        self._window -= size
        last, tail = self._final
        length = (size << 16).to_bytes(5, "big")  # DATA is frame 0, here without flags
        prefix = (size - 5).to_bytes(5, "big")
        self._out.append(b"".join((kind, name, head, length, name, prefix, message, last, name, tail)))
        return True

    def refuse(self, stream: ResponseStream, status: int, text: str) -> None:
        """Answer without a message, in one frame; what still comes of the request is not wanted."""
        block = self._common + literal("grpc-status", str(status)) + literal("grpc-message", percent(text))
        if status == UNIMPLEMENTED:
            block += literal("grpc-accept-encoding", "identity")
        self._end(stream, block)

    def refuse_http(self, stream: ResponseStream, status: int) -> None:
        """Answer what is no gRPC call."""
        self._end(stream, literal(":status", str(status)) + self._own)

    def reset(self, number: int, code: ErrorCode) -> None:
        """End a stream without an answer."""
        self._out.append(frames.frame(frames.RESET, 0, number, code.to_bytes(4, "big")))

    def settle(self, payload: bytes) -> list[ResponseStream]:
        """Take the client's settings; the calls that are answered by that."""
        for name, value in frames.SETTING.iter_unpack(payload):
            if name == frames.INITIAL:
                if value > frames.MOST:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
                self._initial = value
            elif name == frames.LARGEST:
                if not 16_384 <= value < 2**24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a setting that cannot be")
                self._largest = value
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        return self._pump()

    def widen(self, stream: ResponseStream | None, more: int) -> list[ResponseStream]:
        """The client takes more, of one stream or of all; the calls that are answered by that."""
        if stream is None:
            self._window += more
        else:
            stream.window += more
        if not more or self._window > frames.MOST or (stream and self._initial + stream.window > frames.MOST):
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR if more else ErrorCode.PROTOCOL_ERROR, "a window of 0, or beyond 2^31-1"
            )
        return self._pump() if self._stuck else []

    def forget(self, stream: ResponseStream) -> None:
        """Send no more of it."""
        self._stuck.pop(stream.number, None)

    def schedule(self) -> None:
        """Write at the end of this loop iteration."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is."""
        self._scheduled = False
        out = self._out
        if out:
            self._out = []
            if not self._transport.is_closing():
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _end(self, stream: ResponseStream, block: bytes) -> None:
        self._out.append(frames.frame(frames.HEADERS, frames.WHOLE | frames.END, stream.number, block))
        if not stream.ended:
            self.reset(stream.number, ErrorCode.NO_ERROR)

    def _pump(self) -> list[ResponseStream]:
        return [stream for stream in list(self._stuck.values()) if self._send(stream)]

    def _send(self, stream: ResponseStream) -> bool:
        """Send what the client takes of an answer; True once that is all."""
        rest = stream.rest or memoryview(b"")
        while rest:
            size = min(self._largest, self._window, self._initial + stream.window, len(rest))
            if size <= 0:
                return False
            self._out += (frames.HEAD.pack(size >> 8, size & 255, frames.DATA, 0, stream.number), rest[:size])
            self._window -= size
            stream.window -= size
            stream.touched = time.monotonic()
            rest = stream.rest = rest[size:]
        kind, tail = self._final
        self._out += (kind, stream.name, tail)
        return True
