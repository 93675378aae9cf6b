"""A service that answers one model in the Open Inference Protocol over REST: its routes, its metrics and its process, whatever it answers with."""

from __future__ import annotations

import asyncio
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from copy import copy
from datetime import timedelta
from typing import Any, Self

import msgspec

from hallmark import __version__
from hallmark.declaration import timeouts
from hallmark.metrics import Family
from inference_services.protocol.coding import opened
from inference_services.protocol.errors import (
    BadRequest,
    ModelFault,
    NotReady,
    Overloaded,
    ServeError,
    UnknownPath,
    WrongMethod,
)
from inference_services.transport import http1, workers
from inference_services.transport.endpoint import ConnectionLimits, Endpoint, Listener, close_listener, listen
from inference_services.transport.http1 import HttpRequest, HttpResponse, refusal

_LENGTH = b"inference-header-content-length"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_log = logging.getLogger(__name__)
Reply = Callable[[HttpResponse], None]


class ServiceMetrics:
    """One process's counters, as hallmark/metrics.py declares them, with labels of the service on each."""

    def __init__(self, families: Mapping[str, Family], **own: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._own = own
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._families: dict[str, Any] = {}
        for short, family in families.items():
            more = {"buckets": family.buckets} if family.buckets else {}
            name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
            self._families[short] = kinds[family.kind](
                name, family.help, family.labels, registry=self._registry, **more
            )

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Raise a counter, or move a gauge."""
        self._families[name].labels(**self._own, **labels).inc(amount)

    def set(self, name: str, amount: float, **labels: str) -> None:
        """Set a gauge."""
        self._families[name].labels(**self._own, **labels).set(amount)

    def observe(self, name: str, amount: float, **labels: str) -> None:
        """Put one measurement into a histogram."""
        self._families[name].labels(**self._own, **labels).observe(amount)

    def of(self, **own: str) -> Self:
        """The same counters with other labels of the service, such as of one of several prompts."""
        found = copy(self)
        found._own = {**self._own, **own}
        return found

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


class OneModelRest(ABC):
    """Routes of one model. A subclass answers a request and tells the model's metadata.

    at_once: requests that are answered at once; more are refused rather than kept waiting past their deadline.
    metrics: with `in_flight` and `refused`.   versions: those that a path may name, /v2/models/<name>/versions/<version>.
    """

    def __init__(
        self,
        *,
        name: str,
        server: str,
        limit: int,
        at_once: int,
        metrics: ServiceMetrics,
        versions: Collection[str] = (),
    ) -> None:
        self.draining = False
        self.name, self.versions = name, versions
        self._server, self._limit, self._at_once, self._metrics = server, limit, at_once, metrics
        self._running: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def answer(
        self, body: bytes, json_length: int | None, request: HttpRequest, *, within: float
    ) -> HttpResponse:
        """The answer, or a `ServeError`. within: seconds that the caller gives, infinite where it does not say."""

    @abstractmethod
    def metadata(self, version: str) -> dict[str, Any]:
        """The model's metadata, of the version that a path names; empty where it names none."""

    def metrics_of(self, version: str) -> ServiceMetrics:
        """Where the requests of a version are counted."""
        return self._metrics

    def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer any request, now or later; nothing is raised."""
        try:
            found = self._route(request)
        except ServeError as error:
            self._refuse(error, reply)
            return
        if found is not None:
            reply(found)
            return
        task = asyncio.get_running_loop().create_task(self._infer(request, reply))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _route(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to all but an inference."""
        path, version = self._parts(request)
        if path == ["v2", "models", self.name, "infer"]:
            if request.method != b"POST":
                raise WrongMethod("POST")
            if len(self._running) >= self._at_once:
                raise Overloaded("too many requests are being answered")
            return None
        if request.method not in (b"GET", b"HEAD"):
            raise WrongMethod("GET")
        match path:
            case ["v2", "health", "live"]:
                return _json({"live": True})
            case ["v2", "health", "ready"] | ["v2", "models", self.name, "ready"]:
                if self.draining:
                    raise NotReady("the server is about to stop")
                return _json({"ready": True})
            case ["v2"]:
                return _json({"name": self._server, "version": __version__, "extensions": ["binary_tensor_data"]})
            case ["v2", "models", self.name]:
                return _json(self.metadata(version))
            case ["metrics"]:
                return HttpResponse(200, self._metrics.render(), _TEXT)
        raise UnknownPath(f"no such path; the model is {self.name}")

    def _parts(self, request: HttpRequest) -> tuple[list[str], str]:
        """The parts of a path without the version that it names, and the version; `UnknownPath` where that is none of ours."""
        path, version = request.path.decode("utf-8", "replace").rstrip("/").split("/")[1:], ""
        if self.versions and path[:3] == ["v2", "models", self.name] and path[3:4] == ["versions"]:
            version = path[4] if len(path) > 4 else ""
            if version not in self.versions:
                raise UnknownPath(f"{self.name} has no version {version[:100]!r}; it has {', '.join(self.versions)}")
            path = [*path[:3], *path[5:]]
        return path, version

    def version_of(self, request: HttpRequest) -> str:
        """The version that a request's path names; empty where it names none."""
        return self._parts(request)[1]

    async def _infer(self, request: HttpRequest, reply: Reply) -> None:
        metrics = self.metrics_of(self.version_of(request))
        metrics.add("in_flight")
        try:
            body, coding = request.body, request.headers.get(b"content-encoding", b"identity")
            if coding != b"identity":
                body = opened(body, coding.lower(), where="Content-Encoding", limit=self._limit)
            length = request.headers.get(_LENGTH)
            if length is not None and not (length.isdigit() and len(length) <= 12):
                raise BadRequest("Inference-Header-Content-Length: expected a length in bytes")
            given = request.headers.get(b"x-envoy-expected-rq-timeout-ms", b"")
            within = int(given) / 1000 if given.isdigit() and 0 < len(given) < 10 else float("inf")
            found = await self.answer(body, None if length is None else int(length), request, within=within)
            reply(found)
        except ServeError as error:
            self._refuse(error, reply, metrics)
        except Exception:  # noqa: BLE001  a mistake of ours is a counted 500, and the server lives on
            _log.exception("a request could not be answered")
            self._refuse(ModelFault("the request could not be answered"), reply, metrics)
        finally:
            metrics.add("in_flight", -1)

    def _refuse(self, error: ServeError, reply: Reply, metrics: ServiceMetrics | None = None) -> None:
        (metrics or self._metrics).add("refused", reason=error.reason)
        reply(refusal(error.status, error.message, error.headers))


def run(
    rest: Callable[[int], OneModelRest],
    *,
    host: str,
    port: int,
    deadline: timedelta,
    headers: bytes,
    told: str,
    beside: Callable[[], Awaitable[None]] | None = None,
    ended: Callable[[], Awaitable[None]],
) -> int:
    """Serve until a signal; then drop readiness, answer what has come, and end. The exit code, or OSError where the port is taken.

    rest: the routes, given the largest body.   beside: runs while it serves.   ended: after the last answer.
    """
    opened_port = listen(host, port)

    async def work(_worker: int) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        endpoint = Endpoint(limits=ConnectionLimits(), headers=headers)
        routes = rest(endpoint.limits.body)
        listener = Listener(opened_port, lambda: http1.Http1Connection(endpoint, routes), fewest=lambda _more: True)
        listener.open()
        tasks = [loop.create_task(endpoint.watch())]
        if beside is not None:
            tasks.append(asyncio.ensure_future(beside()))
        _log.info(told)
        await stop.wait()
        _log.info("draining")
        routes.draining = endpoint.draining = True
        limits = timeouts.of(deadline)
        drained = loop.time() + limits.end - timeouts.FLUSH
        await asyncio.sleep(limits.notice)
        await close_listener(opened_port, timeout=drained - loop.time())
        listener.close()
        await endpoint.drain(timeout=drained - loop.time())
        for task in tasks:
            task.cancel()
        await ended()
        _log.info("stopped")

    return workers.run(work, count=1)


def _json(value: Any) -> HttpResponse:
    return HttpResponse(200, msgspec.json.encode(value))
