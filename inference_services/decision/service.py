"""One item's way: the engine says who is asked, the nodes of a step are asked at once, and the verdict is on record before it is told."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hallmark.decision import engine
from hallmark.decision.case import Case, Cases
from hallmark.decision.economics import Pace
from hallmark.decision.engine import Answer, Ask, Given, Verdict
from hallmark.decision.record import DecisionRecord
from hallmark.decision.unit import Unit
from hallmark.declaration import decision_paths
from inference_services.decision.messages import ItemRequest
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.nodes import Asked
from inference_services.decision.pictures import Pictures
from inference_services.decision.records import RecordLog

_MARGIN = decision_paths.MARGIN.total_seconds()
_NOTHING: Mapping[str, Answer] = {}
_NO_PACE: Mapping[str, Pace] = {}
_log = logging.getLogger(__name__)


class Weighed(NamedTuple):
    """A verdict that nobody has heard of yet: no person is asked, and nothing is on record.

    until: of the loop's clock.   began: of the performance counter, when the request came.   at: seconds since 1970.
    """

    request: ItemRequest
    given: Given
    verdict: Verdict
    until: float
    began: float
    at: float


class DecisionService:
    """Decides with one release unit.

    paces: of the minutes of persons that it gives away, by name; those of its own for the others.
    lot:   what was drawn of an item that is accepted, by its fingerprint, 0 to 1.
    """

    def __init__(
        self,
        unit: Unit,
        *,
        nodes: Mapping[str, Asked],
        cases: Cases,
        records: RecordLog,
        metrics: DecisionMetrics,
        expired: Callable[[], bool] = lambda: False,
        pictures: Pictures | None = None,
        paces: Mapping[str, Pace] = _NO_PACE,
        lot: Callable[[str], float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.unit = unit
        self.metrics = metrics
        self._decision = unit.decision
        self._nodes, self._cases, self._records = nodes, cases, records
        self._expired, self._clock, self._pictures = expired, clock, pictures
        self._anybody, self._lot = unit.decision.anybody, lot
        nodes_of = unit.decision.nodes
        self.paces = {name: paces.get(name) or Pace(nodes_of[name]) for name in unit.decision.persons}
        self._audits: set[asyncio.Task[None]] = set()

    async def decide(
        self,
        request: ItemRequest,
        *,
        within: float,
        headers: Sequence[tuple[str, str]] = (),
        known: Mapping[str, Answer] = _NOTHING,
    ) -> tuple[DecisionRecord, str]:
        """The record of the verdict, which is written, and the id of the case where a person is asked.

        within: seconds that the caller gives; no more than the declared deadline are used.   known: answers of nodes that need not be asked.
        """
        return await self.tell(await self.weigh(request, within=within, headers=headers, known=known))

    async def weigh(
        self,
        request: ItemRequest,
        *,
        within: float,
        headers: Sequence[tuple[str, str]] = (),
        known: Mapping[str, Answer] = _NOTHING,
    ) -> Weighed:
        """Ask nodes until there is a verdict; `tell` makes it one that holds."""
        began = time.perf_counter()
        until = asyncio.get_running_loop().time() + min(within, self._decision.deadline.total_seconds())
        expired, now = self._expired(), self._clock()
        dear = {name: pace.price(now) for name, pace in self.paces.items()}
        self.metrics.set("expired", float(expired))
        for name, price in dear.items():
            self.metrics.set("minute_price", -1.0 if price == math.inf else price, person=name)
        given = Given(
            id=request.id,
            domain=self.unit.domain,
            item=request.item,
            minute_price=dear[self._anybody] if self._anybody else math.inf,
            minute_prices={**dear} if len(dear) > 1 else {},
            expired=expired,
        )
        while isinstance(found := engine.decide(self._decision, self.unit.thresholds, given), Ask):
            answers = {name: known[name] for name in found.nodes if name in known}
            if len(answers) < len(found.nodes):
                ask = Ask(found.step, tuple(name for name in found.nodes if name not in known))
                answers |= await self._ask(request, ask, given.answers, until=until, headers=headers)
            given = given.model_copy(update={"answers": {**given.answers, **answers}})
        if found.action == "accept" and self._lot is not None:
            given = given.model_copy(update={"lot": self._lot(request.fingerprint)})
            drawn = engine.decide(self._decision, self.unit.thresholds, given)
            assert isinstance(drawn, Verdict)  # noqa: S101  the lot asks nobody
            found = drawn
        return Weighed(request, given, found, until, began, now)

    async def tell(self, weighed: Weighed) -> tuple[DecisionRecord, str]:
        """Ask the person whom the verdict names, or whoever stands in, and write the record; OSError where that cannot be written."""
        request, given, found, until, began, now = weighed
        case = ""
        while found.person is not None:
            taken = await self._submitted(request, found, given, found.person, until=until - _MARGIN / 2)
            if taken is not None:
                case = taken
                break
            given = given.model_copy(update={"unheard": (*given.unheard, found.person)})
            again = engine.decide(self._decision, self.unit.thresholds, given)
            assert isinstance(again, Verdict)  # noqa: S101  whoever stands in for a person is no node that is asked
            found = again
        record = DecisionRecord(
            unit=self.unit.digest,
            parts=self.unit.parts,
            decision=self._decision,
            thresholds=self.unit.thresholds.only(given.item),
            given=given,
            verdict=found,
            at=now,
        )
        self._records.write(record)
        self._count(found, time.perf_counter() - began, now)
        if found.audit and self._anybody:
            task = asyncio.get_running_loop().create_task(self._audit(request, found, given))
            self._audits.add(task)
            task.add_done_callback(self._audits.discard)
        return record, case

    async def drained(self) -> None:
        """Wait for the audits that are being submitted."""
        await asyncio.gather(*self._audits, return_exceptions=True)

    async def _ask(
        self,
        request: ItemRequest,
        ask: Ask,
        answers: Mapping[str, Answer],
        *,
        until: float,
        headers: Sequence[tuple[str, str]],
    ) -> dict[str, Answer]:
        """The answers of a step's nodes, with time left for the person that stands in for the slowest."""
        standins = [self._decision.fallback_of(node) for node in ask.nodes]
        left = max(
            (
                decision_paths.longest(self._decision, to).total_seconds()
                for to in standins
                if to in self._decision.persons
            ),
            default=0.0,
        )
        limit = until - _MARGIN - left
        asked = [self._nodes[node].ask(request, answers, until=limit, headers=headers) for node in ask.nodes]
        return dict(zip(ask.nodes, await asyncio.gather(*asked), strict=True))

    def _submit(self, request: ItemRequest, verdict: Verdict, given: Given, node: str, *, audit: bool = False) -> str:
        """The id of the case, for which pictures are kept first; it waits for disk and queue."""
        case = self._case(verdict, given, node, audit=audit)
        if self._pictures is not None:
            photos = self._pictures.photos(request, self._decision)
            references = self._pictures.references(given.answers, self._decision)
            case = case.model_copy(update={"photos": photos, "references": references})
        return self._cases.submit(case)

    def _case(self, verdict: Verdict, given: Given, node: str, *, audit: bool) -> Case:
        person = self._decision.nodes[node]
        return Case(
            id=given.id,
            domain=given.domain,
            node=node,
            audit=audit,
            price=float(given.item[self._decision.costs.price]),
            saved=verdict.saved,
            minutes=person.minutes,
            deadline=self._clock() + person.sla.total_seconds(),
            path=verdict.path,
            evidence={name: each.outputs for name, each in given.answers.items() if each.fate == "answered"},
            reviewers=tuple(name for name, each in self._decision.nodes.items() if each.kind == "reviewer"),
            versions={name: each.version for name, each in given.answers.items() if each.fate == "answered"},
            unanswered={name: each.fate for name, each in given.answers.items() if each.fate != "answered"},
            unit=self.unit.digest,
        )

    async def _submitted(
        self, request: ItemRequest, verdict: Verdict, given: Given, person: str, *, until: float
    ) -> str | None:
        """The case's id; None where the queue does not take it in time."""
        loop = asyncio.get_running_loop()
        limit = min(until, loop.time() + self._decision.nodes[person].timeout.total_seconds())
        try:
            async with asyncio.timeout_at(limit):
                found = await asyncio.to_thread(self._submit, request, verdict, given, person)
        except Exception as error:  # noqa: BLE001  whatever ails the queue, the item gets an answer
            _log.warning("the queue of %s did not take a case: %s", person, error or type(error).__name__)
            self.metrics.add("cases", person=person, taken="no")
            return None
        self.metrics.add("cases", person=person, taken="yes")
        return found

    async def _audit(self, request: ItemRequest, verdict: Verdict, given: Given) -> None:
        """Hand an accepted item to a person too; nobody waits for that."""
        assert self._anybody is not None  # noqa: S101  only then is it called
        try:
            await asyncio.to_thread(self._submit, request, verdict, given, self._anybody, audit=True)
            self.metrics.add("cases", person="audit", taken="yes")
        except Exception as error:  # noqa: BLE001  the record says that it was drawn
            _log.warning("an audit was not taken: %s", error)
            self.metrics.add("cases", person="audit", taken="no")

    def _count(self, verdict: Verdict, seconds: float, now: float) -> None:
        self.metrics.add("verdicts", action=verdict.action, reason=verdict.reason)
        self.metrics.add("spent", verdict.spent)
        self.metrics.observe("seconds", seconds)
        self.noticed(verdict, now)

    def noticed(self, verdict: Verdict, at: float) -> None:
        """Count a verdict's minutes in the day of whoever it is for, as of one of its own."""
        person = verdict.person or self._anybody
        if person is None:
            return
        pace, minutes = self.paces[person], self._decision.nodes[person].minutes
        if verdict.saved is not None:
            pace.saw(verdict.saved / minutes, at)
        if verdict.action == "person" or verdict.audit:
            pace.took(at, minutes)
