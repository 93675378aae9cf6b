"""The page of `hallmark ui` with the seven domains and 10,000 lines of history. `python -m benchmarks.ui`, two minutes.

Seconds that the server takes for an answer, asked without a socket: when nothing has changed, and right after an act of a person, which it
has to read. 200 ms is what an answer may take; first contentful paint is held in a browser by tests/hallmark/ui/test_browser.py.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from hallmark.rollout.history import History
from hallmark.settings import Settings
from hallmark.ui import gather
from hallmark.ui.app import app
from tests.hallmark.ui.conftest import filled, no_cluster

ROOT = Path(__file__).parents[1]
LIMIT = 0.200
ROUNDS = 20


async def measured(settings: Settings) -> dict[str, list[tuple[float, float]]]:
    """Seconds on the clock and of CPU of each answer, by page and by whether something had happened."""
    site = app(gather.Gatherer(settings, connect=no_cluster))  # type: ignore[arg-type]
    found: dict[str, list[tuple[float, float]]] = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://127.0.0.1") as client:
        for path in ("/", "/domain/fraud"):
            await client.get(path)
            await asyncio.sleep(3)  # what is asked in threads has answered
            for changed in (False, True):
                for number in range(ROUNDS):
                    if changed:
                        with History(settings, "fraud").act("labels", f"{number} labels"):
                            pass
                        await asyncio.sleep(gather.FRESH + 0.01)
                    began, cpu = time.perf_counter(), time.process_time()
                    answer = await client.get(path)
                    took = time.perf_counter() - began, time.process_time() - cpu
                    assert answer.status_code == 200
                    found.setdefault(f"{path}{', after an act' if changed else ''}", []).append(took)
    return found


def main() -> int:
    """Print a line a page; 1 where the median of one is beyond the limit."""
    with tempfile.TemporaryDirectory() as scratch:
        given = {"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": f"{scratch}/state", "HALLMARK_RELEASES": f"{scratch}/r"}
        settings = Settings.load(given)
        filled(settings)
        found = asyncio.run(measured(settings))
    late = False
    for name, each in found.items():
        clock, cpu = (statistics.median(column) * 1000 for column in zip(*each, strict=True))
        late |= clock > LIMIT * 1000
        sys.stdout.write(
            f"{name:<28} median {clock:6.1f} ms, {cpu:6.1f} ms of CPU; worst {max(each)[0] * 1000:6.1f} ms\n"
        )
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
