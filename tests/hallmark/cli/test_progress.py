"""Lines of tasks: how one that ends by itself, one that fails and one that a person stops are told apart."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from hallmark.cli.progress import TaskLines
from hallmark.errors import Unavailable
from hallmark.interrupts import Interrupted


def told(error: BaseException) -> str:
    """The lines of one task that ends with this error."""
    stream = io.StringIO()
    with TaskLines(Console(file=stream)) as lines, pytest.raises(type(error)), lines.task("serve version 1"):
        raise error
    return stream.getvalue()


def test_a_task_that_a_person_ends_has_stopped_and_not_failed() -> None:
    turned = Unavailable("the connection went")
    turned.__cause__ = Interrupted(signal.SIGINT)
    for error in (Interrupted(signal.SIGINT), Interrupted(signal.SIGTERM), KeyboardInterrupt(), turned):
        said = told(error)
        assert "· serve version 1" in said and "stopped" in said
        assert "failed" not in said and "✗" not in said


def test_a_task_that_fails_says_so() -> None:
    for error in (Unavailable("the connection went"), RuntimeError("anything else")):
        said = told(error)
        assert "✗ serve version 1" in said and "failed" in said
