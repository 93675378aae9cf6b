"""The command line. `hallmark --help` imports nothing heavy; each command imports what it needs when it runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence

from hallmark import interrupts
from hallmark.errors import HallmarkError

_GARBAGE = (50_000, 20, 20)
"""Imports make objects that stay; Python's own threshold, 700, has the collector walk them hundreds of times in vain."""


class Failed(SystemExit):
    """The end of a command by an error; `tell` says it to a person and gives the exit code."""

    def __init__(self, tell: Callable[[], int]) -> None:
        super().__init__(1)
        self.tell = tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code. A signal ends it well at any moment, and while it imports too."""
    with interrupts.handled(whole=arguments is None):
        if arguments is None:
            gc.set_threshold(*_GARBAGE)
        try:
            from hallmark.cli import app

            app.run(arguments)
        except BaseException as error:
            # What a signal raises becomes another error in some places: in the making of a class, in click, in a cleaning that fails.
            if (stopped := interrupts.cause(error)) is not None:
                if isinstance(error, Failed) and isinstance(error.__cause__, HallmarkError):
                    error.tell()  # what could not be cleaned up
                sys.stderr.write(f"{stopped.told()}\n")
                return stopped.exit_code
            if isinstance(error, Failed):
                return error.tell()
            if isinstance(error, SystemExit):
                return int(error.code or 0)
            raise
        return 0


__all__ = ["main"]
