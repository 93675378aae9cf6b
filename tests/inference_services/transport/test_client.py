"""The client: connections that are kept, those that the server closed meanwhile, and answers that are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from hallmark.errors import DeclarationError
from inference_services.transport.client import WORKER, Client, ClientReply

Answers = Callable[[int, bytes], bytes | None]
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\nok"


class Served:
    """A server that answers the nth call on all connections with bytes, and closes after None or `close`."""

    def __init__(self, answers: Answers, *, close: bool = False) -> None:
        self.answers, self.close = answers, close
        self.connections = self.calls = 0
        self.bodies: list[bytes] = []

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.calls += 1
                found = self.answers(self.calls, head)
                if found is None:
                    break
                writer.write(found)
                if self.close:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


def asked(server: Served, calls: int, *, pause: float = 0.0, limit: int = 1000, below: str = "") -> list[ClientReply]:
    """The answers to so many calls, one after the other."""

    async def run() -> list[ClientReply]:
        listening = await asyncio.start_server(server.client, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}{below}", what="--node", limit=limit)
        found = []
        try:
            for _ in range(calls):
                found.append(await client.post("/x", [b"one", b"two"], [("x-id", "7")]))
                await asyncio.sleep(pause)
        finally:
            client.close()
            listening.close()
            await asyncio.sleep(0.05)
        return found

    return asyncio.run(run())


def test_a_connection_is_kept_for_the_next_call() -> None:
    server = Served(lambda _, head: GOOD if b"x-id: 7\r\n" in head and head.startswith(b"POST /x ") else None)
    found = asked(server, 3)
    assert [(each.status, each.body, each.headers[b"x-a"]) for each in found] == [(200, b"ok", b"b")] * 3
    assert (server.connections, server.bodies) == (1, [b"onetwo"] * 3)


@pytest.mark.parametrize("below", ["/serving/bags/bags", "/serving/bags/bags/"])
def test_an_address_may_lie_below_a_path_as_a_gateway_has_it(below: str) -> None:
    served = Served(lambda _, head: GOOD if head.startswith(b"POST /serving/bags/bags/x ") else None)
    assert [each.status for each in asked(served, 2, below=below)] == [200, 200]


def test_an_answer_in_chunks_is_one_answer() -> None:
    chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    assert [each.body for each in asked(Served(lambda *_: chunks), 2)] == [b"ok", b"ok"]


def test_a_kept_connection_that_the_server_closed_is_no_fault_of_the_server() -> None:
    server = Served(lambda count, _: None if count == 2 else GOOD)  # the second call on a kept connection gets nothing
    assert [each.status for each in asked(server, 2)] == [200, 200]
    assert (server.connections, server.calls) == (2, 3)


def test_a_server_that_closes_each_connection_is_asked_on_a_new_one() -> None:
    server = Served(lambda *_: GOOD, close=True)
    assert [each.status for each in asked(server, 3, pause=0.05)] == [200] * 3
    assert server.connections == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b" " * 5000, ValueError),
        (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 2000 + b"\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", ConnectionError),
        (None, ConnectionError),
    ],
)
def test_what_is_no_whole_answer_is_an_error(answer: bytes | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        asked(Served(lambda *_: answer, close=True), 1)


@pytest.mark.parametrize(
    "url", ["https://a", "a:80", "http://", "http://a/v2", "http://a/b/v2/models", "http://a?x=1", "http://a/b c"]
)
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(DeclarationError, match="--node"):
        Client(url, what="--node")


def test_a_worker_that_has_nothing_to_do_is_asked_before_one_that_is_busy() -> None:
    """Three kept connections, two of them at worker a: of two calls at once the second goes to b, whichever rested longest."""

    async def run() -> list[bytes]:
        places, told = [b"a", b"a", b"b"], list[bytes]()
        held = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            mine = places.pop(0)
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
                    told.append(mine)
                    await held.wait()
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + WORKER + b": " + mine + b"\r\n\r\n")
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", what="--node")
        for calls in (3, 2, 2):
            held.clear()
            asked = [asyncio.create_task(client.post("/x", [b""], [])) for _ in range(calls)]
            await asyncio.sleep(0.05)
            held.set()
            await asyncio.gather(*asked)
        client.close()
        listening.close()
        await asyncio.sleep(0.02)
        return told

    told = asyncio.run(run())
    assert sorted(told[:3]) == [b"a", b"a", b"b"] and sorted(told[3:5]) == sorted(told[5:]) == [b"a", b"b"]
