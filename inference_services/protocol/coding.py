"""Compressed bodies: gzip and deflate, opened within a limit."""

from __future__ import annotations

import zlib

from inference_services.protocol.errors import BadRequest, TooLarge, WrongMedia
from inference_services.transport.http1 import GZIP

_ZLIB, _BARE = 15, -15


def opened(body: bytes | memoryview, coding: bytes, *, where: str, limit: int) -> bytes:
    """`body` without its coding.

    `WrongMedia` for another coding than gzip and deflate, `TooLarge` where it means more than `limit` bytes (no more than that is ever made of
    it), `BadRequest` where it is not one whole stream. `where` names the header that names the coding.
    """
    if coding not in (b"gzip", b"deflate"):
        raise WrongMedia(f"{where}: expected gzip, deflate or identity")
    stream = zlib.decompressobj(GZIP if coding == b"gzip" else _window(body))
    try:
        found = stream.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(f"{where}: the body is not in this coding") from None
    if len(found) > limit:
        raise TooLarge(f"body: expected at most {limit} bytes once it is decompressed")
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"{where}: expected one whole stream")
    return found


def _window(body: bytes | memoryview) -> int:
    """Deflate is zlib's form in the standard (RFC 9110, 8.4.1.2), and without its head from some clients."""
    head = bytes(body[:2])
    named = len(head) == 2 and head[0] & 15 == 8 and int.from_bytes(head, "big") % 31 == 0
    return _ZLIB if named else _BARE
