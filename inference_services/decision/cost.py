"""What a candidate's decisions cost against stable's, as labels come: of the items that stable decided on and the candidate in shadow."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from hallmark.decision import candidate
from hallmark.decision.engine import Verdict
from hallmark.decision.record import DecisionRecord
from hallmark.reviews.audits import Labels

KEPT = 5_000
"""Items that are compared: the newest."""
EVERY = 60.0
"""Seconds between two comparisons."""
_log = logging.getLogger(__name__)


class CostWatch:
    """Of one candidate beside one stable unit. It starts with nothing: what was decided before a restart is in the records."""

    def __init__(
        self, labels: Labels, *, kept: int = KEPT, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._labels, self._every, self._clock = labels, every, clock
        self._pairs: deque[tuple[DecisionRecord, Verdict]] = deque(maxlen=kept)
        self._next = clock()

    def saw(self, stable: DecisionRecord, verdict: Verdict) -> None:
        """An item that both decided on."""
        self._pairs.append((stable, verdict))

    def dearer(self) -> str:
        """Why the candidate is dearer; empty where it is not, where that is not known, and between two comparisons."""
        if self._clock() < self._next:
            return ""
        self._next = self._clock() + self._every
        pairs = list(self._pairs)
        try:
            labels = self._labels.by_request()
        except Exception as error:  # noqa: BLE001  a queue that is down ends no share
            _log.warning("labels could not be read: %s", error or type(error).__name__)
            return ""
        found = candidate.compare(
            [record for record, _ in pairs], {record.given.id: each for record, each in pairs}, labels=labels
        )
        outcome, why = candidate.verdict_on(found)
        return why if outcome == "refuse" else ""
