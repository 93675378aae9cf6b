"""The monitor of whatever model its server publishes: waits for the first, begins anew with the next."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hallmark.artifacts import publication
from hallmark.drift.fleet import PodWindow
from hallmark.errors import HallmarkError, ModelRefused
from inference_services.drift_monitor import reference
from inference_services.drift_monitor.reference import Reference

_log = logging.getLogger(__name__)
CHECK_EVERY = 0.2
"""Seconds between reads of what is published: one small file."""
AGAIN_AFTER = 5.0
"""Seconds until a model that was refused is read again: what was wrong may have been that it was just being replaced."""
SAY_EVERY = 60.0
"""Seconds between lines in the log while there is nothing to follow."""


class Following:
    """An ASGI application: the one that `make` gives for the model published in `at`, and one that only waits until then.

    digest: the one model that is to be followed, where it is known; another is refused.
    """

    def __init__(self, at: Path, make: Callable[[Reference], Starlette], *, digest: str | None = None) -> None:
        self.waiting = f"nothing is published in {at} yet"
        self._at = at
        self._make = make
        self._wanted = digest
        self._followed: str | None = None
        self._refused: str | None = None
        self._again = 0.0
        self._inner: Starlette | None = None
        self._stack = contextlib.AsyncExitStack()
        self._outer = Starlette(lifespan=self._life)
        self._without = Starlette(
            routes=[
                Route("/healthz", _healthy, methods=["GET"]),
                Route("/verdict", self._verdict, methods=["GET"]),
                Route("/sketch", self._sketch, methods=["GET"]),
                Route("/metrics", _no_metrics, methods=["GET"]),
                Route("/{anything:path}", self._busy, methods=["GET", "POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on to the current monitor."""
        inner = self._outer if scope["type"] == "lifespan" else self._inner or self._without
        await inner(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follow())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._stack.aclose()

    async def _follow(self) -> None:
        waited = 0.0
        while True:
            try:
                await self._check()
            except HallmarkError as error:
                self._again = asyncio.get_running_loop().time() + AGAIN_AFTER
                await self._lose(f"the published model is refused: {' '.join(str(error).split())}")
            except OSError as error:
                await self._lose(f"what is published in {self._at} cannot be read: {error.strerror or error}")
            if self._inner is None:
                if waited % SAY_EVERY < CHECK_EVERY:
                    _log.info("no verdicts yet: %s", self.waiting)
                waited += CHECK_EVERY
            else:
                waited = 0.0
            await asyncio.sleep(CHECK_EVERY)

    async def _check(self) -> None:
        digest = publication.current(self._at)
        # A pointer is gone for no longer than it takes to publish the next; what is followed stays until then.
        if digest is None or digest == self._followed:
            return
        if digest == self._refused and asyncio.get_running_loop().time() < self._again:
            return
        self._refused = digest
        if self._wanted and digest != self._wanted:
            raise ModelRefused("another model is published", expected=self._wanted, got=digest)
        found = reference.of(await asyncio.to_thread(publication.read, self._at, digest))
        await self._close()
        inner = self._make(found)
        await self._stack.enter_async_context(inner.router.lifespan_context(inner))
        self._inner, self._followed, self._refused = inner, digest, None
        _log.info("watching with the reference of %s, %s", found.signature.domain, digest)

    async def _lose(self, why: str) -> None:
        if why != self.waiting:
            _log.warning("no verdicts: %s", why)
        self.waiting = why
        await self._close()

    async def _close(self) -> None:
        self._inner, self._followed = None, None
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    async def _verdict(self, _: Request) -> Response:
        whole: dict[str, Any] = {
            "service": "",
            "digest": "",
            "variants": {},
            "served": None,
            "events": {},
            "waiting": self.waiting,
        }
        return JSONResponse(whole)

    async def _sketch(self, _: Request) -> Response:
        return Response(PodWindow(waiting=self.waiting).encoded(), media_type="application/json")

    async def _busy(self, _: Request) -> Response:
        return JSONResponse({"error": self.waiting}, status_code=503, headers={"retry-after": "1"})


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _no_metrics(_: Request) -> Response:
    return PlainTextResponse("", media_type="text/plain; version=0.0.4")
