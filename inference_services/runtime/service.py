"""One request's way between a protocol and the model: admitted, decoded, run, encoded, captured, counted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import math
import operator
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hallmark.declaration.serving_config import ServingConfig
from hallmark.features import image
from inference_services.capture.queue import Capture, Noted
from inference_services.capture.records import Call, Columns
from inference_services.protocol import v2
from inference_services.protocol.ask import Ask
from inference_services.protocol.errors import Forbidden, ModelFault, NotReady, Overloaded, ServeError
from inference_services.protocol.schema import Outputs
from inference_services.runtime.access import AccessLog
from inference_services.runtime.cache import Cache
from inference_services.runtime.executor import Executor
from inference_services.runtime.lookup import Lookup
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.model import joined
from inference_services.runtime.observer import PhotoObserver
from inference_services.runtime.pace import Pace

if TYPE_CHECKING:
    from inference_services.runtime.items import LiveItems

_QUICK = 0.001
"""Seconds: what is expected to be shorter runs on the event loop, since a thread costs a tenth of that to wake."""
_DOUBT = 2.0
"""A queue is taken to last twice what it did of late: one who waited in vain is worse off than one refused at once."""
_CALM = 1.0
"""Seconds without a refusal after which a server is no longer saturated."""
_BESIDE = 512
"""Bytes that the capture keeps of a request beside its body and its answer, about."""
_CHANGES = 64
"""Requests to change items that wait at most."""
_log = logging.getLogger(__name__)


class ChangeAsk(Protocol):
    """A request to change the items of an index."""

    def body(self) -> bytes:
        """What it asks, without its coding; `BadRequest` where it cannot be read."""
        ...

    def done(self, position: int) -> None:
        """Send the acknowledgement, with the log's position."""
        ...

    def refuse(self, error: ServeError) -> None:
        """Send an answer without one."""
        ...


@dataclass(slots=True)
class _Job:
    ask: Ask
    request: v2.InferenceRequest
    begun: float
    queued: float
    deadline: float
    key: bytes | None = None
    call: Call | None = None
    first: int = 0
    """The call of the model that it was in, and the place of its first record there."""
    noted: Noted | None = None
    """What the capture takes of it, once it was answered."""


Done = list[tuple[_Job, "Outputs | ServeError"]]
_call_of = operator.attrgetter("call")


