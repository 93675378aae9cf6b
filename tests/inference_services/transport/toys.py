"""A server of one protocol on a loop and a thread of its own, as the tests of this package share it."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from typing import Any

import uvloop

from inference_services.transport.endpoint import ConnectionLimits, Endpoint


class Toy:
    """Listens on a free port until it is stopped; then nothing may be left of its clients."""

    def __init__(self, *, headers: bytes = b"", **limits: Any) -> None:
        self.limits = ConnectionLimits(**{"silence": 0.2, "linger": 0.5, **limits})
        self.errors: list[Any] = []
        self._headers = headers
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run(started)), daemon=True)
        self._thread.start()
        assert started.wait(10)

    @abstractmethod
    def protocol(self) -> asyncio.Protocol:
        """The protocol object of one client."""

    @property
    def address(self) -> str:
        """Address of its socket."""
        return f"127.0.0.1:{self.port}"

    def drain(self, timeout: float = 10.0) -> Any:
        """End as a server does that was told to stop; a future of it."""
        self.loop.call_soon_threadsafe(self.server.close)
        return asyncio.run_coroutine_threadsafe(self.endpoint.drain(timeout=timeout), self.loop)

    def stop(self) -> None:
        """End it, and see that nothing is left."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self.errors
        assert self.endpoint.held == 0
        assert not self.endpoint.connections

    async def _run(self, started: threading.Event) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.endpoint = Endpoint(limits=self.limits, headers=self._headers)
        self.server = await self.loop.create_server(self.protocol, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        watch = self.loop.create_task(self.endpoint.watch())
        started.set()
        await self._stop.wait()
        watch.cancel()
        self.server.close()
        await self.endpoint.drain(timeout=0)
