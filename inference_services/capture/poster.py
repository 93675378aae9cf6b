"""The few lines of HTTP that sending events takes: one kept connection, one call at a time, a hard time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from hallmark.errors import DeclarationError

_ANSWER_LIMIT = 64 * 1024


class Poster:
    """Posts bodies to one http:// address."""

    def __init__(self, url: str, *, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise DeclarationError("--capture-url", expected="an http:// address", got=url)
        self._host, self._port = parts.hostname, parts.port or 80
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._first = f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\n"
        self._timeout = timeout
        self._connection: _Connection | None = None

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The answer's status; OSError, TimeoutError or ValueError where there was none."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{self._first}content-length: {len(body)}\r\n{lines}\r\n".encode()
        try:
            async with asyncio.timeout(self._timeout):
                if self._connection is None or self._connection.ended:
                    self.close()
                    loop = asyncio.get_running_loop()
                    _, self._connection = await loop.create_connection(_Connection, self._host, self._port)
                status = await self._connection.exchange(head, body)
        except BaseException:  # whatever interrupted it, half an exchange is left on the connection
            self.close()
            raise
        return status

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection(asyncio.Protocol):
    """One connection to the sink; `ended` where it takes no further call."""

    def __init__(self) -> None:
        self.ended = False
        self._answer: asyncio.Future[int] | None = None
        self._came = b""

    def exchange(self, head: bytes, body: bytes) -> asyncio.Future[int]:
        """Send a call; the status of its answer, once the whole of that came."""
        self._answer = asyncio.get_running_loop().create_future()
        self._came = b""
        self._transport.writelines((head, body))
        return self._answer

    def close(self) -> None:
        """End it, whatever was not sent yet."""
        self.ended = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what calls are written to."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """The sink, or this side, ended it."""
        self.ended = True
        self._fail(exc or ConnectionResetError("the sink closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Part of an answer; what comes unasked ends the connection."""
        self._came += data
        head, end, rest = self._came.partition(b"\r\n\r\n")
        if self._answer is None or self._answer.done():
            self.close()
        elif not end:
            if len(head) > _ANSWER_LIMIT:
                self._fail(ValueError("the sink's answer has endless headers"))
        else:
            try:
                status, length, last = _told(head)
            except (ValueError, IndexError) as error:
                self._fail(ValueError(f"the sink's answer is not HTTP: {error}"))
                return
            self.ended = self.ended or last or length > _ANSWER_LIMIT or len(rest) > length
            if self.ended or len(rest) >= length:
                self._answer.set_result(status)

    def _fail(self, error: Exception) -> None:
        self.ended = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _told(head: bytes) -> tuple[int, int, bool]:
    """An answer's status, the length of its body, and whether it is the last on its connection, as one without a length is."""
    lines = head.lower().split(b"\r\n")
    fields = dict([line.split(b":", 1) for line in lines[1:] if b":" in line])
    length = fields.get(b"content-length")
    last = length is None or fields.get(b"connection", b"").strip() == b"close"
    return int(lines[0].split(b" ", 2)[1]), int(length or 0), last
