"""Logs of a node's containers, at the port where an API server asks its kubelets for them: what `kubectl logs` shows."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from local_cluster.access import ApiAccess

PORT = 10250
Find = Callable[[str, str, str], Path]
_PATH = re.compile(r"/containerLogs/([^/]+)/([^/]+)/([^/]+)")


async def serve(find: Find, *, host: str, access: ApiAccess) -> asyncio.Server:
    """A server of the file that `find` gives for a namespace, pod and container. It follows none: a log is given as it is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(access.certificate, access.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            head = await reader.readuntil(b"\r\n\r\n")
            status, body = _read(find, head.split(b" ")[1].decode("ascii"))
            headers = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(headers.encode() + body)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host, PORT, ssl=context)


def _read(find: Find, target: str) -> tuple[str, bytes]:
    url = urlsplit(target)
    asked = _PATH.fullmatch(url.path)
    if asked is None:
        return "404 Not Found", b"only logs are served here\n"
    path = find(*map(unquote, asked.groups()))
    if not path.is_file():
        return "404 Not Found", b"this container has no log yet\n"
    lines = path.read_bytes().splitlines(keepends=True)
    last = parse_qs(url.query).get("tailLines", [""])[0]
    return "200 OK", b"".join(lines[max(0, len(lines) - int(last)) :] if last else lines)
