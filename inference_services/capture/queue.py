"""The queue of exchanges and its one sender: bounded, counted, never in the way of an answer.

Every answered request is noted, offered soon after, once, and ends as sent or dropped; until then it is queued:
offered = sent + dropped + queued, in numbers that /metrics shows. Its request and response travel together, with others in one event of
columns (exchanges.py), or by themselves in KServe's logger format.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hallmark.declaration.serving_config import CaptureLimits
from inference_services.capture import exchanges
from inference_services.capture.exchanges import Answered, Headers
from inference_services.capture.poster import Poster
from inference_services.capture.records import Call, Columns, Records, together

DROPS = ("full", "bytes", "unsent", "refused", "shutdown")
"""Why an exchange was dropped, as the metrics name it."""
_TYPES = ("org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response")
_CALLS = 32
_REQUESTS = 1024
_SOON = 0.1
_LARGE = 16 * 1024
"""What was noted is queued when it is of so many calls with arrays, or requests, after so many seconds, or with a request of more bytes:
for all of them together the code that does it is fetched into the processor's cache once, which costs more than what it does for one."""
Texts = Callable[[Columns, Columns, int], tuple[bytes, bytes]]
"""Makes the V2 JSON of so many records, without ids: of the request and of the response."""


@dataclass(frozen=True)
class Origin:
    """Identity of the server that answered, as KServe's logger puts it beside every event."""

    service: str
    namespace: str
    revision: str
    endpoint: str


Noted = tuple[int, int, int, str, Headers]
"""An answered request: the place of its first record in its call of the model, how many they are, the bytes that it keeps in memory until
it is sent, the client's own id, and its headers, which its marks are read from; nothing else of it is kept."""
_size = operator.itemgetter(2)


class Counters(Protocol):
    """Sink of the counters."""

    def add(self, name: str, value: str = "", amount: float = 1.0) -> None:
        """Raise a counter or move a gauge."""


