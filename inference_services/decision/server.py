"""The process of a decision: its service, and the clients of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hallmark.decision import record
from hallmark.decision.case import Cases
from hallmark.decision.unit import Unit
from hallmark.reviews import database
from hallmark.reviews.audits import AuditLabels
from hallmark.reviews.queue import ReviewQueue
from inference_services.crops import Crops
from inference_services.decision.breaker import Breaker
from inference_services.decision.cases import ReviewCases
from inference_services.decision.guarantee import EVERY, GuaranteeWatch
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.nodes import AnyOf, Asked, NodeClient
from inference_services.decision.pictures import Pictures
from inference_services.decision.records import CaseFile, RecordLog
from inference_services.decision.rest import DecisionRest
from inference_services.decision.service import DecisionService
from inference_services.decision.shadow import NoCases, Shadow
from inference_services.transport import one_model
from inference_services.transport.client import Client


@dataclass(frozen=True)
class DecisionOptions:
    """Settings of the process.

    nodes: addresses of each, the first that serves the unit's version counts.   also: further ones of the candidate's.   cases: a file of lines, or the address of a queue of reviews.
    photos: folder that pictures of cases are kept in; none: none are.   crops: pictures of references.
    expired: a file that is there while the guarantee is to count as expired, whatever its watch says.   look: seconds between its looks.
    """

    name: str
    nodes: Mapping[str, Sequence[str]]
    records: Path
    cases: Path | str
    photos: Path | None = None
    crops: Crops = field(default_factory=lambda: Crops(None))
    expired: Path | None = None
    look: float = EVERY
    also: Mapping[str, Sequence[str]] = field(default_factory=dict)
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080


class Served(NamedTuple):
    """What one process serves: stable's service, a candidate's in its shadow, the watch of stable's guarantee where there is a queue with labels."""

    service: DecisionService
    shadow: Shadow | None
    watch: GuaranteeWatch | None
    clients: tuple[Client, ...]

    async def ended(self) -> None:
        """Let what is under way end, and close connections."""
        await self.service.drained()
        if self.shadow is not None:
            await self.shadow.drained()
        for client in self.clients:
            client.close()


def run(options: DecisionOptions, unit: Unit, candidate: Unit | None = None) -> int:
    """Serve until a signal; the exit code, or OSError where the port is taken."""
    made = served(options, unit, candidate)
    watch = made.watch
    return one_model.run(
        lambda limit: DecisionRest(made.service, name=options.name, limit=limit, shadow=made.shadow),
        host=options.host,
        port=options.http_port,
        deadline=unit.decision.deadline,
        headers=f"x-hallmark-unit: {unit.digest}\r\n".encode("ascii", "replace"),
        told=f"deciding {options.name} by {unit.digest}" + (f", {candidate.digest} in shadow" if candidate else ""),
        beside=(lambda: watch.run(options.look)) if watch else None,
        ended=made.ended,
    )


def served(options: DecisionOptions, unit: Unit, candidate: Unit | None = None) -> Served:
    """The service and the shadow, each with clients of its own, so that the candidate's nodes hold nobody up."""
    metrics = _metrics(options, unit)
    nodes, clients = _asked(unit, options.nodes, metrics)
    marker, watch = options.expired, None
    cases: Cases
    if isinstance(options.cases, Path):
        cases = CaseFile(options.cases)
    else:
        queue = ReviewQueue(database.connect(options.cases))
        cases = ReviewCases(queue, explore=unit.decision.explore)
        watch = GuaranteeWatch(unit, AuditLabels(queue, domain=unit.domain), metrics=metrics)
        watch.look()
    service = DecisionService(
        unit,
        nodes=nodes,
        cases=cases,
        records=RecordLog(options.records),
        metrics=metrics,
        pictures=Pictures(options.photos, options.crops) if options.photos else None,
        expired=lambda: bool((watch is not None and watch.expired) or (marker is not None and marker.exists())),
    )
    shadow = None
    if candidate is not None:
        places = {name: (*options.nodes.get(name, ()), *options.also.get(name, ())) for name in candidate.parts}
        own = _metrics(options, candidate)
        asked, more = _asked(candidate, places, own)
        clients += more
        records = RecordLog(options.records / record.CANDIDATE)
        beside = DecisionService(candidate, nodes=asked, cases=NoCases(), records=records, metrics=own)
        shadow = Shadow(beside, unit, metrics=metrics)
    return Served(service, shadow, watch, tuple(clients))


def _metrics(options: DecisionOptions, unit: Unit) -> DecisionMetrics:
    return DecisionMetrics(model=options.name, unit=unit.digest.removeprefix("sha256:")[:12])


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
