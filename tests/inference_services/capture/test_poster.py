"""Calls to sinks that answer well, badly, late or not at all: a status, or an error that the queue counts, and a connection for the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from inference_services.capture.poster import Poster

OK = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok"


def talk(
    answers: list[list[bytes]], work: Callable[[Poster], Coroutine[Any, Any, None]], *, end: bool = False
) -> tuple[list[bytes], int]:
    """Let a poster work with a sink that gives each call an answer in these parts; the bodies that came, and on how many connections.

    end: it closes the connection after each.
    """
    bodies: list[bytes] = []
    tasks: list[asyncio.Task[Any] | None] = []
    opened = 0

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        tasks.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                bodies.append(await reader.readexactly(length))
                for part in answers.pop(0):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if end:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        poster = Poster(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events?a=b", timeout=0.3)
        await work(poster)
        poster.close()
        server.close()
        await asyncio.gather(*filter(None, tasks))

    asyncio.run(main())
    return bodies, opened


async def twice(poster: Poster) -> None:
    """Two calls that are both taken."""
    for body in (b"one", b"two" * 100_000):
        assert await poster.post(body, {"ce-id": "1"}) == 202
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("parts", [[OK], [OK[:5], OK[5:30], OK[30:]], [OK[:-2], OK[-2:]]])
def test_one_connection_takes_call_after_call(parts: list[bytes]) -> None:
    assert talk([parts, parts], twice) == ([b"one", b"two" * 100_000], 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 202 Accepted\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nConnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 9999999\r\n\r\n",
        OK + b"HTTP/1.1 500 Unasked\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_be_known_to_be_at_its_end_is_not_used_again(answer: bytes) -> None:
    assert talk([[answer], [answer]], twice) == ([b"one", b"two" * 100_000], 2)


def test_a_sink_that_closes_after_each_answer_is_called_on_a_new_connection() -> None:
    assert talk([[OK], [OK]], twice, end=True) == ([b"one", b"two" * 100_000], 2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", TimeoutError),
        (OK[:20], TimeoutError),
        (OK[:-1], TimeoutError),
        (b"no HTTP\r\n\r\n", ValueError),
        (b"\r\n\r\n", ValueError),
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: many\r\n\r\n", ValueError),
        (b"x" * 100_000, ValueError),
    ],
)
def test_what_is_no_answer_is_an_error_and_the_next_call_goes_on(answer: bytes, error: type[Exception]) -> None:
    async def work(poster: Poster) -> None:
        with pytest.raises(error):
            await poster.post(b"one", {})
        assert await poster.post(b"two", {}) == 202

    assert talk([[answer], [OK]], work) == ([b"one", b"two"], 2)


def test_a_sink_that_hangs_up_or_is_not_there_is_an_os_error() -> None:
    async def work(poster: Poster) -> None:
        with pytest.raises(ConnectionError):
            await poster.post(b"one", {})

    talk([[OK[:20]]], work, end=True)

    async def nobody() -> None:
        with pytest.raises(OSError):
            await Poster("http://127.0.0.1:9/", timeout=1.0).post(b"one", {})

    asyncio.run(nobody())
