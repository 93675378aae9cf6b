"""HTTP/1.1 read as h11 reads it: what both take is the same request, and what only one takes has its reason here."""

from __future__ import annotations

import itertools
import re
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_services.transport.endpoint import ConnectionLimits, Endpoint
from inference_services.transport.http1 import Http1Connection, HttpResponse

Request = tuple[bytes, bytes, dict[bytes, bytes], bytes]
"""Method, path, headers (those of one name as one list) and body."""
LAXER = (
    (
        "no request line|illegal request line",
        rb"(\A|\r\n)[\r\n]+[A-Z]",
        "empty lines before a request are skipped (RFC 9112, 2.2)",
    ),
    ("illegal request line", rb"[A-Z] {2,}[!-~]", "any number of spaces parts method and target (RFC 9112, 3)"),
    (
        "illegal request line",
        rb" (RTSP|ICE)/1\.[01]\r\n",
        "llhttp knows the lines of RTSP and ICE; where they end is the same",
    ),
    ("bad Content-Length|illegal chunk", rb"0{17}", "zeros before a length, more than the digits that h11 reads"),
    ("closed", rb"HTTP/1\.0\r\n", "a kept connection of HTTP/1.0, which h11 always closes"),
)
"""What h11 refuses and we take: its words, a pattern that is in the bytes, and why."""


class Client:
    """The transport of a connection whose other end is this test."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the end"
        self.sent += data

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        assert not self.closed
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def ours(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[Request], list[int]]:
    """Requests that the server takes of these bytes, and the statuses of its answers; the bytes may come cut anywhere."""
    taken: list[Request] = []

    def handler(request: Any, reply: Any) -> None:
        taken.append((request.method, request.path, request.headers, request.body))
        reply(HttpResponse(200))

    client: Any = Client()
    connection = Http1Connection(Endpoint(limits=ConnectionLimits()), handler)
    connection.connection_made(client)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        connection.data_received(data[begin:end])
    return taken, [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", client.sent) if status != b"100"]


def theirs(data: bytes) -> tuple[list[Request], str]:
    """Requests that h11 takes of these bytes, and how it ends."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    connection.receive_data(data)
    connection.receive_data(b"")
    taken: list[Request] = []
    head, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return taken, str(error)
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers: dict[bytes, bytes] = {}
            for name, value in head.headers:
                headers[name] = value if name not in headers else headers[name] + b", " + value
            taken.append((head.method, _path(head.target), headers, body))
            status = 400 if head.method == b"CONNECT" else 200
            connection.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return taken, "closed"
            connection.start_next_cycle()
        else:
            return taken, "ended"


def _path(target: bytes) -> bytes:
    path = target.partition(b"?")[0]
    return path if path.startswith(b"/") else re.sub(rb"(?i)^https?://[^/?]*", b"", path) or b"/"


def agree(data: bytes, cuts: tuple[int, ...] = ()) -> None:
    """Both read the same, or one is stricter and says so, or there is a reason."""
    (mine, statuses), (reference, end) = ours(data, cuts), theirs(data)
    assert len(statuses) in (len(mine), len(mine) + 1), "one answer a request, and one refusal at most"
    refused = len(statuses) > len(mine)
    assert all(status == 200 for status in statuses[: len(mine)])
    assert not refused or statuses[-1] >= 400
    both = min(len(mine), len(reference))
    for one, other in zip(mine[:both], reference[:both], strict=True):
        assert one == (*other[:2], _as_sent(other[2], one[2]), other[3])
    if len(reference) > both:
        assert refused, f"h11 takes {reference[both]}; no answer"
    elif len(mine) > both:
        reasons = [why for words, pattern, why in LAXER if re.search(words, end) and re.search(pattern, data)]
        assert reasons, f"h11: {end}; taken here: {mine[both:]}"


