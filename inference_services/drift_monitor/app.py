"""The monitor over HTTP: events in; verdict, metrics and window out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hallmark.drift import fleet
from hallmark.drift.fleet import Cut, FleetReference
from hallmark.drift.verdict import Verdict
from hallmark.rollout import aggregates
from hallmark.rollout.aggregates import EvidenceRequest
from inference_services.drift_monitor import events, evidence, exposition, responses, state
from inference_services.drift_monitor.monitor import Monitor

_log = logging.getLogger(__name__)
T = TypeVar("T")
LARGEST = 32 * 1024 * 1024
"""Bytes of one call."""
MOST_ANSWERS = 5000
"""Rows in one answer."""
MOST_WAITING = 16
MOST_HELD = 2 * LARGEST
"""Calls that wait, and bytes of them; further ones get 503 with a Retry-After."""


ASK_EVERY = 2.0
SAVE_EVERY = 30.0
RECORD_EVERY = 60.0
"""Seconds between reads of the runtime's counters, between copies of the windows to disk, and between points of the history."""


def app(monitor: Monitor, *, state_file: Path | None = None, remote_events: bool = False) -> Starlette:
    """POST / (also /events) takes events, /labels labels, /erase who is forgotten; GET /verdict, /sketch, /reference, /history, /answers, /lookups,
    /evidence, /metrics, /window, /healthz.

    Where `state_file` is given, the windows are taken up from it and kept in it. Events are taken from this host alone and
    through no proxy, since the runtime is here, or with `remote_events` from anywhere. Labels come from elsewhere, through the
    API server's proxy: one counts only for who knows the id that a client gave its request. So does an erasure: of who knows the value.
    """
    routes = _Routes(monitor, remote_events=remote_events)
    if state_file is not None:
        state.restore(monitor, state_file)
    return Starlette(
        lifespan=lambda _: routes.housekeeping(state_file),
        routes=[
            Route("/", routes.take, methods=["POST"]),
            Route("/events", routes.take, methods=["POST"]),
            Route("/verdict", routes.verdict, methods=["GET"]),
            Route("/sketch", routes.sketch, methods=["GET"]),
            Route("/reference", routes.reference, methods=["GET"]),
            Route("/history", routes.history, methods=["GET"]),
            Route("/answers", routes.answers, methods=["GET"]),
            Route("/lookups", routes.lookups, methods=["GET"]),
            Route("/evidence", routes.evidence, methods=["GET"]),
            Route("/labels", routes.labels, methods=["POST"]),
            Route("/erase", routes.erase, methods=["POST"]),
            Route("/metrics", routes.metrics, methods=["GET"]),
            Route("/window", routes.window, methods=["GET"]),
            Route("/healthz", routes.health, methods=["GET"]),
        ],
    )


