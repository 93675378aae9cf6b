"""A decision over real HTTP on loopback: the service on a thread, nodes that fail as they are told, and cases that are kept."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.decision import unit
from hallmark.decision.case import Case
from hallmark.decision.record import DecisionRecord, Part
from hallmark.declaration.decision import Decision
from inference_services.decision.breaker import Breaker
from inference_services.decision.metrics import DecisionMetrics
from inference_services.decision.nodes import NodeClient
from inference_services.decision.records import RecordLog
from inference_services.decision.rest import DecisionRest
from inference_services.decision.service import DecisionService
from inference_services.transport.client import Client
from inference_services.transport.http1 import Http1Connection, HttpRequest, HttpResponse
from tests.inference_services.transport.toys import Toy

ROOT = Path(__file__).parents[3]
Output = Mapping[str, Any]
SECRET = "5" * 64
"""Of the draws, so that they are the same in each run."""
GRAPH: dict[str, Any] = {
    "deadline": "12s",
    "item": {"price": "number", "brand": "text"},
    "nodes": {
        "view": {
            "kind": "model",
            "service": "bags",
            "reads": ["photos", "price"],
            "outputs": {"risk": "number"},
            "timeout": "3s",
            "cost": 0.002,
            "fallback": "expert",
        },
        "near": {
            "kind": "retrieve",
            "service": "references",
            "reads": ["photos"],
            "outputs": {"distance": "number", "ids": "texts"},
            "timeout": "3s",
            "cost": 0.001,
            "fallback": "expert",
        },
        "reviewer": {
            "kind": "reviewer",
            "service": "bags-reviewer",
            "reads": ["photos", "near.ids", "view.risk"],
            "outputs": {"verdict": "text"},
            "timeout": "3s",
            "retries": 0,
            "cost": 0.03,
            "fallback": "refuse",
        },
        "expert": {"kind": "person", "minutes": 6, "capacity": 960, "timeout": "3s"},
    },
    "start": "look",
    "steps": {
        "look": {
            "ask": ["view", "near"],
            "routes": [{"when": "near.distance < 0.5", "to": "accept"}, {"to": "review"}],
        },
        "review": {
            "ask": ["reviewer"],
            "routes": [
                {"when": 'reviewer.verdict == "authentic"', "to": "accept"},
                {"when": 'reviewer.verdict == "counterfeit" and view.risk > 0.5', "to": "reject"},
                {"to": "expert"},
            ],
        },
    },
    "risk": {"false_authentic": {"score": "view.risk", "at_most": 0.01, "slices": ["brand"]}},
    "fallback": {"to": "expert", "above": 100},
}
LIMITS = Thresholds(
    score="view.risk",
    at_most=0.01,
    confidence=0.95,
    fields=("brand",),
    slices=(SliceThreshold(values=("Alma",), threshold=0.2, examples=4000, accepted=900, counterfeits=3),),
    scores=(0.0, 0.5, 1.0),
    chances=(0.001, 0.3, 0.99),
)
GOOD: dict[str, Output] = {
    "view": {"risk": [0.02]},
    "near": {"distance": [0.1], "ids": ["r7", "r9"]},
    "reviewer": {"verdict": ["authentic"]},
}


def answer(outputs: Output, *, version: str = "3") -> bytes:
    """An answer of the Open Inference Protocol."""
    tensors = [
        {"name": name, "shape": [len(data)], "datatype": "BYTES" if isinstance(data[0], str) else "FP64", "data": data}
        for name, data in outputs.items()
    ]
    return json.dumps({"model_name": "m", "model_version": version, "outputs": tensors}).encode()


class ToyNode(Toy):
    """A server of one model, which answers as `behave` says: an answer, None for silence, or bytes that are sent as they are; `after` is set."""

    def __init__(self, outputs: Output) -> None:
        self.asked: list[HttpRequest] = []
        self.outputs = outputs
        self.after = threading.Event()
        self.after.set()
        self.behave: Callable[[int], HttpResponse | bytes | None] = lambda _: HttpResponse(200, answer(self.outputs))
        super().__init__()

    def protocol(self) -> asyncio.Protocol:
        """The protocol object of one client."""
        connection = Http1Connection(self.endpoint, lambda request, reply: None)

        def handle(request: HttpRequest, reply: Callable[[HttpResponse], None]) -> None:
            self.asked.append(request)
            found = self.behave(len(self.asked))

            def send() -> None:
                if not self.after.is_set():
                    self.loop.call_later(0.01, send)
                    return
                if isinstance(found, HttpResponse):
                    reply(found)
                elif found is not None:
                    connection._transport.write(found)
                    connection._transport.close()

            send()

        connection._handler = handle
        return connection


def hurried(node: str, timeout: str = "300ms") -> dict[str, Any]:
    """The graph with one node that has little time, for tests that wait for it in vain."""
    nodes = {**GRAPH["nodes"], node: {**GRAPH["nodes"][node], "timeout": timeout}}
    return {**GRAPH, "nodes": nodes}


class KeptCases:
    """Takes cases as `wait` and `error` say."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.wait = 0.0
        self.error: Exception | None = None

    def submit(self, case: Case) -> str:
        """Keep it."""
        time.sleep(self.wait)
        if self.error is not None:
            raise self.error
        self.cases.append(case)
        return f"case-{case.id}"


