"""The real processes: our model server as a node of the real service, stopped, frozen and replayed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.decision import unit
from hallmark.decision.record import Part
from hallmark.declaration.decision import Decision
from inference_services.decision.__main__ import main
from tests.inference_services.decision.deciding import ROOT, SECRET, outputs
from tests.inference_services.runtime.served import Server, free_port, order_inputs, orders_folder

GRAPH: dict[str, Any] = {
    "deadline": "9s",
    "item": {"amount": "number", "payment": "text"},
    "nodes": {
        "fraud": {
            "kind": "model",
            "service": "orders",
            "reads": ["amount", "age", "orders", "express", "payment", "note", "vector"],
            "outputs": {"score": "number"},
            "timeout": "4s",
            "fallback": "expert",
        },
        "expert": {"kind": "person", "minutes": 5, "capacity": 600, "timeout": "4s"},
    },
    "start": "look",
    "steps": {"look": {"ask": ["fraud"], "routes": [{"to": "accept"}, {"to": "expert"}]}},
    "risk": {"false_authentic": {"score": "fraud.score", "at_most": 0.01, "slices": ["payment"]}},
    "costs": {"price": "amount", "minute": 100},
    "fallback": {"to": "expert"},
}


def sealed(folder: Path, *, digest: str) -> str:
    limits = Thresholds(
        score="fraud.score",
        at_most=0.01,
        confidence=0.95,
        fields=("payment",),
        slices=(SliceThreshold(values=("card",), threshold=0.999, examples=5000),),
        scores=(0.0, 1.0),
        chances=(0.0, 0.01),
    )
    parts = {"fraud": Part(service="orders", version="2", digest=digest)}
    decision = Decision.model_validate(GRAPH)
    return unit.seal(folder, domain="shop", decision=decision, thresholds=limits, parts=parts)


class Process:
    """`python -m inference_services.decision`."""

    def __init__(self, folder: Path, digest: str, node: str) -> None:
        self.port = free_port()
        command = [
            sys.executable,
            "-m",
            "inference_services.decision",
            f"--unit={folder / 'unit'}",
            f"--node=fraud={node}",
        ]
        command += [f"--records={folder / 'records'}", "--host=127.0.0.1", f"--http-port={self.port}"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "HALLMARK_UNIT_DIGEST": digest}, stderr=subprocess.PIPE, text=True
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False)
        until = time.monotonic() + 60
        while True:
            try:
                if self.client.get("/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None and time.monotonic() < until, self.process.stderr
                time.sleep(0.02)

    def ask(self, item: str, **headers: str) -> httpx.Response:
        """The answer for one order."""
        body = {"id": item, "inputs": order_inputs()}
        return self.client.post("/v2/models/shop/infer", json=body, headers=headers)

    def stop(self) -> tuple[int, str]:
        """End it in order: its exit code and what it logged."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    digest = orders_folder(tmp_path / "model")
    found = Server(tmp_path / "model", "orders", notice=0, env={"HALLMARK_MODEL_DIGEST": digest})
    found.wait_ready(60)
    yield found, digest
    found.process.send_signal(signal.SIGCONT)
    found.stop()


def test_a_decision_over_our_own_model_server_from_accept_to_replay(
    tmp_path: Path, orders: tuple[Server, str], capsys: pytest.CaptureFixture[str]
) -> None:
    server, model = orders
    digest = sealed(tmp_path / "unit", digest=model)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "draws.secret").write_text(SECRET)
    process = Process(tmp_path, digest, server.url)
    try:
        first = process.ask("one")
        found = outputs(first)
        score = server.infer({"inputs": order_inputs()}).json()["outputs"][0]["data"][0]
        assert found["action"] == "accept" and found["score"] == pytest.approx(score, rel=1e-6)
        assert first.headers["x-hallmark-unit"] == digest
        assert json.loads(found["digests"])["parts"]["fraud"] == {"version": "2", "digest": model}

        server.process.send_signal(signal.SIGSTOP)  # slow: it takes connections, and answers nothing
        began = time.monotonic()
        frozen = outputs(process.ask("frozen"))
        assert time.monotonic() - began < 9
        assert (frozen["action"], frozen["case"]) == ("person", "expert-frozen")
        assert json.loads(frozen["evidence"])["fraud"]["fate"] == "late"
        server.process.send_signal(signal.SIGCONT)
        assert outputs(process.ask("again"))["action"] == "accept"

        server.process.kill()
        server.process.wait(10)
        gone = outputs(process.ask("gone"))
        assert gone["action"] == "person" and json.loads(gone["evidence"])["fraud"]["fate"] == "down"
    finally:
        code, log = process.stop()
    assert code == 0 and "Traceback" not in log and "stopped" in log

    (records,) = (tmp_path / "records").glob("decisions-*.jsonl")
    assert main(["--replay", str(records)]) == 0
    assert capsys.readouterr().out == "4 of 4 records replay to their verdicts\n"
    forged = records.read_text().replace('"action":"person"', '"action":"accept"', 1)
    (tmp_path / "forged.jsonl").write_text(forged)
    assert main(["--replay", str(tmp_path / "forged.jsonl")]) == 1
    told = capsys.readouterr()
    assert told.out == "3 of 4 records replay to their verdicts\n" and "does not lead to its verdict" in told.err
    cases = [json.loads(line) for line in (tmp_path / "records" / "cases.jsonl").read_text().splitlines()]
    assert [case["id"] for case in cases] == ["frozen", "gone"] and cases[0]["unit"] == digest


def test_flags_and_units_that_are_wrong_end_it_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = sealed(tmp_path / "unit", digest="sha256:aa")
    common = [f"--unit={tmp_path / 'unit'}", f"--records={tmp_path / 'records'}"]
    assert main(common, {"HALLMARK_UNIT_DIGEST": digest}) == 2
    assert "expected: fraud=http://… got: nothing" in capsys.readouterr().err
    assert main([*common, "--node=fraud=ftp://x"], {"HALLMARK_UNIT_DIGEST": digest}) == 2
    assert "http://127.0.0.1:8080/serving/bags/bags got: ftp://x" in capsys.readouterr().err
    assert main([*common, "--node=fraud=http://127.0.0.1:1"], {"HALLMARK_UNIT_DIGEST": "sha256:" + "0" * 64}) == 3
    assert "ModelRefused" in capsys.readouterr().err
    assert main(["--node=fraud=http://127.0.0.1:1"], {}) == 2
    assert "--unit" in capsys.readouterr().err
