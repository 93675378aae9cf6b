"""gRPC's unary calls over HTTP/2 in clear text, by prior knowledge: bounded in bytes, frames and time.

A call is one stream: HEADERS and one message in, HEADERS, the message and trailers out. What breaks the protocol ends
the connection with its code; what breaks the rules of gRPC ends its call only.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from inference_services.transport import frames
from inference_services.transport.endpoint import Endpoint
from inference_services.transport.fields import HeaderError, HeaderFlood, ReceivedHeaders
from inference_services.transport.frames import ACK, DATA, END, HEADERS, PING, SETTINGS, ConnectionFault, ErrorCode
from inference_services.transport.outgoing import UNIMPLEMENTED, ResponseStream, ResponseWriter


class GrpcCall(NamedTuple):
    """One whole request: the message without its prefix; `headers` in lower case, shared by calls and not to be changed."""

    path: bytes
    headers: Mapping[bytes, bytes]
    message: bytes | memoryview
    timeout: float | None


class GrpcReply(NamedTuple):
    """One whole answer; `status` is a gRPC code, `text` names the fault."""

    message: bytes = b""
    status: int = 0
    text: str = ""


Handler = Callable[[GrpcCall, Callable[[GrpcReply], None]], None]
"""Takes a call and the way to answer it, once, now or later; raises nothing."""
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL = 4, 8, 13
_PREFIX = struct.Struct("!BL")
"""Before a message: is it compressed, and its length."""
_LARGEST = 65_536
"""Bytes of one frame that a client may send, and of what is kept until the rest of it comes."""
_CREDIT = 16 * 1024 * 1024
"""Bytes that a client may have on its way on all its streams; given back once half of it has come."""
_NOISE = 1000
"""Frames without a call which a client may send in a second, beside one for each call."""
_FAREWELL = b"farewell"


class Http2Connection(asyncio.Protocol):
    """One client."""

    deadline = 0.0  # its calls have deadlines of their own, checked whenever the endpoint checks the connection

    def __init__(self, endpoint: Endpoint, handler: Handler, *, metadata: Mapping[str, str] | None = None) -> None:
        self._endpoint = endpoint
        self._handler = handler
        self._limits = endpoint.limits
        self._metadata = metadata or {}
        self._room = min(self._limits.body + _LARGEST, frames.MOST)  # a whole message, its prefix and some padding
        self._table = ReceivedHeaders(weight=self._limits.header, count=self._limits.headers)
        self._transport: asyncio.Transport
        self._answers: ResponseWriter
        self._streams: dict[int, ResponseStream] = {}
        self._orphans = 0
        self._last = 0
        self._reader = frames.FrameReader(largest=_LARGEST, block=4 * self._limits.header, pieces=self._limits.headers)
        self._deaf = self._full = self._reading = False
        self._noise = self._served = self._seen = 0
        self._credit = _CREDIT
        self._quiet = self._choked = self._noisy_since = time.monotonic()
        self._leaving = self._end = 0.0
        self._heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client in, unless there are too many."""
        self._transport = transport  # type: ignore[assignment]
        self._answers = ResponseWriter(self._transport, self._metadata)
        self._endpoint.connections.add(self)
        self._endpoint.counted(1)
        limits = self._limits
        self._answers.put(
            frames.settings(
                {
                    frames.CONCURRENT: limits.streams,
                    frames.INITIAL: self._room,
                    frames.LARGEST: _LARGEST,
                    frames.WEIGHT: limits.header,
                }
            )
        )
        self._answers.put(frames.frame(frames.WINDOW, 0, 0, (_CREDIT - 65_535).to_bytes(4, "big")))
        if len(self._endpoint.connections) > limits.connections:
            self._finish(ErrorCode.ENHANCE_YOUR_CALM, "too many connections")
        self._answers.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; what the model does for it is not undone."""
        self._endpoint.connections.discard(self)
        self._endpoint.counted(-1)
        self._deaf = True
        self._forget(*self._streams.values())

    def pause_writing(self) -> None:
        """A client that does not read its answers is not read either."""
        self._full, self._choked = True, time.monotonic()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._full = False
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take every frame that is whole now."""
        if self._deaf:
            return
        self._reading = True
        try:
            for kind, flags, number, piece, at, stop in self._reader.feed(data):
                if kind == DATA:
                    self._data(flags, number, piece, at, stop)
                elif kind == HEADERS:
                    self._headers(flags, number, piece, at, stop)
                else:
                    self._control(kind, flags, number, bytes(piece[at:stop]))
        except ConnectionFault as fault:
            self._finish(fault.code, str(fault))
        except HeaderError as error:
            flood = isinstance(error, HeaderFlood)
            self._finish(ErrorCode.ENHANCE_YOUR_CALM if flood else ErrorCode.COMPRESSION_ERROR, str(error))
        self._reading = False
        self._answers.flush()

    def _headers(self, flags: int, number: int, data: bytes | bytearray, at: int, stop: int) -> None:
        """Begin a call, whose headers must be read whether it is taken or not: they are in the client's table."""
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd numbers")
        if flags & (frames.PADDED | frames.RANKED):
            at, stop = frames.content(flags, data, at, stop)
        head = self._table.read(bytes(data[at:stop]))
        if number <= self._last:
            self._trailers(flags, number)
            return
        self._last = number
        if len(self._streams) + self._orphans >= self._limits.streams:
            self._answers.reset(number, ErrorCode.REFUSED_STREAM)
            return
        stream = self._streams[number] = ResponseStream(number, head)
        stream.ended = bool(flags & END)
        if head.status == 200:
            if stream.ended:
                self._call(stream, b"", 0, 0)
        elif head.status == 431:
            self._refuse(stream, RESOURCE_EXHAUSTED, "the headers are too large")
        elif head.status == 400:
            self._reset(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self._answers.refuse_http(stream, head.status)
            self._forget(stream)

    def _trailers(self, flags: int, number: int) -> None:
        """The end of a request that has trailers; they mean nothing to a unary call."""
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            self._noisy()
        elif not flags & END:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "trailers that end nothing")
        else:
            self._call(stream, stream.body or b"", 0, len(stream.body or b""))

    def _data(self, flags: int, number: int, data: bytes | bytearray, at: int, stop: int) -> None:
        """Part of a message, or all of it."""
        length = stop - at
        self._credit -= length
        if self._credit < _CREDIT // 2:
            self._give()
        stream = self._streams.get(number)
        if not length and not flags & END:
            self._noisy()
        if stream is None or stream.ended:
            if not 0 < number <= self._last:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data of a stream that was not begun")
            if stream is not None:
                self._reset(stream, ErrorCode.STREAM_CLOSED)
            return
        if flags & frames.PADDED:
            at, stop = frames.content(flags & frames.PADDED, data, at, stop)
        stream.held += length
        self._endpoint.held += length
        if stream.held > self._room:
            self._too_large(stream)
        elif self._endpoint.held > self._limits.held:
            self._refuse(stream, RESOURCE_EXHAUSTED, "too many bytes wait for the model")
        elif stream.body is None and flags & END:
            self._call(stream, data, at, stop)
        else:
            if stream.body is None:
                stream.body = bytearray()
            stream.body += memoryview(data)[at:stop]
            if flags & END:
                self._call(stream, stream.body, 0, len(stream.body))
            elif len(stream.body) >= 5 and _PREFIX.unpack_from(stream.body)[1] > self._limits.body:
                self._too_large(stream)

    def _give(self) -> None:
        """Let the client send as much as it has sent."""
        if self._credit < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window is open for")
        self._answers.put(frames.frame(frames.WINDOW, 0, 0, (_CREDIT - self._credit).to_bytes(4, "big")))
        self._credit = _CREDIT

    def _call(self, stream: ResponseStream, data: bytes | bytearray, at: int, stop: int) -> None:
        """The whole request: one message after its prefix, or what is wrong with it."""
        stream.ended = True
        self._served += 1
        if self._noise:
            self._noise -= 1
        if stop - at < 5:
            self._refuse(stream, INTERNAL, "expected one message, got less")
            return
        packed, size = _PREFIX.unpack_from(data, at)
        at += 5
        head = stream.head
        if size > self._limits.body:
            self._too_large(stream)
        elif packed and head.fields.get(b"grpc-encoding", b"identity") != b"identity":
            self._refuse(stream, UNIMPLEMENTED, "messages are not compressed here; expected grpc-encoding identity")
        elif packed or size != stop - at:
            self._refuse(stream, INTERNAL, "expected one message of the length that it declares")
        else:
            message = data[at:stop] if type(data) is bytes else memoryview(data)[at:stop]
            stream.running = True
            self._handler(GrpcCall(head.path, head.fields, message, head.timeout), partial(self._reply, stream))

    def _reply(self, stream: ResponseStream, reply: GrpcReply) -> None:
        """Answer a call, unless its client no longer waits."""
        stream.running = False
        if stream.gone:
            self._orphans -= 1
            return
        if reply.status:
            self._refuse(stream, reply.status, reply.text)
        elif self._answers.success(stream, reply.message):
            self._forget(stream)
        if not self._reading:
            self._answers.schedule()

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Every frame but those of an ordinary call."""
        size = len(payload)
        if kind == frames.WINDOW:
            frames.expect(size == 4, number <= self._last)
            stream = self._streams.get(number)
            if stream is not None or not number:
                more = int.from_bytes(payload, "big") & frames.MOST
                self._forget(*self._answers.widen(stream, more))
            return
        if kind == PING and flags & ACK:
            frames.expect(size == 8, number == 0)
            self._heard = self._heard or (self._leaving > 0 and payload == _FAREWELL)
            return
        self._noisy()
        if kind == PING:
            frames.expect(size == 8, number == 0)
            self._answers.put(frames.frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            frames.expect(size % 6 == 0 and not (flags & ACK and payload), number == 0)
            if not flags & ACK:
                self._forget(*self._answers.settle(payload))
        elif kind == frames.RESET:
            frames.expect(size == 4, 0 < number <= self._last)
            if number in self._streams:
                self._forget(self._streams[number])
        elif kind == frames.PUSH:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client pushes nothing")
        elif kind == frames.PRIORITY:
            frames.expect(size == 5, number > 0)
        elif kind == frames.GOAWAY:
            frames.expect(size >= 8, number == 0)

    def _noisy(self) -> None:
        """Count a frame that asks for nothing; a client that sends almost only such is left."""
        self._noise += 1
        if self._noise > _NOISE:
            now = time.monotonic()
            if now - self._noisy_since < 1.0:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry no call")
            self._noise, self._noisy_since = 0, now

    def _refuse(self, stream: ResponseStream, status: int, text: str) -> None:
        self._answers.refuse(stream, status, text)
        self._forget(stream)

    def _too_large(self, stream: ResponseStream) -> None:
        self._refuse(stream, RESOURCE_EXHAUSTED, f"expected a message of at most {self._limits.body} bytes")

    def _reset(self, stream: ResponseStream, code: ErrorCode) -> None:
        self._answers.reset(stream.number, code)
        self._forget(stream)

    def _forget(self, *streams: ResponseStream) -> None:
        """Calls are over, or their client gone; what is still in the model counts until it is out."""
        for stream in streams:
            stream.gone = True
            self._orphans += stream.running
            self._endpoint.held -= stream.held
            del self._streams[stream.number]
            if stream.rest is not None:
                self._answers.forget(stream)

    def expire(self) -> None:
        """End the calls that are over their deadline."""
        now, limits = time.monotonic(), self._limits
        if self._deaf:
            if now > self._end:
                self._transport.abort()
        elif self._full:
            if now - self._choked > limits.body_time:
                self._transport.abort()
        elif self._reader.since is not None:
            if now - self._reader.since > limits.header_time:
                self._finish(ErrorCode.PROTOCOL_ERROR, "the headers did not come in time")
        elif self._streams or self._served != self._seen:
            self._quiet, self._seen = now, self._served
            for stream in [one for one in self._streams.values() if now - one.touched > limits.body_time]:
                if stream.rest is not None:
                    self._reset(stream, ErrorCode.CANCEL)
                elif not stream.ended:
                    self._refuse(stream, DEADLINE_EXCEEDED, "the request did not come in time")
            self._answers.flush()
        elif now - self._quiet > limits.idle_time:
            self._finish(ErrorCode.NO_ERROR, "idle")

    def leave(self) -> None:
        """Send GOAWAY; close once it knows, and every call that it has begun is answered."""
        now = time.monotonic()
        if self._deaf:
            if now > self._end:
                self._transport.abort()
        elif not self._leaving:
            self._leaving = now
            self._answers.put(frames.goaway(frames.MOST, ErrorCode.NO_ERROR))
            self._answers.put(frames.frame(PING, 0, 0, _FAREWELL))
            self._answers.flush()
        elif not self._streams and (self._heard or now - self._leaving > self._limits.silence):
            self._finish(ErrorCode.NO_ERROR, "the server stops")

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _finish(self, code: ErrorCode, text: str) -> None:
        """Send the reason and what is left, and let the client close; what it still sends is thrown away."""
        self._deaf = True
        self._end = time.monotonic() + self._limits.linger
        self._forget(*self._streams.values())
        self._answers.put(frames.goaway(self._last, code, text))
        self._answers.flush()
        if self._full:
            self._transport.resume_reading()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
