"""Speed of one ONNX model relative to another on this machine, as a worker of the server runs them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.precision import Speed
from hallmark.learners import onnx_model

SECONDS = 3.0
"""Duration for which the two run against each other."""
_ROUNDS = (30, 500)


def race(fp32: Path, int8: Path, row: NDArray[np.float32], *, seconds: float = SECONDS) -> Speed:
    """Both models at one row on one thread, as a worker runs them: in turn, the best of all their runs."""
    runs = [onnx_model.session(path, threads=1) for path in (fp32, int8)]
    best = [min(_once(running, row) for _ in range(3)) for running in runs]
    times = max(1, int(0.001 / max(best)))  # calls a turn, so that reading the clock costs nothing
    until, rounds = time.monotonic() + seconds, 0
    while rounds < _ROUNDS[0] or (rounds < _ROUNDS[1] and time.monotonic() < until):
        best = [min(least, _once(running, row, times=times)) for least, running in zip(best, runs, strict=True)]
        rounds += 1
    return Speed(fp32=round(best[0] * 1e3, 4), int8=round(best[1] * 1e3, 4), processor=processor())


def _once(running: Any, row: NDArray[np.float32], *, times: int = 1) -> float:
    given = {onnx_model.INPUT: row}
    began = time.perf_counter()
    for _ in range(times):
        running.run(None, given)
    return (time.perf_counter() - began) / times


def processor() -> str:
    """The processor's name, and whether it has instructions for products of eight bits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return "unknown"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    vnni = {"avx512_vnni", "avx_vnni"} & set(facts.get("flags", "").split())
    return f"{facts.get('model name', 'unknown')}, {'with' if vnni else 'without'} VNNI"
