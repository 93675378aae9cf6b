"""HTTP/1.1 on an asyncio transport: parsed by llhttp, bounded in bytes and time, an answer written in one piece.

A connection takes one request at a time, in order. What is over a limit is answered as soon as that is known, and the
rest of it is read and thrown away, so that the client gets to see the answer.

A client sends the same head again and again. One that llhttp has read as a whole request with a length is kept, and
where the next bytes are the same head and a body of that length, they are that request again, with no parsing.

An Upgrade is not made: the request is answered in HTTP/1.1, as RFC 9110 (7.8) lets a server do. A large answer in text goes in gzip to
a client that takes it. Where two readers of a request could differ on where it ends (RFC 9112, 6.3 and 11.2), it is refused and the connection
closed: llhttp does so for lengths, line ends and spaces, `_fault` for the rest. tests/inference_services/transport/test_reference.py compares.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import httptools
import msgspec

from inference_services.transport.endpoint import Endpoint


class HttpRequest(NamedTuple):
    """One whole request; header names in lower case."""

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes


class HttpResponse(NamedTuple):
    """One whole answer; `headers` are further lines, each with its line end."""

    status: int
    body: bytes = b""
    content_type: bytes = b"application/json"
    headers: bytes = b""


Handler = Callable[[HttpRequest, Callable[[HttpResponse], None]], None]
"""Takes a request and the way to answer it, once, now or later."""
Refusal = Callable[[Mapping[bytes, bytes], int, str, bytes], HttpResponse]
"""Makes the answer to a request that no handler gets: its headers as far as they came, status, message and further header lines."""
Unread = Callable[[bytes, Mapping[bytes, bytes]], tuple[int, str] | None]
"""Status and text for a path and headers whose body nobody would read; None where it is read."""
_VERSIONS = frozenset(("1.0", "1.1"))
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
_CLOSE, _KEEP_OLD = b"connection: close\r\n", b"connection: keep-alive\r\n"
"""Connection lines; HTTP/1.0 keeps a connection only where that is said."""
GZIP = 31
"""zlib's window bits for gzip."""
LARGE = 16_384
"""Bytes of an answer from which gzip is worth its time: half a millisecond here, several packets saved."""
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def refusal(status: int, message: str, headers: bytes = b"") -> HttpResponse:
    """An answer that names the fault."""
    return HttpResponse(status, msgspec.json.encode({"error": message}), headers=headers)


def refused(_asked: Mapping[bytes, bytes], status: int, message: str, headers: bytes) -> HttpResponse:
    """The same, whatever was asked."""
    return refusal(status, message, headers)


def packed(response: HttpResponse, accepted: bytes) -> HttpResponse:
    """The same answer in gzip, where it is text and the client's Accept-Encoding has gzip."""
    if response.content_type != b"application/json" and not response.content_type.startswith(b"text/"):
        return response
    wanted = {}
    for item in accepted.lower().replace(b" ", b"").split(b","):
        name, _, weight = item.partition(b";")
        wanted[name] = weight.rstrip(b"0.") != b"q="
    if not wanted.get(b"gzip", wanted.get(b"*", False)):
        return response
    lines = b"content-encoding: gzip\r\nvary: accept-encoding\r\n"
    return response._replace(body=zipped(response.body), headers=response.headers + lines)


def zipped(body: bytes) -> bytes:
    """The bytes in gzip, at its fastest."""
    return zlib.compress(body, 1, GZIP)


