"""One process a core, all on the same ports: sized by the container's own CPU limit, restarted when one dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvloop

from hallmark.errors import HallmarkError

Work = Callable[[int], Coroutine[Any, Any, None]]
_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 10.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


def run(work: Work, *, count: int) -> int:
    """Run `work(number)` in each of `count` processes until they end; the exit code. One alone needs no process of its own."""
    if count > 1:
        return _Pool(work, count).run()
    _run(work, 0)
    return 0


def _run(work: Work, worker: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(worker))


class _Pool:
    """The parent: holds nothing but its children."""

    def __init__(self, work: Work, count: int) -> None:
        self._work = work
        self._children: dict[int, tuple[int, float]] = {}
        self._count = count
        self._stopping = False
        self._pauses = dict.fromkeys(range(count), 0.1)

    def run(self) -> int:
        """Until all children have ended: 0, or the code of one that could not start."""
        for number in _ENDING:
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
        # A signal waits until the child is known here, and no longer has this process's handler there.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        pid = os.fork()
        if pid:
            self._children[pid] = (worker, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            return
        code = 1
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        try:
            _run(self._work, worker)
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
            with contextlib.suppress(ProcessLookupError):  # it has ended, and is waited for just now
                os.kill(pid, signal.SIGTERM)
