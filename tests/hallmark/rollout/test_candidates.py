"""Every broken candidate, loaded and asked by the real model server: what it answers is what the rollout's tests rely on."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hallmark.artifacts import views
from hallmark.artifacts.bundle import read
from hallmark.declaration import domain as domains
from hallmark.features.wire import request
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from tests.hallmark.rollout import candidates

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests" / "inference_services" / "runtime"))  # importmode=importlib puts none on the path

from served import Server  # noqa: E402


@dataclass
class Fraud:
    """A good version of fraud, registered, and records to ask with, of buyers of whom nothing is known."""

    settings: Settings
    sent: Any
    columns: dict[str, Any]
    honest: Any

    def bodies(self, count: int) -> list[bytes]:
        return [request(self.sent, self.columns, start=row, stop=row + 1) for row in range(count)]


@pytest.fixture(scope="module")
def fraud(tmp_path_factory: pytest.TempPathFactory, trained_fraud: candidates.Trained) -> Fraud:
    from hallmark.learners.model import columns

    folder = tmp_path_factory.mktemp("candidates")
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder / "state")})
    assert trained_fraud.register(settings) == 1
    features, data = domains.module("fraud", "features", settings), domains.module("fraud", "data", settings)
    frame = data.draw(start=datetime(2026, 9, 1, tzinfo=UTC), end=datetime(2026, 9, 13, tzinfo=UTC), seed=7)
    sent = views.sent(domains.load("fraud", settings), features.FIELDS, settings)
    nothing = {field.name: 0 for field in features.FIELDS if field.name not in frame}
    raw = {**columns(frame, sent), **columns(frame.assign(**nothing), features.FIELDS)}
    released = Registry(settings).resolve("fraud", 1)
    return Fraud(settings, sent, raw, scores(released.fetch(), raw))


def scores(folder: Path, columns: dict[str, Any]) -> Any:
    """(n,) what the runtime's own model says, without a server in between."""
    from inference_services.runtime.model import Model

    model = Model("fraud", read(folder, expected=None))
    return model.predict(columns, len(columns["amount"]))["score"]


def served(fraud: Fraud, kind: str) -> Server:
    target = candidates.register(kind, fraud.settings)
    found = Registry(fraud.settings).resolve("fraud", target.version)
    assert found.path is not None
    store = f"sqlite:///{fraud.settings.state / 'online.db'}"
    told = {"HALLMARK_MODEL_DIGEST": target.digest, "HALLMARK_FEATURE_STORE": store}
    return Server(found.path, "fraud", notice=0, timeout=2, objective=0.05, env=told)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("good", 200),
        ("raises", 500),
        *(
            pytest.param(kind, status, marks=pytest.mark.slow)
            for kind, status in (("nan", 500), ("shape", 500), ("range", 500), ("shifted", 200), ("flips", 200))
        ),
    ],
)
def test_it_loads_and_answers_in_its_own_way(fraud: Fraud, kind: str, status: int) -> None:
    server = served(fraud, kind)
    try:
        server.wait_ready()
        answers = [server.infer(body) for body in fraud.bodies(20)]
    finally:
        server.stop()
    assert {answer.status_code for answer in answers} == {status}
    if status == 500:
        assert all("error" in answer.json() for answer in answers)
        return
    found = np.array([answer.json()["outputs"][0]["data"][0] for answer in answers])
    expected = 0.5 + fraud.honest[:20] / 2 if kind == "shifted" else fraud.honest[:20]
    same = np.isclose(found, expected, atol=1e-6)
    assert same.mean() >= (0.9 if kind == "flips" else 1)


@pytest.mark.slow
def test_slow_answers_in_a_second_and_a_half_and_hangs_outlasts_the_timeout(fraud: Fraud) -> None:
    (body,) = fraud.bodies(1)
    for kind, seconds in (("slow", candidates.SLOW_SECONDS), ("hangs", candidates.HANG_SECONDS)):
        server = served(fraud, kind)
        try:
            assert server.wait_ready() < candidates.SLOW_SECONDS * 8  # that many calls measure it
            began = time.monotonic()
            if kind == "slow":
                assert server.infer(body).status_code == 200
                assert seconds <= time.monotonic() - began < 8 + seconds
            else:
                with pytest.raises(httpx.ReadTimeout):
                    server.infer(body, timeout=2.0)
            assert server.client.get("/v2/health/live").status_code == 200
        finally:
            server.process.kill()
            server.stop()


def test_dies_answers_nineteen_and_is_gone(fraud: Fraud) -> None:
    server = served(fraud, "dies")
    try:
        server.wait_ready()
        for body in fraud.bodies(candidates.LAST_REQUEST - 1):
            assert server.infer(body).status_code == 200
        with pytest.raises(httpx.TransportError):
            server.infer(fraud.bodies(1)[0])
        assert server.process.wait(timeout=30) != 0
    finally:
        server.stop()


def test_flips_changes_three_in_a_hundred_of_the_dear_and_agrees_on_all_but_that(fraud: Fraud) -> None:
    version = candidates.register("flips", fraud.settings).version
    folder = Registry(fraud.settings).resolve("fraud", version).fetch()
    found = scores(folder, fraud.columns)
    changed = ~np.isclose(found, fraud.honest, atol=1e-6)
    dear = fraud.columns["amount"] > np.quantile(fraud.columns["amount"], 0.88)
    assert dear.sum() > 1500
    assert changed[dear].mean() == pytest.approx(candidates.FLIPPED, abs=0.012)
    assert not changed[~dear].any()
    assert changed.mean() < 0.01
    assert np.allclose(found[changed], 1 - fraud.honest[changed], atol=1e-6)
    order = np.random.default_rng(7).permutation(len(found))
    again = scores(folder, {name: values[order] for name, values in fraud.columns.items()})
    assert (again == found[order]).all()  # by content, whatever came before


def test_every_kind_is_another_version_with_a_model_card_of_its_own(fraud: Fraud) -> None:
    candidates.register("good", fraud.settings)  # what it needs is imported now
    targets = {}
    for kind in candidates.KINDS:
        began = time.process_time()
        targets[kind] = candidates.register(kind, fraud.settings)
        assert time.process_time() - began < 1, kind
    registry = Registry(fraud.settings)
    assert len({target.digest for target in targets.values()}) == len(candidates.KINDS)
    for target in targets.values():
        assert registry.model_card("fraud", target.version).model == target.digest
    assert candidates.register("good", fraud.settings) == targets["good"]