class Http1Connection(asyncio.Protocol):
    """One client."""

    def __init__(
        self, endpoint: Endpoint, handler: Handler, *, refused: Refusal = refused, unread: Unread | None = None
    ) -> None:
        self._endpoint = endpoint
        self._handler = handler
        self._refused = refused
        self._unread = unread
        self._limits = endpoint.limits
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[HttpRequest, bytes]] = deque()
        self._last: tuple[int, str, bytes] | None = None
        self._known = b""
        self._again: tuple[HttpRequest, int] | None = None
        self._busy = self._deaf = self._begun = False
        self._line = b""
        self._bodiless = False
        self._asked: Mapping[bytes, bytes] = {}
        self._held = 0
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
        self._waiting.clear()
        self._hold(-self._held)

    def data_received(self, data: bytes) -> None:
        """A request as the last one began, or what the parser has to read; it calls the methods below."""
        if self._deaf:
            return
        if not self._begun:
            if self._again is not None and not (self._busy or self._waiting) and data.startswith(self._known):
                request, length = self._again
                if len(data) == len(self._known) + length and self._hold(length):
                    body = data[len(self._known) :]
                    self._answer(HttpRequest(request.method, request.path, request.headers, body), b"")
                    return
            self._begun = True
            self._first = data
            self.deadline = time.monotonic() + self._limits.header_time
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows the head for another protocol: it reads the same head without that header.
                if not self._deaf:
                    data = self._plain_head() + data[upgrade.args[0] :]
                    self._parser = httptools.HttpRequestParser(self)
                    self._reset()
                    self._begun = True
                    continue
            except httptools.HttpParserError:
                if not self._deaf:
                    self._refuse(400, "the request is not HTTP/1.1")
            return

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._url += url
        self._weigh(len(url))

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """One header; several of a name are one list of their values (RFC 9110, 5.3). What comes behind the body is none (6.5.1)."""
        name, value = name.lower(), value.rstrip() if value else b""
        self._lines += 1
        self._weigh(len(name) + len(value))
        if name in self._headers:
            value = b"%b, %b" % (self._headers[name], value)
        if not self._headed:
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Refuse what is wrong or too large before it is sent; ask for what waits to be asked for."""
        self.deadline = time.monotonic() + self._limits.body_time
        self._headed = True
        self._upgrade = self._parser.should_upgrade()
        if self._deaf:
            return
        headers, self._version = self._headers, self._parser.get_http_version()
        length = headers.get(b"content-length", b"0")
        if (
            self._version != "1.1"
            or self._upgrade
            or b"transfer-encoding" in headers
            or b", " in headers.get(b"host", b", ")
        ):
            fault = self._fault()
            if fault is not None:
                self._refuse(*fault)
                return
        if length.isdigit() and int(length[-20:]) > self._limits.body:
            self._too_large()
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not self._upgrade:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _fault(self) -> tuple[int, str] | None:
        """Status and text for a head that llhttp lets through and this server does not, with the place in RFC 9112."""
        host, coding = self._headers.get(b"host"), self._headers.get(b"transfer-encoding")
        if self._version not in _VERSIONS:
            return 505, "expected HTTP/1.1 or HTTP/1.0"
        if b", " in (host or b"") or (host is None and self._version == "1.1"):
            return 400, "Host: expected one"  # 3.2
        if coding is not None and self._version == "1.0":
            return 400, "Transfer-Encoding: expected none in HTTP/1.0"  # 6.1
        if coding is not None and coding.lower() != b"chunked":
            return 501, "Transfer-Encoding: expected chunked alone"  # 7
        if self._upgrade and self._parser.get_method() == b"CONNECT":
            return 400, "this server is no proxy"
        if coding is not None and self._unread is not None:  # its end may never come
            return self._unread(self._url.partition(b"?")[0], self._headers)
        return None

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        if self._deaf:
            return
        self._size += len(body)
        if self._size > self._limits.body:
            self._too_large()
        elif self._hold(len(body)):
            self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request: answer it, or put it behind the one that is being answered."""
        if self._deaf or self._upgrade:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        path = self._url.partition(b"?")[0]
        if path[:1] != b"/":  # RFC 9112, 3.2.2: the absolute form, as proxies are asked
            path = _ABSOLUTE.sub(b"", path, count=1) or b"/"
        request = HttpRequest(self._parser.get_method(), path, self._headers, body)
        line = b"" if self._parser.should_keep_alive() else _CLOSE
        if not line and self._version == "1.0":
            line = _KEEP_OLD
        elif not line and len(self._body) == 1:
            self._remember(request)
        self._reset()
        if self._busy or self._waiting:
            self._waiting.append((request, line))
            self._transport.pause_reading()
        else:
            self._answer(request, line)

    def expire(self) -> None:
        """The time for what is awaited is over."""
        if self._busy:
            self.deadline = time.monotonic() + self._limits.body_time
        elif self._begun and not self._deaf:
            self._refuse(408, "the request did not come in time")
        else:
            self._transport.abort()

    def leave(self) -> None:
        """Close when nothing is under way; a client that sent something just now may be about to send."""
        if not (self._busy or self._begun) and time.monotonic() - self.last > self._limits.silence:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _remember(self, request: HttpRequest) -> None:
        """Keep the head of a request that came alone and whole, to know it again."""
        length, head = len(request.body), self._first.find(b"\r\n\r\n") + 4
        alone = len(self._first) == head + length and request.headers.get(b"content-length") == b"%d" % length
        if alone and b"expect" not in request.headers:
            self._known, self._again = self._first[:head], (request._replace(body=b""), length)

    def _answer(self, request: HttpRequest, line: bytes) -> None:
        self._busy, self._line, self._bodiless = True, line, request.method == b"HEAD"
        self._asked = request.headers
        self._handler(request, self._reply)

    def _reply(self, response: HttpResponse) -> None:
        self._busy = False
        self._hold(-self._held)
        self._send(response)
        if self._waiting or self._last is not None:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._transport.is_closing() or self._busy:
            return
        if self._waiting:
            self._answer(*self._waiting.popleft())
        elif self._last is not None:
            self._refuse(*self._last)
        if not self._waiting:
            self._transport.resume_reading()

    def _send(self, response: HttpResponse) -> None:
        if self._transport.is_closing():
            return
        line = _CLOSE if self._endpoint.draining else self._line
        if len(response.body) >= LARGE:
            response = packed(response, self._asked.get(b"accept-encoding", b""))
        body = response.body
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b%b\r\n" % (
            _LINES[response.status],
            response.content_type,
            len(body),
            self._endpoint.common,
            response.headers,
            line,
        )
        if self._bodiless:
            self._transport.write(head)
        elif len(body) < 65_536:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        if line is not _CLOSE:
            self.last = time.monotonic()
            self.deadline = self.last + self._limits.idle_time
        else:
            self._deaf = True
            self._transport.close()

    def _refuse(self, status: int, message: str, headers: bytes = b"") -> None:
        """Answer at once, or after the answers that are under way; throw away what still comes, then close."""
        self._deaf = True
        self._body.clear()
        if self._busy or self._waiting:
            self._last = (status, message, headers)
            return
        self._hold(-self._held)
        response = self._refused(self._headers, status, message, headers)
        self._transport.write(
            b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b%b\r\n%b"
            % (
                *(_LINES[response.status], response.content_type, len(response.body)),
                *(self._endpoint.common, response.headers, _CLOSE, response.body),
            )
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

    def _plain_head(self) -> bytes:
        """The head that was read last, without its Upgrade."""
        lines = b"".join(b"%b: %b\r\n" % item for item in self._headers.items() if item[0] != b"upgrade")
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self._parser.get_method(), self._url, self._version.encode("ascii"), lines)

    def _hold(self, size: int) -> bool:
        """Count bytes kept in memory for this client; refuse it where all clients together have too many."""
        self._held += size
        self._endpoint.held += size
        if size > 0 and self._endpoint.held > self._limits.held:
            self._refuse(503, "too many bytes wait for the model", b"retry-after: 1\r\n")
            return False
        return True

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._first = b""
        self._size = self._weight = self._lines = 0
        self._version = ""
        self._begun = self._upgrade = self._headed = False
