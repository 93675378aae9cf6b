"""What the service takes and answers: items, evidence, digests, tensors that go on as they came, and errors that name their input."""

from __future__ import annotations

import copy
import json
import re
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hallmark import metrics as names
from hallmark.decision import record
from inference_services.decision.draws import Draws
from tests.inference_services.decision.deciding import GRAPH, Deciding, outputs


@pytest.fixture
def bags(tmp_path: Path) -> Iterator[Deciding]:
    found = Deciding(tmp_path)
    yield found
    found.stop()


def test_an_answer_has_its_path_evidence_cost_and_the_digests_of_all_parts(bags: Deciding) -> None:
    response = bags.ask()
    found = outputs(response)
    assert response.headers.get("content-type") == "application/json"
    assert response.json()["id"] == "i1" and response.json()["model_name"] == "bags"
    assert (found["action"], found["path"], found["person"], found["case"]) == ("accept", ["look", "accept"], "", "")
    assert (found["score"], found["threshold"], found["spent"]) == (0.02, 0.2, pytest.approx(0.003))
    assert found["expected_cost"] == pytest.approx(found["chance"] * 30)
    told = json.loads(found["evidence"])
    assert told["near"]["outputs"] == {"distance": 0.1, "ids": ["r7", "r9"]} and told["view"]["version"] == "3"
    assert json.loads(found["digests"])["unit"] == bags.unit.digest
    assert json.loads(found["digests"])["parts"]["near"]["version"] == "3"
    (kept,) = bags.written()
    assert found["record"] == kept.digest and record.replayed(kept).action == "accept"


def test_only_the_outputs_that_are_asked_for_are_answered(bags: Deciding) -> None:
    assert list(outputs(bags.ask(outputs=[{"name": "path"}, {"name": "action"}]))) == ["path", "action"]
    response = bags.ask(outputs=[{"name": "verdict"}])
    assert response.status_code == 400 and "there is no 'verdict'; expected action" in response.json()["error"]


def test_nodes_of_a_step_are_asked_at_once_and_later_ones_with_what_was_found(bags: Deciding) -> None:
    bags.nodes["near"].outputs = {"distance": [0.9], "ids": ["r1", "ü"]}
    view, near = bags.nodes["view"], bags.nodes["near"]
    view.after.clear()
    reply = near.behave

    def release(count: int) -> Any:
        view.after.set()
        return reply(count)

    near.behave = release  # the one answers once the other is asked, and asked in turn they would wait in vain
    assert outputs(bags.ask())["path"] == ["look", "review", "accept"]
    asked = json.loads(bags.nodes["reviewer"].asked[0].body)
    assert {each["name"]: each["data"] for each in asked["inputs"]} == {
        "photos": ["a", "b"],
        "near.ids": ["r1", "ü"],
        "view.risk": [0.02],
    }
    assert asked["id"] == "i1" and asked["outputs"] == [{"name": "verdict"}]
    assert bags.nodes["view"].asked[0].path == b"/v2/models/bags/infer"
    assert bags.nodes["reviewer"].asked[0].path == b"/v2/models/bags-reviewer/versions/3/infer", "by one of its prompts"


def test_bytes_behind_the_json_go_on_untouched(bags: Deciding) -> None:
    photos = b"".join(struct.pack("<I", len(each)) + each for each in (b"\xff\xd8one", b"\x00" * 5000))
    head = json.dumps(
        {
            "inputs": [
                {"name": "brand", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 8}},
                {"name": "photos", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(photos)}},
                {"name": "price", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
            ]
        }
    ).encode()
    body = head + struct.pack("<I", 4) + b"Alma" + photos + struct.pack("<d", 30.0)
    headers = {"Inference-Header-Content-Length": str(len(head)), "content-type": "application/octet-stream"}
    response = bags.http.post("/v2/models/bags/infer", content=body, headers=headers)
    assert outputs(response)["action"] == "accept"
    for name, tail in (("view", photos + struct.pack("<d", 30.0)), ("near", photos)):
        (asked,) = bags.nodes[name].asked
        length = int(asked.headers[b"inference-header-content-length"])
        assert asked.body[length:] == tail
        assert json.loads(asked.body[:length])["inputs"][0]["parameters"] == {"binary_data_size": len(photos)}


