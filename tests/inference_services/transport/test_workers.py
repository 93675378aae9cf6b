"""The pool of workers: it ends with all of them, whenever it is told."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

POOL = """
import asyncio, signal, sys
from inference_services.transport import workers
async def work(number):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
print("ready", flush=True)
sys.exit(workers.run(work, count=4))
"""


@pytest.mark.slow
def test_a_pool_that_is_told_to_end_while_it_starts_its_workers_ends_with_all_of_them() -> None:
    lot = random.Random(5)
    for _ in range(12):
        pool = subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            assert pool.stdout is not None and pool.stdout.readline() == "ready\n"
            time.sleep(lot.uniform(0, 0.02))
            pool.send_signal(signal.SIGTERM)
            pool.communicate(timeout=30)
            assert pool.returncode in (0, -signal.SIGTERM), "the signal came before there was a pool"
        finally:
            if pool.poll() is None:
                os.killpg(pool.pid, signal.SIGKILL)
                pool.communicate()
