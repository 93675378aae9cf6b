"""Watch of the served unit's guarantee, in the process that decides: what is broken is followed at the next item, without a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from hallmark.decision.guarantee import Guarantee
from hallmark.decision.unit import Unit
from hallmark.reviews.audits import AuditLabels
from inference_services.decision.metrics import DecisionMetrics

EVERY = 10.0
"""Seconds between two looks at the queue."""
BLIND = 3600.0
"""Seconds without a look after which the guarantee counts as expired: nobody knows whether it holds."""
_log = logging.getLogger(__name__)


class GuaranteeWatch:
    """Of one unit. Until its first look the guarantee counts as expired, so that a restart forgets nothing."""

    def __init__(
        self,
        unit: Unit,
        labels: AuditLabels,
        *,
        metrics: DecisionMetrics,
        blind: float = BLIND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unit, self._labels, self._metrics = unit, labels, metrics
        self._guarantee = Guarantee.of(unit.decision)
        self._blind, self._clock = blind, clock
        self._looked = -float("inf")

    @property
    def expired(self) -> bool:
        """Does the guarantee no longer hold, as far as anybody knows?"""
        return self.broken or self._clock() - self._looked > self._blind

    @property
    def broken(self) -> bool:
        """Do labels say that it does not hold?"""
        return self._guarantee.state.broken is not None

    @property
    def told(self) -> str:
        """What labels say."""
        state = self._guarantee.state
        return f"{state.counterfeits} counterfeits among {state.labels} audited accepts"

    def look(self) -> None:
        """Take new labels in; whatever ails the queue is logged, and looked at again."""
        before = self.broken
        try:
            for unit, counterfeit in self._labels.news():
                if unit == self._unit.digest:
                    self._guarantee.saw([counterfeit])
        except Exception as error:  # noqa: BLE001  a queue that is down stops no decision until it is down for long
            _log.warning("labels of audits could not be read: %s", error or type(error).__name__)
            return
        self._looked = self._clock()
        state = self._guarantee.state
        if self.broken and not before:
            _log.error(
                "the guarantee of %s no longer holds: %s; nothing is accepted any more", self._unit.digest, self.told
            )
        self._metrics.set("guarantee_labels", state.labels)
        self._metrics.set("guarantee_counterfeits", state.counterfeits)
        self._metrics.set("guarantee_evidence", state.evidence)

    async def run(self, every: float = EVERY) -> None:
        """Look again and again."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(every)
