"""Between the protocols and the model: who may call it now, on which thread, and what is counted and captured."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hallmark.features.fields import Columns
from inference_services.runtime.capture import Capture
from inference_services.runtime.errors import ModelFault, Overloaded, ServeError, UnknownPath
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.model import Model, Outputs, joined

_INLINE = 0.001
"""Seconds: a call expected to be shorter runs where it arrives, since handing it to a thread costs a tenth of that."""


@dataclass(frozen=True)
class Load:
    """How much may wait.

    timeout: seconds within which an answer is of use; what cannot meet it is refused at once.
    queued:  requests that may wait for the model.
    batch:   records put together in one call, where that pays.
    """

    timeout: float = 5.0
    queued: int = 256
    batch: int = 64


@dataclass(slots=True)
class _Job:
    columns: Columns
    rows: int
    deadline: float
    arrived: float
    future: asyncio.Future[Outputs]


class Service:
    """One model and its traffic."""

    def __init__(self, model: Model, *, metrics: Metrics, load: Load | None = None) -> None:
        self.model = model
        self.metrics = metrics
        self.capture: Capture | None = None
        self.load = load or Load()
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._waiting_rows = 0
        self._batching = False
        self._call_cost, self._row_cost = self._measure()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """May new requests be sent here?"""
        return not self.draining

    @property
    def waiting(self) -> int:
        """Requests that wait for the model or are in it."""
        return self._waiting

    def check_name(self, name: str, version: str = "") -> None:
        """Refuse any model but the one that is served."""
        if name != self.model.name:
            raise UnknownPath(f"no such model; this server has {self.model.name}")
        if version and version != self.model.version:
            raise UnknownPath(f"no such version; this server has version {self.model.version or 'none'}")

    def infer(self, columns: Columns, rows: int, *, timeout: float | None = None) -> Outputs | asyncio.Future[Outputs]:
        """Outputs at once where the model is quick, else a future of them; `Overloaded` where they would be late."""
        allowed = self.load.timeout if timeout is None else min(timeout, self.load.timeout)
        if not self._waiting and self._expected(rows) < _INLINE and not self.model.photos:
            return self._call(columns, rows)
        late = self._expected(self._waiting_rows + rows)
        if late > allowed or self._waiting >= self.load.queued:
            raise Overloaded("too many requests wait for the model", retry_after=min(60, max(1, math.ceil(late))))
        now = time.perf_counter()
        future: asyncio.Future[Outputs] = self._loop.create_future()
        self._account(1, rows)
        self._jobs.put(_Job(columns, rows, now + allowed, now, future))
        return future

    def captured(
        self, columns: Columns, rows: int, outputs: Outputs, *, size: int, client_id: str, trace: str = ""
    ) -> None:
        """Offer one answered request to the capture, if there is one."""
        if self.capture is not None:
            self.capture.offer(columns, rows, outputs, size=size, client_id=client_id, trace=trace)

    def close(self) -> None:
        """End the thread once what waits is done."""
        self._jobs.put(None)

    def _measure(self) -> tuple[float, float]:
        """Seconds for one record and for each further one; slow until measured where the example does not fit."""
        try:
            one, many = self.model.cost(rows=1), self.model.cost(rows=8, repeats=3)
        except ServeError:
            return _INLINE, _INLINE
        self._batching = many < 0.7 * 8 * one
        return one, max((many - one) / 7, 0.0)

    def _expected(self, rows: int) -> float:
        return self._call_cost + self._row_cost * (rows - 1)

    def _account(self, requests: int, rows: int) -> None:
        self._waiting += requests
        self._waiting_rows += rows
        self.metrics.add("in_flight", amount=requests)

    def _call(self, columns: Columns, rows: int) -> Outputs:
        start = time.perf_counter()
        self.metrics.add("model_calls")
        try:
            return self.model.predict(columns, rows)
        finally:
            self.metrics.observe("stage_seconds", "infer", time.perf_counter() - start)
            self.metrics.observe("batch_rows", "", rows)

    def _work(self) -> None:
        """The model's own thread: takes what waits, together where that pays."""
        while (job := self._jobs.get()) is not None:
            jobs, rows = [job], job.rows
            ended = False
            while self._batching and rows < self.load.batch:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ended = True
                    break
                jobs.append(more)
                rows += more.rows
            self._run(jobs)
            if ended:
                return

    def _run(self, jobs: list[_Job]) -> None:
        now = time.perf_counter()
        alive = [job for job in jobs if job.deadline > now]
        for job in jobs:
            self.metrics.observe("stage_seconds", "queue", now - job.arrived)
            if job.deadline <= now:
                self._finish(job, Overloaded("the deadline passed while the request waited"))
        if len(alive) > 1 and self._together(alive):
            return
        for job in alive:
            self._finish(job, self._outcome(lambda job=job: self._call(job.columns, job.rows)))  # type: ignore[misc]

    def _together(self, jobs: list[_Job]) -> bool:
        """One call for all; False where it failed, so that each is tried alone and only the guilty one is refused."""
        rows = sum(job.rows for job in jobs)
        outputs = self._outcome(lambda: self._call(joined([job.columns for job in jobs]), rows))
        if isinstance(outputs, ServeError):
            return False
        at = 0
        for job in jobs:
            self._finish(job, {name: array[at : at + job.rows] for name, array in outputs.items()})
            at += job.rows
        return True

    def _outcome(self, call: Callable[[], Outputs]) -> Outputs | ServeError:
        try:
            return call()
        except ServeError as error:
            return error
        except Exception as error:  # noqa: BLE001  the thread must live on, whatever happened in it
            return ModelFault(f"the model failed: {type(error).__name__}")

    def _finish(self, job: _Job, outcome: Outputs | ServeError) -> None:
        self._loop.call_soon_threadsafe(self._settle, job, outcome)

    def _settle(self, job: _Job, outcome: Any) -> None:
        self._account(-1, -job.rows)
        if job.future.done():
            return
        if isinstance(outcome, ServeError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
