"""What a candidate's decisions cost against stable's, as labels come: of the items that stable decided on and the candidate in shadow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from hallmark.decision import candidate
from hallmark.decision.engine import Verdict
from hallmark.decision.record import DecisionRecord
from hallmark.declaration.decision import Node
from hallmark.reviews.audits import Labels

KEPT = 5_000
"""Items that are compared: the newest."""
EVERY = 60.0
"""Seconds between two comparisons."""
CONFIDENCE = 0.9999
"""Of each: it is asked again and again, and one that is no dearer shall not be called so by one of them."""
_log = logging.getLogger(__name__)


class CostWatch:
    """Of one candidate beside one stable unit. It starts with nothing: what was decided before a restart is in the records.

    persons: nodes of the candidate's graph.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        persons: Mapping[str, Node],
        kept: int = KEPT,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._labels, self._persons, self._every, self._clock = labels, persons, every, clock
        self._kept, self._pairs = kept, dict[str, tuple[DecisionRecord, Verdict]]()
        self._next = clock()

    def saw(self, stable: DecisionRecord, verdict: Verdict) -> None:
        """An item that both decided on; of one that comes again the last time counts."""
        self._pairs.pop(stable.given.id, None)
        self._pairs[stable.given.id] = (stable, verdict)
        if len(self._pairs) > self._kept:
            del self._pairs[next(iter(self._pairs))]

    def dearer(self) -> str:
        """Why the candidate is dearer; empty where it is not, where that is not known, and between two comparisons."""
        if self._clock() < self._next:
            return ""
        pairs = list(self._pairs.copy().values())
        try:
            labels = self._labels.by_request()
        except Exception as error:  # noqa: BLE001  a queue that is down ends no share
            _log.warning("labels could not be read: %s", error or type(error).__name__)
            return ""
        found = candidate.compare(
            [record for record, _ in pairs],
            {record.given.id: each for record, each in pairs},
            labels=labels,
            persons=self._persons,
            confidence=CONFIDENCE,
        )
        self._next = self._clock() + self._every
        outcome, why = candidate.verdict_on(found)
        return why if outcome == "refuse" else ""
