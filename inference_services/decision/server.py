"""The process of a decision: its service, and the clients of its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hallmark.decision import record
from hallmark.decision.case import Cases
from hallmark.decision.economics import Pace
from hallmark.decision.unit import Unit
from hallmark.reviews import database
from hallmark.reviews.audits import AuditLabels, Labels
from hallmark.reviews.queue import ReviewQueue
from inference_services.crops import Crops
from inference_services.decision.breaker import Breaker
from inference_services.decision.canary import Canary
from inference_services.decision.cases import ReviewCases
from inference_services.decision.cost import CostWatch
from inference_services.decision.draws import Draws
from inference_services.decision.guarantee import EVERY, GuaranteeWatch
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.nodes import AnyOf, Asked, NodeClient
from inference_services.decision.pictures import Pictures
from inference_services.decision.records import CaseFile, RecordLog
from inference_services.decision.rest import DecisionRest
from inference_services.decision.service import DecisionService
from inference_services.decision.shadow import NoCases, Shadow
from inference_services.decision.share import ShareWatch
from inference_services.transport import one_model
from inference_services.transport.client import Client


@dataclass(frozen=True)
class DecisionOptions:
    """Settings of the process.

    nodes: addresses of each, the first that serves the unit's version counts.   also: further ones of the candidate's.   cases: a file of lines, or the address of a queue of reviews.
    photos: folder that pictures of cases are kept in; none: none are.   crops: pictures of references.
    expired: a file that is there while the guarantee is to count as expired, whatever its watch says.   look: seconds between its looks.
    share: file that says of how many items the candidate decides in earnest; none: of none.
    """

    name: str
    nodes: Mapping[str, Sequence[str]]
    records: Path
    cases: Path | str
    photos: Path | None = None
    crops: Crops = field(default_factory=Crops)
    expired: Path | None = None
    look: float = EVERY
    share: Path | None = None
    also: Mapping[str, Sequence[str]] = field(default_factory=dict)
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080


class Beside(NamedTuple):
    """A candidate that may decide in earnest."""

    service: DecisionService
    canary: Canary
    share: ShareWatch
    guarantee: GuaranteeWatch | None


class Served(NamedTuple):
    """What one process serves: stable's service; a candidate's shadow, its share of items and who keeps that; watches of guarantees where a queue has labels."""

    service: DecisionService
    shadow: Shadow | None
    watch: GuaranteeWatch | None
    clients: tuple[Client, ...]
    beside: Beside | None = None

    @property
    def canary(self) -> Canary | None:
        """Who says which unit an item is for."""
        return self.beside.canary if self.beside is not None else None

    async def run(self, look: float) -> None:
        """Watch what has to be watched.   look: seconds between looks at labels."""
        watches = [self.watch, self.beside.guarantee if self.beside else None]
        running = [each.run(look) for each in watches if each is not None]
        await asyncio.gather(*running, *([self.beside.share.run()] if self.beside is not None else []))

    async def ended(self) -> None:
        """Let what is under way end, and close connections."""
        await self.service.drained()
        if self.beside is not None:
            await self.beside.service.drained()
        if self.shadow is not None:
            await self.shadow.drained()
        for client in self.clients:
            client.close()


def run(options: DecisionOptions, unit: Unit, candidate: Unit | None = None) -> int:
    """Serve until a signal; the exit code, or OSError where the port is taken."""
    made = served(options, unit, candidate)
    beside = f", {candidate.digest} in {'shadow and for its share' if made.beside else 'shadow'}" if candidate else ""
    return one_model.run(
        lambda limit: DecisionRest(
            made.service, name=options.name, limit=limit, shadow=made.shadow, canary=made.canary
        ),
        host=options.host,
        port=options.http_port,
        deadline=unit.decision.deadline,
        headers=b"",
        told=f"deciding {options.name} by {unit.digest}{beside}",
        beside=lambda: made.run(options.look),
        ended=made.ended,
    )


class _Common(NamedTuple):
    """What stable and a candidate that decides in earnest have together.   queue: none where cases go to a file."""

    queue: ReviewQueue | None
    file: CaseFile | None
    records: RecordLog
    draws: Draws
    pictures: Pictures | None

    @classmethod
    def of(cls, options: DecisionOptions) -> _Common:
        address = options.cases
        return cls(
            queue=None if isinstance(address, Path) else ReviewQueue(database.connect(address)),
            file=CaseFile(address) if isinstance(address, Path) else None,
            records=RecordLog(options.records),
            draws=Draws.of(options.records),
            pictures=Pictures(options.photos, options.crops) if options.photos else None,
        )

    def watch(self, unit: Unit, metrics: DecisionMetrics) -> GuaranteeWatch | None:
        """Of a unit's guarantee; none where no queue has labels."""
        labels = AuditLabels(self.queue, domain=unit.domain) if self.queue else None
        return GuaranteeWatch(unit, labels, metrics=metrics) if labels else None

    def service(
        self,
        unit: Unit,
        nodes: Mapping[str, Asked],
        options: DecisionOptions,
        *,
        metrics: DecisionMetrics,
        watch: GuaranteeWatch | None,
        paces: Mapping[str, Pace] | None = None,
    ) -> DecisionService:
        """A service whose verdicts hold."""
        marker = options.expired
        cases: Cases | None = ReviewCases(self.queue, explore=unit.decision.explore) if self.queue else self.file
        assert cases is not None  # noqa: S101  there is a queue or a file
        return DecisionService(
            unit,
            nodes=nodes,
            cases=cases,
            records=self.records,
            metrics=metrics,
            pictures=self.pictures,
            paces=paces or {},
            lot=self.draws.lot(unit.domain),
            expired=lambda: bool((watch is not None and watch.expired) or (marker is not None and marker.exists())),
        )


