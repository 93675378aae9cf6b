"""What every page of ours says to a browser, and who asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from hallmark.errors import HallmarkError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOMAINS_HEADER = "x-hallmark-domains"
"""Domains of who asks, apart by commas: the gateway sets it, and takes away what a client sends."""
PERSON_HEADER = "kubeflow-userid"
"""Who asks, as their token proved: the gateway sets it, and takes away what a client sends."""
LOOPBACK = ("127.0.0.1", "localhost")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Headers:
    """What every answer says, whoever gave it.   images: the page shows some of its own."""

    def __init__(self, app: ASGIApp, *, images: bool = False) -> None:
        self._app = app
        self._headers = {"content-security-policy": _POLICY + ("; img-src 'self'" if images else ""), **_HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


class NotMember(HallmarkError):
    """Nobody has said who asks, or whose domains may be seen."""


def allowed_domains(request: Request) -> frozenset[str]:
    """The domains that the gateway says; `NotMember` where it says none."""
    said = _said(request, DOMAINS_HEADER, "nobody has said whose domains may be seen")
    return frozenset(each.strip() for each in said.split(",") if each.strip())


def person(request: Request) -> str:
    """Who asks, as the gateway says; `NotMember` where it does not."""
    return _said(request, PERSON_HEADER, "nobody has said who asks").strip()


def _said(request: Request, header: str, message: str) -> str:
    said = request.headers.getlist(header)
    if len(said) != 1 or not said[0].strip():
        raise NotMember(
            message,
            expected=f"a request that came through the gateway, which says it in {header}",
            got="none" if not said else "another",
            fix="open this page at the platform's host, with an account that is a member of a domain",
        )
    return said[0]
