"""A load generator that sends on time: `python -m benchmarks.serving.generator` reads its order as JSON on stdin.

closed: so many lanes, each with one request under way: the most a server can do.
open:   a request each 1/rate seconds whether or not others are answered, on an idle connection or a new one; its
        latency counts from the moment it was meant to be sent, so a stall is not hidden (no coordinated omission).
drain:  closed, until the server takes no more connections; counts requests that got no answer.

Prints one JSON object: numbers by the names of report.QUANTITIES, times in milliseconds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import itertools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvloop


@dataclass(frozen=True)
class Order:
    """A load to generate: bodies, address and rate, for `seconds`, after `warm` seconds that are not counted; drain ends at `seconds`."""

    port: int
    requests: list[bytes]
    mode: str
    seconds: float
    lanes: int = 32
    rate: float = 0.0
    deadline: float = 1.0
    warm: float = 0.5


@dataclass
class Tally:
    """Outcome of a load: (meant, sent, answered, status) of each request, in seconds; and what never did."""

    answers: list[tuple[float, float, float, int]] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    opened: int = 0
    rude: int = 0


class Lane(asyncio.Protocol):
    """One connection, with one request under way at most."""

    def __init__(self, tally: Tally, free: Callable[[Lane], None], gone: Callable[[Lane], None]) -> None:
        self._tally, self._free, self._gone = tally, free, gone
        self._parts = b""
        self._meant = self._sent = 0.0
        self.busy = self.closing = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: bytes, meant: float) -> None:
        """One request; it was to be sent at `meant`."""
        self.busy, self._meant, self._sent = True, meant, time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parts += data
        head, found, body = self._parts.partition(b"\r\n\r\n")
        if not found:
            return
        head = head.lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise SystemExit("an answer without content-length")
        if len(body) < int(head[at + 17 :].partition(b"\r\n")[0]):
            return
        status = int(head[9:12])
        if status == 503 and b"\r\nretry-after:" not in head:
            self._tally.rude += 1
        self._tally.answers.append((self._meant, self._sent, time.perf_counter(), status))
        self._parts, self.busy, self.closing = b"", False, b"\r\nconnection: close" in head
        if self.closing:
            self._transport.close()
        else:
            self._free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._tally.lost += self.busy
        self._gone(self)

    def close(self) -> None:
        """Leave."""
        self.busy = False
        self._transport.close()


class Generator:
    """All lanes of an order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._bodies = itertools.cycle(order.requests)
        self._idle: deque[Lane] = deque()
        self._lanes: set[Lane] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False
        self.tally = Tally()

    async def run(self) -> dict[str, float]:
        """Send as ordered; gives the outcome."""
        await asyncio.gather(*(self._connect() for _ in range(self._order.lanes)))
        begun = time.perf_counter()
        await getattr(self, f"_{self._order.mode}")(begun)
        self._ended = True
        pending = sum(lane.busy for lane in self._lanes)
        for lane in tuple(self._lanes):
            lane.close()
        return _summary(self._order, self.tally, begun + self._order.warm, pending)

    async def _closed(self, begun: float) -> None:
        self._begin()
        await asyncio.sleep(self._order.warm + self._order.seconds)

    async def _drain(self, begun: float) -> None:
        """Until nobody is left who could send, `seconds` at most."""
        self._begin()
        while self._lanes or self._tasks:
            await asyncio.sleep(0.05)
            if time.perf_counter() > begun + self._order.seconds:
                break

    def _begin(self) -> None:
        lanes, self._idle = tuple(self._idle), deque()
        for lane in lanes:
            self._again(lane)

    async def _open(self, begun: float) -> None:
        rate, done = self._order.rate, asyncio.Event()
        last = int((self._order.warm + self._order.seconds) * rate)
        timer, sent = _timer(begun, 1 / rate), 0

        def tick() -> None:
            nonlocal sent
            os.read(timer, 8)
            due = min(last, int((time.perf_counter() - begun) * rate) + 1)
            for number in range(sent, due):
                self._fire(begun + number / rate)
            sent = max(sent, due)
            if sent == last:
                done.set()

        self._loop.add_reader(timer, tick)
        await done.wait()
        self._loop.remove_reader(timer)
        os.close(timer)
        end = time.perf_counter() + self._order.deadline + 0.5
        while time.perf_counter() < end and (self._tasks or any(lane.busy for lane in self._lanes)):
            await asyncio.sleep(0.02)

    def _fire(self, meant: float) -> None:
        if self._idle:
            self._idle.popleft().send(next(self._bodies), meant)
        else:
            self._spawn(self._connect(meant))

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, meant: float = 0.0) -> None:
        try:
            _, lane = await self._loop.create_connection(
                lambda: Lane(self.tally, self._answered, self._gone), "127.0.0.1", self._order.port
            )
        except OSError:
            self.tally.refused += 1
            return
        self.tally.opened += 1
        self._lanes.add(lane)
        if meant:
            lane.send(next(self._bodies), meant)
        else:
            self._idle.append(lane)

    async def _reconnect(self) -> None:
        await self._connect(time.perf_counter())

    def _answered(self, lane: Lane) -> None:
        if self._order.mode == "open" or self._ended:
            self._idle.append(lane)
        else:
            self._again(lane)

    def _again(self, lane: Lane) -> None:
        lane.send(next(self._bodies), time.perf_counter())

    def _gone(self, lane: Lane) -> None:
        self._lanes.discard(lane)
        if lane in self._idle:
            self._idle.remove(lane)
        if not self._ended and self._order.mode != "open":
            self._spawn(self._reconnect())


def _timer(begun: float, interval: float) -> int:
    """A file that can be read each `interval` seconds from `begun` on: an event loop's own timers count milliseconds."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    pairs = [int(part) for value in (interval, begun) for part in divmod(round(value * 1e9), 1_000_000_000)]
    if timer < 0 or libc.timerfd_settime(timer, 1, (ctypes.c_long * 4)(*pairs), None):
        raise OSError(ctypes.get_errno(), "no timer")
    return timer


def _summary(order: Order, tally: Tally, begun: float, pending: int) -> dict[str, float]:
    table = np.array(tally.answers or [(0.0, 0.0, 0.0, 0)])
    counted = table[(table[:, 0] >= begun) & (table[:, 0] < begun + order.seconds)]
    meant, sent, answered, status = counted.T
    good, refused = status == 200, status == 503
    took = 1e3 * (answered - meant)
    late = took > 1e3 * order.deadline if order.mode == "open" else np.zeros(len(took), dtype=bool)
    found = {
        "rate": float((good & ~late).sum() / order.seconds),
        "refused": float(refused.sum() / order.seconds),
        "late": float((good & late).sum() / order.seconds),
        "errors": float((~good & ~refused).sum() + tally.rude),
        "lost": float(tally.lost + (pending if order.mode == "drain" else 0)),
        "unanswered": float(pending if order.mode == "open" else 0),
        "turned_away": float(tally.refused),
        "connections": float(tally.opened),
        "answered": float((table[:, 3] == 200).sum()),
    }
    series = {"": took[good], "refusal_": 1e3 * (answered - sent)[refused], "lag_": 1e3 * (sent - meant)}
    for name, values in series.items():
        found |= {f"{name}p{q}": float(np.percentile(values, q)) for q in (50, 99) if len(values)}
    return found


async def main() -> None:
    """Do as ordered; before others where that is allowed, so that waiting for a core is not taken for the server's."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    text = json.load(sys.stdin)
    requests = [base64.b64decode(request) for request in text.pop("requests")]
    found = await Generator(Order(requests=requests, **text)).run()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
