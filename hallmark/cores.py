"""How many cores a process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max"), *, threads: str = "") -> int:
    """Whole cores that this container may use: its quota where it has one, else what the scheduler gives it.

    threads: OMP_NUM_THREADS, which means the same where a process stands for a container and has no quota.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads.isdigit() and int(threads) > 0:
        available = min(available, int(threads))
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return available if quota == "max" else max(1, min(available, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        return available
