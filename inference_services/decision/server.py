"""The process of a decision: its service, and the clients of its nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
from inference_services.decision.nodes import NodeClient
from inference_services.decision.pictures import Pictures
from inference_services.decision.records import CaseFile, RecordLog
from inference_services.decision.rest import DecisionRest
from inference_services.decision.service import DecisionService
from inference_services.transport import one_model
from inference_services.transport.client import Client


@dataclass(frozen=True)
class DecisionOptions:
    """Settings of the process.

    nodes: address of each.   cases: a file of lines, or the address of a queue of reviews.
    photos: folder that pictures of cases are kept in; none: none are.   crops: pictures of references.
    expired: a file that is there while the guarantee is to count as expired, whatever its watch says.   look: seconds between its looks.
    """

    name: str
    nodes: Mapping[str, str]
    records: Path
    cases: Path | str
    photos: Path | None = None
    crops: Crops = dataclasses.field(default_factory=lambda: Crops(None))
    expired: Path | None = None
    look: float = EVERY
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080


def run(options: DecisionOptions, unit: Unit) -> int:
    """Serve until a signal; the exit code, or OSError where the port is taken."""
    service, clients, watch = served(options, unit)

    async def ended() -> None:
        await service.drained()
        for client in clients:
            client.close()

    return one_model.run(
        lambda limit: DecisionRest(service, name=options.name, limit=limit),
        host=options.host,
        port=options.http_port,
        deadline=unit.decision.deadline,
        headers=f"x-hallmark-unit: {unit.digest}\r\n".encode("ascii", "replace"),
        told=f"deciding {options.name} by {unit.digest}",
        beside=(lambda: watch.run(options.look)) if watch else None,
        ended=ended,
    )


def served(options: DecisionOptions, unit: Unit) -> tuple[DecisionService, list[Client], GuaranteeWatch | None]:
    """The service, the clients that it asks its nodes by, and the watch of its guarantee, where there is a queue with labels."""
    metrics = DecisionMetrics(model=options.name, unit=unit.digest.removeprefix("sha256:")[:12])
    clients = {name: Client(url, what=f"--node {name}") for name, url in options.nodes.items()}
    nodes = {
        name: NodeClient(
            name, decision=unit.decision, part=unit.parts[name], client=client, metrics=metrics, breaker=Breaker()
        )
        for name, client in clients.items()
    }
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
    return service, [*clients.values()], watch
