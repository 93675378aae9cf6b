"""Fault 43: whatever a language model or its server does, no verdict comes of it; the cause is counted, it is tried again in time, then a person."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from hallmark.decision import record
from hallmark.prompts import chat
from local_cluster.chat_standin import FAULTS
from tests.inference_services.decision.deciding import GRAPH, Deciding, outputs
from tests.inference_services.reviewer.reviewing import PHOTOS, TIME, Reviewing, inputs

SLOW = {name for name, (cause, _) in FAULTS.items() if cause == "late"}
PHOTO = base64.b64encode((PHOTOS / "item-5.png").read_bytes()).decode()


def graph() -> dict[str, Any]:
    """The graph of the decision's tests, whose reviewer reads what our prompt is filled from."""
    made = deepcopy(GRAPH)
    made["item"]["category"] = "text"
    made["nodes"]["view"]["outputs"] |= {"items": "texts"}
    made["nodes"]["reviewer"] |= {
        "prompt": "authentication-review",
        "reads": ["brand", "category", "photos", "view.items"],
        "outputs": {"verdict": "text", "cites": "texts"},
        "fallback": "expert",
    }
    made["steps"]["look"] |= {"ask": ["view", "near"], "routes": [{"to": "review"}]}
    return made


@pytest.fixture(scope="module")
def reviewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewing]:
    found = Reviewing(tmp_path_factory.mktemp("reviewer"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def bags(reviewer: Reviewing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deciding]:
    from tests.inference_services.decision import deciding

    patch = pytest.MonkeyPatch()
    patch.setitem(deciding.GOOD, "view", {"risk": [0.02], "items": ["ref-1", "ref-2"]})
    address = f"http://{reviewer.address}"
    found = Deciding(tmp_path_factory.mktemp("bags"), graph=graph(), addresses={"reviewer": address}, version="")
    yield found
    found.stop()
    patch.undo()


def ask(bags: Deciding, item: str) -> dict[str, Any]:
    """The answer about an item with a photo that says what to answer."""
    given = {"price": [30.0], "brand": ["Alma"], "category": ["tote"], "photos": [PHOTO]}
    sent = [
        {"name": name, "shape": [1], "datatype": "FP64" if name == "price" else "BYTES", "data": data}
        for name, data in given.items()
    ]
    return outputs(bags.http.post("/v2/models/bags/infer", json={"id": item, "inputs": sent}))


def test_there_are_forty_ways_to_fail_and_they_show_every_cause() -> None:
    assert len(FAULTS) >= 40
    assert {cause for cause, _ in FAULTS.values()} == set(chat.CAUSES)


def test_without_a_fault_the_item_is_accepted(bags: Deciding, reviewer: Reviewing) -> None:
    reviewer.llm.fault = ""
    found = ask(bags, "well")
    assert (found["action"], found["path"]) == ("accept", ["look", "review", "accept"])
    told = json.loads(found["evidence"])["reviewer"]
    assert told["outputs"] == {"verdict": "authentic", "cites": ["ref-1", "ref-2"]}
    assert told["version"] == reviewer.prompt.version


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_of_a_language_model_reaches_the_verdict(bags: Deciding, reviewer: Reviewing, name: str) -> None:
    cause = FAULTS[name][0]
    before, tried = reviewer.counts(), reviewer.counts("tries")
    reviewer.llm.fault, reviewer.llm.faulty = name, -1
    bags.service._nodes["reviewer"]._breaker.went(True, 0)
    began = time.monotonic()
    found = ask(bags, name)
    spent = time.monotonic() - began
    assert spent < 12, "the declared deadline"
    assert (found["action"], found["reason"], found["case"]) == ("person", "node_failed", f"case-{name}")
    assert found["path"] == ["look", "review", "!reviewer", "expert"]
    after, tries = reviewer.counts(), reviewer.counts("tries")
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key)} == {cause: 1}
    once = cause in chat.FINAL or name in SLOW or name == "429-for-long"
    made = sum(tries.values()) - sum(tried.values())
    assert made == (1 if once else 2) or (not once and spent > TIME / 2), "again, where a busy machine left time for it"
    fate = json.loads(found["evidence"])["reviewer"]["fate"]
    assert fate == ("down" if cause in chat.OF_THE_SERVER else "invalid")


def test_every_one_of_these_decisions_replays(bags: Deciding) -> None:
    kept = bags.written()
    assert len(kept) >= len(FAULTS)
    for each in kept:
        assert record.replayed(each) == each.verdict


@pytest.mark.parametrize("name", ["500", "not-json", "foreign-id", "hangs-up"])
def test_what_failed_once_is_asked_again_in_time(bags: Deciding, reviewer: Reviewing, name: str) -> None:
    reviewer.llm.fault, reviewer.llm.faulty = name, 1
    bags.service._nodes["reviewer"]._breaker.went(True, 0)
    del reviewer.llm.asked[:]
    assert ask(bags, f"{name}-once")["action"] == "accept"
    first, second = reviewer.llm.asked
    assert second["seed"] == first["seed"] + 1 and second["cache_salt"] != first["cache_salt"]


def test_answers_that_do_not_hold_close_the_reviewer_for_nobody(bags: Deciding, reviewer: Reviewing) -> None:
    reviewer.llm.fault, reviewer.llm.faulty = "orders-in-the-photo-told", -1
    for at in range(12):
        assert ask(bags, f"sent by one seller {at}")["action"] == "person"
    reviewer.llm.fault = ""
    assert ask(bags, "of another")["action"] == "accept"


def test_a_callers_shorter_time_is_kept(reviewer: Reviewing) -> None:
    reviewer.llm.fault, reviewer.llm.faulty = "slow", -1
    began = time.monotonic()
    headers = {"x-envoy-expected-rq-timeout-ms": "150"}
    found = reviewer.http.post("/v2/models/bags-reviewer/infer", json={"inputs": inputs()}, headers=headers)
    assert found.status_code == 503 and "late" in found.text and time.monotonic() - began < 0.4
