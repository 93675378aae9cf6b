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
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._authority = parts.netloc.rpartition("@")[2]
        self._timeout = timeout
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The answer's status; OSError, TimeoutError, ValueError or IncompleteReadError where there was none."""
        head = [f"POST {self._target} HTTP/1.1", f"host: {self._authority}", f"content-length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        message = "\r\n".join((*head, "", "")).encode("utf-8") + body
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(message)
        except BaseException:  # whatever interrupted it, half an exchange is left on the connection
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None

    async def _exchange(self, message: bytes) -> int:
        if self._connection is None or self._connection[0].at_eof():
            self.close()
            self._connection = await asyncio.open_connection(self._host, self._port, limit=_ANSWER_LIMIT)
        reader, writer = self._connection
        writer.write(message)
        await writer.drain()
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ValueError("the sink's answer has endless headers") from error
        lines = head.lower().split(b"\r\n")
        status = int(lines[0].split(b" ", 2)[1])
        fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
        if b"content-length" not in fields:
            self.close()
            return status
        length = int(fields[b"content-length"])
        if length > _ANSWER_LIMIT or fields.get(b"connection", b"").strip() == b"close":
            self.close()
        else:
            await reader.readexactly(length)
        return status
