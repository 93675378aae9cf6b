"""The process of a decision: its service, and the clients of its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hallmark.decision.unit import Unit
from hallmark.reviews import database
from hallmark.reviews.queue import ReviewQueue
from inference_services.decision.breaker import Breaker
from inference_services.decision.cases import ReviewCases
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.nodes import NodeClient
from inference_services.decision.records import CaseFile, RecordLog
from inference_services.decision.rest import DecisionRest
from inference_services.decision.service import DecisionService
from inference_services.transport import one_model
from inference_services.transport.client import Client


@dataclass(frozen=True)
class DecisionOptions:
    """Settings of the process.

    nodes: address of each.   cases: a file of lines, or the address of a queue of reviews.
    expired: a file that is there while the guarantee does not hold.
    """

    name: str
    nodes: Mapping[str, str]
    records: Path
    cases: Path | str
    expired: Path | None = None
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080


def run(options: DecisionOptions, unit: Unit) -> int:
    """Serve until a signal; the exit code, or OSError where the port is taken."""
    service, clients = served(options, unit)

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
        ended=ended,
    )


def served(options: DecisionOptions, unit: Unit) -> tuple[DecisionService, list[Client]]:
    """The service, and the clients that it asks its nodes by."""
    metrics = DecisionMetrics(model=options.name, unit=unit.digest.removeprefix("sha256:")[:12])
    clients = {name: Client(url, what=f"--node {name}") for name, url in options.nodes.items()}
    nodes = {
        name: NodeClient(
            name, decision=unit.decision, part=unit.parts[name], client=client, metrics=metrics, breaker=Breaker()
        )
        for name, client in clients.items()
    }
    marker = options.expired
    service = DecisionService(
        unit,
        nodes=nodes,
        cases=CaseFile(options.cases)
        if isinstance(options.cases, Path)
        else ReviewCases(ReviewQueue(database.connect(options.cases)), explore=unit.decision.explore),
        records=RecordLog(options.records),
        metrics=metrics,
        expired=marker.exists if marker is not None else lambda: False,
    )
    return service, [*clients.values()]
