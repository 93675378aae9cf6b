"""The ring of answers: who reads it misses nothing unsaid, labels find their requests, and its memory is bounded."""

from __future__ import annotations

import hashlib
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sidecar import Sidecar, event, events, exchange

from hallmark.declaration.rollout import Shadow
from hallmark.rollout.aggregates import EvidenceRequest, PodEvidence
from hallmark.tasks import BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval, Uplift
from inference_services.drift_monitor import responses
from inference_services.drift_monitor.responses import CapturedResponses, SentLabel

Start = Callable[..., Sidecar]


def hashed(client: str) -> str:
    return hashlib.sha256(client.encode()).hexdigest()[:32]


def put(ring: CapturedResponses, number: int, *, rows: int = 1, records: int | None = None, **more: Any) -> None:
    """One exchange of request c-<number>, whose score is that number."""
    told = {"request": hashed(f"c-{number}"), "exchange": f"e-{number}", "at": float(number), **more}
    ring.add(
        told.pop("variant", "v1"),
        columns={"amount": np.arange(rows, dtype=np.float64), "payment": np.array(["card"] * rows, dtype=object)},
        outputs={"score": np.full(rows, float(number))},
        records=records or rows,
        **told,
    )


def scores(rows: list[responses.CapturedRecord]) -> list[Any]:
    return [row.outputs["score"] for row in rows]


def test_a_reader_gets_every_row_once_in_order() -> None:
    ring = CapturedResponses()
    for number in range(10):
        put(ring, number)
    rows, cursor, lost = ring.after(0, limit=4, variant="v1")
    assert (scores(rows), lost) == ([0, 1, 2, 3], 0)
    rows, cursor, lost = ring.after(cursor, limit=100, variant="v1")
    assert (scores(rows), lost) == ([4, 5, 6, 7, 8, 9], 0)
    assert ring.after(cursor, limit=100, variant="v1") == ([], cursor, 0)
    put(ring, 10)
    assert scores(ring.after(cursor, limit=100, variant="v1")[0]) == [10]


def test_rows_that_left_unseen_are_counted() -> None:
    ring = CapturedResponses(rows=5)
    put(ring, 0)
    put(ring, 1)
    cursor = ring.after(0, limit=1, variant="v1")[1]
    for number in range(2, 9):
        put(ring, number)
    rows, cursor, lost = ring.after(cursor, limit=100, variant="v1")
    assert (scores(rows), lost) == ([4, 5, 6, 7, 8], 3)
    assert ring.after(cursor, limit=100, variant="v1")[2] == 0


def test_a_cursor_from_before_a_restart_finds_all_that_came_since() -> None:
    before = CapturedResponses(began=1000.0)
    for number in range(50):
        put(before, number)
    cursor = before.after(0, limit=100, variant="v1")[1]
    after = CapturedResponses(began=1000.5)
    put(after, 100)
    assert scores(after.after(cursor, limit=100, variant="v1")[0]) == [100]


def test_variants_do_not_mix() -> None:
    ring = CapturedResponses()
    put(ring, 1, variant="v1")
    put(ring, 2, variant="v2")
    assert scores(ring.after(0, limit=9, variant="v1")[0]) == [1]
    assert scores(ring.after(0, limit=9, variant="v2")[0]) == [2]
    assert ring.variant == "v2"


def test_a_labelled_row_is_read_again_and_a_later_label_holds() -> None:
    ring = CapturedResponses()
    for number in range(3):
        put(ring, number)
    cursor = ring.after(0, limit=9, variant="v1")[1]
    assert ring.label([SentLabel("c-1", 1, at=50.0), SentLabel("nobody", 1, at=50.0)]) == (1, 1)
    rows, cursor, _ = ring.after(cursor, limit=9, variant="v1")
    assert [(row.outputs["score"], row.label, row.label_at) for row in rows] == [(1, 1, 50.0)]
    assert ring.label([SentLabel("c-1", 0, at=40.0)]) == (1, 0)
    assert ring.after(cursor, limit=9, variant="v1")[0] == []
    ring.label([SentLabel("c-1", 0, at=60.0)])
    assert ring.after(cursor, limit=9, variant="v1")[0][0].label == 0
    assert len(ring) == 3


