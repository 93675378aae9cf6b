"""Lookups of features in the drift monitor: kept once and within bounds, found by any id of a request, and told page by page."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hallmark.artifacts.signature import Signature, ViewUse
from hallmark.declaration.drift import Drift
from hallmark.declaration.feature_view import FeatureView
from hallmark.drift import profile
from hallmark.feature_store.lookups import CapturedLookups
from hallmark.features.fields import Field, Output
from inference_services.capture import exchanges
from inference_services.capture.exchanges import Answered
from inference_services.capture.records import Call
from inference_services.drift_monitor import events, exposition
from inference_services.drift_monitor.app import app
from inference_services.drift_monitor.lookups import LookupRing
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference
from tests.hallmark.feature_store.shop import DECLARED, MINUTE, Shop
from tests.inference_services.drift_monitor.sidecar import ROOT, free_port
from tests.inference_services.runtime.served import Server, linear, write_folder

FIELDS = (
    Field(name="amount", datatype="FP64"),
    Field(name="note", datatype="BYTES"),
    Field(name="orders_1h", datatype="INT64"),
)
AT = 1_790_000_000_000_000
TRACE = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"


def signature(*, views: bool = True) -> Signature:
    view = FeatureView.model_validate(DECLARED)
    types: Any = {"buyer_id": "BYTES", "order_id": "BYTES", "amount": "FP64", "ordered_at": "TIME", "known_at": "TIME"}
    use = ViewUse(view=view, entity=Field(name="buyer_id", datatype="BYTES"), fields=("orders_1h",), types=types)
    output = Output(name="score", datatype="FP32")
    return Signature(domain="shop", fields=FIELDS, outputs=(output,), views=(use,) if views else ())  # type: ignore[call-arg]


def packed(count: int, *, first: int = 1, rows: int = 1, newest: int = AT - 60_000_000) -> bytes:
    sent = []
    for number in range(first, first + count):
        columns = {
            "amount": np.full(rows, 5.0),
            "note": np.array(["x" * (300 if number == 2 else 3)] * rows, dtype=object),
            "buyer_id": np.array([f"b{number}"] * rows, dtype=object),
            "orders_1h": np.arange(rows),
            "features_at": np.full(rows, AT + number),
            "features_of buyers@1": np.full(rows, newest),
        }
        trace = TRACE if number == 1 else b""
        score = {"score": np.full(rows, 0.5, dtype=np.float32)}
        marks = (trace, b"", b"e-%d" % number, b"")
        sent.append(Answered([Call(columns, score, rows)], [rows], [1], [f"c{number}"], [marks]))
    return exchanges.packed(sent, prefix="p", first=first)


def monitor(*, views: bool = True) -> Monitor:
    known = profile.build({"amount": np.arange(9.0)}, scores={"score": np.arange(9.0)})
    observed = Reference("sha256:1", signature(views=views), known, lambda columns: {"amount": columns["amount"]})
    return Monitor(observed, Drift(window=600, minimum=100))


def take(into: Monitor, body: bytes) -> None:
    head = {"specversion": "1.0", "type": exchanges.TYPE, "id": "a", "source": "/", "revision": "shop-00001"}
    head |= {"inferenceservicename": "shop", "namespace": "shop"}
    captured = events.columns({f"ce-{name}": value for name, value in head.items()}, body)
    assert captured is not None
    into.take_columns(captured)


def get(of: Monitor, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app(of))
        async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_lookups_are_kept_once_with_what_else_the_model_was_sent() -> None:
    found = monitor()
    take(found, packed(3))
    take(found, packed(5))  # three of which it has
    told = CapturedLookups.model_validate_json(get(found, "/lookups").content)
    assert [each.number for each in told.lookups] == [1, 2, 3, 4, 5]
    assert (told.held, told.variant, told.digest, told.cursor) == (5, "shop-00001", "sha256:1", 5)
    first, second = told.lookups[:2]
    assert (first.entities, first.newest) == ({"buyers@1": "b1"}, {"buyers@1": AT - 60_000_000})
    assert (first.values, first.sent, first.outputs) == (
        {"orders_1h": 0},
        {"amount": 5.0, "note": "xxx"},
        {"score": 0.5},
    )
    assert second.sent["note"] is None, "a long text is not kept"
    assert told.views == signature().views and first.read_at == AT + 1
    on = CapturedLookups.model_validate_json(get(found, "/lookups?after=2&limit=2").content)
    assert ([each.number for each in on.lookups], on.cursor) == ([3, 4], 4)


@pytest.mark.parametrize("ident", [hashlib.sha256(b"c1").hexdigest()[:32], "ab" * 16, "e-1"])
def test_a_request_is_found_by_its_clients_its_traces_and_the_gateways_id(ident: str) -> None:
    found = monitor()
    take(found, packed(4, rows=2))
    told = CapturedLookups.model_validate_json(get(found, f"/lookups?request={ident}").content)
    assert [(each.row, each.entities["buyers@1"], each.values["orders_1h"]) for each in told.lookups] == [
        (0, "b1", 0),
        (1, "b1", 1),
    ]
    assert told.held == 8


def test_nothing_is_kept_of_a_model_without_views_and_a_question_that_is_none_is_refused() -> None:
    found = monitor(views=False)
    take(found, packed(3))
    assert CapturedLookups.model_validate_json(get(found, "/lookups").content).held == 0
    assert get(found, "/lookups?after=x").status_code == 400


def test_the_ring_keeps_the_newest_within_its_bounds() -> None:
    ring = LookupRing(signature(), digest="", rows=50)
    for first in range(1, 200, 10):
        found = exchanges.read(packed(10, first=first))
        ring.extend("shop-00001", found, np.ones(10, dtype=np.bool_))
    told = ring.after(0, limit=1000)
    assert [each.number for each in told.lookups] == list(range(151, 201)) and len(ring) == 50


def test_ages_are_told_where_enough_answers_have_one() -> None:
    found = monitor()
    take(found, packed(99))
    assert not exposition.ages(found.lookups)
    take(found, packed(200, first=100, newest=0))
    assert not exposition.ages(found.lookups), "of entities without an event nothing is old"
    take(found, packed(1, first=300, newest=AT - 5_000_000))
    assert {labels["quantile"]: round(age) for labels, age in exposition.ages(found.lookups)} == {
        "0": 5,
        "0.5": 60,
        "0.99": 60,
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


CODE = """
import numpy as np

