"""DynamoDB in particular: requests of 100 keys, what is left out and asked for again, sizes, the table's time to live."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from moto.server import ThreadedMotoServer

from hallmark.errors import DeclarationError, Refused, Unavailable
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.dynamodb import LARGEST, SHARDS, DynamoDBStore
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.online.store import SLACK, OnlineStore, Row
from tests.hallmark.feature_store.online.conftest import REGION, free_port

ROWS = [Row(Key("v@1", entity_key(number)), number, number, b"x") for number in range(250)]
KEYS = [each.key for each in ROWS]
Make = Callable[..., OnlineStore]


class Watched:
    """A client of DynamoDB whose requests are counted, and fail first where `faults` has what to raise or leave out."""

    def __init__(self, client: Any, faults: list[Any]) -> None:
        self._client = client
        self.faults = faults
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def ask(**request: Any) -> Any:
            self.requests.append((name, request))
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, Exception):
                raise fault
            if fault == "half":
                ((table, asked),) = request["RequestItems"].items()
                part = {**asked, "Keys": asked["Keys"][::2]}
                rest = {**asked, "Keys": asked["Keys"][1::2]}
                answer = self._client.batch_get_item(RequestItems={table: part})
                return {**answer, "UnprocessedKeys": {table: rest}}
            return getattr(self._client, name)(**request)

        return getattr(self._client, name) if name == "close" else ask


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """What a request asks of its one table."""
    return next(iter(request["RequestItems"].values())) if "RequestItems" in request else request


def watched(store: OnlineStore, *faults: Any) -> Watched:
    assert isinstance(store, DynamoDBStore)
    store._reader = store._writer = Watched(store._reader, list(faults))
    return store._reader


def busy(code: str = "ProvisionedThroughputExceededException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "slow down"}}, "any")


@pytest.mark.slow
def test_a_read_is_a_request_for_each_hundred_keys(make: Make) -> None:
    store = make("dynamodb")
    store.write(ROWS)
    client = watched(store)
    assert store.read([*KEYS, *KEYS]) == [*ROWS, *ROWS]
    assert sorted(len(asked(request)["Keys"]) for _, request in client.requests) == [50, 100, 100]
    client.requests.clear()
    assert store.read(KEYS[:100]) == ROWS[:100]
    assert [name for name, _ in client.requests] == ["batch_get_item"]


@pytest.mark.parametrize(
    "fault", ["half", busy(), busy("ThrottlingException"), ConnectionClosedError(endpoint_url="x")]
)
def test_what_was_left_out_is_asked_for_again(make: Make, fault: Any) -> None:
    store = make("dynamodb")
    store.write(ROWS[:40])
    client = watched(store, fault, fault)
    assert store.read(KEYS[:41]) == [*ROWS[:40], None]
    assert len(client.requests) == 3


def test_a_table_that_is_busy_costs_the_time_given(make: Make) -> None:
    store = make("dynamodb", read_seconds=0.2, write_seconds=0.2)
    watched(store, *[busy()] * 1000)
    for ask in (
        lambda: store.read(KEYS[:2]),
        lambda: store.write(ROWS[:2]),
        lambda: store.erase(entity_key(1), ["v@1"]),
    ):
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            ask()
        assert 0.1 < time.monotonic() - began < 2 and caught.value.got and caught.value.fix


def test_a_write_is_asked_for_again_and_nothing_else_is(make: Make) -> None:
    store = make("dynamodb")
    watched(store, busy(), busy("InternalServerError"))
    assert store.write(ROWS[:3]) == 3
    client = watched(store, busy("AccessDeniedException"))
    with pytest.raises(Unavailable) as caught:
        store.write(ROWS[3:4])
    assert len(client.requests) == 1 and "its part of" in caught.value.fix


def test_an_endpoint_that_hangs_costs_the_time_given(dynamodb: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"dynamodb://features?region={REGION}&endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        store = connect(url, namespace="fraud", write_seconds=0.1)
        for ask in (lambda: store.read(KEYS), lambda: store.write(ROWS[:3]), lambda: asyncio.run(store_read(store))):
            began = time.monotonic()
            with pytest.raises(Unavailable, match="does not answer"):
                ask()
            assert time.monotonic() - began < 2
        store.close()


async def store_read(store: OnlineStore) -> None:
    await store.aread(KEYS)


def test_an_endpoint_that_is_gone_is_told_and_found_again(dynamodb: str) -> None:
    """faults.md, 22. What moto holds is its process's, so a second server of it has the same table."""
    port = free_port()
    store = connect(f"{dynamodb.rsplit(':', 1)[0]}:{port}", namespace="gone", read_seconds=2, write_seconds=2)
    for ask in (lambda: store.read(KEYS), lambda: store.write(ROWS)):
        with pytest.raises(Unavailable, match="does not answer"):
            ask()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        assert store.write(ROWS[:3]) == 3 and store.read(KEYS[:3]) == ROWS[:3]
    finally:
        store.close()
        server.stop()