class Capture:
    """The queue and its one sender; `note` is called where answers are made and only appends."""

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
        self._loop = asyncio.get_running_loop()
        self._records = Records()
        self._calls: list[Call] = []
        self._noted: list[Sequence[Noted]] = []
        self._room = _REQUESTS
        """Requests that may still be noted; a call with arrays counts as several."""
        self._timer: asyncio.TimerHandle | None = None
        self._hurried = False
        self._queue: deque[Answered] = deque()
        self._queued = self._sending = self._bytes = self._sending_bytes = 0
        """Requests that wait and that are being sent, and the bytes of all these and of the latter."""
        self._prefix = secrets.token_hex(10)
        self._count = 0
        self._first = 1
        """Requests that got a number, and that of the first one that is being sent."""
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to send."""
        self._task = self._loop.create_task(self._send_forever())

    def note(self, call: Call, answered: Sequence[Noted]) -> None:
        """Take the answered requests of a call; they are queued soon, with others."""
        self._calls.append(call)
        self._noted.append(answered)
        self._room -= len(answered) if call.layout is not None else max(len(answered), _REQUESTS // _CALLS)
        if self._timer is None:
            self._timer = self._loop.call_later(_SOON, self._late)
        if (self._room <= 0 or max(map(_size, answered)) > _LARGE) and not self._hurried:
            self._hurried = True
            self._loop.call_soon(self.gather)

    def _late(self) -> None:
        self._timer = None
        self.gather()

    def gather(self) -> None:
        """Queue what was noted until now."""
        (calls, self._calls), (noted, self._noted) = (self._calls, []), (self._noted, [])
        self._hurried = False
        self._room = 0 if self._closing else _REQUESTS
        if noted:
            firsts, rows, sizes, client_ids, headers = zip(*itertools.chain.from_iterable(noted), strict=True)
            records = self._records.of(calls, [*map(len, noted)], firsts, rows)
            self.offer(Answered(records, rows, sizes, client_ids, exchanges.marks(headers)))

    def offer(self, answered: Answered) -> None:
        """Queue answered requests, or count why not."""
        limits, before = self.limits, self._queued
        if limits.sample < 1.0:
            answered = answered.only([random.random() < limits.sample for _ in answered.rows])  # noqa: S311  a sample, not a secret
        offered, size = len(answered.rows), sum(answered.sizes)
        self._metrics.add("capture_offered", "", offered)
        if before + self._sending + offered > limits.queued or self._bytes + size > limits.queued_bytes:
            answered = answered.only(self._fitting(answered.sizes))
            size = sum(answered.sizes)
        count = len(answered.rows)
        if not count:
            return
        answered.at = time.time()
        if count > limits.batch or size > limits.batch_bytes:
            self._queue.extend(self._parts(answered))
        else:
            self._queue.append(answered)
        self._queued += count
        self._bytes += size
        self._account(count, size)
        if not before:
            self._wake.set()
        if self._queued >= limits.batch:
            self._enough.set()

    def _fitting(self, sizes: Sequence[int]) -> list[bool]:
        """Which of these there is room for; the others are counted as dropped."""
        fit, held, full = [], self._bytes, 0
        room = self.limits.queued - self._sending - self._queued
        for size in sizes:
            fit.append(room > 0 and held + size <= self.limits.queued_bytes)
            full += room <= 0
            room -= fit[-1]
            held += size * fit[-1]
        self._metrics.add("capture_dropped", "full", full)
        self._metrics.add("capture_dropped", "bytes", len(fit) - sum(fit) - full)
        return fit

    def _parts(self, answered: Answered) -> Iterator[Answered]:
        """As many at once as go in one event."""
        answered.calls = [together(answered.calls)]
        begin, size = 0, 0
        for at, each in enumerate(answered.sizes):
            if at > begin and (at - begin == self.limits.batch or size + each > self.limits.batch_bytes):
                yield answered.part(begin, at)
                begin, size = at, 0
            size += each
        yield answered.part(begin, len(answered.sizes))

    async def close(self, *, timeout: float = 2.0) -> None:
        """Send what is queued for at most `timeout` seconds, and count the rest as dropped."""
        self._closing = True
        self.gather()
        self._wake.set()
        self._enough.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._poster.close()
        left = self._queued
        self._account(-left, -self._bytes)
        self._queued = self._bytes = 0
        self._queue.clear()
        self._metrics.add("capture_dropped", "shutdown", left)

    async def _send_forever(self) -> None:
        while not (self._closing and not self._queue):
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            if not self._closing and self._queued < self.limits.batch:
                self._enough.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), self.limits.linger)
            await self._send(self._take())

    def _take(self) -> list[Answered]:
        """The oldest, as many as go in one event."""
        queue, limits = self._queue, self.limits
        batch: list[Answered] = []
        count = size = 0
        while queue:
            more, held = len(queue[0].rows), sum(queue[0].sizes)
            if batch and (count + more > limits.batch or size + held > limits.batch_bytes):
                break
            batch.append(queue.popleft())
            count, size = count + more, size + held
        self._queued -= count
        self._sending, self._sending_bytes = count, size
        self._first, self._count = self._count + 1, self._count + count
        return batch

    async def _send(self, batch: list[Answered]) -> None:
        """Try a batch a few times; it stays counted as queued until it is sent or dropped."""
        fate = "unsent"
        try:
            body = exchanges.packed(batch, prefix=self._prefix, first=self._first) if self.limits.batch > 1 else b""
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
            count, self._sending = self._sending, 0
            self._bytes -= self._sending_bytes
            self._account(-count, -self._sending_bytes)
            if fate:
                self._metrics.add("capture_dropped", fate, count)
            else:
                self._metrics.add("capture_sent", amount=count)

    async def _post(self, batch: list[Answered], body: bytes) -> int:
        """The sink's status, or 0 where it gave none."""
        try:
            if self.limits.batch > 1:
                head = {
                    "id": f"{self._prefix}-{self._first:x}",
                    "type": exchanges.TYPE,
                    **self._source(batch[0].at),
                }
                return await self._poster.post(body, _headers(head, exchanges.MEDIA))
            (exchange,) = batch
            call = together(exchange.calls)
            assert self._texts is not None  # noqa: S101 - whoever asks for KServe's own form gives it
            for kind, text in zip(_TYPES, self._texts(call.columns, call.outputs, call.rows), strict=True):
                head = {**self._attributes(exchange), "type": kind}
                if (status := await self._poster.post(text, _headers(head, "application/json"))) // 100 != 2:
                    break
            return status
        except (OSError, TimeoutError, ValueError):
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

    def _attributes(self, exchange: Answered) -> dict[str, str]:
        """Attributes of both events of one exchange in KServe's own form."""
        attributes = {**self._source(exchange.at), "id": f"{self._prefix}-{self._first:x}"}
        attributes["requestid"] = exchanges.hashed(exchange.client_ids).hex()
        trace, state, known, shadow = exchange.marks[0]
        if re.fullmatch(exchanges.TRACE, trace):
            attributes["traceparent"] = trace.decode("ascii")
            text = state.decode("latin-1")
            if text.isascii() and text.isprintable() and text:
                attributes["tracestate"] = text
        if re.fullmatch(exchanges.GATEWAY_ID, known):
            attributes["exchangeid"] = known.decode("ascii")
        if shadow == b"1":
            attributes["shadow"] = "1"
        return attributes

    def _account(self, exchanges: int, size: int) -> None:
        self._metrics.add("capture_queued", "", exchanges)
        self._metrics.add("capture_queued_bytes", "", size)


def _headers(attributes: dict[str, str], media: str) -> dict[str, str]:
    return {"content-type": media, **{f"ce-{name}": value for name, value in attributes.items()}}
