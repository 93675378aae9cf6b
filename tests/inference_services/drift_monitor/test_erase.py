"""A person in the monitor's memory: forgotten in lookups, windows and answers, where others keep their numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest

from hallmark.artifacts.signature import Signature, ViewUse
from hallmark.declaration.feature_view import FeatureView
from hallmark.features.arrays import objects
from hallmark.features.fields import Field, Output
from inference_services.capture.exchanges import Exchanges
from inference_services.drift_monitor.app import app
from inference_services.drift_monitor.lookups import LookupRing
from inference_services.drift_monitor.responses import CapturedResponses
from tests.hallmark.feature_store.shop import DECLARED


@pytest.fixture
def ring() -> LookupRing:
    """Two batches of four lookups: of b0, b1, b0, b2."""
    view = FeatureView.model_validate(DECLARED)
    use = ViewUse(view=view, entity=Field(name="buyer_id", datatype="BYTES"), fields=("orders_1h",), types={})
    fields = (Field(name="amount", datatype="FP64"), Field(name="orders_1h", datatype="INT64"))
    outputs = (Output(name="score", datatype="FP32"),)
    made = LookupRing(Signature(domain="shop", fields=fields, outputs=outputs, views=(use,)), digest="d")  # type: ignore[call-arg]
    for batch in range(2):
        columns: dict[str, Any] = {
            "amount": np.arange(4.0),
            "buyer_id": objects(["b0", "b1", "b0", "b2"]),
            "orders_1h": np.arange(4) + 7,
            "features_at": np.arange(4) + 1000,
            f"features_of {view.reference}": np.full(4, 500),
        }
        ids = [f"r{batch}{at}" for at in range(4)]
        told = ([""] * 4, [""] * 4, [False] * 4)
        exchanges = Exchanges(ids, np.ones(4, dtype=np.int64), ids, *told, columns, {"score": np.full(4, 0.5)})
        made.extend("v1", exchanges, np.ones(4, dtype=np.bool_))
    return made


def test_lookups_of_a_person_are_told_to_nobody_any_more(ring: LookupRing) -> None:
    view = FeatureView.model_validate(DECLARED).reference
    before = {each.number: each for each in ring.after(0, limit=100).lookups}
    assert ring.erase({"buyer_id": "b0"}) == 4 and ring.erase({"buyer_id": "b0", "other": "x"}) == 0
    left = ring.after(0, limit=100)
    assert [each.entities[view] for each in left.lookups] == ["b1", "b2"] * 2
    assert all(before[each.number] == each for each in left.lookups)
    first = ring.after(0, limit=1)
    assert [each.number for each in ring.after(first.cursor, limit=2).lookups] == [4, 6], "no page skips one"
    assert ring.of("r00").lookups == () and len(ring.of("r01").lookups) == 1
    assert [len(each) for each in ring.ages().values()] == [4]
    assert left.oldest is not None and left.oldest.timestamp() == 1001 / 1e6
    ring.erase({"buyer_id": "b1"})
    ring.erase({"buyer_id": "b2"})
    assert ring.after(0, limit=5).lookups == () and ring.after(0, limit=5).oldest is None


def test_watched_words_are_forgotten_where_the_column_is_theirs() -> None:
    answers = CapturedResponses()
    columns = {"city": objects(["b0", "Lisbon"]), "amount": np.array([1.0, 2.0])}
    answers.add("v1", columns=columns, outputs={"score": np.array([0.5, 0.5])}, records=2, at=1.0)
    assert (answers.erase("city", "b0"), answers.erase("city", "b0"), answers.erase("amount", "1.0")) == (1, 0, 0)
    assert [each.columns["city"] for each in answers.of("v1")] == [None, "Lisbon"]


def test_the_monitor_is_told_whom_by_column_and_value() -> None:
    class Told:
        def erase(self, person: dict[str, str]) -> int:
            assert person == {"buyer_id": "b0"}
            return 3

    async def ask(body: str) -> httpx.Response:
        transport = httpx.ASGITransport(app(Told()))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as client:
            return await client.post("/erase", content=body)

    assert asyncio.run(ask('{"buyer_id": "b0"}')).json() == {"erased": 3}
    for body in ("[1]", '{"buyer_id": ""}', '{"buyer_id": 1}', "{"):
        assert asyncio.run(ask(body)).status_code == 400
