"""Cost of a hanging drift monitor to clients. `python benchmarks/monitor_stopped.py`, about two minutes.

fraud behind the gateway at 200 requests a second, in alternating seconds with the monitor running and stopped (SIGSTOP), so that both meet
the same machine. Asked for (faults.md, 8): no failed request, and p99 at most 5 % up.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from hallmark.cli.progress import TaskLines
from hallmark.settings import Settings
from tools import drill
from tools.rehearsal import World
from tools.traffic import Tally

MODULE = "inference_services.drift_monitor"


def main() -> int:
    """Measure, print, and give 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    tallies: dict[str, list[Tally]] = {"running": [], "stopped": []}
    with tempfile.TemporaryDirectory() as folder:
        world = World.make("fraud", Path(folder) / "state", base=Settings.load())
        with TaskLines() as lines, drill.prepared(world, lines, seed=3) as (writer, traffic, _):
            pod = writer.pods("fraud")[0]["metadata"]["name"]
            time.sleep(3)
            monitor = world.process(pod, MODULE)
            for number in range(given.rounds):
                for state in ("running", "stopped") if number % 2 else ("stopped", "running"):
                    os.kill(monitor, signal.SIGSTOP if state == "stopped" else signal.SIGCONT)
                    time.sleep(1)
                    start = traffic.now()
                    time.sleep(given.seconds)
                    tallies[state].append(Tally.of(traffic.since(start)))
            os.kill(monitor, signal.SIGCONT)
    failed = sum(tally.failed for each in tallies.values() for tally in each)
    p99 = {state: statistics.median(tally.p99_ms for tally in each) for state, each in tallies.items()}
    p50 = {state: statistics.median(tally.p50_ms for tally in each) for state, each in tallies.items()}
    ratio = p99["stopped"] / p99["running"]
    found = {"failed": failed, "p50_ms": p50, "p99_ms": p99, "p99_ratio": round(ratio, 3), "rounds": given.rounds}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return int(failed > 0 or ratio > 1.05)


if __name__ == "__main__":
    sys.exit(main())
