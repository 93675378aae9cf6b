"""The client that calls a model: as many requests as asked for, and everything counted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hallmark.cli import main
from hallmark.settings import Settings
from tests.web import serving
from tools.traffic import Requests, Traffic, near, synthetic


@pytest.mark.parametrize("most", [1, 3, 40])
def test_no_more_requests_are_sent_than_asked_for(most: int) -> None:
    bodies = []

    async def infer(request: Request) -> Response:
        bodies.append(await request.body())
        return Response(status_code=503 if len(bodies) == most else 200, headers={"x-hallmark-variant": "stable"})

    app = Starlette(routes=[Route("/infer", infer, methods=["POST"])])
    with serving(app) as url, Traffic(f"{url}/infer", [b"1", b"2"], rate=500, most=most) as traffic:
        tally = traffic.done(seconds=30)
    assert (tally.requests, tally.failed, len(bodies), len(traffic.answers)) == (most, 1, most, most)


def test_a_service_is_called_at_its_own_address_and_on_this_machine_without_a_resolver() -> None:
    own, here = "http://fraud.fraud.localhost:8080", "http://127.0.0.1:8080/serving/fraud/fraud"
    assert near({"status": {"url": own, "address": {"url": here}}}) == here
    inside = {"url": "http://fraud-predictor.fraud.svc.cluster.local"}
    assert near({"status": {"url": "https://fraud.example", "address": inside}}) == "https://fraud.example"
    assert near({}) == near({"status": {}}) == ""


def test_why_requests_failed_is_told_with_status_words_and_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All are refused, as rows are that the model's fields do not fit: the command says why, and not only that."""
    asked = itertools.count()

    async def infer(request: Request) -> Response:
        number = next(asked)
        if number < 4:
            return Response(b'{"error": "row 0: amount: expected a number"}', status_code=400)
        return Response(b"upstream\n  connect error", status_code=503) if number < 6 else Response(status_code=500)

    class Cluster:
        def live(self, name: str) -> dict[str, object]:
            return {"status": {"url": url}}

    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("tools.call.connected", lambda *_: Cluster())
    monkeypatch.setattr("tools.traffic.own", lambda *_, **__: Requests([b"{}"]))
    app = Starlette(routes=[Route("/v2/models/fraud/infer", infer, methods=["POST"])])
    with serving(app) as url:
        line = ["call", "fraud", "--data", str(tmp_path), "--requests", "7", "--rate", "500"]
        assert main(line) == 1
        told = capsys.readouterr().err
        assert "failed: 7 of 7 requests failed" in told
        for reason in ("4 times 400: row 0: amount: expected a number", "2 times 503: upstream connect error"):
            assert reason in told
        assert "1 times 500: no words" in told and f"hallmark data fraud --data {tmp_path}" in told
        asked = itertools.count(4)
        assert main([*line, "-o", "json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert row["reasons"][-1] == {"status": 503, "text": "upstream connect error", "requests": 2}


def test_a_service_that_is_not_there_is_a_reason_too() -> None:
    with Traffic("http://127.0.0.1:9/infer", [b"{}"], rate=500, most=2) as traffic:
        (reason,) = traffic.done(seconds=30).reasons
    assert reason.requests == 2 and str(reason).startswith("2 times no answer: ConnectError")


@pytest.mark.slow
def test_where_answers_are_items_a_request_is_the_question_alone() -> None:
    bodies = synthetic("search", count=3, seed=7, shift="season", settings=Settings.load()).bodies
    told = [json.loads(body) for body in bodies]
    assert len(told) == 3
    for each in told:
        shapes = {tensor["name"]: tensor["shape"] for tensor in each["inputs"]}
        assert shapes == {"query": [1], "locale": [1], "member_price": [1], "at": [1]}
