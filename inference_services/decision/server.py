"""The process: opens its port, and on a signal drops readiness, answers what has come, and ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hallmark.decision.unit import Unit
from hallmark.declaration import timeouts
from hallmark.reviews import database
from hallmark.reviews.queue import ReviewQueue
from inference_services.decision.breaker import Breaker
from inference_services.decision.cases import ReviewCases
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.nodes import NodeClient
from inference_services.decision.records import CaseFile, RecordLog
from inference_services.decision.rest import DecisionRest
from inference_services.decision.service import DecisionService
from inference_services.transport import http1, workers
from inference_services.transport.client import Client
from inference_services.transport.endpoint import ConnectionLimits, Endpoint, Listener, close_listener, listen

_log = logging.getLogger(__name__)


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
    opened = listen(options.host, options.http_port)

    async def work(_worker: int) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        endpoint = Endpoint(
            limits=ConnectionLimits(), headers=f"x-hallmark-unit: {unit.digest}\r\n".encode("ascii", "replace")
        )
        rest = DecisionRest(service, name=options.name, limit=endpoint.limits.body)
        listener = Listener(opened, lambda: http1.Http1Connection(endpoint, rest), fewest=lambda _more: True)
        listener.open()
        watch = loop.create_task(endpoint.watch())
        _log.info("deciding %s by %s", options.name, unit.digest)
        await stop.wait()
        _log.info("draining")
        rest.draining = endpoint.draining = True
        limits = timeouts.of(unit.decision.deadline)
        drained = loop.time() + limits.end - timeouts.FLUSH
        await asyncio.sleep(limits.notice)
        await close_listener(opened, timeout=drained - loop.time())
        listener.close()
        await endpoint.drain(timeout=drained - loop.time())
        watch.cancel()
        await service.drained()
        for client in clients:
            client.close()
        _log.info("stopped")

    return workers.run(work, count=1)


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
