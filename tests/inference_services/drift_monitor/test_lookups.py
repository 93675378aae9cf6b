"""Lookups of features in the drift monitor: kept once and within bounds, found by any id of a request, and told page by page."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import numpy as np
import pytest

from hallmark.artifacts.folder import Signature, ViewUse
from hallmark.declaration.drift import Drift
from hallmark.declaration.feature_view import FeatureView
from hallmark.drift import profile
from hallmark.feature_store.lookups import CapturedLookups
from hallmark.features.fields import Field, Output
from inference_services.capture import exchanges
from inference_services.capture.exchanges import Exchange
from inference_services.drift_monitor import events, exposition
from inference_services.drift_monitor.app import app
from inference_services.drift_monitor.lookups import LookupRing
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference
from tests.hallmark.feature_store.shop import DECLARED

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
        sent.append(
            Exchange(columns, score, 0, rows, 1, f"c{number}", trace=trace, exchange=b"e-%d" % number, number=number)
        )
    return exchanges.packed(sent, prefix="p")


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
