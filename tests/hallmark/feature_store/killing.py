"""Ends of a job anywhere between what it reads and what it commits (fault 36), of the job on events and of the one on tiles."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hallmark.feature_store.log import FileLog, Record
from hallmark.feature_store.stream import Written
from tests.hallmark.feature_store.kept import Online

POINTS = ("read", "commit", "committed", "write", "written")


class Killed(BaseException):
    pass


def trap(point: str, after: int, kill: Callable[[], None], store: Any, log: Any) -> Callable[[str], None]:
    """Calls `kill` the nth time that the job comes to a point; gives what is to be told when it commits, and has committed."""
    left, write, read = [after], store.write, log.read

    def at(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                kill()

    def writing(rows: Sequence[Written]) -> None:
        at("write")
        write(rows[: len(rows) // 2])
        at("written")
        write(rows[len(rows) // 2 :])

    def reading(partition: str, offset: int, limit: int) -> Sequence[Record]:
        found: Sequence[Record] = read(partition, offset, limit)
        at("read")
        return found

    store.write, log.read = writing, reading
    return at


def left_by(folder: Path, store: Online) -> tuple[Any, ...]:
    letters = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("dead_letters-*.jsonl")))
    return store.all(), letters


def killed_at_each_point(
    folder: Path, child: str, script: Sequence[bytes], undisturbed: tuple[Any, ...], *, times: int = 10
) -> None:
    """Real processes, SIGKILL. child: a program of a folder, a point, and how often the job comes there; of no point: to its end."""

    def run(place: Path, point: str, after: int) -> int:
        return subprocess.run([sys.executable, "-c", child, str(place), point, str(after)], timeout=120).returncode

    for point in POINTS:
        for after in range(1, times + 1):
            place = folder / f"{point}-{after}"
            with FileLog(place / "log") as log:
                log.append("0", script)
            assert run(place, point, after) == -signal.SIGKILL, (point, after)
            assert run(place, "", 0) == 0
            store = Online(place / "online.sqlite")
            assert left_by(place / "state", store) == undisturbed, (point, after)
            store.close()