def test_the_correlation_id_and_what_is_left_of_the_time_go_on_to_nodes(bags: Deciding) -> None:
    bags.ask(headers={"x-request-id": "r-17", "traceparent": "00-aa-bb-01"})
    headers = bags.nodes["view"].asked[0].headers
    assert headers[b"x-request-id"] == b"r-17" and headers[b"traceparent"] == b"00-aa-bb-01"
    assert 100 < int(headers[b"x-envoy-expected-rq-timeout-ms"]) <= 3000


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "input 'price': missing"),
        ([("price", "FP64", [])], "input 'price': expected one number"),
        ([("price", "FP64", [0.0]), ("brand", "BYTES", ["Alma"])], "input 'price': expected a price above 0"),
        ([("price", "FP64", ["30"]), ("brand", "BYTES", ["Alma"])], "input 'price': expected a number"),
        ([("price", "FP64", [30]), ("brand", "BYTES", [["Alma", "b"]])], "input 'brand': expected one text"),
        ([("price", "FP64", [30]), ("brand", "BYTES", ["x" * 600])], "at most 512 characters"),
        ([("price", "FP64", [30]), ("brand", "BYTES", ["Alma"])], "input 'photos': missing; bags reads it"),
        ([("prise", "FP64", [30])], "input 'prise': no node and no condition reads it; expected brand, photos, price"),
        ([("price", "FP64", [30]), ("price", "FP64", [30])], "given twice"),
    ],
)
def test_a_wrong_request_is_refused_by_its_input(bags: Deciding, inputs: list[Any], said: str) -> None:
    tensors = [{"name": name, "shape": [len(data)], "datatype": kind, "data": data} for name, kind, data in inputs]
    response = bags.http.post("/v2/models/bags/infer", json={"inputs": tensors})
    assert response.status_code == 400 and said in response.json()["error"]
    assert bags.written() == [] and not bags.cases.cases


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[" * 100_000, b'{"inputs": 3}', b'{"inputs":[{"name":"price"}]}', b"\xff"]
)
def test_what_is_no_request_is_refused(bags: Deciding, body: bytes) -> None:
    assert bags.http.post("/v2/models/bags/infer", content=body).status_code == 400


def test_a_verdict_that_cannot_be_recorded_is_not_told(bags: Deciding) -> None:
    shutil.rmtree(bags.records)
    response = bags.ask()
    assert (
        response.status_code == 500
        and response.json()["error"] == "the decision could not be recorded, so there is none"
    )
    bags.records.mkdir()
    assert bags.ask().status_code == 200


def test_a_guarantee_that_expired_accepts_nothing(bags: Deciding) -> None:
    bags.expired.set()
    dear, cheap = outputs(bags.ask(price=100, item="dear")), outputs(bags.ask(price=99, item="cheap"))
    assert (dear["action"], dear["reason"], dear["case"]) == ("person", "expired", "case-dear")
    assert (cheap["action"], cheap["reason"]) == ("refuse", "expired")
    bags.expired.clear()
    assert outputs(bags.ask(item="after"))["action"] == "accept"


def test_a_brand_without_a_threshold_goes_to_a_person(bags: Deciding) -> None:
    found = outputs(bags.ask(brand="Brio"))
    assert (found["action"], found["reason"]) == ("person", "no_threshold") and "threshold" not in found


def test_accepted_items_are_drawn_for_an_audit(tmp_path: Path) -> None:
    bags = Deciding(tmp_path, graph={**GRAPH, "explore": 0.5})
    try:
        found = [outputs(bags.ask(item=f"i{at}")) for at in range(20)]
        drawn = {f"i{at}" for at, each in enumerate(found) if each["audit"]}
        assert {each["action"] for each in found} == {"accept"} and 3 <= len(drawn) <= 17
        until = time.monotonic() + 20
        while len(bags.cases.cases) < len(drawn) and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        bags.stop()
    assert {case.id for case in bags.cases.cases} == drawn and all(case.audit for case in bags.cases.cases)


