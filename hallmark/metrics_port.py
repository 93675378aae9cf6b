"""A port of a program that runs for long: /metrics for Prometheus, and /live for whoever starts it anew where it hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from hallmark.errors import HallmarkError


class Program(Protocol):
    """What is asked; from any thread."""

    @property
    def alive(self) -> bool:
        """Does its work go on?"""

    def text(self) -> str:
        """Its metrics in Prometheus's text format."""


@contextmanager
def serving(program: Program, *, port: int, host: str = "0.0.0.0") -> Iterator[int]:  # noqa: S104  a pod is reached from outside
    """Answers /metrics, and /live with 503 where the program hangs; gives the port (0 takes any free one).

    `HallmarkError` where the port cannot be listened on.
    """

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, program.text())
            elif self.path == "/live":
                alive = program.alive
                self._answer(200 if alive else 503, "alive\n" if alive else "no sign of life for long\n")
            else:
                self._answer(404, "there is /metrics and /live\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """A scrape is no news."""

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    try:
        server = ThreadingHTTPServer((host, port), Answers)
    except OSError as error:
        raise HallmarkError(
            f"port {port} cannot be listened on", got=str(error.strerror or error), fix="take another --metrics-port"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
