"""HTTP/1.1 as clients send it: whole, in pieces, several at once, the same head again, and more than may be held."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import toys

from inference_services.transport.http1 import Http1Connection, HttpRequest, HttpResponse

Reply = Callable[[HttpResponse], None]


class Toy(toys.Toy):
    """Echoes method, path and body, now, or later where the path says so."""

    def __init__(self, **limits: Any) -> None:
        self.seen: list[HttpRequest] = []
        super().__init__(headers=b"x-revision: orders-00001\r\n", **limits)

    def protocol(self) -> Http1Connection:
        return Http1Connection(self.endpoint, self._answer)

    def _answer(self, request: HttpRequest, reply: Reply) -> None:
        self.seen.append(request)
        response = HttpResponse(200, b"%b %b %b" % (request.method, request.path, request.body))
        if request.path.startswith(b"/later"):
            self.loop.call_later(0.02, reply, response)
        else:
            reply(response)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


@pytest.fixture
def toy() -> Iterator[Toy]:
    server = Toy()
    yield server
    server.stop()


def post(body: bytes, path: bytes = b"/echo", *extra: bytes) -> bytes:
    head = [b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *extra]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def answers(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of the next `count` answers."""
    found, data = [], b""
    while len(found) < count:
        head, end, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0) if end else 0
        if end and len(rest) >= length:
            found.append((int(head[9:12]), rest[:length]))
            data = rest[length:]
            continue
        chunk = connection.recv(65_536)
        assert chunk, f"closed after {len(found)} answers and {data!r}"
        data += chunk
    assert data == b""
    return found


def test_the_same_head_again_with_other_bodies(toy: Toy) -> None:
    with toy.connect() as connection:
        for number in range(50):
            body = b"%04d" % number
            connection.sendall(post(body))
            assert answers(connection, 1) == [(200, b"POST /echo " + body)]
        connection.sendall(post(b"12345"))
        assert answers(connection, 1) == [(200, b"POST /echo 12345")]
        connection.sendall(post(b"0000", b"/other", b"x-team: fraud"))
        assert answers(connection, 1) == [(200, b"POST /other 0000")]
    assert toy.seen[-1].headers[b"x-team"] == b"fraud"
    assert b"x-team" not in toy.seen[-2].headers


def test_two_in_one_packet_are_two_every_time(toy: Toy) -> None:
    with toy.connect() as connection:
        for _ in range(5):
            connection.sendall(post(b"same") + post(b"same"))
            assert answers(connection, 2) == [(200, b"POST /echo same")] * 2
        connection.sendall(post(b"same"))
        assert answers(connection, 1) == [(200, b"POST /echo same")]
    assert len(toy.seen) == 11


@pytest.mark.parametrize("path", [b"/echo", b"/later"])
def test_requests_cut_anywhere_are_answered_in_order(toy: Toy, path: bytes) -> None:
    rng = random.Random(7)
    for _ in range(15):
        bodies = [bytes(rng.choices(b"abc\r\n", k=rng.choice((0, 3, 3, 3, 9)))) for _ in range(6)]
        stream = b"".join(post(body, path) for body in bodies)
        cuts = sorted(rng.sample(range(len(stream)), 4))
        with toy.connect() as connection:
            for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                connection.sendall(stream[begin:end])
                time.sleep(0.001)
            assert answers(connection, 6) == [(200, b"POST %b %b" % (path, body)) for body in bodies]


def test_what_comes_before_a_broken_request_is_answered_first(toy: Toy) -> None:
    with toy.connect() as connection:
        connection.sendall(post(b"1", b"/later") + post(b"2", b"/later") + b"NONSENSE\r\n\r\n")
        found = answers(connection, 3)
        assert [status for status, _ in found] == [200, 200, 400]
        assert connection.recv(10) == b""


