"""HTTP/1.1 on an asyncio transport: parsed by llhttp, bounded in bytes and time, an answer written in one piece.

A connection takes one request at a time, in order. What is over a limit is answered as soon as that is known, and the
rest of it is read and thrown away, so that the client gets to see the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

import httptools
import msgspec


@dataclass(frozen=True)
class Limits:
    """What one connection may take, in bytes and seconds.

    header_time: from the first byte of a request, or of the connection, to the end of its headers.
    body_time:   from there to the end of its body.
    idle_time:   between requests; longer than a gateway keeps its connections, so that it never meets a closed one.
    linger:      in which a refused client may read why.
    silence:     of a client before it is left when the server stops.
    """

    body: int = 16 * 1024 * 1024
    header: int = 32 * 1024
    headers: int = 100
    connections: int = 4096
    header_time: float = 5.0
    body_time: float = 30.0
    idle_time: float = 630.0
    linger: float = 2.0
    silence: float = 1.0


class Request(NamedTuple):
    """One whole request; header names in lower case."""

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes


class Response(NamedTuple):
    """One whole answer; `headers` are further lines, each with its line end."""

    status: int
    body: bytes = b""
    content_type: bytes = b"application/json"
    headers: bytes = b""


Handler = Callable[[Request], Response | Awaitable[Response]]
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def refusal(status: int, message: str, headers: bytes = b"") -> Response:
    """An answer that says what is wrong."""
    return Response(status, msgspec.json.encode({"error": message}), headers=headers)


# Drops packets that open a connection (SYN in the TCP flags), lets all others pass: classic BPF.
_NO_NEW = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x02), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26


async def close_door(listener: socket.socket, *, timeout: float) -> None:
    """Let no new client in, and wait until those who wait in the kernel's queue are; closing at once would reset them."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_NEW))
    program = struct.pack("HP", len(_NO_NEW), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # where the kernel has no such filter the rest still helps
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    end = time.monotonic() + timeout
    await asyncio.sleep(0.05)
    while time.monotonic() < end and select.select([listener], [], [], 0)[0]:
        await asyncio.sleep(0.01)


class Endpoint:
    """What all connections of a worker share: the handler, the limits, and the way to an orderly end."""

    def __init__(
        self, handler: Handler, *, limits: Limits, headers: bytes = b"", counted: Callable[[int], None] | None = None
    ) -> None:
        self.handler = handler
        self.counted = counted or (lambda change: None)
        self.limits = limits
        self.connections: set[Connection] = set()
        self.draining = False
        self._fixed = headers
        self.common = b""
        self._date()

    async def watch(self) -> None:
        """Close what is over its time, once a second, for ever."""
        while True:
            await asyncio.sleep(1.0)
            self._date()
            now = time.monotonic()
            for connection in [item for item in self.connections if item.deadline < now]:
                connection.expire()

    async def drain(self, *, timeout: float) -> None:
        """Answer what has come, tell every client to go, and wait for that at most `timeout` seconds."""
        self.draining = True
        end = time.monotonic() + timeout
        while self.connections and time.monotonic() < end:
            for connection in list(self.connections):
                connection.leave()
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()

    def _date(self) -> None:
        self.common = b"date: %b\r\n%b" % (formatdate(usegmt=True).encode(), self._fixed)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._limits = endpoint.limits
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False
        self._deaf = False
        self._begun = False
        self._task: asyncio.Future[None] | None = None
        self.deadline = time.monotonic() + self._limits.header_time
        self.last = time.monotonic()
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client in, unless there are too many."""
        self._transport = transport  # type: ignore[assignment]
        self._endpoint.connections.add(self)
        self._endpoint.counted(1)
        if len(self._endpoint.connections) > self._limits.connections:
            self._refuse(503, "too many connections", b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; what the model does for it is not undone."""
        self._endpoint.connections.discard(self)
        self._endpoint.counted(-1)
        self._deaf = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        if self._deaf:
            return
        if not self._begun:
            self._begun = True
            self.deadline = time.monotonic() + self._limits.header_time
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._deaf:
                self._refuse(400, "the request is not HTTP/1.1")

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._url += url
        self._weigh(len(url))

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """One header."""
        value = value or b""
        self._headers[name.lower()] = value
        self._lines += 1
        self._weigh(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Refuse what is too large before it is sent; ask for what waits to be asked for."""
        self.deadline = time.monotonic() + self._limits.body_time
        length = self._headers.get(b"content-length", b"0")
        if self._parser.should_upgrade():
            self._refuse(400, "this server speaks HTTP/1.1 and is not upgraded")
        elif length.isdigit() and int(length[:20]) > self._limits.body:
            self._too_large()
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._deaf:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        if self._deaf:
            return
        self._size += len(body)
        if self._size > self._limits.body:
            self._too_large()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request: answer it, or put it behind the one that is being answered."""
        if self._deaf:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        path = self._url.partition(b"?")[0]
        request = Request(self._parser.get_method(), path, self._headers, body)
        keep = self._parser.should_keep_alive()
        self._reset()
        if self._busy:
            self._waiting.append((request, keep))
            self._transport.pause_reading()
        else:
            self._answer(request, keep)

    def expire(self) -> None:
        """The time for what is awaited is over."""
        if self._busy:
            self.deadline = time.monotonic() + self._limits.body_time
        elif self._begun and not self._deaf:
            self._refuse(408, "the request did not come in time")
        else:
            self._transport.abort()

    def leave(self) -> None:
        """Close when nothing is under way; a client that was heard of just now may be about to send."""
        if not (self._busy or self._begun) and time.monotonic() - self.last > self._limits.silence:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _answer(self, request: Request, keep: bool) -> None:
        outcome = self._endpoint.handler(request)
        if isinstance(outcome, Response):
            self._send(outcome, keep)
        else:
            self._busy = True
            self._task = asyncio.ensure_future(self._later(outcome, keep))

    async def _later(self, outcome: Awaitable[Response], keep: bool) -> None:
        response = await outcome
        self._busy = False
        self._send(response, keep)
        while self._waiting and not self._busy and not self._deaf:
            self._answer(*self._waiting.popleft())
        if not self._waiting and not self._deaf:
            self._transport.resume_reading()

    def _send(self, response: Response, keep: bool) -> None:
        if self._transport.is_closing():
            return
        keep = keep and not self._endpoint.draining
        body = response.body
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b%b\r\n" % (
            _LINES[response.status],
            response.content_type,
            len(body),
            self._endpoint.common,
            response.headers,
            b"" if keep else b"connection: close\r\n",
        )
        if len(body) < 65_536:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        if keep:
            self.last = time.monotonic()
            self.deadline = self.last + self._limits.idle_time
        else:
            self._deaf = True
            self._transport.close()

    def _refuse(self, status: int, message: str, headers: bytes = b"") -> None:
        """Answer at once, throw away what still comes, then close."""
        self._deaf = True
        self._body.clear()
        response = refusal(status, message, headers)
        self._transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%b%bconnection: close\r\n\r\n%b"
            % (_LINES[status], len(response.body), self._endpoint.common, headers, response.body)
        )
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.deadline = time.monotonic() + self._limits.linger

    def _too_large(self) -> None:
        self._refuse(413, f"body: expected at most {self._limits.body} bytes")

    def _weigh(self, size: int) -> None:
        self._weight += size
        if (self._weight > self._limits.header or self._lines > self._limits.headers) and not self._deaf:
            self._refuse(431, f"headers: expected at most {self._limits.headers} lines and {self._limits.header} bytes")

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = self._weight = self._lines = 0
        self._begun = False
