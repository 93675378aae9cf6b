"""The watch and the command line read one verdict of all pods: the same rows, on one pod or twelve, are judged alike."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest

from hallmark.artifacts.signature import Signature
from hallmark.declaration.drift import Drift
from hallmark.drift import embedding, profile
from hallmark.errors import NotFound, Unavailable
from hallmark.features.fields import Columns, Field, Output
from hallmark.rollout.monitors import FleetVerdicts, Monitors
from hallmark.tasks import Binary
from inference_services.drift_monitor.app import app
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference

REVISION, DRIFT = "shop-00001", Drift(window=600, minimum=100)
START = 1_800_000_000.0
Json = dict[str, Any]


def draw(rows: int, *, seed: int, cities: int = 300) -> Columns:
    random = np.random.default_rng(seed)
    names = np.array([f"city {at}" for at in range(cities)], dtype=object)
    return {"amount": random.lognormal(3, 1, rows), "city": random.choice(names, rows)}


def answers(columns: Columns) -> Columns:
    return {"score": (columns["amount"] / (columns["amount"] + 50)).astype(np.float32)}


@pytest.fixture(scope="module")
def reference() -> Reference:
    columns = draw(8000, seed=1)
    learned = profile.build(columns, scores=answers(columns))
    fields = (Field(name="amount", datatype="FP64"), Field(name="city", datatype="BYTES"))
    output = Output(name="score", datatype="FP32")
    signature = Signature(domain="shop", task=Binary(), fields=fields, outputs=(output,))
    sample = embedding.sample(np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32))
    return Reference("sha256:d", signature, learned, lambda found: found, lambda found: np.empty((0, 3)), sample)


def get(application: Any, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=application), base_url="http://pod") as client:
            return await client.get(path)

    return asyncio.run(ask())


class Fleet:
    """Pods with a monitor each, reached as through the API server's proxy; requests of three rows go to one of them."""

    def __init__(self, reference: Reference, pods: int, *, seed: int = 0) -> None:
        self.monitors = [Monitor(reference, DRIFT) for _ in range(pods)]
        self.apps = [app(each) for each in self.monitors]
        self.random = np.random.default_rng(seed)
        self.sent = 0
        self.asked: list[str] = []

    def send(self, columns: Columns, vectors: np.ndarray[Any, Any]) -> None:
        for row in range(0, len(vectors), 3):
            rows = slice(row, row + 3)
            part = {name: values[rows] for name, values in columns.items()}
            at = START + self.sent / 50
            monitor = self.monitors[int(self.random.integers(len(self.monitors)))]
            monitor.window(REVISION).add({**part, **answers(part)}, at=at, embeddings=vectors[rows], traces=["t" * 32])
            self.sent += 1

    def pods(self, name: str = "shop") -> list[Json]:
        labels = {"serving.knative.dev/revision": REVISION}
        return [
            {"metadata": {"name": str(at), "namespace": name, "uid": str(at), "labels": labels}, "status": {}}
            for at in range(len(self.monitors))
        ]

    def sidecar(self, pod: Json, path: str) -> bytes:
        self.asked.append(path.split("?")[0])
        found = get(self.apps[int(pod["metadata"]["name"])], f"/{path}")
        assert found.status_code == 200, found.text
        return found.content

    def verdict(self) -> Json:
        return FleetVerdicts(self, "shop").of(REVISION, self.pods())  # type: ignore[arg-type]


def vectors(rows: int, *, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)


@pytest.mark.slow
def test_one_pod_and_twelve_have_one_verdict(reference: Reference) -> None:
    fleets = [Fleet(reference, pods, seed=pods) for pods in (1, 4, 12)]
    for step, (rows, cities) in enumerate(((90, 300), (200, 300), (999, 300), (150, 4), (600, 4))):
        for each in fleets:
            each.send(draw(rows, seed=step + 2, cities=cities), vectors(rows, seed=step + 2))
        found = [{**each.verdict(), "pods": 0} for each in fleets]
        assert found[0] == found[1] == found[2]
        assert found[0]["state"] == ("INSUFFICIENT", "OK", "OK", "DRIFT", "DRIFT")[step]
    assert (
        found[0]["rows"] == 600
        and found[0]["trace"] == "t" * 32
        and "city: other known values" in found[0]["reasons"][0]
    )
    alone = {**get(fleets[0].apps[0], "/verdict").json()["variants"][REVISION], "pods": 0}
    assert {key: alone[key] for key in ("state", "rows", "columns", "reasons")} == {
        key: json.loads(json.dumps(found[0][key])) for key in ("state", "rows", "columns", "reasons")
    }


def test_a_window_is_asked_for_again_only_when_a_fiftieth_of_it_is_new(reference: Reference) -> None:
    fleet = Fleet(reference, 3)
    verdicts = FleetVerdicts(fleet, "shop")  # type: ignore[arg-type]
    fleet.send(draw(1200, seed=2), vectors(1200, seed=2))
    first = verdicts.of(REVISION, fleet.pods())
    assert fleet.asked == ["sketch"] * 3 + ["reference"] + ["sketch"] * 3
    fleet.send(draw(9, seed=3), vectors(9, seed=3))
    assert verdicts.of(REVISION, fleet.pods())["columns"] == first["columns"]
    assert fleet.asked[7:] == ["sketch"] * 3


def test_pods_without_requests_and_ones_that_wait_count_nothing(reference: Reference) -> None:
    fleet = Fleet(reference, 2)
    assert fleet.verdict()["reasons"] == ["no request was captured yet"]
    fleet.random = np.random.default_rng(0)
    fleet.monitors[1:] = []
    fleet.send(draw(300, seed=2), vectors(300, seed=2))
    fleet.monitors.append(Monitor(reference, DRIFT))
    assert (fleet.verdict()["state"], fleet.verdict()["pods"]) == ("OK", 2)


class Old(Fleet):
    """Pods of an image from before there were sketches."""

    states = ("OK", "DRIFT")

    def sidecar(self, pod: Json, path: str) -> bytes:
        if path != "verdict":
            raise NotFound("Not Found")
        state = self.states[int(pod["metadata"]["name"])]
        return json.dumps({"variants": {REVISION: {"state": state, "columns": [], "reasons": [state]}}}).encode()


def test_pods_of_before_are_judged_each_by_itself(reference: Reference) -> None:
    found = Monitors(Old(reference, 2), "shop").verdict(REVISION, Fleet(reference, 2).pods())  # type: ignore[arg-type]
    assert found is not None and (found.seen.state, found.seen.reasons) == ("DRIFT", ("DRIFT",))


def test_a_pod_that_answers_otherwise_is_no_verdict(reference: Reference) -> None:
    class Broken(Fleet):
        def sidecar(self, pod: Json, path: str) -> bytes:
            return b'{"format": 2}'

    broken = Broken(reference, 1)
    with pytest.raises(Unavailable, match="tells no window that can be read here"):
        broken.verdict()
    assert Monitors(broken, "shop").verdict(REVISION, broken.pods()) is None  # type: ignore[arg-type]