def test_a_label_is_of_one_record() -> None:
    ring = CapturedResponses()
    put(ring, 1, rows=10, records=40)
    assert [row.row for row in ring.after(0, limit=99, variant="v1")[0]] == list(range(0, 40, 4))
    assert ring.label([SentLabel("c-1", "bags", at=1.0)]) == (0, 1)
    assert ring.label([SentLabel("c-1", "bags", at=1.0, row=36), SentLabel("c-1", "bags", at=1.0, row=37)]) == (1, 1)
    assert [row.row for row in ring.of("v1") if row.label == "bags"] == [36]


def test_an_id_that_clients_repeat_costs_a_label_little() -> None:
    ring = CapturedResponses()
    for number in range(1000):
        put(ring, number, request=hashed("again"))
    assert ring.label([SentLabel("again", 1, at=1.0)]) == (1, 0)
    assert sum(row.label == 1 for row in ring.of("v1")) == 8


def test_a_request_without_an_id_of_the_clients_is_nobodys() -> None:
    ring = CapturedResponses()
    put(ring, 1, request="no hash")
    assert ring.after(0, limit=1, variant="v1")[0][0].request == ""


def test_what_is_no_number_is_shown_as_none() -> None:
    ring = CapturedResponses()
    ring.add(
        "v1",
        columns={"amount": np.array([np.inf]), "photo": np.array([b"x"], dtype=object)},
        outputs={"score": np.array([np.nan]), "word": np.array(["w" * 500], dtype=object)},
        records=1,
        at=0.0,
    )
    row = ring.after(0, limit=1, variant="v1")[0][0].shown()
    assert (row["outputs"], row["columns"]) == (
        {"score": None, "word": "w" * 64},
        {"amount": None, "photo": None},
    )
    json.dumps(row, allow_nan=False)


@pytest.mark.slow
def test_rows_and_bytes_are_bounded() -> None:
    columns = {f"c{number}": np.array([1.5]) for number in range(20)}
    tracemalloc.start()
    try:
        ring = CapturedResponses(rows=4000)
        for number in range(12_000):
            ring.add(
                "v1",
                columns=columns,
                outputs={"score": np.array([0.1])},
                records=1,
                at=1.0,
                request=hashed(str(number)),
                exchange=f"0f9c1a2e-8f1b-4f6e-9f55-{number:012d}",
                trace=f"{number:032x}",
            )
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(ring) == 4000
    assert held < 2 * ring.size, (held, ring.size)
    small = CapturedResponses(rows=4000, size=50_000)
    for number in range(200):
        put(small, number)
    assert 0 < small.size <= 50_000
    assert len(small) < 60


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({}, "request"),
        ({"request": "a", "label": 2, "at": "2026-01-01T00:00:00Z"}, "label"),
        ({"request": "a", "label": "", "at": "2026-01-01T00:00:00Z"}, "label"),
        ({"request": "a", "label": 1, "at": "2026-01-01T00:00:00"}, "zone"),
        ({"request": "a", "label": 1}, "RFC 3339"),
        ({"request": "a", "label": 1, "at": "2026-01-01T00:00:00Z", "row": -1}, "row"),
        ("a", "request"),
    ],
)
def test_what_is_no_label_is_said(item: Any, said: str) -> None:
    good, wrong = responses.known([item], Binary())
    assert not good
    assert said in wrong[0]


