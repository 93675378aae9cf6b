"""No server at all: `python -m benchmarks.serving.bare FOLDER SECONDS [PHOTOS]` runs the model in a loop, one thread.

What a server with this model cannot beat: feature code (for photos: decode, resize, normalise) and session, nothing
else. Waits for a line on stdin, so that several start together; prints calls, seconds and CPU seconds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.contenders import encoder, session
from benchmarks.serving.processes import ROOT

_WARM = 0.3


def run(folder: Path, photos: Path | None = None, *, processes: int, seconds: int) -> dict[str, float]:
    """So many processes at once, over the JPEGs in `photos` or over 32 floats; the names of a server's sample."""
    command = [sys.executable, "-m", "benchmarks.serving.bare", str(folder), str(seconds)]
    command += [str(photos)] if photos else []
    loops = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for loop in loops:
        if loop.stdout is None or loop.stdout.readline() != "ready\n":
            raise SystemExit("a bare loop did not start")
    found = [tuple(map(float, text.split())) for text in _go(loops)]
    count = sum(calls for calls, _, _ in found)
    rate = sum(calls / took for calls, took, _ in found)
    cpu = sum(used for _, _, used in found)
    return {"rate": rate, "cpu": 1e6 * cpu / count, "cores": cpu / found[0][1]}


def _go(loops: list[subprocess.Popen[str]]) -> list[str]:
    for loop in loops:
        assert loop.stdin is not None
        loop.stdin.write("go\n")
        loop.stdin.flush()
    return [loop.communicate()[0] for loop in loops]


def main(folder: Path, seconds: float, photos: Path | None = None) -> None:
    """The loop."""
    columns: list[dict[str, Any]]
    if photos:
        columns = [{"image": np.array([path.read_bytes()], dtype=object)} for path in sorted(photos.iterdir())]
    else:
        columns = [{"input": np.random.default_rng(1).normal(0, 1, (1, 32)).astype(np.float32)}]
    encode, run = encoder(folder), session(folder).run
    end = time.perf_counter() + _WARM
    while time.perf_counter() < end:
        run(["score"], {"input": encode(columns[0])})
    print("ready", flush=True)
    sys.stdin.readline()
    calls, begun, cpu = 0, time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) < begun + seconds:
        run(["score"], {"input": encode(columns[calls % len(columns)])})
        calls += 1
    print(calls, now - begun, time.process_time() - cpu)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), *map(Path, sys.argv[3:]))
