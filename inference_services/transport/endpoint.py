"""A listening port and its connections: admission of clients, limits, a check of each once a second, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

_COURTESY = 0.002
"""Seconds that a worker with more clients than another leaves a new one to that."""
_AT_ONCE = 64
"""Clients accepted in one loop iteration: a busy loop has few of them, and a client that waits to be accepted is not seen."""
_BREATH = 0.5
"""Seconds until the next try where the process has no file descriptor left."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of one connection, and of all of them together, in bytes and seconds.

    header_time: from the first byte of a request, or of the connection, to the end of its headers.
    body_time:   from there to the end of its body.
    idle_time:   between requests; longer than a gateway keeps its connections, so that it never meets a closed one.
    linger:      in which a refused client may read why.
    silence:     of a client before it is left when the server stops.
    held:        bytes of all bodies that are in memory at once.
    """

    body: int = 16 * 1024 * 1024
    header: int = 32 * 1024
    headers: int = 100
    connections: int = 4096
    header_time: float = 5.0
    body_time: float = 30.0
    idle_time: float = 630.0
    linger: float = 2.0
    silence: float = 1.0
    held: int = 256 * 1024 * 1024


class ClientConnection(Protocol):
    """One client's connection, as an endpoint uses it; `deadline` is by time.monotonic()."""

    deadline: float

    def expire(self) -> None:
        """The time for what is awaited is over."""

    def leave(self) -> None:
        """Close as soon as nothing is under way."""

    def abort(self) -> None:
        """Close at once."""


class Endpoint:
    """State that all connections to one port of a worker share; `held` counts the bytes of bodies in memory."""

    def __init__(
        self, *, limits: ConnectionLimits, headers: bytes = b"", counted: Callable[[int], None] = lambda change: None
    ) -> None:
        self.limits = limits
        self.counted = counted
        self.connections: set[ClientConnection] = set()
        self.draining = False
        self.held = 0
        self.common = b""
        self._fixed = headers
        self._date()

    async def watch(self) -> None:
        """Close what is over its time, once a second, for ever."""
        while True:
            await asyncio.sleep(1.0)
            self._date()
            now = time.monotonic()
            for connection in [item for item in self.connections if item.deadline < now]:
                connection.expire()

    async def drain(self, *, timeout: float) -> None:
        """Answer what has come, ask every client to leave, and wait for that at most `timeout` seconds."""
        self.draining = True
        end = time.monotonic() + timeout
        while self.connections and time.monotonic() < end:
            for connection in list(self.connections):
                connection.leave()
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()

    def _date(self) -> None:
        self.common = b"date: %b\r\n%b" % (formatdate(usegmt=True).encode(), self._fixed)


def listen(host: str, port: int) -> socket.socket:
    """The port, bound and not yet open: it takes connections once a worker is ready to answer them; OSError where taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener


class Listener:
    """Takes clients in as they come, and leaves them to another worker for a moment where that has fewer.

    The workers share the listener. Whoever is idle would else take all that come at once, and few clients would all be one
    worker's.
    """

    def __init__(
        self, listener: socket.socket, make: Callable[[], asyncio.Protocol], *, fewest: Callable[[int], bool]
    ) -> None:
        self._listener = listener
        self._make = make
        self._fewest = fewest
        self._loop = asyncio.get_running_loop()
        self._patient = True
        self._pause: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """Let clients in from now on."""
        self._listener.listen(1024)
        self._resume()

    def close(self) -> None:
        """Let nobody in any more."""
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._take)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._resume)

    def _take(self) -> None:
        if self._patient and not self._fewest(0):
            self._patient = False
            self._wait(_COURTESY)
            return
        self._patient = True
        for taken in range(_AT_ONCE):
            if taken and not self._fewest(taken):
                return
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("cannot take a client in: %s", error.strerror)
                self._wait(_BREATH)
                return
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        client.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(self._loop.connect_accepted_socket(self._make, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


# Drops packets that open a connection (SYN in the TCP flags), lets all others pass: classic BPF.
_NO_NEW = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x02), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26


async def close_listener(listener: socket.socket, *, timeout: float) -> None:
    """Let no new client in, and wait until those who wait in the kernel's queue are; closing at once would reset them."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_NEW))
    program = struct.pack("HP", len(_NO_NEW), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # where the kernel has no such filter the rest still helps
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    end = time.monotonic() + timeout
    await asyncio.sleep(0.05)
    while time.monotonic() < end and select.select([listener], [], [], 0)[0]:
        await asyncio.sleep(0.01)