OUTCOME = {"label": 1, "treatment": 0, "propensity": 0.5}


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (Binary(), True),
        (Multiclass(labels=("coat", "hat")), "hat"),
        (Multiclass(), "anything"),
        (Regression(), -12.5),
        (Regression(nonnegative=True), {"label": 40, "censored": True}),
        (Ranking(), 3),
        (Retrieval(), ["i1", "i2"]),
        (Retrieval(), [7, 12]),
        (Retrieval(), "i1"),
        (Uplift(), OUTCOME),
    ],
)
def test_a_label_is_what_its_task_says(task: BaseTask, label: Any) -> None:
    good, wrong = responses.known([{"request": "a", "label": label, "at": "2026-01-01T00:00:00Z"}], task)
    assert wrong == [] and good[0].label == label


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        (Binary(), 0.5, "0, 1 or a word"),
        (Binary(), ["a"], "0, 1 or a word"),
        (Multiclass(labels=("coat", "hat")), "shoe", "one of coat, hat"),
        (Multiclass(), 1, "the name of a class"),
        (Regression(), "dear", "a number"),
        (Regression(), float("nan"), "a number"),
        (Regression(nonnegative=True), -1, "a number of 0 or more"),
        (Ranking(), -1, "a relevance of 0 or more"),
        (Ranking(), [1, 0], "a relevance of 0 or more"),
        (Retrieval(), [], "the ids that were relevant"),
        (Retrieval(), 0.5, "the ids that were relevant"),
        (Retrieval(), ["i" * 70] * 99, "at most 100 in a list"),
        (Uplift(), 1, "0..1"),
        (Uplift(), {**OUTCOME, "propensity": 1.0}, "above 0 and below 1"),
        (Uplift(), {**OUTCOME, "treatment": 2}, "0..1"),
        (Regression(), None, "a number"),
    ],
)
def test_a_label_of_another_task_is_refused_in_the_tasks_words(task: BaseTask, label: Any, said: str) -> None:
    good, (wrong,) = responses.known([{"request": "a", "label": label, "at": "2026-01-01T00:00:00Z"}], task)
    assert not good
    assert wrong.startswith("expected label: ") and said in wrong


def test_lists_are_kept_and_their_memory_is_bounded() -> None:
    ring = CapturedResponses(size=50_000)
    for number in range(200):
        items = np.empty(1, dtype=object)
        items[0] = [f"i{number}", float("nan"), *range(200)]
        ring.add("v1", columns={}, outputs={"items": items}, records=1, at=float(number), exchange=f"e-{number}")
    (row, *_) = ring.after(0, limit=9, variant="v1")[0]
    kept = row.shown()["outputs"]["items"]
    assert len(kept) == 100 and kept[1:4] == [None, 0, 1]
    json.dumps(row.shown(), allow_nan=False)
    assert ring.size <= 50_000 and len(ring) < 11


def test_answers_and_labels_over_http(start: Start) -> None:
    sidecar = start()
    sent = events(30, seed=2)
    for number, item in enumerate(sent):
        pair = number // 2
        item |= {
            "requestid": hashed(f"c-{pair}"),
            "exchangeid": f"e-{pair}",
            "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01",
        }
        item |= {"shadow": "1"} if pair < 10 else {}
    sidecar.send(sent)
    whole = sidecar.client.get("/answers", params={"limit": 20}).json()
    assert (whole["variant"], whole["lost"], len(whole["rows"])) == ("shop-00001", 0, 20)
    row = whole["rows"][0]
    assert row.keys() == {
        "exchange", "row", "kept", "at", "request", "trace", "shadow", "outputs", "columns", "label", "label_at",
    }  # fmt: skip
    assert (row["exchange"], row["row"], row["request"], row["trace"]) == ("e-0", 0, hashed("c-0"), "ab" * 16)
    assert [each["shadow"] for each in whole["rows"]] == [True] * 10 + [False] * 10
    assert abs(row["at"] - time.time()) < 60
    request, response = sent[0]["data"], sent[1]["data"]
    assert row["outputs"] == {"score": pytest.approx(response["outputs"][0]["data"][0])}
    assert row["columns"] == {tensor["name"]: tensor["data"][0] for tensor in request["inputs"]}
    rest = sidecar.client.get("/answers", params={"after": whole["cursor"]}).json()
    assert [each["exchange"] for each in rest["rows"]] == [f"e-{number}" for number in range(20, 30)]
    label = {"request": "c-7", "label": 1, "at": "2026-11-21T12:00:00Z"}
    told = sidecar.client.post("/labels", json=[label, {**label, "request": "c-77"}, {"request": "c-8"}])
    assert told.status_code == 200
    assert {key: told.json()[key] for key in ("joined", "unknown", "malformed")} == {
        "joined": 1,
        "unknown": 1,
        "malformed": 1,
    }
    again = sidecar.client.get("/answers", params={"after": rest["cursor"]}).json()
    assert [(each["exchange"], each["label"], each["label_at"]) for each in again["rows"]] == [("e-7", 1, 1795262400.0)]
    assert sidecar.client.post("/labels", content=b"{").status_code == 400
    assert sidecar.client.get("/answers", params={"after": "-1"}).status_code == 400


def test_an_event_sent_a_thousand_times_is_one_answer(start: Start) -> None:
    """Fault 10."""
    sidecar = start()
    sidecar.send(events(1, seed=2) * 1000)
    assert len(sidecar.client.get("/answers").json()["rows"]) == 1


