"""A client of HTTP servers of ours: kept connections, one call on each at a time, answers bounded in bytes; whoever calls bounds the time."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

from hallmark.errors import DeclarationError

WORKER = b"x-hallmark-worker"
"""Header by which a server of ours with several workers says which of them answers: a connection stays at one."""
_BELOW = re.compile(r"(?:/(?!v[12](?:/|$))[\w.~-]+)*/?", re.ASCII)
"""A path that an address may have: what stands before /v1 or /v2, which calls name themselves."""
_KEPT = 64
"""Connections that are kept open while nobody needs them."""


class ClientReply(NamedTuple):
    """One whole answer; header names in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Client:
    """Calls one http:// address, which may have a path that all calls begin with, such as /serving/bags/bags of a gateway."""

    def __init__(self, url: str, *, what: str, limit: int = 4 * 1024 * 1024) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not _BELOW.fullmatch(parts.path) or parts.query:
            raise DeclarationError(
                what,
                expected="an address such as http://127.0.0.1:8080, or http://127.0.0.1:8080/serving/bags/bags",
                got=url,
                fix="write what stands before /v2 in the paths of the server",
            )
        self._below = parts.path.rstrip("/")
        self._host, self._port = parts.hostname, parts.port or 80
        self._name = parts.netloc.rpartition("@")[2]
        self._limit = limit
        self._idle: deque[_Connection] = deque()
        self._calls: Counter[bytes] = Counter()
        """Under way, by the worker that the connection is at."""

    async def post(
        self, path: str, body: Sequence[bytes | memoryview], headers: Sequence[tuple[str, str]]
    ) -> ClientReply:
        """The answer; OSError where there is no server, ValueError where what it sends is no answer.

        A kept connection that the server closed in the meantime is no fault of the server: the call is made again on a new one.
        """
        size = sum(len(part) for part in body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = (
            f"POST {self._below}{path} HTTP/1.1\r\nhost: {self._name}\r\ncontent-length: {size}\r\n{lines}\r\n".encode()
        )
        while self._idle:
            kept = self._chosen()
            if kept.usable:
                try:
                    return await self._exchange(kept, head, body)
                except ConnectionError:
                    if kept.heard:
                        raise
        loop = asyncio.get_running_loop()
        _, fresh = await loop.create_connection(lambda: _Connection(self._limit), self._host, self._port)
        return await self._exchange(fresh, head, body)

    def _chosen(self) -> _Connection:
        """The kept connection whose worker has the fewest calls of this client; of several the one that rested longest."""
        found = min(self._idle, key=lambda each: self._calls[each.worker])
        self._idle.remove(found)
        return found

    def close(self) -> None:
        """Drop what is kept."""
        while self._idle:
            self._idle.popleft().abort()

    async def _exchange(self, connection: _Connection, head: bytes, body: Sequence[bytes | memoryview]) -> ClientReply:
        worker = connection.worker
        self._calls[worker] += 1
        try:
            found = await connection.exchange(head, body)
        except BaseException:  # whatever interrupted it, half an exchange is left on the connection
            connection.abort()
            raise
        finally:
            self._calls[worker] -= 1
            if not self._calls[worker]:
                del self._calls[worker]
        connection.worker = found.headers.get(WORKER, b"")
        if connection.usable and len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.abort()
        return found


class _Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[ClientReply] | None = None
        self._reset()
        self.worker = b""
        self.usable = True
        self.heard = False

    def exchange(self, head: bytes, body: Sequence[bytes | memoryview]) -> asyncio.Future[ClientReply]:
        """Send a call; its whole answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._reset()
        self.heard = False
        self._transport.writelines((head, *body))
        return self._answer

    def abort(self) -> None:
        """Close at once."""
        self.usable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what calls are written to."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """It was ended, by whichever side."""
        self.usable = False
        self._fail(
            exc if isinstance(exc, ConnectionError) else ConnectionResetError("the server closed the connection")
        )

    def data_received(self, data: bytes) -> None:
        """Part of an answer; what comes unasked ends the connection."""
        self.heard = True
        if self._answer is None or self._answer.done():
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ValueError(f"the answer is not HTTP: {type(error).__name__}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.lower()] = value
        self._weigh(len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body.append(body)
        self._weigh(len(body))

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(ClientReply(status, self._headers, b"".join(self._body)))

    def _weigh(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            self._fail(ValueError(f"the answer has over {self._limit} bytes"))

    def _fail(self, error: Exception) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
