"""A stand-in of a language model's server, for as long as a test needs one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from local_cluster.chat_standin import ChatStandIn


@contextmanager
def running(standin: ChatStandIn) -> Iterator[str]:
    """Its address, while it serves in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(standin.start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(standin.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