def _as_sent(headers: dict[bytes, bytes], sent: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """h11 writes lengths and codings its own way, and keeps an offer to upgrade that is not taken here."""
    own = {name: sent[name] for name in (b"content-length", b"transfer-encoding") if name in sent and name in headers}
    offer = {b"upgrade"} - sent.keys()
    return {name: own.get(name, value) for name, value in headers.items() if name not in offer}


CODINGS = [
    "chunked",
    "Chunked",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "xchunked",
    "chunked\x0b",
    "",
    "chunked, chunked",
]
names = st.sampled_from(
    [
        "host",
        "x-a",
        "accept",
        "connection",
        "expect",
        "upgrade",
        "content-length",
        "transfer-encoding",
        "X_b",
        "x a",
        "",
        "te",
    ]
)
values = st.sampled_from(
    [
        "x",
        "close",
        "keep-alive",
        "Upgrade, HTTP2-Settings",
        "h2c",
        "100-continue",
        "3",
        "4",
        "0",
        "00003",
        "3, 3",
        "+3",
        "-1",
        "0x3",
        "3 ",
        "\t3\t",
        "1e1",
        *CODINGS,
    ]
) | st.text(st.characters(max_codepoint=255), max_size=6)
breaks = st.sampled_from(["\r\n"] * 30 + ["\n", "\r", "\r\r\n", "\r\n ", "\r\n\t", " \r\n", "\x00\r\n"])
colons = st.sampled_from([": "] * 20 + [":", " : ", ":\t", "\t:", ":  ", "", ";"])
chunks = st.sampled_from(
    ["3\r\nabc\r\n"] * 6
    + ["3;x=y\r\nabc\r\n", '3;x="y\r\nabc\r\n', "3;\nabc\r\n", "3 \r\nabc\r\n", "0x3\r\nabc\r\n", "+3\r\nabc\r\n", "3\nabc\n", "3\r\nabcd\r\n"]
    + ["000003\r\nabc\r\n", "3\r\nabc", "A\r\n0123456789\r\n", "3;a\x00b\r\nabc\r\n", "fffffffffffffffff\r\nabc\r\n"]
)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One request as a client might write it, or as one who wants two readers to differ."""
    method = draw(
        st.sampled_from(["GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "CONNECT", "FOO", "post", "SOURCE", "PRI"])
    )
    target = draw(
        st.sampled_from(
            ["/a", "/a", "/", "/a?b=c", "/a#b", "http://x/a", "HTTPS://x?y", "*", "x:80", "a", "/\xff", "/ b", "//a"]
        )
    )
    version = draw(
        st.sampled_from(
            ["HTTP/1.1"] * 9 + ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.10", "RTSP/1.0", ""]
        )
    )
    space = draw(st.sampled_from([" "] * 12 + ["  ", "\t", "\x0b"]))
    lines = [f"{method}{space}{target} {version}"]
    lines += ["host: x"] * draw(st.sampled_from([1] * 12 + [0, 2]))
    lines += [f"{draw(names)}{draw(colons)}{draw(values)}" for _ in range(draw(st.integers(0, 2)))]
    body = draw(st.sampled_from(["", "abc", "abc", "abcd"]))
    framing = draw(st.integers(0, 9))
    if framing < 6:
        lines.append(f"content-length{draw(colons)}{len(body)}")
    if framing in (0, 7, 8, 9):
        lines.append(f"transfer-encoding: {draw(st.sampled_from(['chunked'] * 8 + CODINGS))}")
        body = "".join(draw(st.lists(chunks, max_size=3)))
        body += draw(
            st.sampled_from(
                ["0\r\n\r\n"] * 6
                + [
                    "0\r\nx-t: y\r\n\r\n",
                    "0\r\nhost: y\r\n\r\n",
                    "0\r\ncontent-length: 9\r\n\r\n",
                    "0\n\n",
                    "00\r\n\r\n",
                    "",
                ]
            )
        )
    lines = draw(st.permutations(lines[1:])) if draw(st.booleans()) else lines[1:]
    head = f"{method}{space}{target} {version}" + draw(breaks) + "".join(line + draw(breaks) for line in lines)
    return (head + draw(breaks) + body).encode("latin-1")


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A few requests after one another, perhaps with some bytes changed, put in or left out."""
    data = bytearray(
        draw(st.sampled_from([b""] * 20 + [b"\r\n", b"\n"]))
        + b"".join(draw(st.lists(messages(), min_size=1, max_size=3)))
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        put = draw(
            st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\x00", b"\x0b", b",", b";", b"0"])
            | st.binary(min_size=1, max_size=2)
        )
        data[at : at + draw(st.integers(0, 2))] = put if draw(st.integers(0, 3)) else b""
    return bytes(data)


cuts = st.lists(st.integers(0, 400), max_size=3).map(tuple)


@pytest.mark.examples
@given(streams(), cuts)
def test_requests_are_read_as_h11_reads_them(data: bytes, cut: tuple[int, ...]) -> None:
    agree(data, cut)


HEAD = b"POST /a HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
REFUSED: dict[str, tuple[bytes, int]] = {
    "two lengths": (HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400),
    "one length twice": (HEAD + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc", 400),
    "a list of lengths": (HEAD + b"content-length: 3, 3\r\n\r\nabc", 400),
    "a length with a sign": (HEAD + b"content-length: +3\r\n\r\nabc", 400),
    "length and chunks": (HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
    "chunks and length": (HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
    "a coding before chunks": (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 501),
    "a coding behind chunks": (HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
    "chunks twice": (HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "another coding": (HEAD + b"transfer-encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 501),
    "chunks in HTTP/1.0": (CHUNKED.replace(b"/1.1", b"/1.0") + b"0\r\n\r\n", 400),
    "a folded line": (HEAD + b"x: a\r\n b\r\ncontent-length: 3\r\n\r\nabc", 400),
    "a folded coding": (HEAD + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "LF alone": (HEAD + b"x: a\ncontent-length: 3\r\n\r\nabc", 400),
    "LF alone at the end": (HEAD + b"content-length: 3\r\n\nabc", 400),
    "CR alone": (HEAD + b"x: a\rcontent-length: 3\r\n\r\nabc", 400),
    "a space before a colon": (HEAD + b"content-length : 3\r\n\r\nabc", 400),
    "a tab before a colon": (HEAD + b"transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", 400),
    "no name": (HEAD + b": a\r\n\r\n", 400),
    "NUL": (HEAD + b"x: a\0b\r\n\r\n", 400),
    "LF in a chunk's extension": (CHUNKED + b"3;a\nabc\r\n0\r\n\r\n", 400),
    "CR in a chunk's extension": (CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk's size in hex digits with 0x": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk longer than it says": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    "a chunk beyond 64 bits": (CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
    "a length behind chunks": (CHUNKED + b"0\r\ncontent-length: 3\r\n\r\nabc", 400),
    "no host": (b"POST /a HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 400),
    "two hosts": (HEAD + b"host: y\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /a\r\n\r\n", 505),
    "HTTP/2.0 in text": (b"GET /a HTTP/2.0\r\nhost: x\r\n\r\n", 505),
    "too long by its last digits": (HEAD + b"content-length: 0000000000000000000000000099999999\r\n\r\n", 413),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_two_readers_might_read_in_two_ways_is_refused_and_ends_the_connection(case: str) -> None:
    data, status = REFUSED[case]
    for cut in ((), tuple(range(0, len(data), 7))):
        assert ours(data + b"GET /inside HTTP/1.1\r\nhost: x\r\n\r\n", cut) == ([], [status])


@pytest.mark.parametrize(
    ("data", "path", "headers", "body"),
    [
        (CHUNKED + b'3;a=b\r\nabc\r\n1;c="d"\r\nd\r\n0\r\n\r\n', b"/a", {b"transfer-encoding": b"chunked"}, b"abcd"),
        (CHUNKED + b"0\r\nhost: y\r\nx-t: 1\r\n\r\n", b"/a", {b"transfer-encoding": b"chunked"}, b""),
        (HEAD + b"accept: a\r\nx: 1\r\nAccept: b\r\n\r\n", b"/a", {b"accept": b"a, b", b"x": b"1"}, b""),
        (b"\r\n" + HEAD + b"\r\n", b"/a", {}, b""),
        (HEAD + b"x:\t a b \t\r\ncontent-length:3 \r\n\r\nabc", b"/a", {b"x": b"a b", b"content-length": b"3"}, b"abc"),
        (HEAD.replace(b"/a", b"http://x/a?b") + b"\r\n", b"/a", {}, b""),
        (HEAD.replace(b"/a", b"HTTP://x") + b"\r\n", b"/", {}, b""),
        (HEAD + b"content-length: 0000000000000000000000000003\r\n\r\nabc", b"/a", {b"content-length": b"0" * 27 + b"3"}, b"abc"),
    ],
    ids=["extensions", "trailers", "lists", "an empty line", "spaces around values", "absolute", "absolute without a path", "zeros"],
)  # fmt: skip
def test_what_is_odd_and_clear_is_read(data: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
    for cut in ((), tuple(range(0, len(data), 7))):
        assert ours(data, cut) == ([(b"POST", path, {b"host": b"x", **headers}, body)], [200])


def test_the_comparison_finds_a_reader_that_lets_a_request_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our own checks, bytes that h11 refuses would be taken."""
    monkeypatch.setattr(Http1Connection, "_fault", lambda self: None)
    with pytest.raises(AssertionError, match="taken here"):
        agree(REFUSED["a coding before chunks"][0])
