"""Nodes that are down, slow, or answer something else: the declared fallback within the deadline, and never accept (fault 44)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.decision import record
from inference_services.decision.breaker import Breaker
from inference_services.transport.http1 import HttpResponse
from tests.inference_services.decision.deciding import GOOD, GRAPH, Deciding, answer, hurried, outputs

FAULTS: dict[str, tuple[str, Callable[[int], HttpResponse | bytes | None]]] = {
    "silent": ("late", lambda _: None),
    "an error": ("down", lambda _: HttpResponse(500, b"{}")),
    "overloaded": ("down", lambda _: HttpResponse(503, b"{}")),
    "refusing the photos": ("invalid", lambda _: HttpResponse(400, b"{}")),
    "not JSON": ("invalid", lambda _: HttpResponse(200, b"authentic!")),
    "half of an answer": ("down", lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"),
    "not HTTP": ("invalid", lambda _: b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "without the output": ("invalid", lambda _: HttpResponse(200, answer({"other": [0.1]}))),
    "of another kind": ("invalid", lambda _: HttpResponse(200, answer({"risk": ["0"], "distance": ["0"], "ids": ["r"]}))),
    "not a number": ("invalid", lambda _: HttpResponse(200, answer({"risk": [float("nan")], "distance": [float("nan")]}))),
    "beyond all numbers": ("invalid", lambda _: HttpResponse(200, b'{"outputs":[{"name":"risk","shape":[1],"datatype":"FP64","data":[1e999]}]}')),
    "many values": ("invalid", lambda _: HttpResponse(200, answer({"risk": [0.0, 0.0], "distance": [0.0, 0.0], "ids": ["r"]}))),
    "too deep": ("invalid", lambda _: HttpResponse(200, b'{"outputs":' + b"[" * 5000)),
    "too long": ("invalid", lambda _: HttpResponse(200, b" " * 200_000)),
    "of another version": ("other_version", lambda _: HttpResponse(200, answer({**GOOD["view"], **GOOD["near"]}, version="4"))),
}  # fmt: skip


@pytest.fixture
def bags(tmp_path: Path) -> Iterator[Deciding]:
    found = Deciding(tmp_path)
    yield found
    found.stop()


def fate(response: Any, node: str) -> str:
    return fate_of(outputs(response), node)


def fate_of(found: dict[str, Any], node: str) -> str:
    return str(json.loads(found["evidence"])[node]["fate"])


@pytest.mark.parametrize("node", ["view", "near"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_node_that_fails_leads_to_the_person_who_is_declared(tmp_path: Path, name: str, node: str) -> None:
    bags = Deciding(tmp_path, graph=hurried(node) if name == "silent" else GRAPH)
    wanted, behave = FAULTS[name]
    bags.nodes[node].behave = behave
    began = time.monotonic()
    response = bags.ask()
    took = time.monotonic() - began
    bags.stop()
    found = outputs(response)
    assert (found["action"], found["reason"], found["case"]) == ("person", "node_failed", "case-i1")
    assert found["path"] == ["look", f"!{node}", "expert"] and fate(response, node) == wanted
    assert took < 12, "the declared deadline"
    (case,) = bags.cases.cases
    assert (case.id, case.node, case.price) == ("i1", "expert", 30) and set(case.evidence) == {"view", "near"} - {node}
    (kept,) = bags.written()
    assert record.replayed(kept).action == "person"


def test_a_node_that_is_gone_leads_there_too(tmp_path: Path) -> None:
    bags = Deciding(tmp_path, addresses={"near": "http://127.0.0.1:1"})
    try:
        response = bags.ask()
        assert outputs(response)["action"] == "person" and fate(response, "near") == "down"
    finally:
        bags.stop()


def test_the_reviewers_own_fallback_is_taken(bags: Deciding) -> None:
    bags.nodes["near"].outputs = {"distance": [0.9], "ids": ["r1"]}
    assert outputs(bags.ask())["path"] == ["look", "review", "accept"]
    bags.nodes["reviewer"].behave = lambda _: HttpResponse(200, b"I think it is authentic")
    found = outputs(bags.ask())
    assert (found["action"], found["path"]) == ("refuse", ["look", "review", "!reviewer", "refuse"])
    bags.nodes["reviewer"].behave = lambda _: HttpResponse(404, b"{}")  # it has not the prompt that the unit names
    for at in range(6):
        found = outputs(bags.ask(item=f"of another prompt {at}"))
        assert (found["action"], fate_of(found, "reviewer")) == ("refuse", "other_version"), (
            "and is left alone for nobody"
        )


@pytest.mark.parametrize("way", ["raises", "hangs"])
def test_a_queue_that_takes_no_case_leaves_the_item_refused_in_time(tmp_path: Path, way: str) -> None:
    bags = Deciding(tmp_path, graph=hurried("expert"))
    bags.nodes["near"].behave = lambda _: HttpResponse(500)
    bags.cases.error = OSError("the queue's disk is full") if way == "raises" else None
    bags.cases.wait = 1.0 if way == "hangs" else 0.0
    began = time.monotonic()
    found = outputs(bags.ask())
    assert time.monotonic() - began < 12
    assert (found["action"], found["reason"], found["case"]) == ("refuse", "queue_down", "")
    assert found["path"] == ["look", "!near", "!expert", "refuse"]
    assert record.replayed(bags.written()[0]).reason == "queue_down"
    time.sleep(bags.cases.wait)  # the thread that hangs in the queue ends with the test
    bags.stop()


def test_a_try_that_failed_at_once_is_made_again_and_paid_twice(bags: Deciding) -> None:
    bags.nodes["view"].behave = lambda count: (
        HttpResponse(500) if count == 1 else HttpResponse(200, answer(GOOD["view"]))
    )
    found = outputs(bags.ask())
    assert found["action"] == "accept" and found["spent"] == pytest.approx(2 * 0.002 + 0.001)
    (kept,) = bags.written()
    assert (kept.given.answers["view"].tries, kept.given.answers["near"].tries) == (2, 1)


def test_a_callers_shorter_time_is_kept(bags: Deciding) -> None:
    bags.nodes["near"].behave = lambda _: None
    began = time.monotonic()
    found = outputs(bags.ask(headers={"x-envoy-expected-rq-timeout-ms": "2500"}))
    assert found["action"] == "person" and fate_of(found, "near") == "late" and time.monotonic() - began < 3
    found = outputs(bags.ask(headers={"x-envoy-expected-rq-timeout-ms": "1"}))
    assert found["action"] == "refuse" and found["reason"] == "queue_down"


def test_a_node_that_keeps_failing_is_left_alone(tmp_path: Path) -> None:
    bags = Deciding(tmp_path, rest=600)
    try:
        view = bags.nodes["view"]
        view.behave = lambda _: HttpResponse(500)
        fates = [fate(bags.ask(item=f"i{at}"), "view") for at in range(6)]
        assert fates == ["down", "down", "down", "open", "open", "open"]  # two tries each, five failures in a row
        assert len(view.asked) == 5
        assert 'hallmark_decision_breaker_open{model="bags",node="view"' in bags.metrics.render().decode()
    finally:
        bags.stop()


def test_a_breaker_lets_one_request_try_once_its_rest_is_over() -> None:
    breaker = Breaker(failures=3, rest=10.0)
    for at in range(3):
        assert breaker.allows(at)
        breaker.went(False, at)
    assert breaker.open(3) and not breaker.allows(3) and not breaker.allows(11.9)
    assert breaker.allows(12) and not breaker.allows(12.1)
    breaker.went(False, 13)
    assert not breaker.allows(22.9) and breaker.allows(23)
    breaker.went(True, 24)
    assert breaker.allows(24) and breaker.allows(24) and not breaker.open(24)


def test_requests_that_are_at_fault_close_no_node_for_the_others(bags: Deciding) -> None:
    view = bags.nodes["view"]
    view.behave = lambda _: HttpResponse(400)
    for at in range(12):
        assert fate(bags.ask(item=f"i{at}"), "view") == "invalid"
    view.behave = lambda _: HttpResponse(200, answer(GOOD["view"]))
    assert outputs(bags.ask(item="other"))["action"] == "accept"


def always(response: HttpResponse, _count: int) -> HttpResponse:
    return response


def test_no_mixture_of_faults_is_accepted_and_every_record_replays(tmp_path: Path) -> None:
    bags = Deciding(tmp_path, rest=0.0)
    rng = np.random.default_rng(17)
    quick = [behave for name, (_, behave) in FAULTS.items() if name != "silent"]
    accepted = 0
    for at in range(150):
        healthy = True
        for name, node in bags.nodes.items():
            sick = rng.random() < 0.3
            good = HttpResponse(200, answer(GOOD[name]))
            node.behave = quick[int(rng.integers(len(quick)))] if sick else partial(always, good)
            healthy = healthy and not (sick and name != "reviewer")
        found = outputs(bags.ask(item=f"i{at}"))
        accepted += found["action"] == "accept"
        assert healthy or found["action"] != "accept", found
    bags.stop()
    kept = bags.written()
    assert len(kept) == 150 and 20 < accepted < 120
    for each in kept:
        assert record.replayed(each) == each.verdict
