"""A bounded queue from any thread to one event loop: how a watch gets its changes without polling."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
LIMIT = 10_000


class FellBehind(Exception):
    """The reader is so slow that changes were dropped; it has to start again."""


class Feed(Generic[T]):
    """Items that `wanted` lets through, in order. Made and read on an event loop, pushed to from any thread."""

    def __init__(self, wanted: Callable[[T], bool], *, ended: Callable[[Feed[T]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._lock = threading.Lock()
        self._items: deque[T] = deque()
        self._wanted = wanted
        self._ended = ended
        self._closed = False
        self._behind = False

    def push(self, item: T) -> None:
        """Pass an item to the reader."""
        if not self._wanted(item):
            return
        with self._lock:
            if self._closed or self._behind:
                return
            if len(self._items) >= LIMIT:
                self._behind = True
            else:
                self._items.append(item)
        self._notify()

    async def next(self, seconds: float | None = None) -> T | None:
        """The next item; None when none came in that time, or the feed is closed. `FellBehind` after a loss."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._wake.clear()
                    with self._lock:
                        if self._items:
                            return self._items.popleft()
                        if self._behind:
                            raise FellBehind
                        if self._closed:
                            return None
                    await self._wake.wait()
        except TimeoutError:
            return None

    async def __aiter__(self) -> AsyncIterator[T]:
        while (item := await self.next()) is not None:
            yield item

    @property
    def waiting(self) -> bool:
        """Is there something that was not read yet?"""
        return bool(self._items)

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self._closed

    def close(self) -> None:
        """End it; the reader sees what was pushed before, then None."""
        with self._lock:
            self._closed = True
        self._ended(self)
        self._notify()

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the reader's loop is gone, and so is the reader
            self._closed = True