NAMES = ("amount", "orders_1h", "spent_30d", "last_amount")


def encode(columns):
    return np.stack([np.nan_to_num(columns[name].astype(np.float32)) for name in NAMES], axis=1)


def observe(columns):
    return {"amount": columns["amount"]}
"""


@pytest.mark.slow
def test_a_real_servers_answers_are_compared_with_what_is_known_and_the_late_one_is_named(tmp_path: Path) -> None:
    shop, folder, sink = Shop(tmp_path), tmp_path / "model", free_port()
    shop.ingest(shop.order(1, "anna", ago=20 * MINUTE, amount=30.0), shop.order(2, "bob", ago=10 * MINUTE))
    shop.run()
    made = shop.signature()
    write_folder(
        folder,
        model=linear(4, 1),
        fields=made.fields,
        outputs=made.outputs,
        features=CODE,
        domain="fraud",
        signature={"views": made.views},
        assets={
            "profile.json": profile.build({"amount": np.arange(9.0)}, scores={"score": np.linspace(0, 1, 9)})
            .model_dump_json()
            .encode()
        },
    )
    watching = [sys.executable, "-m", "inference_services.drift_monitor", f"--model-dir={folder}", f"--port={sink}"]
    process = subprocess.Popen(watching, cwd=ROOT)
    server = Server(
        folder, "fraud", f"--capture-url=http://127.0.0.1:{sink}/", env={"HALLMARK_FEATURE_STORE": shop.place.url}
    )
    try:
        server.wait_ready()
        until = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{sink}/healthz"):
            assert process.poll() is None and time.monotonic() < until, "the monitor did not start"
            time.sleep(0.1)

        def ask(ident: str, buyer: str) -> None:
            sent = {"id": ident, "inputs": [
                {"name": "amount", "shape": [1], "datatype": "FP64", "data": [5.0]},
                {"name": "buyer_id", "shape": [1], "datatype": "BYTES", "data": [buyer]},
            ]}  # fmt: skip
            server.client.post("/v2/models/fraud/infer", json=sent).raise_for_status()

        for number in range(20):
            ask(f"r{number}", ("anna", "bob", "nobody")[number % 3])
        shop.now = datetime.now(UTC)
        shop.ingest(shop.order(3, "bob", ago=timedelta(0), amount=2.0))
        ask("late", "bob")
        with httpx.Client(base_url=f"http://127.0.0.1:{sink}", timeout=30, trust_env=False) as client:
            until = time.monotonic() + 30
            while (told := CapturedLookups.model_validate_json(client.get("/lookups").content)).held < 21:
                assert time.monotonic() < until, told
                time.sleep(0.1)
            ident = hashlib.sha256(b"late").hexdigest()[:32]
            (late,) = CapturedLookups.model_validate_json(client.get(f"/lookups?request={ident}").content).lookups
    finally:
        server.stop()
        process.terminate()
        process.wait(timeout=20)
    wrong = [each for each in shop.judged(told) if each.cause]
    assert {(each.lookup.number, each.column, each.cause) for each in wrong} == {
        (late.number, name, "late") for name in ("orders_1h", "spent_30d", "last_amount")
    }
