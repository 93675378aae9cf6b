"""HTTP/2 as real gRPC clients, the h2 library, and those who mean no good speak it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
import toys

from inference_services.transport.http2 import GrpcCall, GrpcReply, Http2Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = struct.pack("!HBBBL", 0, 0, 4, 0, 0)
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/toy/Echo"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    return struct.pack("!BL", 0, len(body)) + body


def block(*extra: tuple[str, str], without: str = "") -> bytes:
    encoder = hpack.Encoder()
    return encoder.encode([(*pair, True) for pair in HEADERS if pair[0] != without] + [(*pair, True) for pair in extra])


class Toy(toys.Toy):
    """Echoes, sleeps, refuses, or gives as many bytes as are asked for."""

    def __init__(self, **limits: Any) -> None:
        self.answered = 0
        self.waiting: list[Callable[[GrpcReply], None]] = []
        self.calls: list[GrpcCall] = []
        super().__init__(**limits)

    def protocol(self) -> Http2Connection:
        return Http2Connection(self.endpoint, self._answer, metadata={"x-revision": "orders-00001"})

    def _answer(self, call: GrpcCall, reply: Callable[[GrpcReply], None]) -> None:
        self.answered += 1
        self.calls = [*self.calls[-3:], call]
        what = call.path.rpartition(b"/")[2]
        if what == b"Echo":
            reply(GrpcReply(bytes(call.message)))
        elif what == b"Slow":
            self.loop.call_later(float(bytes(call.message)), reply, GrpcReply(b"slow"))
        elif what == b"Big":
            reply(GrpcReply(bytes(int(bytes(call.message)))))
        elif what == b"Never":
            self.waiting.append(reply)
        else:
            reply(GrpcReply(status=12, text="no such method: 100 % naïve\n"))

    def raw(self, data: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(PREFACE + SETTINGS + data)
        return connection


@pytest.fixture(scope="module")
def toy() -> Iterator[Toy]:
    server = Toy()
    yield server
    server.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., Toy]]:
    servers: list[Toy] = []

    def begin(**limits: Any) -> Toy:
        servers.append(Toy(**limits))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@contextlib.contextmanager
def channel(toy: Toy, *options: tuple[str, Any]) -> Iterator[grpc.Channel]:
    every = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1), *options]
    with grpc.insecure_channel(toy.address, options=every) as found:
        yield found


def frames(connection: socket.socket, *, until: Callable[[Any], bool] | None = None) -> list[Any]:
    """Frames from the server, to the one that is awaited or the end; (kind, flags, stream, payload)."""
    found: list[Any] = []
    data = b""
    while True:
        while len(data) >= 9:
            high, low, kind, flags, stream = struct.unpack_from("!HBBBL", data)
            length = high << 8 | low
            if len(data) < 9 + length:
                break
            found.append((kind, flags, stream, data[9 : 9 + length]))
            data = data[9 + length :]
            if until is not None and until(found[-1]):
                return found
        try:
            more = connection.recv(65_536)
        except ConnectionResetError:
            return found
        if not more:
            return found
        data += more


def goaway(connection: socket.socket) -> int:
    """The code with which the server ends the connection."""
    with connection:
        last = [payload for kind, _, _, payload in frames(connection) if kind == 7]
    return int.from_bytes(last[-1][4:8], "big")


def answered(toy: Toy, connection: socket.socket, stream: int) -> list[Any]:
    """The frames of one stream, to its end."""
    with connection:
        every = frames(connection, until=lambda one: one[2] == stream and (one[0] == 3 or (one[0] == 1 and one[1] & 1)))
    return [one for one in every if one[2] == stream]


def status(found: list[Any]) -> dict[str, str]:
    """The last headers of a stream."""
    last = [payload for kind, _, _, payload in found if kind == 1][-1]
    return dict(hpack.Decoder().decode(last))  # type: ignore[arg-type]


def test_many_calls_at_once_of_many_sizes(toy: Toy) -> None:
    with channel(toy) as open_channel:
        call = open_channel.unary_unary("/toy/Echo")
        bodies = [random.Random(at).randbytes(at * at % 40_000) for at in range(300)]
        futures = [call.future(body, timeout=10) for body in bodies]
        assert [future.result() for future in futures] == bodies


def test_aio_clients_with_deadlines_and_metadata(toy: Toy) -> None:
    async def talk() -> None:
        async with grpc.aio.insecure_channel(toy.address) as open_channel:
            call = open_channel.unary_unary("/toy/Echo")
            bodies = [b"%d" % at for at in range(200)]
            found = await asyncio.gather(
                *(call(body, timeout=5 + at / 7, metadata=(("at", str(at)),)) for at, body in enumerate(bodies))
            )
            assert found == bodies

    asyncio.run(talk())


def test_messages_of_8_mib_both_ways(toy: Toy) -> None:
    body = os.urandom(8 << 20)
    with channel(toy) as open_channel:
        call = open_channel.unary_unary("/toy/Echo")
        futures = [call.future(body, timeout=20) for _ in range(3)]
        assert all(future.result() == body for future in futures)


def test_headers_deadline_and_metadata_arrive(toy: Toy) -> None:
    with channel(toy) as open_channel:
        metadata = (("traceparent", "00-aa-bb-01"), ("twice", "a"), ("twice", "b"), ("long", "é".encode().hex() * 500))
        _, done = open_channel.unary_unary("/toy/Echo").with_call(b"x", timeout=3, metadata=metadata)
    call = toy.calls[-1]
    assert call.path == b"/toy/Echo"
    assert call.headers[b"traceparent"] == b"00-aa-bb-01"
    assert call.headers[b"twice"] == b"a,b"
    assert call.timeout is not None
    assert 2.5 < call.timeout < 3.1  # grpc rounds a deadline up to its next step
    assert ("x-revision", "orders-00001") in [tuple(item) for item in done.initial_metadata()]
    assert ("x-revision", "orders-00001") in [tuple(item) for item in done.trailing_metadata()]


def test_a_refusal_says_why(toy: Toy) -> None:
    with channel(toy) as open_channel, pytest.raises(grpc.RpcError) as refused:
        open_channel.unary_unary("/toy/Nothing")(b"", timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert refused.value.details() == "no such method: 100 % naïve\n"
    assert ("x-revision", "orders-00001") in [tuple(item) for item in refused.value.trailing_metadata()]


def test_a_late_answer_and_a_cancelled_call_hurt_nobody(toy: Toy) -> None:
    with channel(toy) as open_channel:
        slow = open_channel.unary_unary("/toy/Slow")
        with pytest.raises(grpc.RpcError) as late:
            slow(b"0.3", timeout=0.1)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        future = slow.future(b"0.3")
        time.sleep(0.05)
        future.cancel()
        assert slow(b"0.4", timeout=5) == b"slow"


def test_too_large_a_message_is_refused_before_it_has_come(start: Callable[..., Toy]) -> None:
    toy = start(body=100_000)
    with channel(toy) as open_channel:
        call = open_channel.unary_unary("/toy/Echo")
        for size in (100_001, 1_000_000, 30_000_000):
            with pytest.raises(grpc.RpcError) as refused:
                call(bytes(size), timeout=10)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert call(bytes(100_000), timeout=5) == bytes(100_000)


def test_bytes_held_for_all_are_bounded(start: Callable[..., Toy]) -> None:
    toy = start(held=1_000_000)
    with channel(toy) as open_channel:
        waits = open_channel.unary_unary("/toy/Never").future(bytes(700_000))
        while not toy.waiting:
            time.sleep(0.01)
        call = open_channel.unary_unary("/toy/Echo")
        with pytest.raises(grpc.RpcError) as refused:
            call(bytes(600_000), timeout=5)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        toy.loop.call_soon_threadsafe(toy.waiting.pop(), GrpcReply(b"x"))
        assert waits.result(5) == b"x"
        assert len(call(bytes(600_000), timeout=5)) == 600_000


def test_compressed_messages_are_refused(toy: Toy) -> None:
    with channel(toy) as open_channel, pytest.raises(grpc.RpcError) as refused:
        open_channel.unary_unary("/toy/Echo")(bytes(10_000), timeout=5, compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_keepalive_pings_are_answered(toy: Toy) -> None:
    options = [("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0)]
    with channel(toy, *options, ("grpc.keepalive_timeout_ms", 1000)) as open_channel:
        assert open_channel.unary_unary("/toy/Slow")(b"1.5", timeout=5) == b"slow"


def test_calls_beyond_the_limit_of_streams_wait_their_turn(start: Callable[..., Toy]) -> None:
    toy = start(streams=4)
    with channel(toy) as open_channel:
        slow = open_channel.unary_unary("/toy/Slow")
        futures = [slow.future(b"0.02", timeout=10) for _ in range(40)]
        assert all(future.result() == b"slow" for future in futures)


def test_streams_beyond_the_limit_are_refused_even_where_the_first_were_cancelled(start: Callable[..., Toy]) -> None:
    toy = start(streams=4)
    head = block(without=":path") + hpack.Encoder().encode([(":path", "/toy/Never", True)])
    head = hpack.Encoder().encode([(n, "/toy/Never" if n == ":path" else v, True) for n, v in HEADERS])
    calls = b"".join(
        frame(1, 4, at, head) + frame(0, 1, at, message(b"")) + (frame(3, 0, at, bytes(4)) if at < 9 else b"")
        for at in (1, 3, 5, 7, 9)
    )
    with toy.raw(calls) as connection:
        found = frames(connection, until=lambda one: one[0] == 3 and one[2] == 9)
    assert int.from_bytes(found[-1][3], "big") == 7
    for reply in toy.waiting:
        toy.loop.call_soon_threadsafe(reply, GrpcReply())


def test_too_many_connections_are_sent_away(start: Callable[..., Toy]) -> None:
    toy = start(connections=2)
    kept = [toy.raw(), toy.raw()]
    while len(toy.endpoint.connections) < 2:
        time.sleep(0.01)
    assert goaway(toy.raw()) == 11
    for one in kept:
        one.close()


def h2_client(toy: Toy, *, window: int) -> tuple[socket.socket, h2.connection.H2Connection]:
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.local_settings = h2.settings.Settings(
        client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
    )
    client.initiate_connection()
    connection = socket.create_connection(("127.0.0.1", toy.port), timeout=5)
    connection.sendall(client.data_to_send())
    return connection, client


def h2_read(
    connection: socket.socket, client: h2.connection.H2Connection, *, grant: int = 0, streams: int = 1
) -> tuple[bytes, list[Any]]:
    """The answers of so many streams, opening the window by `grant` bytes at a time."""
    data, events, ended = b"", [], 0
    while ended < streams:
        received = connection.recv(65_536)
        assert received
        for event in client.receive_data(received):
            events.append(event)
            if isinstance(event, h2.events.DataReceived):
                data += event.data
                if grant:
                    client.increment_flow_control_window(grant)
                    with contextlib.suppress(h2.exceptions.ProtocolError):
                        client.increment_flow_control_window(grant, event.stream_id)
                elif event.flow_controlled_length:
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            ended += isinstance(event, h2.events.StreamEnded)
        connection.sendall(client.data_to_send())
    return data, events


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_tiny_windows_are_kept_to(toy: Toy, window: int) -> None:
    connection, client = h2_client(toy, window=window)
    with connection:
        client.send_headers(1, HEADERS)
        body = os.urandom(window * 16)
        client.send_data(1, message(body), end_stream=True)
        connection.sendall(client.data_to_send())
        data, _ = h2_read(connection, client, grant=window)
    assert data == message(body)


def test_a_window_that_opens_by_a_setting(toy: Toy) -> None:
    connection, client = h2_client(toy, window=0)
    with connection:
        client.send_headers(1, HEADERS)
        client.send_data(1, message(b"x" * 500), end_stream=True)
        connection.sendall(client.data_to_send())
        time.sleep(0.1)
        client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 5000})
        connection.sendall(client.data_to_send())
        data, _ = h2_read(connection, client)
    assert data == message(b"x" * 500)


def test_padding_priority_continuation_and_trailers(toy: Toy) -> None:
    head = block(("x", "y" * 300))
    body = message(b"padded")
    data = frame(1, 0x28, 1, b"\x03" + bytes(5) + head[:20] + bytes(3))  # padded, with priority, to be continued
    data += frame(9, 0, 1, head[20:21]) + frame(9, 0, 1) + frame(9, 4, 1, head[21:])
    data += frame(2, 0, 1, bytes(5)) + frame(99, 1, 1, b"what") + frame(0, 8, 1, b"\x02" + body[:3] + bytes(2))
    data += frame(0, 8, 1, b"\xff" + body[3:] + bytes(255)) + frame(1, 5, 1, b"")
    found = answered(toy, toy.raw(data), 1)
    assert [payload for kind, _, _, payload in found if kind == 0] == [body]
    assert status(found)["grpc-status"] == "0"


def test_pieces_as_small_as_can_be(toy: Toy) -> None:
    data = frame(1, 4, 1, block()) + b"".join(frame(0, 0, 1, bytes((one,))) for one in message(b"bits"))
    data += frame(0, 1, 1)
    with socket.create_connection(("127.0.0.1", toy.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in PREFACE + SETTINGS + data:
            connection.sendall(bytes((one,)))
        found = answered(toy, connection, 1)
    assert [payload for kind, _, _, payload in found if kind == 0] == [message(b"bits")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "13"),
        (b"\0\0", "13"),
        (message(b"abc")[:-1], "13"),
        (message(b"abc") + message(b"more"), "13"),
        (b"\x01" + message(b"abc")[1:], "13"),
        (b"\0\xff\xff\xff\xff", "8"),
    ],
)
def test_what_is_not_one_message(toy: Toy, body: bytes, code: str) -> None:
    found = answered(toy, toy.raw(frame(1, 4, 1, block()) + frame(0, 1, 1, body)), 1)
    assert status(found)["grpc-status"] == code


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (block(("grpc-timeout", "soon")), None),
        (block(("Upper", "case")), None),
        (block(("connection", "close")), None),
        (block(without=":path"), None),
        (block((":path", "/again")), None),
        (hpack.Encoder().encode([(n, "GET" if n == ":method" else v) for n, v in HEADERS]), "405"),
        (block(without="content-type"), "415"),
        (hpack.Encoder().encode([(n, "application/json" if n == "content-type" else v) for n, v in HEADERS]), "415"),
    ],
)
def test_what_is_not_a_call(toy: Toy, head: bytes, code: str | None) -> None:
    found = answered(toy, toy.raw(frame(1, 4, 1, head) + frame(0, 1, 1, message(b""))), 1)
    if code is None:
        assert found[-1][0] == 3
        assert int.from_bytes(found[-1][3], "big") == 1
    else:
        assert status(found)[":status"] == code


CALL = frame(1, 4, 1, block())
BROKEN: dict[str, tuple[bytes, int]] = {
    "HTTP/1.1": (b"", 1),
    "a frame over the limit": (frame(0, 0, 1, bytes(70_000))[:100], 6),
    "data of no stream": (frame(0, 0, 0, b"x"), 1),
    "data before its stream": (frame(0, 0, 9, b"x"), 1),
    "an even stream": (frame(1, 4, 2, block()), 1),
    "stream 0": (frame(1, 4, 0, block()), 1),
    "a ping of 7": (frame(6, 0, 0, bytes(7)), 6),
    "a ping on a stream": (frame(6, 0, 1, bytes(8)), 1),
    "settings of 5": (frame(4, 0, 0, bytes(5)), 6),
    "an ack with settings": (frame(4, 1, 0, bytes(6)), 6),
    "settings on a stream": (frame(4, 0, 1), 1),
    "a window setting too large": (frame(4, 0, 0, struct.pack("!HL", 4, 2**31)), 3),
    "a frame setting too small": (frame(4, 0, 0, struct.pack("!HL", 5, 100)), 1),
    "push": (frame(5, 4, 1, bytes(4)), 1),
    "no more window": (frame(8, 0, 0, bytes(4)), 1),
    "a window too large": (frame(8, 0, 0, struct.pack("!L", 2**31 - 1)), 3),
    "a window of 3": (frame(8, 0, 0, bytes(3)), 6),
    "a window before its stream": (frame(8, 0, 9, struct.pack("!L", 5)), 1),
    "a reset before its stream": (frame(3, 0, 9, bytes(4)), 1),
    "a reset of 3": (CALL + frame(3, 0, 1, bytes(3)), 6),
    "a priority of 4": (CALL + frame(2, 0, 1, bytes(4)), 6),
    "a short goaway": (frame(7, 0, 0, bytes(4)), 6),
    "a continuation of nothing": (frame(9, 4, 1, b""), 1),
    "headers not continued": (frame(1, 0, 1, b"") + frame(6, 0, 0, bytes(8)), 1),
    "another's continuation": (frame(1, 0, 1, b"") + frame(9, 4, 3, b""), 1),
    "headers within a call": (CALL + CALL, 1),
    "more padding than data": (CALL + frame(0, 8, 1, b"\x05abc"), 1),
    "padding without data": (CALL + frame(0, 8, 1), 1),
    "headers without priority": (frame(1, 0x24, 1, b"abc"), 6),
    "an index beyond the table": (frame(1, 4, 1, b"\xff\x80\x01"), 9),
    "index 0": (frame(1, 4, 1, b"\x80"), 9),
    "a huge number": (frame(1, 4, 1, b"\xff" * 30), 9),
    "headers cut off": (frame(1, 4, 1, block()[:-3]), 9),
    "a table too large": (frame(1, 4, 1, b"\x3f\xe1\xff\x03"), 9),
    "a bad Huffman code": (frame(1, 4, 1, b"\x00\x81\x00\x84\xff\xff\xff\xff"), 9),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_the_protocol_ends_the_connection(toy: Toy, case: str) -> None:
    data, code = BROKEN[case]
    connection = toy.raw(data)
    if case == "HTTP/1.1":
        connection.close()
        connection = socket.create_connection(("127.0.0.1", toy.port), timeout=5)
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert goaway(connection) == code


def test_settings_come_first(toy: Toy) -> None:
    connection = socket.create_connection(("127.0.0.1", toy.port), timeout=5)
    connection.sendall(PREFACE + CALL)
    assert goaway(connection) == 1


def flood(toy: Toy, data: bytes, *, times: int = 2000) -> int:
    """The code that ends a connection on which `data` is sent again and again."""
    connection = toy.raw()
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            connection.sendall(data)
    return goaway(connection)


@pytest.mark.parametrize(
    "data",
    [
        frame(6, 0, 0, bytes(8)),
        frame(4, 0, 0, struct.pack("!HL", 4, 70_000)),
        frame(2, 0, 1, bytes(5)),
        frame(77, 0, 1, bytes(5)),
    ],
    ids=["ping", "settings", "priority", "unknown"],
)
def test_a_flood_of_small_frames_is_ended(toy: Toy, data: bytes) -> None:
    assert flood(toy, data * 10) == 11


def test_a_flood_of_empty_data_is_ended(toy: Toy) -> None:
    assert goaway(toy.raw(CALL + frame(0, 0, 1) * 2000)) == 11


def test_a_flood_of_continuations_is_ended(toy: Toy) -> None:
    assert goaway(toy.raw(frame(1, 0, 1, b"") + frame(9, 0, 1, b"") * 200)) == 11
    assert goaway(toy.raw(frame(1, 0, 1, b"") + frame(9, 0, 1, b"\x00" * 60_000) * 5)) == 11


def test_rapid_resets_are_ended(toy: Toy) -> None:
    head = block()
    data = b"".join(frame(1, 4, at, head) + frame(3, 0, at, bytes(4)) for at in range(1, 8001, 2))
    assert goaway(toy.raw(data)) == 11


def test_a_header_bomb_is_ended(toy: Toy) -> None:
    bomb = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 12_000  # one entry of 4000 bytes, 12,000 times
    assert goaway(toy.raw(frame(1, 4, 1, bomb))) == 11


def test_headers_a_little_too_large_are_refused_alone(toy: Toy) -> None:
    with channel(toy) as open_channel:
        call = open_channel.unary_unary("/toy/Echo")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=5, metadata=(("big", "x" * 40_000),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(b"x", timeout=5) == b"x"


def test_a_client_that_reads_nothing_is_not_read_and_then_left(start: Callable[..., Toy]) -> None:
    toy = start(body_time=1.0)
    head = hpack.Encoder().encode([(n, "/toy/Big" if n == ":path" else v, True) for n, v in HEADERS])
    window = frame(8, 0, 0, struct.pack("!L", 2**31 - 70_000)) + frame(4, 0, 0, struct.pack("!HL", 4, 2**31 - 1))
    with toy.raw(window) as connection:
        connection.settimeout(8)
        before = toy.answered
        with pytest.raises((ConnectionError, TimeoutError)):
            for at in range(1, 2**20, 2):
                connection.sendall(frame(1, 4, at, head) + frame(0, 1, at, message(b"1000000")))
                time.sleep(0.001)
        assert toy.answered - before < 100


def test_what_does_not_come_in_time_is_ended(start: Callable[..., Toy]) -> None:
    toy = start(header_time=0.1, body_time=0.1, idle_time=0.2)
    slow = toy.raw(CALL + frame(0, 0, 1, b"\0"))
    preface = socket.create_connection(("127.0.0.1", toy.port), timeout=5)
    headers, idle = toy.raw(frame(1, 0, 1, b"")), toy.raw()
    assert status(answered(toy, slow, 1))["grpc-status"] == "4"
    assert [goaway(one) for one in (preface, headers, idle)] == [1, 1, 0]


def test_a_client_that_stops_reading_and_then_goes_on_is_answered_through_a_drain(start: Callable[..., Toy]) -> None:
    toy = start()
    head = hpack.Encoder().encode([(n, "/toy/Big" if n == ":path" else v, True) for n, v in HEADERS])
    window = frame(8, 0, 0, struct.pack("!L", 2**31 - 70_000)) + frame(4, 0, 0, struct.pack("!HL", 4, 2**31 - 1))
    with toy.raw(window + frame(1, 4, 1, head) + frame(0, 1, 1, message(b"12000000"))) as connection:
        while not toy.answered:
            time.sleep(0.01)
        drained = toy.drain()
        time.sleep(0.5)
        found = frames(connection)
    drained.result(10)
    assert sum(len(payload) for kind, _, _, payload in found if kind == 0) == 12_000_005
    assert [payload[4:8] for kind, _, _, payload in found if kind == 7] == [bytes(4)] * 2


def test_fuzz_leaves_the_server_well(toy: Toy) -> None:
    dice = random.Random(20)
    good = CALL + frame(0, 1, 1, message(b"fine")) + frame(6, 0, 0, bytes(8)) + frame(8, 0, 0, b"\0\0\1\0")
    for _ in range(1500):
        way = dice.randrange(3)
        if way == 0:
            data = dice.randbytes(dice.randrange(200))
        elif way == 1:
            data = b"".join(
                frame(dice.randrange(11), dice.randrange(256), dice.randrange(6), dice.randbytes(dice.randrange(40)))
                for _ in range(dice.randrange(1, 12))
            )
        else:
            mutable = bytearray(good * dice.randrange(1, 3))
            for _ in range(dice.randrange(1, 6)):
                mutable[dice.randrange(len(mutable))] = dice.randrange(256)
            data = bytes(mutable)
        with toy.raw(data) as connection:
            connection.shutdown(socket.SHUT_WR)
            frames(connection)
    assert not toy.errors
    with channel(toy) as open_channel:
        assert open_channel.unary_unary("/toy/Echo")(b"well", timeout=5) == b"well"


def test_a_drain_loses_no_call_and_ends_soon(start: Callable[..., Toy]) -> None:
    first, second = start(), start()
    stop = threading.Event()
    policy = '{"loadBalancingConfig": [{"round_robin": {}}]}'
    target = f"ipv4:{first.address},{second.address}"
    options = [("grpc.service_config", policy), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options=options) as open_channel:
        slow, echo = open_channel.unary_unary("/toy/Slow"), open_channel.unary_unary("/toy/Echo")
        deadline = time.monotonic() + 5
        while not (first.answered and second.answered) and time.monotonic() < deadline:
            echo(b"", timeout=5)

        done = [0] * 8

        def load(lane: int) -> None:
            while not stop.is_set():
                assert echo(b"x", timeout=5) == b"x"
                assert slow(b"0.02", timeout=5) == b"slow"
                done[lane] += 2

        def more(lanes: Sequence[Future[None]], calls: int) -> None:
            """Until every lane has made so many calls more."""
            goal = [each + calls for each in done]
            while any(had < wanted for had, wanted in zip(done, goal, strict=True)):
                assert not any(lane.done() for lane in lanes), "a call was lost"
                time.sleep(0.01)

        with ThreadPoolExecutor(8) as pool:
            lanes = [pool.submit(load, lane) for lane in range(8)]
            try:
                more(lanes, 6)
                begun = time.monotonic()
                first.drain().result(10)
                took = time.monotonic() - begun
                more(lanes, 6)
            finally:
                stop.set()
            for lane in lanes:
                lane.result()
    assert took < 3
    assert not first.endpoint.connections