def test_events_through_a_proxy_are_forged_and_labels_are_not(start: Start) -> None:
    sidecar = start()
    media = {"content-type": "application/cloudevents-batch+json", "x-forwarded-for": "127.0.0.1"}
    assert sidecar.client.post("/", json=events(5, seed=2), headers=media).status_code == 403
    assert sidecar.counts()["foreign"] == 1
    sidecar.send([{**item, "requestid": hashed("mine")} for item in events(1, seed=3)])
    label = {"request": "mine", "label": 0, "at": "2026-11-21T12:00:00Z"}
    told = sidecar.client.post("/labels", json=[label], headers={"x-forwarded-for": "10.0.0.1"})
    assert told.json() == {"joined": 1, "unknown": 0}


@pytest.mark.serial
def test_two_thousand_rows_are_answered_at_once(start: Start) -> None:
    sidecar = start()
    sidecar.send(events(2000, seed=2))
    took = []
    for _ in range(7):
        begun = time.perf_counter()
        answer = sidecar.client.get("/answers", params={"limit": 2000})
        took.append(time.perf_counter() - begun)
        assert len(answer.json()["rows"]) == 2000
    assert sorted(took)[3] < 0.25, took


def test_a_wrong_shape_of_outputs_is_none_not_another_rows(start: Start) -> None:
    sidecar = start()
    columns = {
        "amount": np.ones(2),
        "orders": np.ones(2),
        "express": np.ones(2, bool),
        "payment": np.array(["card"] * 2),
    }
    request, response = exchange(columns, {"score": np.array([0.1, 0.2])}, slice(0, 2))
    response["outputs"][0]["data"] = [0.5, 0.5, 0.5]
    sidecar.send([event("a", "request", request), event("a", "response", response)])
    assert [row["outputs"] for row in sidecar.client.get("/answers").json()["rows"]] == [{"score": None}] * 2


def test_evidence_over_http_is_of_what_came_since_the_cursor(start: Start) -> None:
    sidecar = start()
    shadow = Shadow(output="score", threshold=0.5, slices=("payment",))
    asked = EvidenceRequest(since=0.0, until=time.time() + 1e6, paired=True, shadow=shadow)

    def told(cursor: str) -> PodEvidence:
        path = asked.model_copy(update={"cursor": cursor}).path()
        return PodEvidence.read(sidecar.client.get(f"/{path}").content)

    sent = events(30, seed=2)
    for number, item in enumerate(sent):
        item |= {"requestid": hashed(f"c-{number // 2}"), "exchangeid": f"e-{number // 2}"}
    sidecar.send(sent[:40])
    first = told("")
    assert (first.rows, len(first.paired.said), first.outputs["score"].numbers.total) == (20, 20, 20)
    assert set(first.paired.columns["payment"].words) <= {"card", "wallet", "invoice"}
    sidecar.send(sent[40:])
    sidecar.client.post("/labels", json=[{"request": "c-7", "label": 1, "at": "2026-11-21T12:00:00Z"}])
    rest = told(first.cursor)
    assert (rest.rows, len(rest.paired.said), rest.costs.count, rest.lost) == (10, 10, 1, 0)
    assert (told(rest.cursor).rows, told(rest.cursor).costs.count) == (0, 0)
    assert told("another.17.0.0").rows == 30


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "expected format 1, got none"),
        ("format=2&ask=e30", "expected format 1, got 2"),
        ("format=1&ask=e30", "since"),
        ("format=1&ask=%FF", "ask"),
        (
            "format=1&ask=" + EvidenceRequest(since=0, until=0, cursor="x").path().partition("ask=")[2],
            "expected cursor",
        ),
    ],
)
def test_a_question_that_is_none_of_this_format_is_refused(start: Start, query: str, said: str) -> None:
    answer = start().client.get(f"/evidence?{query}")
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_a_ring_that_nothing_came_to_answers_every_question() -> None:
    ring = CapturedResponses()
    assert ring.after(0, limit=10, variant=ring.variant) == ([], 0, 0)
    assert (list(ring.of("a")), ring.labelled("a", "score").answers) == ([], [])
    assert [len(ring.told(name, ring.places("a"))) for name in ("at", "label_at", "labels")] == [0, 0, 0]
