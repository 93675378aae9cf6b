"""Streams of feature views on this machine: one process that keeps up to date what domains read, for as long as the cluster runs.

It is the cluster's child. Where it ends it is started again, after growing pauses; what it says is in streams.log of the cluster's folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hallmark import interrupts
from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.errors import DeclarationError
from hallmark.leash import Leash
from hallmark.settings import Settings
from local_cluster.processes import ChildProcess
from local_cluster.supervisor import FIRST_PAUSE, LONGEST_PAUSE, SETTLED_SECONDS

LOG = "streams.log"
_FILE = "sqlite:///"
_GRACE = 5.0
_LATEST = 10.0
"""Seconds that it waits for servers."""


class Streams:
    """The process, started where a domain reads views, or a view was applied."""

    def __init__(self, settings: Settings, *, on: Leash) -> None:
        self._settings = settings
        self._leash = on
        self._child: ChildProcess | None = None
        self._keeper: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Make the online store's folder, which servers ask for."""
        if feature_view.references(self._settings):
            (self._settings.state / "features").mkdir(parents=True, exist_ok=True)

    def start(self, *, after: Callable[[], bool]) -> None:
        """Start it once `after` is true, at the latest after some seconds, and keep it running: servers begin first."""
        if feature_view.references(self._settings):
            self._keeper = asyncio.create_task(self._keep(after), name="streams")

    async def stop(self) -> None:
        """End it; it has a few seconds to note what it has written."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._child is not None:
            await self._child.stop(_GRACE)

    async def _keep(self, after: Callable[[], bool]) -> None:
        pause = FIRST_PAUSE
        latest = time.monotonic() + _LATEST
        while not after() and time.monotonic() < latest:
            await asyncio.sleep(0.1)
        # A state folder may be moved while the cluster runs (row N10): the process ends then, since SQLite writes no file that was moved.
        folder = os.open(self._settings.state, os.O_RDONLY)
        try:
            while True:
                began = time.monotonic()
                settings = _moved(self._settings, to=_path(folder))
                self._child = ChildProcess.start(
                    [sys.executable, "-m", __name__],
                    environment=settings.child_environment(),
                    folder=settings.root,
                    log=settings.cluster / LOG,
                    on=self._leash,
                )
                await self._child.wait()
                if time.monotonic() - began > SETTLED_SECONDS:
                    pause = FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                self._child.trim()
        finally:
            os.close(folder)


def _path(folder: int) -> Path | None:
    """Where an open folder is now; none where the system does not say."""
    try:
        return Path(f"/proc/self/fd/{folder}").readlink()
    except OSError:
        return None


def _moved(settings: Settings, *, to: Path | None) -> Settings:
    """The settings with their state folder where it is now."""
    if to is None or to == settings.state or not to.is_dir():
        return settings
    inner = _within(settings.feature_store, settings.state)
    store = settings.feature_store if inner is None else f"{_FILE}{to / inner}"
    return settings.model_copy(update={"state": to, "feature_store": store})


def following(address: str, *, state: Path, begin: Path) -> str:
    """The address of an online store for a process in the folder `begin` of the state folder: it holds when that is moved."""
    inner = _within(address, state)
    return address if inner is None else f"{_FILE}{os.path.relpath(state / inner, begin)}"


def _within(address: str, state: Path) -> Path | None:
    """The path of an online store from the state folder on; none of one that is no file there."""
    path = Path(address.removeprefix(_FILE))
    return path.relative_to(state) if address.startswith(_FILE) and path.is_relative_to(state) else None


def wanted(settings: Settings) -> list[str]:
    """name@version of the views that declared domains read, and of those that were applied besides."""
    from hallmark.feature_store.place import FeatureStore

    found = set(FeatureStore(settings).applied())
    for name in domains.names(settings):
        with contextlib.suppress(DeclarationError):  # it is being edited
            features = domains.load(name, settings).features
            found |= set(features.views if features else ())
    return sorted(found)


def main() -> None:
    """Keep the views up to date until SIGTERM or SIGINT."""
    from hallmark.feature_store.place import FeatureStore

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings, stop = Settings.load(), threading.Event()

    def asked() -> list[str]:
        if settings.state.is_dir():
            return wanted(settings)
        stop.set()  # it was moved; who started this does so again where it is now
        return []

    with contextlib.suppress(interrupts.Interrupted), interrupts.handled(whole=True):
        FeatureStore(settings).follow(asked, stop)


if __name__ == "__main__":
    main()
