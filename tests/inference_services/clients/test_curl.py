"""curl in the ways in which scripts, health checks and load balancers use it, against the server and the gateway."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from served import Server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")]
INFER, MODEL = "/v2/models/orders/infer", "/v2/models/orders"
JSON = ("-H", "Content-Type: application/json")


def curl(*arguments: str, body: bytes | None = None) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of every final answer."""
    done = subprocess.run(
        ["curl", "-sS", "-i", "--max-time", "30", *arguments], input=body, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    found, data = [], done.stdout
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        code = int(status.split()[1])
        if code < 200:
            continue
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        length = 0 if "-I" in arguments else int(headers.get("content-length", len(data)))
        found.append((code, headers, data[:length]))
        data = data[length:]
    return found


def score(body: bytes) -> int:
    return int(json.loads(body)["outputs"][0]["shape"][0])


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--http1.0",),
        ("--http1.0", "-H", "Connection: keep-alive"),
        ("--http2",),
        ("-H", "Expect: 100-continue"),
        ("-H", "Transfer-Encoding: chunked"),
        ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"),
        ("-H", "Range: bytes=0-9"),
        ("--compressed",),
        ("-H", "Content-Type: application/json; charset=utf-8"),
    ],
    ids=" ".join,
)
def test_a_request_is_answered_however_curl_is_told_to_send_it(
    url: str, bodies: tuple[Path, Path], flags: tuple[str, ...]
) -> None:
    """Rows B22 and P6. A range is of no meaning to a POST, and the whole answer comes (RFC 9110, 14.2)."""
    kind = () if any("Content-Type" in flag for flag in flags) else JSON
    ((code, _, body),) = curl(*kind, *flags, "--data-binary", f"@{bodies[0]}", url + INFER)
    assert (code, score(body)) == (200, 1)


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
def test_several_requests_of_one_command(url: str, bodies: tuple[Path, Path], version: str) -> None:
    """Row B22: on one connection where it is kept; with --next, each with its own head."""
    one = [version, *JSON, "-H", "Connection: keep-alive", "--data-binary", f"@{bodies[0]}", url + INFER]
    found = curl(*one, "--next", "-sS", "-i", *one, "--next", "-sS", "-i", *one)
    assert [(code, score(body)) for code, _, body in found] == [(200, 1)] * 3


def test_http_2_without_an_upgrade_is_the_gateways_alone(gateway: int, orders: Server) -> None:
    ((code, _, _),) = curl("--http2-prior-knowledge", f"http://127.0.0.1:{gateway}/serving/orders/orders{MODEL}")
    assert code == 200
    refused = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", orders.url + MODEL], capture_output=True)
    assert refused.returncode != 0, "docs/decisions/0022"


def test_compression_both_ways(url: str, bodies: tuple[Path, Path], tmp_path: Path) -> None:
    """Row B12: a body in gzip goes in, a large answer in gzip comes out and is opened."""
    packed = tmp_path / "large.json.gz"
    packed.write_bytes(gzip.compress(bodies[1].read_bytes()))
    sent = (*JSON, "-H", "Content-Encoding: gzip", "--data-binary", f"@{packed}", url + INFER)
    raw = curl("-H", "Accept-Encoding: gzip", *sent)[0]
    assert raw[1]["content-encoding"] == "gzip"
    assert score(gzip.decompress(raw[2])) == 3000
    opened = subprocess.run(["curl", "-sS", "--compressed", *sent], capture_output=True, timeout=60, check=True).stdout
    assert score(opened) == 3000


def test_head_options_and_slashes(url: str, bodies: tuple[Path, Path]) -> None:
    """Row B35."""
    ((code, headers, _),) = curl("-I", url + MODEL)
    ((_, whole, body),) = curl(url + MODEL)
    assert (code, headers["content-length"]) == (200, whole["content-length"])
    assert int(whole["content-length"]) == len(body)
    for method, path, status, allow in (
        ("OPTIONS", INFER, 405, "POST"),
        ("OPTIONS", MODEL, 405, "GET, HEAD"),
        ("DELETE", MODEL, 405, "GET, HEAD"),
        ("GET", INFER, 405, "POST"),
        ("POST", f"{INFER}/", 404, None),
        ("GET", f"{MODEL}/", 404, None),
        ("GET", "/favicon.ico", 404, None),
    ):
        ((code, headers, body),) = curl("-X", method, url + path)
        assert (code, headers.get("allow")) == (status, allow), (method, path)
        assert json.loads(body)["error"]


def test_what_the_gateway_says_itself_is_json_with_a_reason(gateway: int) -> None:
    """Rows P6 and B35: no path of it is 403, which reads as a matter of rights."""
    base = f"http://127.0.0.1:{gateway}"
    socket = ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket")
    for flags, path, status in (
        ((), "/", 404),
        (socket, "/", 404),
        (("--http1.0",), "/serving/nobody/nobody/v2", 404),
        (("-X", "DELETE"), "/serving", 404),
        (("--request-target", "*", "-X", "OPTIONS"), "/", 404),
        (("-H", "Host;"), "/", 404),
        (("-H", "Host:"), "/", 400),
    ):
        ((code, _, body),) = curl(*flags, base + path)
        told = json.loads(body)
        assert (code, told["code"]) == (status, status), (flags, path)
        assert told["error"] or told["reason"]
