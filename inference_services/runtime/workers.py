"""One process a core, all on the same ports: sized by the container's own CPU limit, restarted when one dies."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvloop

from hallmark.errors import HallmarkError
from inference_services.runtime.bundle import Bundle
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.server import Options, listen, serve

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 10.0


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Whole cores that this container may use: its quota where it has one, else what the scheduler gives it."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return available if quota == "max" else max(1, min(available, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        return available


def run(options: Options, bundle: Bundle, *, count: int) -> int:
    """Serve on `count` workers until a signal; the exit code."""
    listener = listen(options)
    labels = {"model": options.name, "version": options.version, "revision": options.revision}
    metrics = Metrics(labels, workers=count)

    def work(worker: int) -> None:
        metrics.attach(worker)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options, bundle, listener=listener, metrics=metrics))

    if count == 1:
        work(0)
        return 0
    return _Pool(work, count).run()


class _Pool:
    """The parent: holds nothing but its children."""

    def __init__(self, work: Callable[[int], None], count: int) -> None:
        self._work = work
        self._children: dict[int, tuple[int, float]] = {}
        self._count = count
        self._stopping = False
        self._pauses = dict.fromkeys(range(count), 0.1)

    def run(self) -> int:
        """Until all children have ended: 0, or the code of one that could not start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for worker in range(self._count):
            self._fork(worker)
        code = 0
        while self._children:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            worker, begun = self._children.pop(pid)
            ended = os.waitstatus_to_exitcode(status)
            if self._stopping or ended in (2, 3):
                code = code or max(ended, 0)
                self._stop(signal.SIGTERM, None)
                continue
            self._restart(worker, ended, time.monotonic() - begun)
        return code

    def _restart(self, worker: int, ended: int, lived: float) -> None:
        pause = 0.1 if lived > 60 else self._pauses[worker]
        self._pauses[worker] = min(_LONGEST_PAUSE, pause * 2)
        _log.error("worker %d ended with %d; starting another in %.1f s", worker, ended, pause)
        until = time.monotonic() + pause
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.02)
        if not self._stopping:
            self._fork(worker)

    def _fork(self, worker: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._children[pid] = (worker, time.monotonic())
            return
        code = 1
        try:
            self._work(worker)
            code = 0
        except HallmarkError as error:
            sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
            code = error.exit_code
        except BaseException:  # noqa: BLE001  a child must never run on into its parent's code
            _log.exception("worker %d failed", worker)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in list(self._children):
            os.kill(pid, signal.SIGTERM)
