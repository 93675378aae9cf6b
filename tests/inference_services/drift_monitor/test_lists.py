"""Answers that are lists: kept for a rollout to compare and for labels to judge, and not watched."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sidecar import event

from hallmark.artifacts.signature import Signature
from hallmark.declaration.drift import Drift, FinalLabels
from hallmark.drift import concept, profile
from hallmark.features.fields import Field, Output
from hallmark.tasks import Multiclass, Ranking, Regression, Retrieval, Task, Uplift
from inference_services.drift_monitor import events, responses
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference

K = 4


def monitor_of(task: Task, *outputs: Output, error: concept.OutputError | None = None) -> Monitor:
    """A monitor on one number in, of a model whose scalar outputs are watched."""
    random = np.random.default_rng(1)
    scalar = {each.name: random.random(500) for each in outputs if each.shape == ()}
    learned = profile.build({"amount": random.random(500)}, scores=scalar).model_copy(update={"error": error})
    field = Field(name="amount", datatype="FP64")
    signature = Signature(domain="shop", task=task, fields=(field,), outputs=outputs)
    reference = Reference("sha256:0", signature, learned, lambda columns: {"amount": columns["amount"]})
    drift = Drift(window=2000, minimum=50, labels=FinalLabels(minimum=50))
    return Monitor(reference, drift)


def send(monitor: Monitor, number: int, outputs: list[dict[str, Any]], *, records: int = 1, client: str = "") -> None:
    """Both halves of one exchange of `records` records."""
    amounts = [float(number)] * records
    request = {"inputs": [{"name": "amount", "shape": [records], "datatype": "FP64", "data": amounts}]}
    sent = []
    for half, body in (("request", request), ("response", {"outputs": outputs})):
        each = event(f"{number}", half, body, revision="v1")
        sent.append(each | {"exchangeid": f"e-{number}", **({"requestid": client} if client else {})})
    good, wrong = events.parse({"content-type": "application/cloudevents-batch+json"}, json.dumps(sent).encode())
    assert not wrong and monitor.take(good, at=1e6 + number) == []


def kept(monitor: Monitor) -> list[dict[str, Any]]:
    return [row.outputs for row in monitor.answers.of("v1")]


ITEMS = Output(name="items", datatype="BYTES", shape=(K,))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ([*"abcdefgh"], [[*"abcd"], [*"efgh"]]),  # flat, as the Open Inference Protocol prefers it
        ([[*"abcd"], [*"efgh"]], [[*"abcd"], [*"efgh"]]),
        ([[*"abcd"], [*"ef"]], [[*"abcd"], None]),
        ([*"abcdefg"], [None, None]),
        ([*"ab"], [None, None]),
    ],
)
def test_ids_are_kept_as_a_list_a_record(data: list[Any], shown: list[Any]) -> None:
    monitor = monitor_of(Retrieval(k=K), ITEMS)
    outputs = [
        {"name": "items", "shape": [2, K], "datatype": "BYTES", "data": data},
        {"name": "took", "shape": [2], "datatype": "FP32", "data": [0.1, 0.2]},
    ]
    send(monitor, 1, outputs, records=2)
    assert kept(monitor) == [{"items": each} for each in shown]


def test_lists_are_not_watched() -> None:
    monitor = monitor_of(Retrieval(k=K), ITEMS)
    send(monitor, 1, [{"name": "items", "shape": [1, K], "datatype": "BYTES", "data": [*"abcd"]}])
    assert list(monitor.window("v1").columns()) == ["amount"]
    assert [column.name for column in monitor.verdict("v1").columns] == ["amount"]


def test_quantiles_and_uplifts_are_kept_beside_what_is_watched() -> None:
    price = Output(name="price", datatype="FP32")
    for task, length in ((Regression(quantiles=(0.1, 0.5, 0.9)), 3), (Uplift(treatments=2), 2)):
        many = Output(name="many", datatype="FP32", shape=(length,))
        monitor = monitor_of(task, many, price)
        values = [float(n) for n in range(length)]
        outputs = [
            {"name": "many", "shape": [1, length], "datatype": "FP32", "data": values},
            {"name": "price", "shape": [1], "datatype": "FP32", "data": [0.5]},
        ]
        send(monitor, 1, outputs)
        assert kept(monitor) == [{"price": 0.5, "many": values}]
        assert sorted(monitor.window("v1").columns()) == ["amount", "price"]


def test_probabilities_of_classes_are_not_kept() -> None:
    """Classes are compared as words; a hundred probabilities a record would only take memory."""
    output = Output(name="probabilities", datatype="FP32", shape=(2,))
    monitor = monitor_of(Multiclass(labels=("coat", "hat")), output)
    send(monitor, 1, [{"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 0.5]}])
    assert kept(monitor) == [{}]


def test_a_list_that_did_not_come_is_none_of_a_record() -> None:
    monitor = monitor_of(Retrieval(k=K), ITEMS)
    send(monitor, 1, [{"name": "other", "shape": [1], "datatype": "FP32", "data": [0.5]}])
    assert [row.outputs.get("items") for row in monitor.answers.of("v1")] == [None]


def test_of_a_large_request_the_same_records_are_kept_on_both_sides() -> None:
    monitor = monitor_of(Retrieval(k=K), ITEMS)
    records = 250  # a window of 2000 takes 100 of one request
    data = [f"{row}-{place}" for row in range(records) for place in range(K)]
    send(monitor, 1, [{"name": "items", "shape": [records, K], "datatype": "BYTES", "data": data}], records=records)
    rows = list(monitor.answers.of("v1"))
    assert len(rows) == 100
    assert all(row.outputs["items"] == [f"{row.row}-{place}" for place in range(K)] for row in rows)


def test_labels_judge_lists_by_request() -> None:
    """Half of what was relevant was found at release; now nothing is."""
    task = Retrieval(k=K)
    relevant = [["i0", "other"]] * 100
    error = concept.reference(task, {"items": np.array([["i0", "i1", "i2", "i3"]] * 100)}, relevant, [""] * 100)
    assert error is not None and error.mean == 0.5
    for found, state in (("i0", "OK"), ("x", "DRIFT")):
        monitor = monitor_of(task, ITEMS, error=error)
        for number in range(60):
            data = [found, "i1", "i2", "i3"]
            send(
                monitor,
                number,
                [{"name": "items", "shape": [1, K], "datatype": "BYTES", "data": data}],
                client=hashed(number),
            )
        labels, wrong = responses.known([label(number, ["i0", "other"]) for number in range(60)], task)
        assert wrong == [] and monitor.label(labels) == (60, 0)
        told = monitor.verdict("v1").labels
        assert told is not None and (told.state, told.rows, told.output) == (state, 60, "items")


def test_a_ranking_is_judged_by_whole_requests_only() -> None:
    task = Ranking(k=3)
    random = np.random.default_rng(2)
    requests = [f"q{number}" for number in range(200) for _ in range(3)]
    error = concept.reference(
        task, {"score": random.random(600)}, [int(place == 0) for _ in range(200) for place in range(3)], requests
    )
    assert error is not None and error.rows == 200
    monitor = monitor_of(task, Output(name="score", datatype="FP32"), error=error)
    for number in range(60):
        data = [3.0, 2.0, 1.0]
        output = {"name": "score", "shape": [3], "datatype": "FP32", "data": data}
        send(monitor, number, [output], records=3, client=hashed(number))
    sent = [label(number, int(row == 0), row=row) for number in range(60) for row in range(3)]
    missing = [each for each in sent if each["request"] != "c-7" or each["row"] != 2]
    labels, wrong = responses.known(missing, task)
    assert wrong == [] and monitor.label(labels) == (179, 0)
    told = monitor.verdict("v1").labels
    assert told is not None and told.error == 0.0 and told.state == "OK"
    assert told.rows == 59  # of the request c-7 one record has no label


def label(number: int, value: Any, **more: Any) -> dict[str, Any]:
    return {"request": f"c-{number}", "label": value, "at": "2026-01-01T00:00:00Z", **more}


def hashed(number: int) -> str:
    import hashlib

    return hashlib.sha256(f"c-{number}".encode()).hexdigest()[:32]
