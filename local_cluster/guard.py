"""Access to the API, for programs of this user only. A token, and no way in for a page in a browser.

A page can send requests to 127.0.0.1 under a name of its own (DNS rebinding) or blindly across origins: so the Host has to
be a loopback name, and anything that carries a browser's Origin is refused, before the token is read.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import TYPE_CHECKING

from local_cluster.problems import ApiProblem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = frozenset({"/healthz", "/livez", "/readyz"})
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")


class Guard:
    """Refuses before the app sees the request: 403 for foreign hosts and origins, 401 without the token."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self.app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        problem = self._problem(scope)
        if problem is None:
            await self.app(scope, receive, send)
            return
        body = json.dumps(problem.status()).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": problem.code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _problem(self, scope: Scope) -> ApiProblem | None:
        headers: dict[bytes, list[bytes]] = {}
        for key, value in scope["headers"]:
            headers.setdefault(key.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].decode("latin-1").lower()):
            return ApiProblem("Forbidden", "forbidden: this API answers to loopback names only")
        if b"origin" in headers or b"sec-fetch-site" in headers:
            return ApiProblem("Forbidden", "forbidden: this API does not answer to browsers")
        if scope["path"] in OPEN:
            return None
        given = headers.get(b"authorization", [])
        if len(given) != 1 or not hmac.compare_digest(given[0], self._expected):
            return ApiProblem("Unauthorized", "Unauthorized")
        return None
