"""A candidate unit for a share of items: it decides on them in earnest, and stable stands in wherever it could not.

Nobody is worse off for it: an item that the candidate has no answer of its own nodes for is decided by stable while there is time for that, else by
the candidate, whose graph ends well in each case as stable's does. The minutes of persons are one day's for both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from hallmark.decision import candidate
from hallmark.decision.engine import Answer
from hallmark.decision.record import DecisionRecord
from hallmark.declaration import decision_paths
from inference_services.decision import messages
from inference_services.decision.messages import ItemRequest
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.service import DecisionService, Weighed
from inference_services.decision.shadow import Shadow
from inference_services.decision.share import ShareWatch
from inference_services.protocol.errors import BadRequest

_log = logging.getLogger(__name__)


class Canary:
    """Both services, and whoever says which of them an item is for.   shadow: sees each item but those that stable stood in for.   metrics: stable's."""

    def __init__(
        self,
        stable: DecisionService,
        mine: DecisionService,
        share: ShareWatch,
        *,
        shadow: Shadow,
        metrics: DecisionMetrics,
    ) -> None:
        self._stable, self._mine, self._share, self._shadow, self._metrics = stable, mine, share, shadow, metrics
        decision = stable.unit.decision
        self._shared = candidate.shared(decision, stable.unit.parts, mine.unit)
        self._deadline = decision.deadline.total_seconds()
        self._longest = (decision_paths.longest(decision, decision.start) + decision_paths.MARGIN).total_seconds()

    async def decide(
        self, request: ItemRequest, *, within: float, headers: Sequence[tuple[str, str]] = ()
    ) -> tuple[DecisionRecord, str]:
        """As `DecisionService.decide`, by the unit that the item is drawn for."""
        if not self._share.gives(request.id):
            record, case = await self._stable.decide(request, within=within, headers=headers)
            self._shadow.saw(request, record, headers)
            return record, case
        whole = within >= self._deadline  # whoever gives less time makes nodes late that are well
        began, within = time.perf_counter(), min(within, self._deadline)
        known: Mapping[str, Answer] = {}
        weighed, failed = None, "error"
        try:
            item = messages.facts(self._mine.unit.decision, request.tensors)
            mine = ItemRequest(request.id, item, request.tensors, request.wanted)
            weighed = await self._mine.weigh(mine, within=within, headers=headers)
        except BadRequest:
            failed = "request"  # stable says whether it is one for it too
        except Exception as error:  # noqa: BLE001  whatever ails a candidate, the item gets an answer
            _log.warning("the candidate %s did not decide: %s", self._mine.unit.digest, error or type(error).__name__)
        left = within - (time.perf_counter() - began)
        if weighed is not None:
            lacking = self._lacking(weighed)
            if not lacking or left < self._longest:
                self._metrics.add("share_items", decided_by="candidate", why="node" if lacking else "drawn")
                self._share.went(not (lacking and whole))
                record, case = await self._mine.tell(weighed)
                self._shadow.saw(request, record, headers)
                return record, case
            failed = "node"
            _log.warning("the candidate %s: %s", self._mine.unit.digest, "; ".join(lacking))
            known = {name: each for name, each in weighed.given.answers.items() if name in self._shared}
        self._metrics.add("share_items", decided_by="stable", why=failed)
        self._share.went(failed == "request" or not whole)
        return await self._stable.decide(request, within=max(0.0, left), headers=headers, known=known)

    def _lacking(self, weighed: Weighed) -> list[str]:
        """Nodes that gave no answer and would have given stable one, each with what came of it."""
        answers = weighed.given.answers.items()
        return [f"{name} {each.fate}" for name, each in answers if name not in self._shared and each.fate != "answered"]
