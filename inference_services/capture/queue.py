"""The queue of exchanges and its one sender, in KServe's logger format: bounded, counted, never in the way of an answer.

Every answered request is offered once and ends as sent or dropped; until then it is queued:
offered = sent + dropped + queued, in numbers that /metrics shows. Its request and response travel together.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from hallmark.declaration.serving_config import CaptureLimits
from inference_services.capture.poster import Poster

DROPS = ("full", "bytes", "unsent", "refused", "shutdown")
"""Why an exchange was dropped, as the metrics name it."""
_TYPES = ("org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response")
_TRACE = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_EXCHANGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Origin:
    """Identity of the server that answered, as KServe's logger puts it beside every event."""

    service: str
    namespace: str
    revision: str
    endpoint: str


class Counters(Protocol):
    """Sink of the counters."""

    def add(self, name: str, value: str = "", amount: float = 1.0) -> None:
        """Raise a counter or move a gauge."""


@dataclass(slots=True)
class Exchange:
    """One answered request.

    request, response: make its V2 JSON, without ids, when it is sent.
    size:              bytes that it keeps in memory until then.
    trace, state:      its W3C trace context, as it came.
    exchange:          the gateway's own id of the request, which a mirrored copy has too;  shadow: is this the copy?
    """

    request: Callable[[], bytes]
    response: Callable[[], bytes]
    size: int
    client_id: str
    trace: str = ""
    state: str = ""
    exchange: str = ""
    shadow: bool = False
    id: str = ""
    at: float = 0.0


class Capture:
    """The queue and its one sender; `offer` is called where answers are made and only appends."""

    def __init__(self, url: str, *, origin: Origin, metrics: Counters, limits: CaptureLimits | None = None) -> None:
        self.limits = limits or CaptureLimits()
        self._poster = Poster(url, timeout=self.limits.timeout)
        self._origin = origin
        self._metrics = metrics
        self._queue: deque[Exchange] = deque()
        self._bytes = 0
        self._sending = 0
        self._prefix = secrets.token_hex(10)
        self._count = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._send_forever())

    def offer(self, exchange: Exchange) -> None:
        """Queue one answered request, or count why not."""
        if self.limits.sample < 1.0 and random.random() >= self.limits.sample:  # noqa: S311  a sample, not a secret
            return
        self._metrics.add("capture_offered")
        if len(self._queue) + self._sending >= self.limits.queued:
            self._metrics.add("capture_dropped", "full")
            return
        if self._bytes + exchange.size > self.limits.queued_bytes:
            self._metrics.add("capture_dropped", "bytes")
            return
        self._count += 1
        exchange.id, exchange.at = f"{self._prefix}-{self._count:x}", time.time()
        self._queue.append(exchange)
        self._account(1, exchange.size)
        if not self._wake.is_set():
            self._wake.set()

    async def close(self, *, timeout: float = 2.0) -> None:
        """Send what is queued for at most `timeout` seconds, and count the rest as dropped."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._poster.close()
        left = len(self._queue)
        for exchange in self._queue:
            self._account(-1, -exchange.size)
        self._queue.clear()
        self._metrics.add("capture_dropped", "shutdown", left)

    async def _send_forever(self) -> None:
        while not (self._closing and not self._queue):
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            if not self._closing and len(self._queue) < self.limits.batch:
                await asyncio.sleep(self.limits.linger)
            await self._send(self._take())

    def _take(self) -> list[Exchange]:
        batch, size = [self._queue.popleft()], 0
        size = batch[0].size
        while self._queue and len(batch) < self.limits.batch and size + self._queue[0].size <= self.limits.batch_bytes:
            batch.append(self._queue.popleft())
            size += batch[-1].size
        self._sending = len(batch)
        return batch

    async def _send(self, batch: list[Exchange]) -> None:
        """Try a batch a few times; it stays counted as queued until it is sent or dropped."""
        fate = "unsent"
        try:
            for attempt in range(self.limits.attempts):
                status = await self._post(batch)
                if status // 100 == 2:
                    fate = ""
                    break
                if status // 100 == 4 and status not in (408, 429):
                    fate = "refused"
                    break
                await self._pause(attempt)
        except asyncio.CancelledError:
            fate = "shutdown"
            raise
        finally:
            self._sending = 0
            self._account(-len(batch), -sum(exchange.size for exchange in batch))
            if fate:
                self._metrics.add("capture_dropped", fate, len(batch))
            else:
                self._metrics.add("capture_sent", amount=len(batch))

    async def _post(self, batch: list[Exchange]) -> int:
        """The sink's status, or 0 where it gave none."""
        try:
            if self.limits.batch > 1:
                body = b"[%b]" % b",".join(self._event(exchange, kind) for exchange in batch for kind in _TYPES)
                return await self._poster.post(body, {"content-type": "application/cloudevents-batch+json"})
            for kind in _TYPES:
                headers = {f"ce-{key}": str(value) for key, value in self._attributes(batch[0], kind).items()}
                status = await self._poster.post(
                    self._data(batch[0], kind), {"content-type": "application/json", **headers}
                )
                if status // 100 != 2:
                    break
            return status
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            return 0

    async def _pause(self, attempt: int) -> None:
        longest = 0.05 if self._closing else self.limits.longest_pause
        await asyncio.sleep(min(longest, 0.1 * 4**attempt) * random.uniform(0.5, 1.0))  # noqa: S311  jitter

    def _event(self, exchange: Exchange, kind: str) -> bytes:
        head: dict[str, object] = {**self._attributes(exchange, kind), "datacontenttype": "application/json"}
        head["data"] = msgspec.Raw(self._data(exchange, kind))
        return _encode(head)

    def _attributes(self, exchange: Exchange, kind: str) -> dict[str, str]:
        origin = self._origin
        attributes = {
            "specversion": "1.0",
            "id": exchange.id,
            "type": kind,
            "source": f"/{origin.namespace}/{origin.service}/{origin.revision}",
            "time": datetime.fromtimestamp(exchange.at, UTC).isoformat().replace("+00:00", "Z"),
            "inferenceservicename": origin.service,
            "namespace": origin.namespace,
            "component": "predictor",
            "endpoint": origin.endpoint,
            "revision": origin.revision,
            "requestid": hashlib.sha256(exchange.client_id.encode()).hexdigest()[:32],
        }
        if _TRACE.match(exchange.trace):
            attributes["traceparent"] = exchange.trace
            if exchange.state.isascii() and exchange.state.isprintable() and exchange.state:
                attributes["tracestate"] = exchange.state
        if _EXCHANGE.match(exchange.exchange):
            attributes["exchangeid"] = exchange.exchange
        if exchange.shadow:
            attributes["shadow"] = "1"
        return attributes

    def _data(self, exchange: Exchange, kind: str) -> bytes:
        return exchange.request() if kind == _TYPES[0] else exchange.response()

    def _account(self, exchanges: int, size: int) -> None:
        self._bytes += size
        self._metrics.add("capture_queued", amount=exchanges)
        self._metrics.add("capture_queued_bytes", amount=size)
