"""Processes of a test that are forked from one that has imported everything, so that fifty of them cost little; each may be killed."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from hallmark import leash


class Forks:
    """Calls of `module:function` with text arguments, a process each."""

    def __init__(self, target: str, log: Path) -> None:
        with log.open("ab") as stream:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", __name__, target],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                start_new_session=True,
                text=True,
            )
        self._ask("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._parent.pid, signal.SIGKILL)
        self._parent.communicate()

    def start(self, *arguments: str) -> int:
        """Call it in a new process; gives its number."""
        return self._ask("\t".join(("start", *arguments)))

    def wait(self, pid: int) -> int:
        """The exit code of one that ended, negative where a signal ended it."""
        return self._ask(f"wait\t{pid}")

    def kill(self, pid: int) -> int:
        """SIGKILL, if it still runs; gives what `wait` does."""
        if leash.identity(pid) is not None:
            os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def _ask(self, line: str) -> int:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(f"{line}\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())


def main(target: str) -> None:
    """Answer each line with a number."""
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        word, *arguments = line.rstrip("\n").split("\t")
        answer = 0
        if word == "wait":
            answer = os.waitstatus_to_exitcode(os.waitpid(int(arguments[0]), 0)[1])
        elif word == "start":
            answer = os.fork()
            if not answer:
                _child(function, arguments)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _child(function: Callable[..., None], arguments: list[str]) -> NoReturn:
    code = 1
    try:
        sys.stdout = sys.stderr
        function(*arguments)
        code = 0
    except BaseException:  # noqa: BLE001  whatever ends it is told, and it never goes on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
