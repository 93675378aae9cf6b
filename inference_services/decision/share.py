"""The share of items that a candidate decides, as the running service follows it: a file that a person changes, and three reasons to end it at once.

It ends by itself where the candidate's own nodes fail often, where labels of its audited accepts break its guarantee, and where its decisions are
dearer than stable's by their final costs. That is written down beside its records, so that a restart begins nothing anew.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from hallmark.decision import share as shares
from hallmark.decision.share import CandidateShare, Stop
from hallmark.decision.unit import Unit
from hallmark.errors import HallmarkError
from inference_services.decision.cost import CostWatch
from inference_services.decision.guarantee import GuaranteeWatch
from inference_services.decision.metrics import DecisionMetrics

EVERY = 1.0
"""Seconds between two looks at the file."""
_WINDOW, _FAILURES = 50, 10
"""Of so many items that were the candidate's, the failures that end it."""
_log = logging.getLogger(__name__)


class ShareWatch:
    """Of one candidate.

    file: that of the share.   records: folder of the candidate's.   guarantee, cost: its own; none where no queue has labels.
    metrics: stable's.   secret: of the draws, so that whoever names items cannot name them so that the candidate has them, or never.
    """

    def __init__(
        self,
        unit: Unit,
        file: Path,
        records: Path,
        *,
        metrics: DecisionMetrics,
        guarantee: GuaranteeWatch | None = None,
        cost: CostWatch | None = None,
        secret: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._unit, self._file, self._records, self._metrics = unit, file, records, metrics
        self._guarantee, self._cost, self._secret, self._clock = guarantee, cost, secret, clock
        self._share: CandidateShare | None = None
        self._stop: Stop | None = None
        self._last: Stop | None = None
        self._went: deque[bool] = deque(maxlen=_WINDOW)
        self._complaint = ""
        self._lock = threading.RLock()  # looks are made beside the loop that asks

    @property
    def percent(self) -> float:
        """Of items that are the candidate's now."""
        given = self._given
        return given.percent if given is not None else 0.0

    @property
    def _given(self) -> CandidateShare | None:
        """The share that holds now."""
        expired = self._guarantee is not None and self._guarantee.expired
        with self._lock:
            return self._share if self._stop is None and not expired else None

    def gives(self, item: str) -> bool:
        """Is this item the candidate's?"""
        given = self._given
        return given is not None and shares.drawn(given, self._unit.domain, item, secret=self._secret)

    def went(self, well: bool) -> None:
        """What came of an item that was the candidate's."""
        with self._lock:
            self._went.append(well)
            failures = len(self._went) - sum(self._went)
            if failures >= _FAILURES:
                self._end(f"it failed on {failures} of its last {len(self._went)} items")

    def look(self) -> None:
        """Read the file, and what labels say; whatever is wrong with either, stable decides."""
        try:
            self._look()
        except Exception:  # noqa: BLE001  a share that nobody watches is none; it is looked at again
            _log.exception("the share of %s could not be watched", self._unit.digest)
            self._share = None
        self._metrics.set("share", self.percent / 100)
        self._metrics.set("share_stopped", float(self._stop is not None))

    def _look(self) -> None:
        found, complaint = None, ""
        try:
            found = shares.read(self._file)
        except HallmarkError as error:
            complaint = str(error)
        if complaint and complaint != self._complaint:
            _log.error("no item is the candidate's: %s", complaint)
        self._complaint = complaint
        self._follow(found if found is not None and found.candidate == self._unit.digest else None)
        if self._share is not None and self._stop is None:
            if self._guarantee is not None and self._guarantee.broken:
                self._end(f"its guarantee no longer holds: {self._guarantee.told}")
            elif self._cost is not None and (why := self._cost.dearer()):
                self._end(why)

    async def run(self, every: float = EVERY) -> None:
        """Look again and again."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(every)

    def _follow(self, found: CandidateShare | None) -> None:
        with self._lock:
            if found == self._share:
                return
            self._went.clear()
            mine = self._last if self._last is not None and self._last.share == found else None
            self._stop = mine or (shares.stopped(self._records, found) if found is not None else None)
            self._share = found
        percent = f"{found.percent:g}%" if found is not None else "no share"
        _log.info("the candidate %s decides %s of items%s", self._unit.digest, percent, self._ended())

    def _ended(self) -> str:
        return f"; that ended by itself: {self._stop.why}" if self._stop is not None else ""

    def _end(self, why: str) -> None:
        with self._lock:
            if self._share is None or self._stop is not None:
                return
            self._last = self._stop = Stop(share=self._share, at=datetime.fromtimestamp(self._clock(), UTC), why=why)
        _log.error("the candidate %s decides no item any more: %s", self._unit.digest, why)
        try:
            shares.stop(self._records, self._stop)
        except OSError as error:
            _log.error("the end of a share was not written down: %s", error.strerror or error)