class Service:
    """One model and its traffic, on one event loop and one thread.

    Requests that arrive in one loop iteration are run at its end, together where that pays: a quick model there and
    then, a slow one on the thread, so that the loop stays free to answer health and to refuse what would come too late.
    """

    def __init__(self, model: Executor, *, metrics: Metrics, config: ServingConfig, cache: Cache | None = None) -> None:
        self.model = model
        self.metrics = metrics
        self.capture: Capture | None = None
        self.observer: PhotoObserver | None = None
        self.lookup: Lookup | None = None
        self.items: LiveItems | None = None
        self.access: AccessLog | None = None
        self.config = config
        self.draining = False
        self._cache = cache
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(model, batching=config.batching, objective=config.objective, most=config.batch)
        self._arrived: deque[tuple[Ask, float, float]] = deque()
        self._looking: list[_Job] = []
        self._lookups: set[asyncio.Task[None]] = set()
        self._iteration_began = 0.0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = self._changing = 0
        self._changer = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="changes")
        self._changes: set[asyncio.Task[None]] = set()
        self._refusing_since = self._refused_last = self._admitted_last = -math.inf
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """May new requests be sent here? Not while it drains, nor when it has refused some for long, nor without its items' changes."""
        if self.draining or (self.items is not None and self.items.broken):
            return False
        calm = time.perf_counter() - self._refused_last > _CALM
        lasted = self._refused_last - self._refusing_since
        return calm or not self.config.saturated or lasted < self.config.saturated

    def check_ready(self) -> bool:
        """True, or `NotReady`."""
        if not self.ready:
            broken = self.items is not None and self.items.broken
            busy = "the server is about to stop, or has had too much to do for long"
            raise NotReady("the changes of the items cannot be taken" if broken else busy)
        return True

    def serve(self, ask: Ask) -> None:
        """Answer or refuse one request, now or later; nothing is raised."""
        begun = time.perf_counter()
        try:
            allowed = self._admit(ask, begun)
        except Overloaded as error:
            self.refused(ask, error, begun)
            return
        if not self._arrived:
            self._iteration_began = begun
            self._loop.call_soon(self._end_of_iteration)
        self._arrived.append((ask, begun, begun + allowed))
        self._waiting += 1

    def change(self, ask: ChangeAsk) -> None:
        """Take or refuse a request to change items, now or later; nothing is raised."""
        task = self._loop.create_task(self._changed(ask))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _changed(self, ask: ChangeAsk) -> None:
        begun, status = time.perf_counter(), 200
        self._changing += 1
        try:
            if self.items is None:
                raise Forbidden("this server takes no changes: the domain declares no fresh, or it has no log of them")
            if self.draining:
                raise NotReady("the server is about to stop")
            if self._changing > _CHANGES:
                raise Overloaded("too many changes wait")
            taken = await self._loop.run_in_executor(self._changer, self.items.change, ask.body())
            await asyncio.sleep(max(0.0, taken.bound - time.monotonic()))
            ask.done(taken.position)
        except Exception as error:  # noqa: BLE001  as in serve
            if not isinstance(error, ServeError):
                _log.error("an unforeseen failure", exc_info=error)
                error = ServeError("the server failed")
            status = error.status
            self.metrics.add("refused", error.reason)
            ask.refuse(error)
        finally:
            self._changing -= 1
        self.metrics.answered("rest", status, time.perf_counter() - begun)

    def refused(self, ask: Ask, error: Exception, begun: float) -> None:
        """Send and count an answer without tensors; what is no ServeError is a mistake of ours."""
        if not isinstance(error, ServeError):
            _log.error("an unforeseen failure", exc_info=error)
            error = ServeError("the server failed")
        elif isinstance(error, ModelFault):
            _log.error("%s", error.message, exc_info=error.__cause__)
        ask.refuse(error)
        self.metrics.add("refused", error.reason)
        self._count(ask, error.status, begun, rows=0, answered=0)

    def close(self) -> None:
        """End the threads once what waits is done."""
        self._jobs.put(None)
        if self.observer is not None:  # what was answered last is still to be captured
            self._thread.join(timeout=1.0)
        self._changer.shutdown(wait=True)
        if self.items is not None:
            self.items.close()

    def _admit(self, ask: Ask, now: float) -> float:
        """Seconds that the answer may take; `Overloaded` where it would take longer, before anything is decoded."""
        deadline = self.config.timeouts.deadline
        allowed = deadline if ask.timeout is None else min(ask.timeout, deadline)
        wait = _DOUBT * (self._waiting + 1) * self._pace.each + (now - self._iteration_began if self._arrived else 0.0)
        untried = (
            not self._waiting and now - self._admitted_last > _CALM
        )  # else one slow call could refuse every request from then on
        if (wait <= allowed and self._waiting < self.config.queued) or untried:
            self._admitted_last = now
            return allowed
        if now - self._refused_last > _CALM:
            self._refusing_since = now
        self._refused_last = now
        raise Overloaded("too many requests wait for the model", retry_after=min(60, max(1, math.ceil(wait))))

    def _end_of_iteration(self) -> None:
        jobs, rows, most = [], 0, self._pace.rows()
        slice_ends = time.perf_counter() + _QUICK
        while self._arrived and rows < most:
            job = self._decoded(*self._arrived.popleft())
            if job is not None:
                jobs.append(job)
                rows += job.request.rows
        self._settle(self._run(jobs))
        self._look_up()
        while self._arrived and most == 1 and time.perf_counter() < slice_ends:
            job = self._decoded(*self._arrived.popleft())
            if job is not None:
                self._settle(self._run([job]))
        self._look_up()
        if self._arrived:
            self._iteration_began = time.perf_counter()
            self._loop.call_soon(self._end_of_iteration)

    def _decoded(self, ask: Ask, begun: float, deadline: float) -> _Job | None:
        """The job to run now; none where it is refused, known already, for the thread, or waits for its features."""
        start = time.perf_counter()
        try:
            request = ask.decode()
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets its answer and the server lives on
            self._waiting -= 1
            self.refused(ask, error, begun)
            return None
        now = time.perf_counter()
        self.metrics.observe("stage_seconds", "decode", now - start)
        job = _Job(ask, request, begun, now, deadline)
        if self.lookup is not None:
            self._looking.append(job)
            return None
        return self._to_run(job)

    def _look_up(self) -> None:
        """Have the features of all that were decoded now read together."""
        if self._looking:
            jobs, self._looking = self._looking, []
            task = self._loop.create_task(self._looked_up(jobs))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def _looked_up(self, jobs: list[_Job]) -> None:
        """Run these with their features, or refuse them."""
        assert self.lookup is not None  # noqa: S101  only with one are there such jobs
        start = time.perf_counter()
        within = max(0.001, min(job.deadline for job in jobs) - start)
        try:
            outcomes = await self.lookup.fill([job.request for job in jobs], within=within)
        except Exception as error:  # noqa: BLE001  as in serve
            _log.error("an unforeseen failure", exc_info=error)
            outcomes = [ServeError("the server failed")] * len(jobs)
        now = time.perf_counter()
        ready: list[_Job] = []
        for job, refused in zip(jobs, outcomes, strict=True):
            self.metrics.observe("stage_seconds", "features", now - start)
            job.queued = now
            if refused is not None:
                self._waiting -= 1
                self.refused(job.ask, refused, job.begun)
            elif (whole := self._to_run(job)) is not None:
                if sum(each.request.rows for each in ready) >= self._pace.rows():
                    self._settle(self._run(ready))
                    ready = []
                ready.append(whole)
        self._settle(self._run(ready))

    def _to_run(self, job: _Job) -> _Job | None:
        """The job to run now; none where it is known already, or for the thread."""
        request = job.request
        behind = self.items is not None and self.items.behind  # the loop waits for no bucket; the model's thread does
        if self._cache is not None and not behind:
            columns = {name: request.columns[name] for name in self.model.names}
            try:
                job.key = self._cache.key(columns, generation=self.model.generation)
            except ServeError as error:  # the changes of the items cannot be read
                self._waiting -= 1
                self.refused(job.ask, error, job.begun)
                return None
            kept: Outputs | None = self._cache.get(job.key)
            if kept is not None:
                self._waiting -= 1
                layout = self.model.schema.layout if request.record is not None else None
                seen: Columns = request.columns
                if self.observer is not None:
                    kept, seen = self.observer.again(kept, seen)
                job.call = Call(seen if layout is None else {}, kept, request.rows, layout, request.record)
                self._answer(job, kept)
                self._note([job])
                return None
        if self.model.blocking or self.model.schema.photos or self._pace.expected(request.rows) > _QUICK:
            self._jobs.put(job)
            self.metrics.set("in_flight", self._waiting)
            return None
        return job

    def _work(self) -> None:
        """The model's own thread: takes what waits, together where that pays."""
        while (job := self._jobs.get()) is not None:
            jobs, rows, most = [job], job.request.rows, self._pace.rows()
            while rows < most and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    self._jobs.put(None)
                    break
                jobs.append(more)
                rows += more.request.rows
            if self.observer is None:
                self._loop.call_soon_threadsafe(self._settle, self._run(jobs))
                continue
            with image.shared():
                done = self._run(jobs)
                self._loop.call_soon_threadsafe(self._settle, done)
                self._observe(jobs, self.observer)
            self._loop.call_soon_threadsafe(self._observed, done, self.observer)

    def _observe(self, jobs: list[_Job], observer: PhotoObserver) -> None:
        """Put what is watched of these requests in the place of their photos, while they are answered."""
        start = time.perf_counter()
        for call in {id(job.call): job.call for job in jobs if job.call is not None}.values():
            try:
                call.columns = observer.watched(call.columns, call.rows)
            except Exception:  # noqa: BLE001  the thread must live on
                _log.exception("records cannot be observed; they are not captured")
                call.columns = {}
        took = time.perf_counter() - start
        self._pace.learn_after(len(jobs), took)
        self.metrics.observe("stage_seconds", "observe", took)

    def _observed(self, done: Done, observer: PhotoObserver) -> None:
        """Have those that were answered captured, and kept for when they come again."""
        jobs = [job for job, _ in done if job.call is not None and job.call.columns]
        for job, outcome in done:
            if (
                self._cache is not None
                and job.key is not None
                and job.call is not None
                and not isinstance(outcome, ServeError)
            ):
                rows = slice(job.first, job.first + job.request.rows)
                self._cache.put(job.key, observer.kept(outcome, job.call.columns, rows))
        self._note(jobs)

    def _run(self, jobs: list[_Job]) -> Done:
        """Every job with its outcome."""
        now = time.perf_counter()
        done: Done = []
        alive = []
        for job in jobs:
            self.metrics.observe("stage_seconds", "queue", now - job.queued)
            if job.deadline > now:
                alive.append(job)
            else:
                done.append((job, Overloaded("the deadline passed while the request waited")))
        if len(alive) > 1:
            outputs = self._call(alive)
            if not isinstance(outputs, ServeError):
                for job in alive:
                    rows = slice(job.first, job.first + job.request.rows)
                    done.append((job, {name: array[rows] for name, array in outputs.items()}))
                return done
        done += [(job, self._call([job])) for job in alive]  # so that only the guilty one is refused
        return done

    def _call(self, jobs: list[_Job]) -> Outputs | ServeError:
        start = time.perf_counter()
        rows = sum(job.request.rows for job in jobs)
        self.metrics.add("model_calls")
        try:
            records = [record for job in jobs if (record := job.request.record) is not None]
            layout = self.model.schema.layout if len(records) == len(jobs) else None
            record = None
            if len(jobs) == 1:
                columns, record = jobs[0].request.columns, jobs[0].request.record
            elif layout is not None:
                record = layout.joined(records)
                columns = layout.columns(record)
            else:
                columns = joined([job.request.columns for job in jobs])
            outputs = self.model.predict(columns, rows)
            call, first = Call(columns if layout is None else {}, outputs, rows, layout, record), 0
            for job in jobs:
                job.call, job.first = call, first
                first += job.request.rows
            return outputs
        except ServeError as error:
            return error
        except Exception as error:  # noqa: BLE001  the thread must live on, whatever happened in it
            return ModelFault(f"the model failed: {type(error).__name__}")
        finally:
            took = time.perf_counter() - start
            self._pace.learn(len(jobs), took)
            self.metrics.observe("stage_seconds", "infer", took)
            self.metrics.observe("batch_rows", "", rows)

    def _settle(self, done: Done) -> None:
        self._waiting -= len(done)
        self.metrics.set("in_flight", self._waiting)
        for job, outcome in done:
            if isinstance(outcome, ServeError):
                self.refused(job.ask, outcome, job.begun)
                continue
            if self._cache is not None and job.key is not None and self.observer is None:
                self._cache.put(job.key, outcome)
            self._answer(job, outcome)
        if self.observer is None:
            self._note([job for job, _ in done])

    def _answer(self, job: _Job, outputs: Outputs) -> None:
        ask, request, start = job.ask, job.request, time.perf_counter()
        try:
            size = ask.answer(request, outputs)
        except Exception as error:  # noqa: BLE001  as in serve
            self.refused(ask, error, job.begun)
            return
        self.metrics.observe("stage_seconds", "encode", time.perf_counter() - start)
        self._count(ask, 200, job.begun, rows=request.rows, answered=size)
        if self.capture is not None:  # now, while all that it is made of is in the processor's cache
            asked = ask.size if self.observer is None else self.observer.size * request.rows
            job.noted = (job.first, request.rows, asked + size + _BESIDE, request.id, ask.headers)

    def _note(self, jobs: list[_Job]) -> None:
        """Have those that were answered captured, those of one call of the model together."""
        if self.capture is None:
            return
        if len(jobs) == 1:
            if jobs[0].noted is not None and jobs[0].call is not None:
                self.capture.note(jobs[0].call, [jobs[0].noted])
            return
        for call, same in itertools.groupby(jobs, _call_of):
            if answered := [job.noted for job in same if job.noted is not None]:
                self.capture.note(call, answered)

    def _count(self, ask: Ask, status: int, begun: float, *, rows: int, answered: int) -> None:
        seconds = time.perf_counter() - begun
        self.metrics.answered(ask.protocol, status, seconds)
        if self.access is not None:
            self.access.note(ask, status, seconds, rows=rows, answered=answered)