class _Routes:
    """The HTTP routes; calls reach the monitor one at a time, in a thread, so that health answers while photos are read."""

    def __init__(self, monitor: Monitor, *, remote_events: bool) -> None:
        self._monitor = monitor
        self._remote_events = remote_events
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._held = 0

    @contextlib.asynccontextmanager
    async def housekeeping(self, state_file: Path | None) -> AsyncIterator[None]:
        """Background work beside the calls: the runtime's counters, and the windows' copy on disk."""
        tasks = [asyncio.create_task(_every(RECORD_EVERY, self._record))]
        if (served := self._monitor.served) is not None:
            tasks.append(asyncio.create_task(_every(ASK_EVERY, lambda: asyncio.to_thread(served.read))))
        if state_file is not None:
            tasks.append(asyncio.create_task(_every(SAVE_EVERY, lambda: self._save(state_file))))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if state_file is not None:
            await self._save(state_file)

    async def answers(self, request: Request) -> Response:
        """GET /answers?after=CURSOR&limit=N: rows as `responses.CapturedRecord.shown`, oldest first."""
        query, ring = request.query_params, self._monitor.answers
        given = {"after": query.get("after", "0"), "limit": query.get("limit", "2000")}
        if wrong := _unlike_numbers(given):
            return _answer(400, {"error": f"expected {wrong[0]} to be a whole number"})
        limit = min(int(given["limit"]), MOST_ANSWERS)
        async with self._lock:
            variant = query.get("variant", ring.variant)
            rows, cursor, lost = ring.after(int(given["after"]), limit=limit, variant=variant)
            shown = {"variant": variant, "cursor": cursor, "lost": lost, "rows": [row.shown() for row in rows]}
        return await asyncio.to_thread(_answer, 200, shown)

    async def lookups(self, request: Request) -> Response:
        """GET /lookups?after=CURSOR&limit=N, or ?request=ID of one request: `hallmark.feature_store.lookups.CapturedLookups`."""
        query, ring = request.query_params, self._monitor.lookups
        given = {"after": query.get("after", "0"), "limit": query.get("limit", "2000")}
        if wrong := _unlike_numbers(given):
            return _answer(400, {"error": f"expected {wrong[0]} to be a whole number"})
        async with self._lock:
            if ident := query.get("request", ""):
                found = ring.of(ident)
            else:
                found = ring.after(int(given["after"]), limit=min(int(given["limit"]), MOST_ANSWERS))
        return Response(await asyncio.to_thread(found.model_dump_json), media_type="application/json")

    async def evidence(self, request: Request) -> Response:
        """GET /evidence?format=1&ask=QUESTION: `aggregates.PodEvidence` for an `aggregates.EvidenceRequest`."""
        if (given := request.query_params.get("format", "")) != str(aggregates.FORMAT):
            return _answer(400, {"error": f"expected format {aggregates.FORMAT}, got {given[:20] or 'none'}"})
        ring, task = self._monitor.answers, self._monitor.reference.signature.task
        try:
            asked = EvidenceRequest.read(request.query_params.get("ask", ""))
            async with self._lock:
                found = await asyncio.to_thread(evidence.gather, ring, asked, task, variant=ring.variant)
        except ValueError as error:
            return _answer(400, {"error": str(error)[:500]})
        return Response(await asyncio.to_thread(found.encoded), media_type="application/octet-stream")

    async def labels(self, request: Request) -> Response:
        """POST /labels: `responses.known` defines the format."""
        done = await self._whole(request, self._label)
        return done if isinstance(done, Response) else _answer(*done)

    async def erase(self, request: Request) -> Response:
        """POST /erase: who is forgotten, as a mapping of columns to values; tells how much that was."""
        done = await self._whole(request, self._erase)
        return done if isinstance(done, Response) else _answer(*done)

    async def take(self, request: Request) -> Response:
        if not (self._remote_events or (_is_here(request) and not _is_forwarded(request))):
            self._monitor.counts["foreign"] += 1
            return _answer(403, {"error": "expected events from this host"})
        headers = dict(request.headers)
        done = await self._whole(request, lambda body: self._take(headers, body))
        if isinstance(done, Response):
            return done
        accepted, wrong = done
        status = 202 if accepted or not wrong else 400
        return _answer(status, {"accepted": accepted, "malformed": len(wrong), "errors": wrong[:5]})

    async def _whole(self, request: Request, work: Callable[[bytes], T]) -> T | Response:
        """Apply `work` to the whole body, one at a time; a refusal where too many wait, or it is cut off."""
        if self._waiting >= MOST_WAITING:
            return self._busy()
        parts: list[bytes] = []
        self._waiting += 1
        try:
            refused = await self._read(request, parts)
            if refused is not None:
                return refused
            async with self._lock:
                return await asyncio.to_thread(work, b"".join(parts))
        except ClientDisconnect:
            return _answer(400, {"error": "the call was cut off"})
        finally:
            self._waiting -= 1
            self._held -= sum(map(len, parts))

    async def verdict(self, request: Request) -> Response:
        async with self._lock:
            verdicts = await asyncio.to_thread(self._verdicts)
            shown = {name: {**verdict.model_dump(), **self._span(name)} for name, verdict in verdicts.items()}
        whole = {
            "service": self._monitor.service,
            "digest": self._monitor.reference.digest,
            "variants": shown,
            "served": None if self._monitor.served is None else self._monitor.served.latest,
            "events": dict(self._monitor.counts),
        }
        return _answer(200, whole)

    async def sketch(self, request: Request) -> Response:
        """GET /sketch?format=1&variant=REVISION[&since=&until=]: `fleet.PodWindow`, times in microseconds of the epoch."""
        query = request.query_params
        if (given := query.get("format", "")) != str(fleet.FORMAT):
            return _answer(400, {"error": f"expected format {fleet.FORMAT}, got {given[:20] or 'none'}"})
        try:
            cut = Cut(since=int(query["since"]), until=int(query["until"])) if "until" in query else None
        except (ValueError, KeyError):
            return _answer(400, {"error": "expected since and until to be whole numbers of microseconds"})
        async with self._lock:
            told = await asyncio.to_thread(lambda: self._monitor.told(query.get("variant", ""), cut).encoded())
        return Response(told, media_type="application/json")

    async def reference(self, request: Request) -> Response:
        """GET /reference: `fleet.FleetReference`."""
        found, drift = self._monitor.reference, self._monitor.drift
        told = await asyncio.to_thread(
            lambda: FleetReference.of(found.digest, drift, found.profile, found.sample).model_dump_json()
        )
        return Response(told, media_type="application/json")

    async def history(self, request: Request) -> Response:
        async with self._lock:
            points = self._monitor.history.points(request.query_params.get("variant"))
        whole = {"service": self._monitor.service, "points": [point.model_dump() for point in points]}
        return _answer(200, whole)

    async def metrics(self, request: Request) -> Response:
        async with self._lock:
            text = await asyncio.to_thread(lambda: exposition.text(self._monitor, self._verdicts()))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def window(self, request: Request) -> Response:
        known = list(self._monitor.windows)
        variant = request.query_params.get("variant", known[-1] if len(known) == 1 else "")
        limit = request.query_params.get("limit")
        if limit is not None and not (limit.isascii() and limit.isdecimal() and len(limit) < 10):
            return _answer(400, {"error": "expected limit to be a whole number"})
        if variant not in self._monitor.windows:
            return _answer(404, {"error": f"no such variant; expected one of {known}"})
        async with self._lock:
            columns = self._monitor.windows[variant].columns(newest=None if limit is None else int(limit))
            verdict = await asyncio.to_thread(self._monitor.verdict, variant)
        rows = len(next(iter(columns.values()), ()))
        shown = {name: [_plain(value) for value in values.tolist()] for name, values in columns.items()}
        return _answer(200, {"variant": variant, "rows": rows, "columns": shown, "verdict": verdict.model_dump()})

    async def health(self, request: Request) -> Response:
        return _answer(200, {"status": "ok"})

    async def _read(self, request: Request, parts: list[bytes]) -> Response | None:
        """The body into `parts`, counted as held; or the refusal of one that is too large, now or ever."""
        declared = request.headers.get("content-length", "")
        size = 0
        if declared.isdecimal() and int(declared) > LARGEST:
            return self._too_large()
        async for part in request.stream():
            size += len(part)
            if size > LARGEST:
                return self._too_large()
            if self._held + len(part) > MOST_HELD:
                return self._busy()
            parts.append(part)
            self._held += len(part)
        return None

    def _busy(self) -> Response:
        self._monitor.counts["busy"] += 1
        return _answer(503, {"error": "too many calls wait; come again"}, {"retry-after": "1"})

    def _too_large(self) -> Response:
        self._monitor.counts["malformed"] += 1
        return _answer(413, {"error": f"expected at most {LARGEST} bytes"}, {"connection": "close"})

    async def _record(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._verdicts)

    async def _save(self, path: Path) -> None:
        try:
            async with self._lock:
                await asyncio.to_thread(state.save, self._monitor, path)
        except OSError as error:
            _log.warning("the windows cannot be saved to %s: %s", path, error.strerror or error)

    def _take(self, headers: dict[str, str], body: bytes) -> tuple[int, list[str]]:
        try:
            if (captured := events.columns(headers, body)) is not None:
                return self._monitor.take_columns(captured), []
            good, wrong = events.parse(headers, body)
        except events.Malformed as error:
            self._monitor.counts["unknown" if isinstance(error, events.Unknown) else "malformed"] += 1
            return 0, [str(error)]
        self._monitor.counts["malformed"] += len(wrong)
        refused = self._monitor.take(good)
        return len(good) - len(refused), [*wrong, *refused]

    def _label(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            found, wrong = responses.known(json.loads(body), self._monitor.reference.signature.task)
        except (ValueError, RecursionError):
            found, wrong = [], ["expected JSON"]
        joined, unknown = self._monitor.label(found)
        reply: dict[str, Any] = {"joined": joined, "unknown": unknown}
        if wrong:
            reply |= {"malformed": len(wrong), "errors": wrong[:5]}
        return (400 if wrong and not found else 200), reply

    def _erase(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            person = json.loads(body)
        except (ValueError, RecursionError):
            person = None
        if not isinstance(person, dict) or not all(isinstance(each, str) and each for each in person.values()):
            return 400, {"error": "expected JSON: a text by column"}
        return 200, {"erased": self._monitor.erase(person)}

    def _verdicts(self) -> dict[str, Verdict]:
        return {name: self._monitor.verdict(name) for name in list(self._monitor.windows)}

    def _span(self, name: str) -> dict[str, str | int]:
        window = self._monitor.windows[name]
        first, last = (datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") for at in window.span())
        return {"requests": window.requests, "since": first, "until": last}


def _unlike_numbers(given: dict[str, str]) -> list[str]:
    """Names of those that are no whole number."""
    return [name for name, text in given.items() if not (text.isascii() and text.isdecimal() and len(text) < 19)]


def _is_here(request: Request) -> bool:
    """Does it come from this host: over loopback, or from the very address that it came to?"""
    try:
        known = request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
    return known or (request.client is not None and request.client.host == (request.scope.get("server") or ("",))[0])


def _is_forwarded(request: Request) -> bool:
    """Did it come through a proxy? The API server's adds a header; the runtime beside us has none."""
    return any(name in request.headers for name in ("x-forwarded-for", "forwarded", "via"))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()
        await asyncio.sleep(seconds)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _answer(status: int, whole: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(whole, status_code=status, headers=headers)
