"""Features between decoding and the model: one read for all requests, defaults or refusals, and nothing that waits for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hallmark.artifacts.signature import Signature, ViewUse
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.serving_config import FeatureReading
from hallmark.errors import Unavailable
from hallmark.feature_store.lookups import AGE, AT
from hallmark.feature_store.online.keys import entity_key
from hallmark.features.fields import Field, Output
from hallmark.tasks import Binary
from inference_services.protocol.errors import BadRequest, NoFeatures, StoreDown
from inference_services.protocol.v2 import InferenceRequest
from inference_services.runtime.lookup import DEFAULTED, Lookup

NUMBER = {"take": "count", "window": "1h"}


def view(name: str, entity: str, **columns: Any) -> FeatureView:
    return FeatureView.model_validate(
        {
            "name": name,
            "version": 1,
            "owner": {"team": "t", "contact": "t@hallmark.example"},
            "description": name,
            "entity": entity,
            "source": "orders@1",
            "event_time": "at",
            "known_at": "known_at",
            "event_id": "order",
            "freshness": "1h",
            "ttl": "1d",
            "columns": columns,
        }
    )


BUYER = view("buyer", "buyer_id", orders=NUMBER, largest={"take": "max", "of": "amount"})
ADDRESS = view("address", "ip", hits=NUMBER, city={"take": "last", "of": "city", "default": "?"}, unread=NUMBER)
SIGNATURE = Signature(
    domain="shop",
    task=Binary(),
    fields=(
        Field(name="amount", datatype="FP64"),
        Field(name="orders", datatype="INT64"),
        Field(name="largest", datatype="FP64", optional=True),
        Field(name="hits", datatype="INT64"),
        Field(name="city", datatype="BYTES"),
    ),
    outputs=(Output(name="score", datatype="FP32"),),
    views=(
        ViewUse(
            view=BUYER,
            entity=Field(name="buyer_id", datatype="BYTES"),
            fields=("orders", "largest"),
            types={"buyer_id": "BYTES"},
        ),
        ViewUse(
            view=ADDRESS, entity=Field(name="ip", datatype="BYTES"), fields=("hits", "city"), types={"ip": "BYTES"}
        ),
    ),
)


class Store:
    """Payloads that are the values themselves; it counts what it is asked, and takes its time."""

    def __init__(self, known: dict[tuple[str, Any], bytes], *, seconds: float = 0.0, down: bool = False) -> None:
        self.known, self.seconds, self.down = known, seconds, down
        self.asked: list[Sequence[tuple[str, Any]]] = []

    async def payloads(self, keys: Sequence[tuple[str, Any]]) -> Sequence[bytes | None]:
        self.asked.append(keys)
        await asyncio.sleep(self.seconds)
        if self.down:
            raise Unavailable("the store is down", expected="an answer", got="none")
        return [self.known.get(key) for key in keys]


class Reader:
    def __init__(self, nothing: tuple[Any, ...]) -> None:
        self.nothing = nothing

    def values(self, payload: bytes | None, at: int) -> tuple[Sequence[Any], int]:
        if payload is None:
            return self.nothing, 0
        values = eval(payload)  # noqa: S307  the test's own
        return values, at - 1_000_000


def lookup(store: Store, **reading: Any) -> Lookup:
    readers = {"buyer@1": Reader((0, None)), "address@1": Reader((0, None))}
    return Lookup(SIGNATURE, store=store, readers=readers, reading=FeatureReading(**reading))


def request(*asked: tuple[str | None, str]) -> InferenceRequest:
    buyers, addresses = np.empty(len(asked), dtype=object), np.empty(len(asked), dtype=object)
    buyers[:], addresses[:] = zip(*asked, strict=True)
    amount = np.arange(len(asked), dtype=np.float64)
    return InferenceRequest("r", {"amount": amount, "buyer_id": buyers, "ip": addresses}, len(asked))


KNOWN = {("buyer@1", "b1"): b"(3, 9.5)", ("address@1", "a1"): b"(7, 'Rome')", ("address@1", "a2"): b"(1, None)"}


def test_callers_send_the_entities_and_what_no_view_gives() -> None:
    assert [each.name for each in SIGNATURE.sent] == ["buyer_id", "ip", "amount"]


def test_all_requests_are_read_for_at_once_and_filled_in() -> None:
    store = Store(KNOWN)
    both = [request(("b1", "a1")), request(("b9", "a1"), ("b1", "a1"))]
    assert asyncio.run(lookup(store).fill(both, within=1.0)) == [None, None]
    assert [sorted(keys) for keys in store.asked] == [[("address@1", "a1"), ("buyer@1", "b1"), ("buyer@1", "b9")]]
    columns = both[1].columns
    assert columns["orders"].tolist() == [0, 3] and columns["orders"].dtype == np.int64
    assert np.isnan(columns["largest"][0]) and columns["largest"][1] == 9.5
    assert columns["city"].tolist() == ["Rome", "Rome"] and columns["hits"].dtype == np.int64
    assert columns[AT].tolist() == [columns[AT][0]] * 2
    assert (columns[AT] - columns[f"{AGE}buyer@1"]).tolist() == [columns[AT][0], 1_000_000], "0 of who is not known"
    assert both[0].notes == b""


def test_a_value_that_must_be_there_is_refused_or_is_the_default() -> None:
    asked = [request(("b1", "a2")), request(("b1", "a1"))]
    refused, good = asyncio.run(lookup(Store(KNOWN)).fill(asked, within=1.0))
    assert (
        isinstance(refused, NoFeatures) and "'ip'" in refused.message and "'city'" in refused.message and good is None
    )
    assert "a2" not in refused.message, "a message never repeats what the client sent"
    assert asyncio.run(lookup(Store(KNOWN), missing="default").fill(asked, within=1.0)) == [None, None]
    assert asked[0].columns["city"].tolist() == ["?"] and [each.notes for each in asked] == [DEFAULTED, b""]


@pytest.mark.parametrize(("trouble", "least"), [({"down": True}, 0.0), ({"seconds": 5.0}, 0.02)])
def test_fault_22_a_store_that_is_down_or_slow_is_the_domains_policy(trouble: dict[str, Any], least: float) -> None:
    asked = [request(("b1", "a1"))]
    began = time.perf_counter()
    (refused,) = asyncio.run(lookup(Store(KNOWN, **trouble), wait=0.02).fill(asked, within=1.0))
    assert isinstance(refused, StoreDown) and b"retry-after" in refused.headers
    assert asyncio.run(lookup(Store(KNOWN, **trouble), wait=0.02, missing="default").fill(asked, within=1.0)) == [None]
    assert 2 * least <= time.perf_counter() - began < 1.0
    columns = asked[0].columns
    assert (columns["orders"].tolist(), columns["city"].tolist(), asked[0].notes) == ([0], ["?"], DEFAULTED)
    assert np.isnan(columns["largest"][0]), "an optional field may be missing"


def test_what_is_left_of_the_deadline_is_the_longest_wait() -> None:
    began = time.perf_counter()
    (refused,) = asyncio.run(lookup(Store(KNOWN, seconds=5.0), wait=1.0).fill([request(("b1", "a1"))], within=0.02))
    assert isinstance(refused, StoreDown) and time.perf_counter() - began < 0.5


@pytest.mark.parametrize("odd", ["x" * 2000, "\ud800"])
def test_what_can_be_no_entity_refuses_its_own_request_and_no_other(odd: str) -> None:
    class Checked(Store):
        async def payloads(self, keys: Sequence[tuple[str, Any]]) -> Sequence[bytes | None]:
            for _, entity in keys:
                entity_key(entity)
            return await super().payloads(keys)

    for missing in ("refuse", "default"):
        good = [request(("b1", "a1")), request(("b1", "a1"))]
        asked = [good[0], request((odd, "a1")), good[1]]
        first, wrong, last = asyncio.run(lookup(Checked(KNOWN), missing=missing).fill(asked, within=1.0))
        assert first is None and last is None and isinstance(wrong, NoFeatures) and wrong.status == 422
        assert "'buyer_id'" in str(wrong) and all(each.columns["orders"].tolist() == [3] for each in good)
        assert not any(each.notes for each in good)


def test_an_entity_of_another_type_than_its_contracts_is_a_400_that_names_the_field() -> None:
    """Of a folder whose field and contract differ, since 7 and "7" are two and nothing is known of one of them."""
    number = {"buyer_id": SIGNATURE.views[0].model_copy(update={"types": {"buyer_id": "INT64"}})}
    signature = SIGNATURE.model_copy(update={"views": (number["buyer_id"], SIGNATURE.views[1])})
    store, readers = Store(KNOWN), {"buyer@1": Reader((0, None)), "address@1": Reader((0, None))}
    made = Lookup(signature, store=store, readers=readers, reading=FeatureReading())
    good = request((None, "a1"))
    wrong, passed = asyncio.run(made.fill([request(("7", "a1")), good], within=1.0))
    assert passed is None and good.columns["hits"].tolist() == [7]
    assert type(wrong) is BadRequest and wrong.status == 400
    for words in (
        "input 'buyer_id'",
        "a whole number of 64 bits",
        "contract orders@1",
        "got str '7'",
        "without quotes",
    ):
        assert words in str(wrong), words
    assert [key for asked in store.asked for key in asked] == [("address@1", "a1")], "nobody else is read in its place"
