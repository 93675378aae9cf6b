"""Progress of work: a live line for each task in a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from hallmark.cli.console import width, wrapped
from hallmark.interrupts import cause

_EVERY = 5.0
_RESULT = 29
"""Column of a finished task's result."""


class TaskLine:
    """One task under way: `note` its activity, `advance` its progress."""

    def __init__(self, progress: Progress | None, console: Console, title: str) -> None:
        self._progress = progress
        self._console = console
        self._title = title
        self._task = progress.add_task(title, total=None, note="") if progress else None
        self._spoke = time.monotonic()
        self.result = ""

    def note(self, text: str) -> None:
        """Show the current activity."""
        self.advance(0, 0, text)

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Show progress: `done` of `total`; 0 where the total is not known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total or None, note=note)
        elif time.monotonic() - self._spoke > _EVERY:
            self._spoke = time.monotonic()
            share = f" {done}/{total}" if total else ""
            self._console.print(Text(f"  … {self._title}{share} {note}".rstrip()))

    def end(self) -> None:
        """Take the live line away."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)


class TaskLines:
    """Tasks as they happen, one line each; use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        live = self.console.is_terminal
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", style="dim"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=self.console, transient=True) if live else None

    @property
    def _columns(self) -> int | None:
        return width(self.console.file)

    def __enter__(self) -> TaskLines:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def say(self, text: str | Text = "") -> None:
        """A line that stays."""
        self.console.print(Text(wrapped(text, columns=self._columns), style="") if isinstance(text, str) else text)

    def done(self, title: str, result: str, seconds: float, *, mark: str = "✓") -> None:
        """A finished task as a line that stays."""
        style = "green" if mark == "✓" else "bold red" if mark == "✗" else "dim"
        took = f"  {seconds:.1f} s"
        columns = self._columns
        hang = _RESULT if columns is None or columns >= 2 * _RESULT else 4
        line = wrapped(f"{mark} {title:<26} {result}{took}", columns=columns, hang=hang)
        end = line.rfind(took.strip())
        self.console.print(Text.assemble((line[:2], style), line[2:end], (line[end:], "dim")))

    def start(self, title: str) -> TaskLine:
        """A live line that its owner ends."""
        return TaskLine(self._progress, self.console, title)

    @contextmanager
    def task(self, title: str) -> Iterator[TaskLine]:
        """A task: live while it runs, then its `result` and its duration."""
        line = TaskLine(self._progress, self.console, title)
        if not self._progress:
            self.console.print(Text(f"… {title}"))
        started = time.monotonic()
        try:
            yield line
        except BaseException as error:
            line.end()
            stopped = isinstance(error, KeyboardInterrupt) or cause(error) is not None
            mark, result = ("·", "stopped") if stopped else ("✗", "failed")
            self.done(title, result, time.monotonic() - started, mark=mark)
            raise
        line.end()
        self.done(title, line.result, time.monotonic() - started)
