"""Clients of HTTP/1.0 that keep their connection: `ab -k`, and the same bytes from here where it is not installed."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

INFER = "/v2/models/orders/infer"


def ab(url: str, requests: int, body: bytes = b"") -> int:
    """Requests that one connection answered, read as `ab -k` reads them: no keep-alive without both words, no body without its length."""
    place = urlsplit(url)
    host = f"{place.hostname}:{place.port}"
    kind = b"POST" if body else b"GET"
    lines = [kind + b" %b HTTP/1.0" % place.path.encode(), b"Connection: Keep-Alive"]
    lines += [b"Content-length: %d" % len(body), b"Content-type: application/json"] if body else []
    lines += [b"Host: %b" % host.encode(), b"User-Agent: ApacheBench/2.3", b"Accept: */*"]
    sent = b"\r\n".join(lines) + b"\r\n\r\n" + body
    done = 0
    with socket.create_connection((place.hostname, place.port or 80), timeout=10) as connection:
        for _ in range(requests):
            connection.sendall(sent)
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(8192)
            head, _, rest = data.partition(b"\r\n\r\n")
            assert re.match(rb"HTTP/1\.[01] 200 ", head), head
            assert re.search(rb"(?i)\r\nconnection: keep-alive", head), head
            assert b"transfer-encoding" not in head.lower()
            (length,) = re.findall(rb"(?i)\r\ncontent-length: (\d+)", head)
            while len(rest) < int(length):
                rest += connection.recv(8192)
            assert len(rest) == int(length)
            done += 1
    return done


def test_the_bytes_of_ab_on_one_connection(url: str, bodies: tuple[Path, Path]) -> None:
    """Row B22."""
    assert ab(f"{url}/v2/health/ready", 50) == 50
    assert ab(url + INFER, 50, bodies[0].read_bytes()) == 50


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ab") is None, reason="no ab (apache2-utils)")
def test_ab(url: str, bodies: tuple[Path, Path]) -> None:
    """Row B22, as it was reported."""
    for more in ((), ("-p", str(bodies[0]), "-T", "application/json")):
        path = INFER if more else "/v2/health/ready"
        done = subprocess.run(
            ["ab", "-k", "-n", "50", "-c", "1", *more, url + path], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"Failed requests: +0\n", done.stdout)
        assert re.search(r"Keep-Alive requests: +50\n", done.stdout)


def test_a_client_of_http_1_0_that_names_no_host_is_answered_and_closed(url: str) -> None:
    """Health checkers of load balancers send no more than that."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port or 80), timeout=10) as connection:
        connection.sendall(b"GET %b/v2/health/ready HTTP/1.0\r\n\r\n" % place.path.encode())
        answer = b"".join(iter(lambda: connection.recv(8192), b""))
    assert re.match(rb"HTTP/1\.[01] 200 ", answer)
    assert answer.endswith(b'{"ready":true}')
