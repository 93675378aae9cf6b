"""Signals that end a command: ctrl-c, SIGTERM and a closed terminal, at any moment and however many come.

`handled` turns the first into `Interrupted` in the main thread, so that `finally` and `with` clean up. A second one at once is the same
one (`timeout` sends to the process and to its group); ctrl-c again a second later, or a minute without an end, ends the process at
once, and its keeper (hallmark/leash.py) what it has started. `noted` is for a loop that asks by itself.
Where the first is swallowed on its way, by a bare `except:` while a library is imported or by a destructor, it is raised again.
No handler takes a lock: an event or a print in one deadlocks where it interrupts the same event or print.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

PATIENCE = 60.0
"""Seconds that cleaning up may take."""
AGAIN = 1.0
"""Seconds within which further signals are the same wish."""
_LOOK = 0.2
"""Seconds between two looks whether an interruption was swallowed."""
_NAMES = {signal.SIGINT: "ctrl-c", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "its terminal, which was closed"}

_Handler = Callable[[int, FrameType | None], Any]
_heard: list[int] = []
_raised: list[weakref.ref[BaseException]] = []
"""What `_raise` raised last, which nobody keeps who swallows it; empty where it has arrived."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended the command; notes say what was stopped and what goes on."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {_NAMES[signal.Signals(number)]}")
        self.exit_code = 128 + number

    def told(self) -> str:
        """One line for people."""
        return ": ".join(filter(None, (str(self), "; ".join(getattr(self, "__notes__", ())))))


def cause(error: BaseException | None) -> Interrupted | None:
    """The interruption that led to this error, as a library turned it into one of its own; none where none did. None is raised again."""
    _raised.clear()
    while error is not None and not isinstance(error, Interrupted):
        if _heard and isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            return Interrupted(_heard[0])  # DuckDB drops what the handler raised
        error = error.__cause__ or error.__context__
    return error


@contextlib.contextmanager
def handled(*, whole: bool = False) -> Iterator[None]:
    """Have signals raise `Interrupted`, in the main thread. Those that were ignored from the start, as under nohup, stay so.

    whole: the process ends with this; after a signal, further ones are the same wish until it has ended, and one that comes after the end
    changes nothing of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _heard.clear()
    _raised.clear()
    read, write = os.pipe()
    os.set_blocking(write, False)
    watching = threading.Thread(target=_watch, args=(read,), name="signals", daemon=True)
    watching.start()
    descriptor = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    before = _install(_raise)
    if whole:
        atexit.register(_ignore, tuple(before))  # the first that is registered is the last to run
    try:
        yield
    finally:
        _raised.clear()
        if whole:
            for number in before if not _heard else ():
                signal.signal(number, _late)
        else:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)
            os.close(write)
            watching.join()
            os.close(read)


@contextlib.contextmanager
def noted() -> Iterator[list[tuple[int, float]]]:
    """Have signals added to a list, number and time, which whoever runs a loop looks at; nothing is raised."""
    found: list[tuple[int, float]] = []

    def note(number: int, _: FrameType | None) -> None:
        found.append((number, time.monotonic()))
        _mute(number)

    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    descriptor = signal.set_wakeup_fd(-1)
    before = _install(note)
    if _raised:
        _raised.clear()
        found.append((_heard[0], time.monotonic()))  # swallowed before this began
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)


def pressed_again(found: Sequence[tuple[int, float]]) -> bool:
    """Was ctrl-c pressed once more, later than a signal that came twice by itself?"""
    return any(number == signal.SIGINT and at - found[0][1] > AGAIN for number, at in found[1:])


def _install(handler: _Handler) -> dict[signal.Signals, _Handler | int | None]:
    before = {number: signal.getsignal(number) for number in _NAMES}
    before = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    return before


def _late(number: int, _: FrameType | None) -> None:
    _mute(number)


def _ignore(numbers: Sequence[int]) -> None:
    """While the interpreter ends, which would set what was there before and be killed by the next signal."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _mute(number: int) -> None:
    """Where the terminal is gone, what is said on the way out must not fail."""
    if number == signal.SIGHUP:
        for descriptor in (1, 2):
            try:
                os.write(descriptor, b"")
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _raise(number: int, _: FrameType | None) -> None:
    _mute(number)
    if not _heard:
        _heard.append(number)
    elif not _swallowed() or sys.exc_info()[1] is not None:  # or what a library made of it is on its way
        return
    raise _stopped()


def _stopped() -> Interrupted:
    """What is raised. No frame of its traceback has a name for it, so that it is gone with whoever swallows it."""
    made = Interrupted(_heard[0])
    _raised[:] = [weakref.ref(made)]
    return made


def _swallowed() -> bool:
    return any(each() is None for each in _raised)


def _watch(read: int) -> None:
    """Read what signals arrive, whatever the main thread is at; end the process where it does not end itself."""
    first: tuple[int, float] | None = None
    ours = 0
    while True:
        if first is not None and time.monotonic() > first[1] + PATIENCE:
            _end_at_once(first[0], f"it did not end within {PATIENCE:g} s")
        if not select.select([read], [], [], None if first is None else min(_LOOK, PATIENCE))[0]:
            if first is not None and _swallowed():
                ours += 1
                signal.pthread_kill(threading.main_thread().ident or 0, first[0])
            continue
        arrived = os.read(read, 64)
        if not arrived:
            return
        for number in arrived:
            if first is None and number in _NAMES:
                first = number, time.monotonic()
            elif first is not None and number == first[0] and ours:
                ours -= 1
            elif first is not None and number == signal.SIGINT and time.monotonic() - first[1] > AGAIN:
                _end_at_once(number, "ctrl-c again")


def _end_at_once(number: int, why: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{why}: ended at once, and what it has started with it\n".encode())
    os._exit(128 + number)
