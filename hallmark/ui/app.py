"""The application of `hallmark ui`: pages and a stream of events, to be read only.

Behind the shared gateway a request comes with the header x-hallmark-domains, in which the gateway says what its token proved
(manifests/platform/gateway/tenants.yaml); without it nothing is told. On one's own machine a request has to name this machine as its host,
so that no page from elsewhere reads this one under a name of its own that it points here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from hallmark import page
from hallmark.errors import HallmarkError, NotFound, foreseen
from hallmark.rollout.chart import SIGNS
from hallmark.ui.guard import LOOPBACK, Headers, NotMember, allowed_domains

if TYPE_CHECKING:
    from hallmark.ui.gather import Gatherer
    from hallmark.ui.snapshot import Snapshot

_STREAMS = 100
_LONGEST = 300.0
"""Seconds after which a stream ends and the browser begins another, so that who may see is asked again."""
_PAUSE, _STEP, _ALIVE = 1.0, 0.25, 15.0
_WORDS = 100
_NEWEST = 25
_SCRIPT = Path(__file__).with_name("live.js")


def app(
    gatherer: Gatherer,
    *,
    shared: bool = False,
    prefix: str = "",
    ending: Callable[[], bool] = lambda: False,
    zone: tzinfo | None = None,
) -> Starlette:
    """The application.

    shared: behind the gateway, so that each request sees the domains of its header alone.   prefix: path that it stands under, such as /ui.
    ending: is the server about to stop? Streams end then.   zone: of times; this machine's by default.
    """
    site = _Site(gatherer, shared=shared, prefix=prefix, ending=ending, zone=zone)
    hosts = ["*"] if shared else list(LOOPBACK)
    routes = [
        Route(f"{prefix}/", site.index),
        Route(f"{prefix}/domain/{{name}}", site.domain),
        Route(f"{prefix}/timeline", site.timeline),
        Route(f"{prefix}/compare", site.compare),
        Route(f"{prefix}/events", site.events),
        Route(f"{prefix}/live.js", site.script),
        Route("/healthz", lambda _: PlainTextResponse("ok")),
    ]
    if prefix:
        routes.append(Route(prefix, lambda _: RedirectResponse(f"{prefix}/")))
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers={HallmarkError: site.failed, 404: site.nowhere},
    )


class _Site:
    def __init__(
        self, gatherer: Gatherer, *, shared: bool, prefix: str, ending: Callable[[], bool], zone: tzinfo | None
    ) -> None:
        self._gatherer, self._shared, self._prefix = gatherer, shared, prefix
        self._ending, self._zone = ending, zone
        self._streams = 0
        self._templates = page.environment({"clock": self._clock})

    def index(self, request: Request) -> Response:
        """All domains that whoever asks may see."""
        seen = self._seen(request)
        return self._html(
            "ui/index.html",
            snapshot=seen,
            mark=seen.mark(),
            trainings=sorted(
                ((training, each.name) for each in seen.domains for training in each.trainings[:10]),
                key=lambda pair: pair[0].at,
                reverse=True,
            )[:10],
            happened=sorted(
                ((entry, each.name) for each in seen.domains for entry in each.entries.value[-20:]),
                key=lambda pair: pair[0].at,
                reverse=True,
            )[:20],
        )

    def domain(self, request: Request) -> Response:
        """One domain."""
        seen = self._seen(request)
        name = request.path_params["name"]
        found = seen.domain(name)
        if found is None:
            raise _no_domain(name)
        return self._html("ui/domain.html", snapshot=seen, domain=found, mark=seen.mark(name), newest=_NEWEST)

    def timeline(self, request: Request) -> Response:
        """The history of a domain with its chart, as `hallmark timeline --html` draws it."""
        from hallmark.rollout.page import page as drawn

        name, made = self._named(request), datetime.now(UTC)
        zone = self._zone or made.astimezone().tzinfo or UTC
        return HTMLResponse(drawn(self._gatherer.timeline(name), domain=name, made=made, zone=zone))

    def compare(self, request: Request) -> Response:
        """Two trainings of a domain, as `hallmark compare --out` writes them."""
        from hallmark.registry import comparison, comparison_page
        from hallmark.registry.store import Registry

        name = self._named(request)
        a, b = (request.query_params.get(each, "").strip() for each in ("a", "b"))
        if not a or not b or max(len(a), len(b)) > _WORDS:
            raise NotFound(
                "two trainings are needed",
                expected="a version, an alias or a run for each of a and b",
                got=f"a={a[:_WORDS]} b={b[:_WORDS]}",
                fix=f"choose both on the page of {name}",
            )
        metrics = self._gatherer.domain(name).task.metrics()
        found = comparison.compare(name, a, b, Registry(self._gatherer.settings), metrics)
        return HTMLResponse(comparison_page.filled(found))

    async def events(self, request: Request) -> Response:
        """A stream that says when what a page shows has changed, and to which mark."""
        allowed = self._allowed(request)
        if self._streams >= _STREAMS:
            return PlainTextResponse("too many pages are open", status_code=503, headers={"retry-after": "10"})
        told = self._told(lambda: self._gatherer.snapshot().seen_by(allowed), request.query_params.get("domain", ""))
        return StreamingResponse(told, media_type="text/event-stream")

    async def _told(self, look: Callable[[], Snapshot], name: str) -> AsyncIterator[str]:
        self._streams += 1
        began = alive = time.monotonic()
        mark = ""
        try:
            yield "retry: 2000\n\n"
            while not self._ending() and time.monotonic() - began < _LONGEST:
                found = await run_in_threadpool(lambda: look().mark(name))
                if found != mark:
                    mark, alive = found, time.monotonic()
                    yield f"event: mark\ndata: {mark}\n\n"
                elif time.monotonic() - alive > _ALIVE:
                    alive = time.monotonic()
                    yield ": still here\n\n"
                until = time.monotonic() + _PAUSE
                while time.monotonic() < until and not self._ending():
                    await asyncio.sleep(_STEP)
        finally:
            self._streams -= 1

    def script(self, _: Request) -> Response:
        """The one script, which follows the stream."""
        return Response(_SCRIPT.read_bytes(), media_type="text/javascript")

    def failed(self, _: Request, error: Exception) -> Response:
        """A page that tells an error of ours."""
        status = 403 if isinstance(error, NotMember) else 404 if isinstance(error, NotFound) else 500
        return self._html("ui/error.html", status=status, told=foreseen(error))

    def nowhere(self, request: Request, _: Exception) -> Response:
        """A page for an address that there is not."""
        return self.failed(request, NotFound("there is no such page", fix="go back to all domains"))

    def _allowed(self, request: Request) -> frozenset[str] | None:
        """Domains of whoever asks; None where they are everybody's."""
        return allowed_domains(request) if self._shared else None

    def _seen(self, request: Request) -> Snapshot:
        allowed = self._allowed(request)
        return self._gatherer.snapshot().seen_by(allowed)

    def _named(self, request: Request) -> str:
        """The domain of the query, once it is one that may be seen."""
        name = request.query_params.get("domain", "")
        if self._seen(request).domain(name) is None:
            raise _no_domain(name)
        return name

    def _html(self, template: str, *, status: int = 200, **values: Any) -> Response:
        text = self._templates.get_template(template).render(
            base=self._prefix, zone=self._zone_name(), signs=SIGNS, **values
        )
        return HTMLResponse(text, status_code=status)

    def _clock(self, at: datetime) -> str:
        return at.astimezone(self._zone).strftime("%Y-%m-%d %H:%M")

    def _zone_name(self) -> str:
        return datetime.now(UTC).astimezone(self._zone).tzname() or "local"


def _no_domain(name: str) -> NotFound:
    """The same for one that there is not and one that is another team's."""
    return NotFound(
        "there is no such domain here",
        expected="one of those on the first page",
        got=repr(name[:_WORDS]),
        fix="go back to all domains",
    )
