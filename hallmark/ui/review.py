"""The application of `hallmark reviews page`: one case after the other, for the person who asks.

Who that is comes from the command (on one's own machine) or from the gateway's header (shared), never from what the page sends. What changes
something is a POST with a header of its own, which no page from elsewhere can send; hosts and policy are as in `hallmark.ui.app`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hallmark import page
from hallmark.errors import Conflict, DeclarationError, HallmarkError, NotFound, Unavailable, foreseen
from hallmark.reviews import photos
from hallmark.reviews.case import NOTE, Case, Claim, Reason, Verdict, Word
from hallmark.reviews.queue import ReviewQueue
from hallmark.section import Frozen, validated
from hallmark.ui.guard import LOOPBACK, Headers, NotMember, allowed_domains, person

_OURS = "x-hallmark-review"
"""Header of what the page's own script sends: another site's page would have to ask leave for it, which it does not get."""
_LARGEST = 16 * 1024
_KEPT = 512
_SCRIPT = Path(__file__).with_name("review.js")
_ICON = Path(__file__).with_name("icon.svg")
"""Named by each page that shows images: a browser looks for one at the host's root else, which is another tool's."""
_STATUS = ((NotMember, 403), (NotFound, 404), (Conflict, 409), (DeclarationError, 400), (Unavailable, 503))
F = TypeVar("F", bound=Frozen)


class _Token(Frozen):
    token: str


class _Answer(Frozen):
    token: str
    verdict: Verdict


def app(
    queue: ReviewQueue,
    *,
    photos: Path,
    who: str = "",
    domains: Collection[str] | None = None,
    shared: bool = False,
    prefix: str = "",
) -> Starlette:
    """The application.

    photos: folder that the cases' photos lie below.   who: the person, unless it is shared.   domains: only cases of these.
    shared: behind the gateway, which says who asks and which domains are theirs.   prefix: path that it stands under, such as /reviews.
    """
    site = _Site(queue, photos=photos, who=who, domains=domains, shared=shared, prefix=prefix)
    routes = [
        Route(f"{prefix}/", site.whole),
        Route(f"{prefix}/next", site.next, methods=["POST"]),
        Route(f"{prefix}/verdict", site.verdict, methods=["POST"]),
        Route(f"{prefix}/undo", site.undo, methods=["POST"]),
        Route(f"{prefix}/renew", site.renew, methods=["POST"]),
        Route(f"{prefix}/release", site.release, methods=["POST"]),
        Route(f"{prefix}/counts", site.counts),
        Route(f"{prefix}/photo/{{key}}/{{kind}}/{{place:int}}", site.photo),
        Route(f"{prefix}/review.js", lambda _: Response(_SCRIPT.read_bytes(), media_type="text/javascript")),
        Route(f"{prefix}/{_ICON.name}", lambda _: Response(_ICON.read_bytes(), media_type="image/svg+xml")),
        Route("/healthz", lambda _: PlainTextResponse("ok")),
    ]
    if prefix:
        routes.append(Route(prefix, lambda _: RedirectResponse(f"{prefix}/")))
    hosts = ["*"] if shared else list(LOOPBACK)
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Headers, images=True),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers={HallmarkError: site.failed},
    )


class _Site:
    def __init__(
        self,
        queue: ReviewQueue,
        *,
        photos: Path,
        who: str,
        domains: Collection[str] | None,
        shared: bool,
        prefix: str,
    ) -> None:
        self._queue, self._photos, self._who = queue, photos, who
        self._domains, self._shared, self._prefix = domains, shared, prefix
        self._shown: OrderedDict[tuple[str, str], Case] = OrderedDict()
        self._templates = page.environment({"money": _money, "due": _due})
        self._templates.globals.update(base=prefix, icon=f"{prefix}/{_ICON.name}")

    def whole(self, request: Request) -> Response:
        """The page, with the case that the person has; it claims none."""
        who, domains = self._asking(request)
        return self._html("ui/review.html", who, self._queue.held(who, domains=domains), words=tuple(Word))

    async def next(self, request: Request) -> Response:
        """The next case."""
        await _sent(request)
        return await _threaded(self._next, *self._asking(request))

    async def verdict(self, request: Request) -> Response:
        """Take a verdict, and show the next case."""
        who, domains = self._asking(request)
        answer = validated(_Answer, await _sent(request), "the verdict")
        return await _threaded(self._judged, who, domains, answer)

    async def undo(self, request: Request) -> Response:
        """Take back the last verdict, and show its case."""
        await _sent(request)
        who, _ = self._asking(request)
        return await _threaded(lambda: self._html("ui/review_case.html", who, self._queue.undo(who)))

    async def renew(self, request: Request) -> Response:
        """A whole lease from now."""
        given = validated(_Token, await _sent(request), "the claim")
        self._asking(request)
        return await _threaded(lambda: JSONResponse({"seconds": _left(self._queue.renew(given.token))}))

    async def release(self, request: Request) -> Response:
        """Put the case back, and show none: also where it was no longer theirs, which is what they wanted."""
        given = validated(_Token, await _sent(request), "the claim")
        who, _ = self._asking(request)

        def put_back() -> Response:
            self._queue.release(given.token)
            return self._html("ui/review_case.html", who, None)

        return await _threaded(put_back)

    def counts(self, request: Request) -> Response:
        """How many cases are open."""
        _, domains = self._asking(request)
        return JSONResponse({"open": self._open(domains)})

    def photo(self, request: Request) -> Response:
        """A photo of a case that this person was shown."""
        who, _ = self._asking(request)
        given = request.path_params
        case = self._shown.get((who, given["key"]))
        evidence = case.evidence if case else None
        of = {
            "photo": evidence.photos if evidence else (),
            "reference": tuple(each.photo for each in evidence.references) if evidence else (),
        }.get(given["kind"], ())
        if not 0 <= given["place"] < len(of):
            raise NotFound("there is no such photo", expected="one of a case that you have", fix="reload the page")
        found = photos.read(of[given["place"]], self._photos)
        return Response(found.content, media_type=found.kind)

    def failed(self, request: Request, error: Exception) -> Response:
        """What went wrong: a page, or to the script its words."""
        told = foreseen(error)
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        if request.method == "POST":
            words = {name: getattr(told, name) for name in ("message", "expected", "got", "fix")}
            return JSONResponse(words, status_code=status)
        text = self._templates.get_template("ui/error.html").render(told=told, home="The next case")
        return HTMLResponse(text, status_code=status)

    def _judged(self, who: str, domains: Collection[str] | None, answer: _Answer) -> Response:
        self._queue.give(answer.token, answer.verdict, who=who)
        return self._next(who, domains)

    def _next(self, who: str, domains: Collection[str] | None) -> Response:
        return self._html("ui/review_case.html", who, self._queue.claim(who, domains=domains))

    def _asking(self, request: Request) -> tuple[str, Collection[str] | None]:
        """Who asks, and the domains that they may see; None for all."""
        if not self._shared:
            return self._who, self._domains
        allowed = allowed_domains(request)
        return person(request), allowed if self._domains is None else allowed & set(self._domains)

    def _open(self, domains: Collection[str] | None) -> int:
        if domains is None:
            return self._queue.counts()["open"]
        return sum(self._queue.counts(domain=each)["open"] for each in domains)

    def _html(self, template: str, who: str, claim: Claim | None, **values: Any) -> Response:
        key = ""
        if claim is not None:
            key = hashlib.sha256(claim.case.id.encode()).hexdigest()[:32]
            self._shown[who, key] = claim.case
            self._shown.move_to_end((who, key))
            while len(self._shown) > _KEPT:
                self._shown.popitem(last=False)
        text = self._templates.get_template(template).render(
            who=who,
            claim=claim,
            key=key,
            seconds=_left(claim) if claim else 0,
            places={each.id: place for place, each in enumerate(claim.case.evidence.references)} if claim else {},
            reasons=tuple(Reason),
            note=NOTE,
            last=self._queue.last(who),
            **values,
        )
        return HTMLResponse(text)


async def _sent(request: Request) -> dict[str, Any]:
    """What the page's script sent; `DeclarationError` where it is another's."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            raise DeclarationError("this is too much", expected=f"at most {_LARGEST} bytes", got="more")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json" or _OURS not in request.headers:
        raise DeclarationError(
            "this did not come from the page itself", expected=f"JSON, with the header {_OURS}", got=kind or "nothing"
        )
    try:
        found = json.loads(body)
    except ValueError as error:
        raise DeclarationError("this is no JSON", expected="an object", got=repr(body[:50])) from error
    if not isinstance(found, dict):
        raise DeclarationError("this is no object", expected="an object", got=repr(body[:50]))
    return found


async def _threaded(work: Any, *given: Any) -> Response:
    from starlette.concurrency import run_in_threadpool

    found: Response = await run_in_threadpool(work, *given)
    return found


def _left(claim: Claim) -> int:
    """Seconds, rounded up: were the page done before the lease, "Next case" would bring the same case with none left."""
    return max(0, math.ceil((claim.lease - datetime.now(UTC)).total_seconds()))


def _money(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def _due(at: datetime) -> str:
    """How long until then, in the largest unit that says something."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if abs(seconds) >= 2 * size:
            return f"due in {seconds / size:.0f} {unit}" if seconds > 0 else f"{-seconds / size:.0f} {unit} late"
    return "due now"
