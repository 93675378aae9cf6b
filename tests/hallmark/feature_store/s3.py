"""S3 as moto's server has it, one request at a time, so that a condition and its write are one; and what goes wrong on the way to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-central-1"
Environ = dict[str, Any]


class S3:
    """A server. asked: method, path and range of each request.   refuse: S3's code for a request, "" where it is answered.

    cut: how many bytes of an answer's body arrive; all where it is none.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, str], str] = lambda method, path: ""
        self.cut: Callable[[str, str], int | None] = lambda method, path: None
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.port}"

    def _answer(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked.append((method, path, environ.get("HTTP_RANGE", "")))
        if code := self.refuse(method, path):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{'404 Not Found' if code == 'NoSuchBucket' else '403 Forbidden'}", [("Content-Type", "text/xml")])
            return [f"<Error><Code>{code}</Code><Message>said so</Message></Error>".encode()]
        with self._lock:
            whole = b"".join(self._app(environ, start))
        some = self.cut(method, path)
        return [whole if some is None else whole[:some]]

    def client(self) -> Any:
        return boto3.client("s3", region_name=REGION, endpoint_url=self.url)

    def address(self, bucket: str, prefix: str = "features/offline") -> str:
        return f"s3://{bucket}/{prefix}?region={REGION}&endpoint={self.url}"

    def calm(self) -> None:
        """From here on nothing goes wrong, and nothing was asked."""
        self.asked.clear()
        self.refuse = lambda method, path: ""
        self.cut = lambda method, path: None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        """Tests print nothing."""


@contextlib.contextmanager
def serving() -> Iterator[S3]:
    """A server, and an environment in which boto3 may ask it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("NO_PROXY", "*")):
            patch.setenv(name, value)
        server = S3()
        try:
            yield server
        finally:
            server.close()
