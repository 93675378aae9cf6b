"""Journal of a run while it runs: one line of JSON per event, appended by its steps, followed by whoever waits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hallmark import errors
from hallmark.errors import HallmarkError
from hallmark.section import Frozen

ENVIRONMENT = "HALLMARK_RUN"
_PAUSE = 0.2

State = Literal["started", "waiting", "progress", "finished", "reused", "failed"]


class Failure(Frozen):
    """An error on its way out of a step's process."""

    kind: str
    message: str
    expected: str = ""
    got: str = ""
    fix: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Any error as plain text; only Hallmark's own keep their parts."""
        if isinstance(error, HallmarkError):
            return cls(
                kind=type(error).__name__,
                message=error.message,
                expected=error.expected,
                got=error.got,
                fix=error.fix,
            )
        return cls(kind="", message=f"{type(error).__name__}: {error}")

    def error(self) -> HallmarkError | None:
        """The Hallmark error this was; none where the step broke in a way that nobody foresaw."""
        kind = getattr(errors, self.kind, None) if self.kind else None
        if not (isinstance(kind, type) and issubclass(kind, HallmarkError)):
            return None
        return kind(self.message, expected=self.expected, got=self.got, fix=self.fix)


class JournalEvent(Frozen):
    """One thing that happened to one step.

    seconds:     how long the step took (finished, reused, failed).
    done, total: how far it is (progress).
    """

    step: str
    state: State
    pid: int = 0
    seconds: float = 0.0
    done: int = 0
    total: int = 0
    note: str = ""
    key: str = ""
    value: Any = None
    failure: Failure | None = None


class Journal:
    """The journal of the run whose workspace is `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "events.jsonl"
        self._said = 0.0

    @classmethod
    def current(cls) -> Journal | None:
        """The journal of the run that this process is a step of; none in a cluster, where Kubeflow keeps it."""
        folder = os.environ.get(ENVIRONMENT)
        return cls(Path(folder)) if folder else None

    def log(self, step: str) -> Path:
        """Path of the kept output of `step`."""
        return self.folder / "logs" / f"{step}.log"

    def add(self, event: JournalEvent) -> None:
        """Append one event; a line is one write, so that lines of two processes never mix."""
        line = event.model_dump_json(exclude_defaults=True) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def progress(self, step: str, done: int, total: int, note: str) -> None:
        """Say how far `step` is; at most five times a second, the end always."""
        now = time.monotonic()
        if now - self._said >= _PAUSE or done >= total:
            self._said = now
            self.add(JournalEvent(step=step, state="progress", done=done, total=total, note=note))

    def follow(self) -> Iterator[JournalEvent | None]:
        """Events as they come, and None whenever there is nothing new yet; never ends."""
        rest = b""
        offset = 0
        while True:
            fresh = _read(self.path, offset)
            offset += len(fresh)
            *lines, rest = (rest + fresh).split(b"\n")
            for line in lines:
                if line:
                    yield JournalEvent.model_validate(json.loads(line))
            yield None


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read()
    except FileNotFoundError:
        return b""
