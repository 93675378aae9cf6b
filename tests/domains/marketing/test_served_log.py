"""From what a server really answered to what a policy would have been worth: model server, drift monitor, labels, captures, evaluation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from domains.marketing import data, model
from domains.marketing.synthetic import letters, outcomes
from hallmark.artifacts import folder as folders
from hallmark.batch import evaluate, served_log
from hallmark.data import contract, table
from hallmark.declaration import domain as domains
from hallmark.learners.model import examples
from hallmark.object_labels import REVISION
from hallmark.registry.store import ServableVersion
from hallmark.rollout.captures import captured
from hallmark.training.export import export

ROOT = Path(__file__).parents[3]
START = datetime(2026, 6, 1, tzinfo=UTC)
MEMBERS = 2000


class _OnePod:
    """One pod whose monitor is a process here, asked as a cluster's API server passes it on."""

    def __init__(self, monitor: httpx.Client) -> None:
        self._monitor = monitor

    def pods(self, name: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": f"{name}-0", "labels": {REVISION: f"{name}-predictor-00001"}}}]

    def sidecar(self, pod: dict[str, Any], path: str) -> bytes:
        return self._monitor.get(f"/{path}").content


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ServableVersion:
    drawn = letters(START, START + timedelta(days=16), seed=7)
    late = drawn["written_at"] >= START + timedelta(days=13)
    trained = model.fit(
        examples("marketing", drawn[~late]), examples("marketing", drawn[late]), seed=7, rounds=30, folds=2
    )
    folder = tmp_path_factory.mktemp("model") / "marketing"
    export(domains.load("marketing"), trained, folder, test=drawn[late], reference=drawn[late])
    digest = folders.seal(folder)
    return ServableVersion(domain="marketing", version=1, storage_uri="", digest=digest, path=folder)


@pytest.fixture
def served(version: ServableVersion, tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """The model server and the monitor that its capture goes to."""
    ports = _free_ports(2)
    config = tmp_path / "serving.json"
    config.write_text('{"drift": {}}', encoding="utf-8")
    at = ["--model-dir", str(version.path), "--host=127.0.0.1"]
    commands = (
        ["inference_services.drift_monitor", *at, f"--port={ports[1]}", "--config", str(config)],
        ["inference_services.runtime", "--model-name=marketing", *at, f"--http-port={ports[0]}", f"--capture-url=http://127.0.0.1:{ports[1]}/"],
    )  # fmt: skip
    environment = {**os.environ, "K_REVISION": "marketing-predictor-00001"}
    running = [
        subprocess.Popen([sys.executable, "-m", *each], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        for each in commands
    ]
    clients = [httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) for port in ports]
    try:
        _wait_for(lambda: clients[1].get("/healthz").status_code == 200)
        _wait_for(lambda: clients[0].get("/v2/health/ready").status_code == 200)
        yield clients[0], clients[1]
    finally:
        for client in clients:
            client.close()
        for process in running:
            process.terminate()
            process.wait(timeout=20)


@pytest.mark.slow
def test_a_policy_is_judged_by_what_the_server_really_chose(
    served: tuple[httpx.Client, httpx.Client], version: ServableVersion, tmp_path: Path
) -> None:
    server, monitor = served
    members = (
        letters(START + timedelta(days=40), START + timedelta(days=50), seed=8).head(MEMBERS).reset_index(drop=True)
    )
    names = {each["name"]: each["datatype"] for each in server.get("/v2/models/marketing").json()["inputs"]}
    assert "member_id" in names
    chosen, labels = [], []
    random, (without, uplift) = (
        np.random.default_rng(1),
        outcomes({str(name): members[name].to_numpy() for name in members}),
    )
    for first in range(0, MEMBERS, 50):
        rows = members.iloc[first : first + 50]
        inputs = [
            {"name": name, "datatype": kind, "shape": [50], "data": [_plain(each, kind) for each in rows[name]]}
            for name, kind in names.items()
        ]
        answer = server.post("/v2/models/marketing/infer", json={"id": f"r{first}", "inputs": inputs}).json()
        outputs = {each["name"]: each["data"] for each in answer["outputs"]}
        for row, (treatment, chance) in enumerate(zip(outputs["treatment"], outputs["propensity"], strict=True)):
            chosen.append(treatment)
            if chance < 1:  # nobody can tell anything from whom could have got one treatment only
                bought = int(random.random() < without[first + row] + uplift[first + row] * treatment)
                label = {"label": bought, "treatment": treatment, "propensity": chance}
                labels.append({"request": f"r{first}", "row": row, "label": label, "at": "2026-09-01T00:00:00Z"})
    assert 0.1 < np.mean(chosen) < 0.9
    _wait_for(lambda: len(monitor.get("/answers?limit=5000").json()["rows"]) == MEMBERS)
    assert monitor.post("/labels", json=labels).json() == {"joined": len(labels), "unknown": 0}

    domain = domains.load("marketing")
    found = captured(_OnePod(monitor), domain)  # type: ignore[arg-type]
    assert (len(found.rows), found.unlabelled) == (len(labels), MEMBERS - len(labels))
    log = tmp_path / "captured.parquet"
    pd.DataFrame(found.rows).to_parquet(log)
    frame, left = served_log.read(domain, data.read, log=[log])
    contract.check(data.contract(), frame, "what was captured")
    assert not left and table.read(log, {})["revision"].unique().tolist() == ["marketing-predictor-00001"]

    policies = {each.policy: each for each in evaluate.evaluate(domain, frame, asked=version)}
    assert domain.policy is not None and domain.data.treatment is not None
    ours, nobody = policies["version 1"], policies["nobody"]
    judged = [
        number for number, (_, sure) in enumerate(zip(chosen, members["messages_30d"] >= 4, strict=True)) if not sure
    ]
    nothing = domain.policy.value * float(without[judged].mean())
    assert nobody.values.dr.low < nothing < nobody.values.dr.high
    assert ours.values.dr.value > nothing and ours.values.effective > 0.5 * len(labels)


def _plain(value: Any, kind: str) -> Any:
    if pd.isna(value):
        return None
    return int(value) if kind == "INT64" else value.item() if hasattr(value, "item") else value


def _free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    for each in listeners:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in listeners]
    for each in listeners:
        each.close()
    return ports


def _wait_for(condition: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)