def test_head_has_no_body_and_the_next_request_is_fine(toy: Toy) -> None:
    with toy.connect() as connection:
        connection.sendall(b"HEAD /echo HTTP/1.1\r\nhost: x\r\n\r\n")
        head = connection.recv(65_536)
        assert b"content-length: 11\r\n" in head
        assert head.endswith(b"\r\n\r\n")
        connection.sendall(post(b"next"))
        assert answers(connection, 1) == [(200, b"POST /echo next")]


def test_http_1_0_is_told_that_its_connection_is_kept(toy: Toy) -> None:
    """Row B22: `ab -k` and old load balancers wait for that word, or for the end."""
    old = b"POST /echo HTTP/1.0\r\ncontent-length: 4\r\n"
    with toy.connect() as connection:
        for number in range(50):
            connection.sendall(old + b"connection: keep-alive\r\n\r\n%04d" % number)
            answer = connection.recv(65_536)
            assert b"\r\nconnection: keep-alive\r\n" in answer
            assert answer.endswith(b"\r\n\r\nPOST /echo %04d" % number)
        connection.sendall(old + b"\r\n0000")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert b"\r\nconnection: close\r\n" in answer
    with toy.connect() as connection:
        connection.sendall(post(b"new"))
        assert b"connection:" not in connection.recv(65_536)


UPGRADE = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__")


@pytest.mark.parametrize("path", [b"/echo", b"/later"])
@pytest.mark.parametrize("cut", [False, True])
def test_an_upgrade_is_not_made_and_nothing_else_changes(toy: Toy, path: bytes, cut: bool) -> None:
    """Row P6: `curl --http2` asks for one with its first request, with and without a body."""
    bare = b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % (path, b"\r\n".join(UPGRADE))
    stream = bare + post(b"one", path, *UPGRADE) + post(b"two", path) + post(b"", path, *UPGRADE) + bare
    with toy.connect() as connection:
        for at in range(0, len(stream), 7 if cut else len(stream)):
            connection.sendall(stream[at : at + 7 if cut else len(stream)])
        words = [b"GET %b ", b"POST %b one", b"POST %b two", b"POST %b ", b"GET %b "]
        assert answers(connection, 5) == [(200, word % path) for word in words]
        connection.sendall(post(b"next"))
        assert answers(connection, 1) == [(200, b"POST /echo next")]


def test_a_tunnel_is_refused_and_closed(toy: Toy) -> None:
    with toy.connect() as connection:
        connection.sendall(b"CONNECT model:8080 HTTP/1.1\r\nhost: model:8080\r\n\r\n" + post(b"inside"))
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (answer.count(b"HTTP/1.1"), toy.seen) == (1, [])


def test_a_client_that_goes_away_leaves_nothing(toy: Toy) -> None:
    for _ in range(20):
        connection = toy.connect()
        connection.sendall(post(b"x" * 1000, b"/later") + post(b"y" * 10_000)[:5000])
        connection.close()
    end = time.monotonic() + 10
    while (len(toy.seen) < 20 or toy.endpoint.connections or toy.endpoint.held) and time.monotonic() < end:
        time.sleep(0.01)
    assert len(toy.seen) == 20, "each had sent a whole request before it went"
    assert not toy.endpoint.connections
    assert toy.endpoint.held == 0


def test_bodies_of_all_clients_together_are_bounded() -> None:
    toy = Toy(held=100_000)
    first, second = toy.connect(), toy.connect()
    first.sendall(post(b"x" * 90_000)[:-1])
    end = time.monotonic() + 5
    while toy.endpoint.held < 80_000 and time.monotonic() < end:
        time.sleep(0.01)
    second.sendall(post(b"y" * 30_000))
    status, body = answers(second, 1)[0]
    assert status == 503
    assert b"too many bytes" in body
    first.sendall(b"x")
    assert answers(first, 1)[0][0] == 200
    third = toy.connect()
    third.sendall(post(b"z" * 30_000))
    assert answers(third, 1)[0][0] == 200
    for connection in (first, second, third):
        connection.close()
    toy.stop()