def served(options: DecisionOptions, unit: Unit, candidate: Unit | None = None) -> Served:
    """The service and the candidate's, each with clients of its own, so that the candidate's nodes hold nobody up."""
    metrics = _metrics(options, unit)
    nodes, clients = _asked(unit, options.nodes, metrics)
    common = _Common.of(options)
    watch = common.watch(unit, metrics)
    if watch is not None:
        watch.look()
    service = common.service(unit, nodes, options, metrics=metrics, watch=watch)
    if candidate is None:
        return Served(service, None, watch, tuple(clients))
    places = {name: (*options.nodes.get(name, ()), *options.also.get(name, ())) for name in candidate.parts}
    own = _metrics(options, candidate)
    asked, more = _asked(candidate, places, own)
    records = options.records / record.CANDIDATE
    alone = DecisionService(
        candidate,
        nodes=asked,
        cases=NoCases(),
        records=RecordLog(records),
        metrics=own,
        lot=common.draws.lot(unit.domain),
    )
    labels = Labels(common.queue, domain=unit.domain) if common.queue else None
    cost = CostWatch(labels, persons=candidate.decision.nodes) if labels else None
    shadow = Shadow(alone, unit, metrics=metrics, both=cost.saw if cost and options.share else None)
    beside = None
    if options.share is not None:
        shown = metrics.of(unit=_short(candidate))
        kept = common.watch(candidate, shown)
        mine = common.service(candidate, asked, options, metrics=shown, watch=kept, paces=service.paces)
        share = ShareWatch(
            candidate, options.share, records, metrics=metrics, guarantee=kept, cost=cost, secret=common.draws.secret
        )
        beside = Beside(mine, Canary(service, mine, share, shadow=shadow, metrics=metrics), share, kept)
    return Served(service, shadow, watch, (*clients, *more), beside)


def _metrics(options: DecisionOptions, unit: Unit) -> DecisionMetrics:
    return DecisionMetrics(model=options.name, unit=_short(unit))


def _short(unit: Unit) -> str:
    return unit.digest.removeprefix("sha256:")[:12]


def _asked(
    unit: Unit, places: Mapping[str, Sequence[str]], metrics: DecisionMetrics
) -> tuple[dict[str, Asked], list[Client]]:
    """Who answers for each node of a unit, and the clients of all."""
    nodes: dict[str, Asked] = {}
    clients: list[Client] = []
    for name, part in unit.parts.items():
        found = []
        for url in dict.fromkeys(places[name]):
            client = Client(url, what=f"--node {name}")
            clients.append(client)
            found.append(
                NodeClient(name, decision=unit.decision, part=part, client=client, metrics=metrics, breaker=Breaker())
            )
        nodes[name] = found[0] if len(found) == 1 else AnyOf(found)
    return nodes, clients
