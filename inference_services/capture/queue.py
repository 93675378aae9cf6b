"""The queue of exchanges and its one sender: bounded, counted, never in the way of an answer.

Every answered request is offered once and ends as sent or dropped; until then it is queued:
offered = sent + dropped + queued, in numbers that /metrics shows. Its request and response travel together, with others in one event of
columns (exchanges.py), or by themselves in KServe's logger format.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hallmark.declaration.serving_config import CaptureLimits
from inference_services.capture import exchanges
from inference_services.capture.exchanges import Columns, Exchange
from inference_services.capture.poster import Poster

DROPS = ("full", "bytes", "unsent", "refused", "shutdown")
"""Why an exchange was dropped, as the metrics name it."""
_TYPES = ("org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response")
Texts = Callable[[Columns, Columns, int], tuple[bytes, bytes]]
"""Makes the V2 JSON of so many records, without ids: of the request and of the response."""


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


class Capture:
    """The queue and its one sender; `offer` is called where answers are made and only appends."""

    def __init__(
        self,
        url: str,
        *,
        origin: Origin,
        metrics: Counters,
        limits: CaptureLimits | None = None,
        texts: Texts | None = None,
    ) -> None:
        self.limits = limits or CaptureLimits()
        self._poster = Poster(url, timeout=self.limits.timeout)
        self._origin = origin
        self._metrics = metrics
        self._texts = texts
        self._queue: deque[Exchange] = deque()
        self._bytes = 0
        self._sending = 0
        self._prefix = secrets.token_hex(10)
        self._count = 0
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._send_forever())

    def offer(self, answered: Sequence[Exchange]) -> None:
        """Queue answered requests, or count why not."""
        limits, queue, at = self.limits, self._queue, time.time()
        if limits.sample < 1.0:
            answered = [each for each in answered if random.random() < limits.sample]  # noqa: S311  a sample, not a secret
        offered, before, held = len(answered), len(queue), self._bytes
        size = sum([each.size for each in answered])
        if before + self._sending + offered > limits.queued or held + size > limits.queued_bytes:
            answered = self._fitting(answered)
            size = sum([each.size for each in answered])
        for each in answered:
            each.at = at
        queue.extend(answered)
        self._bytes = held + size
        self._metrics.add("capture_offered", "", offered)
        self._account(len(answered), size)
        if answered and not before:
            self._wake.set()
        if len(queue) >= limits.batch:
            self._enough.set()

    def _fitting(self, answered: Sequence[Exchange]) -> list[Exchange]:
        """Those that there is room for; the others are counted as dropped."""
        found: list[Exchange] = []
        held, full = self._bytes, 0
        room = self.limits.queued - self._sending - len(self._queue)
        for each in answered:
            if len(found) >= room:
                full += 1
            elif held + each.size <= self.limits.queued_bytes:
                held += each.size
                found.append(each)
        self._metrics.add("capture_dropped", "full", full)
        self._metrics.add("capture_dropped", "bytes", len(answered) - len(found) - full)
        return found

    async def close(self, *, timeout: float = 2.0) -> None:
        """Send what is queued for at most `timeout` seconds, and count the rest as dropped."""
        self._closing = True
        self._wake.set()
        self._enough.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._poster.close()
        left = len(self._queue)
        self._account(-left, -self._bytes)
        self._bytes = 0
        self._queue.clear()
        self._metrics.add("capture_dropped", "shutdown", left)

    async def _send_forever(self) -> None:
        while not (self._closing and not self._queue):
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            if not self._closing and len(self._queue) < self.limits.batch:
                self._enough.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), self.limits.linger)
            await self._send(self._take())

    def _take(self) -> list[Exchange]:
        """The oldest, as many as go in one event; the first one gets its number."""
        queue, limits = self._queue, self.limits
        if len(queue) <= limits.batch and self._bytes <= limits.batch_bytes:
            batch = list(queue)
            queue.clear()
        else:
            batch = [queue.popleft()]
            size = batch[0].size
            while queue and len(batch) < limits.batch and size + queue[0].size <= limits.batch_bytes:
                size += queue[0].size
                batch.append(queue.popleft())
        batch[0].number = self._count + 1
        self._count += len(batch)
        self._sending = len(batch)
        return batch

    async def _send(self, batch: list[Exchange]) -> None:
        """Try a batch a few times; it stays counted as queued until it is sent or dropped."""
        fate = "unsent"
        try:
            body = exchanges.packed(batch, prefix=self._prefix) if self.limits.batch > 1 else b""
            for attempt in range(self.limits.attempts):
                status = await self._post(batch, body)
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
            size = sum([each.size for each in batch])
            self._bytes -= size
            self._account(-len(batch), -size)
            if fate:
                self._metrics.add("capture_dropped", fate, len(batch))
            else:
                self._metrics.add("capture_sent", amount=len(batch))

    async def _post(self, batch: list[Exchange], body: bytes) -> int:
        """The sink's status, or 0 where it gave none."""
        try:
            if self.limits.batch > 1:
                head = {
                    "id": f"{self._prefix}-{batch[0].number:x}",
                    "type": exchanges.TYPE,
                    **self._source(batch[0].at),
                }
                return await self._poster.post(body, _headers(head, exchanges.MEDIA))
            (exchange,) = batch
            assert self._texts is not None  # noqa: S101 - whoever asks for KServe's own form gives it
            for kind, text in zip(_TYPES, self._texts(*exchange.records(), exchange.rows), strict=True):
                head = {**self._attributes(exchange), "type": kind}
                if (status := await self._poster.post(text, _headers(head, "application/json"))) // 100 != 2:
                    break
            return status
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            return 0

    async def _pause(self, attempt: int) -> None:
        longest = 0.05 if self._closing else self.limits.longest_pause
        await asyncio.sleep(min(longest, 0.1 * 4**attempt) * random.uniform(0.5, 1.0))  # noqa: S311  jitter

    def _source(self, at: float) -> dict[str, str]:
        """Attributes of all events of a server."""
        origin = self._origin
        return {
            "specversion": "1.0",
            "source": f"/{origin.namespace}/{origin.service}/{origin.revision}",
            "time": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            "inferenceservicename": origin.service,
            "namespace": origin.namespace,
            "component": "predictor",
            "endpoint": origin.endpoint,
            "revision": origin.revision,
        }

    def _attributes(self, exchange: Exchange) -> dict[str, str]:
        """Attributes of both events of one exchange in KServe's own form."""
        attributes = {**self._source(exchange.at), "id": f"{self._prefix}-{exchange.number:x}"}
        attributes["requestid"] = exchanges.client(exchange.client_id).hex()
        if re.fullmatch(exchanges.TRACE, exchange.trace):
            attributes["traceparent"] = exchange.trace.decode("ascii")
            state = exchange.state.decode("latin-1")
            if state.isascii() and state.isprintable() and state:
                attributes["tracestate"] = state
        if re.fullmatch(exchanges.GATEWAY_ID, exchange.exchange):
            attributes["exchangeid"] = exchange.exchange.decode("ascii")
        if exchange.shadow == b"1":
            attributes["shadow"] = "1"
        return attributes

    def _account(self, exchanges: int, size: int) -> None:
        self._metrics.add("capture_queued", "", exchanges)
        self._metrics.add("capture_queued_bytes", "", size)


def _headers(attributes: dict[str, str], media: str) -> dict[str, str]:
    return {"content-type": media, **{f"ce-{name}": value for name, value in attributes.items()}}