class Deciding(Toy):
    """The service of one unit on a thread, with toy nodes, or others where `addresses` says so."""

    def __init__(
        self,
        folder: Path,
        *,
        graph: Mapping[str, Any] = GRAPH,
        addresses: Mapping[str, str] | None = None,
        version: str = "3",
        rest: float = 2.0,
        lot: Callable[[str], float] | None = None,
    ) -> None:
        decision = Decision.model_validate(graph)
        services = {name: node.service or "" for name, node in decision.nodes.items() if node.kind != "person"}
        parts = {name: Part(service=service, version=version) for name, service in services.items()}
        place = folder / "unit"
        digest = unit.seal(place, domain="bags", decision=decision, thresholds=LIMITS, parts=parts)
        self.unit = unit.read(place, expected=digest)
        self.nodes = {name: ToyNode(GOOD[name]) for name in services if name not in (addresses or {})}
        urls = {name: f"http://{node.address}" for name, node in self.nodes.items()} | dict(addresses or {})
        self.cases, self.records = KeptCases(), folder / "records"
        self.records.mkdir()
        (self.records / "draws.secret").write_text(SECRET)
        self.metrics = DecisionMetrics(model="bags", unit=digest[7:19])
        self.expired = threading.Event()
        clients = {name: Client(url, what="--node", limit=100_000) for name, url in urls.items()}
        self.service = DecisionService(
            self.unit,
            nodes={
                name: NodeClient(
                    name,
                    decision=decision,
                    part=parts[name],
                    client=client,
                    metrics=self.metrics,
                    breaker=Breaker(rest=rest),
                )
                for name, client in clients.items()
            },
            cases=self.cases,
            records=RecordLog(self.records),
            metrics=self.metrics,
            expired=self.expired.is_set,
            lot=lot,
        )
        self._clients = clients
        super().__init__()
        self.http = httpx.Client(base_url=f"http://{self.address}", timeout=10, trust_env=False)

    def protocol(self) -> asyncio.Protocol:
        """The protocol object of one client."""
        return Http1Connection(self.endpoint, DecisionRest(self.service, name="bags", limit=self.limits.body))

    def ask(
        self, *, price: float = 30, brand: str = "Alma", item: str = "i1", headers: Any = None, **more: Any
    ) -> httpx.Response:
        """The answer for one item."""
        inputs = [
            {"name": "price", "shape": [1], "datatype": "FP64", "data": [price]},
            {"name": "brand", "shape": [1], "datatype": "BYTES", "data": [brand]},
            {"name": "photos", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ]
        return self.http.post("/v2/models/bags/infer", json={"id": item, "inputs": inputs, **more}, headers=headers)

    def written(self) -> list[DecisionRecord]:
        """The records, as they lie on the disk."""
        files = sorted(self.records.glob("*.jsonl"))
        return [DecisionRecord.model_validate_json(line) for file in files for line in file.read_text().splitlines()]

    def stop(self) -> None:
        """End it and its nodes."""
        self.http.close()
        for client in self._clients.values():
            self.loop.call_soon_threadsafe(client.close)
        super().stop()
        for node in self.nodes.values():
            node.stop()


def outputs(response: httpx.Response) -> dict[str, Any]:
    """The outputs of an answer by name; those of one value as that."""
    assert response.status_code == 200, response.text
    found = {each["name"]: each["data"] for each in response.json()["outputs"]}
    return {name: data if name == "path" else data[0] for name, data in found.items()}