@pytest.mark.slow
def test_the_event_loop_runs_while_dynamodb_is_asked(make: Make) -> None:
    store = make("dynamodb")
    store.write(ROWS[:150])

    async def life() -> int:
        reads = [asyncio.ensure_future(store.aread(KEYS[:150])) for _ in range(8)]
        turns = 0
        while not all(each.done() for each in reads):
            await asyncio.sleep(0.001)
            turns += 1
        assert [await each for each in reads] == [ROWS[:150]] * 8
        await store.aclose()
        return turns

    assert asyncio.run(life()) > 3


def test_an_item_that_is_too_large_is_refused_and_nothing_is_written(make: Make) -> None:
    """moto counts the bytes of base64, so the edge is tried without it."""
    store = make("dynamodb", namespace="large")
    assert isinstance(store, DynamoDBStore)
    key = Key("v@1", entity_key(0))
    names = len("part" + store._part(key) + "entity" + "i0" + "value")
    assert store._item(key, bytes(LARGEST - names), None)["value"] == {"B": bytes(LARGEST - names)}
    with pytest.raises(Refused, match="too large"):
        store._item(key, bytes(LARGEST - names + 1), None)
    with pytest.raises(Refused, match="no row was written") as caught:
        store.write([ROWS[1], Row(KEYS[0], 2, 2, b"x" * LARGEST)])
    assert "409,600" in caught.value.expected and "Redis" in caught.value.fix
    assert store.read(KEYS[:2]) == [None, None]


def test_a_view_larger_than_a_page_is_looked_through(make: Make) -> None:
    """A query answers a megabyte at most."""
    store = make("dynamodb")
    assert isinstance(store, DynamoDBStore)
    parts = {number: store._part(Key("v@1", entity_key(number))) for number in range(2000)}
    same = [number for number, part in parts.items() if part == parts[0]][:5]
    rows = [Row(Key("v@1", entity_key(number)), 1, 1, b"x" * 300_000) for number in same]
    store.write(rows)
    pages = list(store.scan("v@1"))
    assert sorted(each for page in pages for each in page) == sorted(rows) and len(pages) > 1


def test_entities_are_spread_over_the_shards(make: Make) -> None:
    store = make("dynamodb")
    assert isinstance(store, DynamoDBStore)
    counts = Counter(store._part(Key("v@1", entity_key(number))) for number in range(32_000))
    assert len(counts) == SHARDS and max(counts.values()) < 1.2 * min(counts.values())


def test_an_item_says_when_the_table_may_drop_it(make: Make) -> None:
    store = make("dynamodb")
    client = watched(store)
    ending, staying = Row(KEYS[0], 1_800_000_000_123_456, 1, b""), Row(Key("w@1", entity_key(0)), 1, 1, b"")
    store.write([ending, staying], keep={"v@1": timedelta(days=30)})
    items = [request["Item"] for _, request in client.requests]
    assert len(items) == 2
    due = 1_800_000_000 + int((timedelta(days=30) + SLACK).total_seconds())
    assert [item["expires"]["N"] for item in items if "expires" in item] == [str(due)]


@pytest.mark.parametrize("consistent", [True, False])
def test_a_read_sees_every_write_where_it_is_asked_to(dynamodb: str, consistent: bool) -> None:
    store = connect(f"{dynamodb}&consistent={str(consistent).lower()}", namespace="fraud", read_seconds=5)
    client = watched(store)
    store.read(KEYS[:1])
    list(store.scan("v@1"))
    reads = [asked(request)["ConsistentRead"] for _, request in client.requests]
    assert set(reads) == {consistent}
    store.close()


def test_a_table_that_is_not_there_is_told(dynamodb: str) -> None:
    store = connect(dynamodb.replace("features", "nowhere"), namespace="fraud", read_seconds=5)
    with pytest.raises(Unavailable) as caught:
        store.read(KEYS)
    assert "terraform/modules/online_store" in caught.value.fix
    store.close()


def test_nobody_may_ask_without_credentials(dynamodb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(Unavailable, match="credentials of AWS"):
        connect(dynamodb, namespace="fraud")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(DeclarationError, match="region"):
        connect("dynamodb://features", namespace="fraud")
