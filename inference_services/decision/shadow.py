"""A candidate unit in shadow: it decides on the items that stable has decided on, is recorded, and nobody is told or asked by it.

Answers that stable has of the same parts are the candidate's too, so that only what differs is asked a second time. Persons are not: that
it would have asked one is its verdict. It has an experts' day of its own, since it would be the only one that gives their minutes away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from hallmark.decision import candidate
from hallmark.decision.case import Case
from hallmark.decision.engine import Verdict
from hallmark.decision.record import DecisionRecord
from hallmark.decision.unit import Unit
from inference_services.decision import messages
from inference_services.decision.messages import ItemRequest
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.service import DecisionService
from inference_services.protocol.errors import BadRequest

AT_ONCE = 32
"""Items under way; more are left out rather than kept in memory with their photos."""
_log = logging.getLogger(__name__)


class NoCases:
    """Takes every case and gives it to nobody."""

    def submit(self, case: Case) -> str:
        """Nothing."""
        return ""


class Shadow:
    """Of one candidate beside one stable unit.

    metrics: stable's, which count what came of it.   both: is told of each item that both decided on.
    """

    def __init__(
        self,
        service: DecisionService,
        stable: Unit,
        *,
        metrics: DecisionMetrics,
        both: Callable[[DecisionRecord, Verdict], None] | None = None,
    ) -> None:
        self.unit = service.unit
        self._service, self._metrics, self._both = service, metrics, both
        self._shared = candidate.shared(stable.decision, stable.parts, service.unit)
        self._running: set[asyncio.Task[None]] = set()

    def saw(self, request: ItemRequest, record: DecisionRecord, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Decide on an item that stable has decided on; later, and without anybody waiting.

        One that the candidate has decided on in earnest took minutes of its day too.
        """
        if record.unit == self.unit.digest:
            self._service.noticed(record.verdict, record.at)
            return
        if len(self._running) >= AT_ONCE:
            self._metrics.add("candidate_left_out", reason="busy")
            return
        task = asyncio.get_running_loop().create_task(self._decide(request, record, headers))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drained(self) -> None:
        """Wait for the items that are under way."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _decide(self, request: ItemRequest, record: DecisionRecord, headers: Sequence[tuple[str, str]]) -> None:
        known = {name: each for name, each in record.given.answers.items() if name in self._shared}
        try:
            item = messages.facts(self.unit.decision, request.tensors)
            mine = ItemRequest(request.id, item, request.tensors, ())
            found, _ = await self._service.decide(mine, within=float("inf"), headers=headers, known=known)
        except BadRequest as error:
            self._left_out("request", error)
        except Exception as error:  # noqa: BLE001  whatever ails a shadow, nobody else notices
            self._left_out("error", error)
        else:
            if self._both is not None:
                self._both(record, found.verdict)
            self._metrics.add("candidate", stable=record.verdict.action, candidate=found.verdict.action)

    def _left_out(self, reason: str, error: Exception) -> None:
        _log.warning("the candidate %s did not decide: %s", self.unit.digest, error or type(error).__name__)
        self._metrics.add("candidate_left_out", reason=reason)