def test_an_id_that_is_used_again_for_other_items_dodges_no_audit(tmp_path: Path) -> None:
    bags = Deciding(tmp_path, graph={**GRAPH, "explore": 0.5}, lot=Draws("5" * 64).lot("bags"))
    try:
        for price in range(20, 40):
            for _ in range(2):
                assert outputs(bags.ask(item="same", price=price))["action"] == "accept"
    finally:
        bags.stop()
    drawn = [each.verdict.audit for each in bags.written()]
    assert drawn[::2] == drawn[1::2], "a request that is tried again is drawn as it was"
    assert 3 <= sum(drawn[::2]) <= 17, "and another item under its id for itself"
    assert all(each.given.lot is not None and record.replayed(each) for each in bags.written())


def test_each_persons_minutes_are_their_own(tmp_path: Path) -> None:
    graph = copy.deepcopy(GRAPH)
    graph["nodes"]["senior"] = {"kind": "person", "minutes": 30, "capacity": 60, "timeout": "3s"}
    graph["steps"]["review"]["routes"][0] = {"when": 'reviewer.verdict == "unsure"', "to": "senior"}
    bags = Deciding(tmp_path, graph=graph)
    try:
        bags.nodes["view"].outputs = {"risk": [0.6]}
        bags.nodes["reviewer"].outputs = {"verdict": ["unsure"]}
        persons = [outputs(bags.ask(item=f"s{at}", price=9000)).get("person") for at in range(3)]
        assert persons == ["senior", "senior", ""], "the day has no third half hour"
        now, paces = time.time(), bags.service.paces
        assert (paces["senior"].left(now), paces["expert"].left(now)) == (0, 960)
        bags.nodes["reviewer"].outputs = {"verdict": ["odd"]}
        assert outputs(bags.ask(item="e", price=9000))["person"] == "expert"
        assert paces["expert"].left(now) == 954
        told = bags.http.get("/metrics").text
        prices = re.findall(r'minute_price\{.*person="(\w+)".*\} (\S+)', told)
        assert dict(prices)["senior"] == "-1.0" and float(dict(prices)["expert"]) == 0
    finally:
        bags.stop()
    for each in record.read(bags.records):
        record.replayed(each)


def test_it_describes_itself(bags: Deciding) -> None:
    get = bags.http.get
    assert get("/v2").json()["name"] == "hallmark-decision"
    assert get("/v2/health/live").json() == {"live": True} and get("/v2/models/bags/ready").json() == {"ready": True}
    told = get("/v2/models/bags").json()
    assert [each["name"] for each in told["inputs"]] == ["price", "brand"]
    assert told["passed_on"] == {"photos": ["view", "near", "reviewer"], "price": ["view"]}
    assert {"name": "path", "datatype": "BYTES", "shape": [-1]} in told["outputs"]
    assert get("/v2/models/others").status_code == 404 and get("/v2/models/bags/infer").status_code == 405
    assert bags.http.post("/v2/models/bags").status_code == 405


def test_its_metrics_are_those_that_are_declared(bags: Deciding) -> None:
    bags.ask()
    bags.ask(brand="Brio")
    found = list(text_string_to_metric_families(bags.http.get("/metrics").text))
    ours = {each.name for each in found if each.name.startswith("hallmark_")}
    ours = {name for name in ours if not name.endswith("_created")}
    assert ours == {family.name.removesuffix("_total") for family in names.DECISION.values()}
    values = {
        (sample.name, sample.labels.get("action"), sample.labels.get("node")): sample.value
        for each in found
        for sample in each.samples
        if not sample.name.endswith("_bucket")
    }
    assert values["hallmark_decision_verdicts_total", "accept", None] == 1
    assert values["hallmark_decision_verdicts_total", "person", None] == 1
    assert values["hallmark_decision_node_answers_total", None, "view"] == 2
