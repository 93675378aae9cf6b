"""The leash: a small process that outlives the cluster by two seconds and takes its children with it.

The cluster writes down each child that it starts, into a pipe. When the pipe closes, however the cluster ended, every child that is
still the one that was written down gets SIGTERM, and SIGKILL two seconds later: whole process groups, and nothing by name.
This file is run as a script, so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_SECONDS = 2.0


def identity(pid: int) -> str | None:
    """Start time of process `pid`, which differs for a later one of the same number; none when there is no such process."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        state, *rest = stat.rpartition(")")[2].split()
        return None if state == "Z" else f"{boot}-{rest[18]}"
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None


def alive(children: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those of `children` (pid, identity) that still run, and are still the same process."""
    return [(pid, known) for pid, known in children if identity(pid) == known]


def end(children: Iterable[tuple[int, str]], *, grace: float = GRACE_SECONDS) -> int:
    """Stop the process groups led by `children`: SIGTERM, and SIGKILL after `grace` seconds. Gives how many there were."""
    left = alive(children)
    count = len(left)
    _signal(left, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = alive(left)
    _signal(left, signal.SIGKILL)
    return count


def _signal(children: Iterable[tuple[int, str]], number: signal.Signals) -> None:
    for pid, _ in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def main() -> None:
    """Read `+pid identity` and `-pid` lines from standard input; at its end, stop whoever is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children: dict[int, str] = {}
    for line in sys.stdin:
        number, _, known = line[1:].strip().partition(" ")
        if line.startswith("+"):
            children[int(number)] = known
        else:
            children.pop(int(number), None)
    end(children.items())


if __name__ == "__main__":
    main()
