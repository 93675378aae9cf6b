"""A server whose model reads feature views: events in, other scores out, each version its own views, and a store that goes away."""

from __future__ import annotations

import json
import random
import signal
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.artifacts.signature import ViewUse
from hallmark.declaration.feature_view import FeatureView
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED
from hallmark.feature_store.stream import Published, Stream, encoded
from hallmark.feature_store.tiles import TYPES
from hallmark.features.fields import Field, Output
from tests.hallmark.feature_store.online.conftest import RedisServer
from tests.inference_services.runtime.served import Server, linear, write_folder

CONTRACT = {
    **{"order_id": "BYTES", "buyer_id": "BYTES", "ip": "BYTES", "card_id": "BYTES"},
    **{"amount": "FP64", "ordered_at": "TIME", "known_at": "TIME"},
}
FEATURES = """
import numpy as np


def encode(columns):
    return np.stack([columns[name].astype(np.float32) for name in ("amount", "orders_30d", "spent_30d", "ip_orders")], axis=1)
"""
FIELDS = (
    Field(name="amount", datatype="FP64"),
    Field(name="orders_30d", datatype="INT64", minimum=0),
    Field(name="spent_30d", datatype="FP64", minimum=0),
    Field(name="ip_orders", datatype="INT64", minimum=0),
)


def view(name: str, entity: str, version: int = 1, **columns: Any) -> FeatureView:
    told = {"owner": {"team": "t", "contact": "t@hallmark.example"}, "description": name, "source": "orders@1"}
    times = {
        "event_time": "ordered_at",
        "known_at": "known_at",
        "event_id": "order_id",
        "freshness": "1h",
        "ttl": "30d",
    }
    return FeatureView.model_validate(
        {"name": name, "version": version, "entity": entity, **told, **times, "columns": columns}
    )


def buyers(version: int, window: str) -> FeatureView:
    spent = {"take": "sum", "of": "amount", "window": window}
    return view("buyers", "buyer_id", version, orders_30d={"take": "count", "window": window}, spent_30d=spent)


ADDRESSES = view("addresses", "ip", ip_orders={"take": "count", "window": "1h"})


def use(found: FeatureView, *fields: str) -> ViewUse:
    types = {name: CONTRACT[name] for name in found.reads}
    return ViewUse(view=found, entity=Field(name=found.entity, datatype="BYTES"), fields=fields, types=types)


def model(folder: Path, found: FeatureView) -> Path:
    """A sealed model whose score grows with what its views say."""
    write_folder(
        folder,
        model=linear(4, 1),
        fields=FIELDS,
        outputs=(Output(name="score", datatype="FP32", minimum=0, maximum=1),),
        features=FEATURES,
        signature={"views": (use(found, "orders_30d", "spent_30d"), use(ADDRESSES, "ip_orders"))},
    )
    return folder


class Redis(RedisServer):
    """One that ends with its test, or before."""

    def close(self) -> None:
        self.kill()


@contextmanager
def serving(folder: Path, url: str, **given: Any) -> Iterator[Server]:
    """The server of a model, which reads its features at `url`."""
    server = Server(folder, "orders", env={"HALLMARK_FEATURE_STORE": url}, **given)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


class Shop:
    """Orders in a log, and the job that keeps the online store at `url` up with them."""

    def __init__(self, folder: Path, url: str, views: Sequence[FeatureView]) -> None:
        self.log = FileLog(folder / "orders")
        self.store = connect(url, namespace=SHARED)
        types = {name: TYPES[kind] for name, kind in CONTRACT.items()}  # type: ignore[index]
        self.stream = Stream(views, types, log=self.log, store=Published(self.store, views), folder=folder / "state")
        self.count = 0

    def order(self, buyer: str, ip: str, amount: float = 10.0, *, ago: timedelta = timedelta(minutes=1)) -> None:
        at = datetime.now(UTC) - ago
        self.count += 1
        row = {"order_id": f"o{self.count}", "buyer_id": buyer, "ip": ip, "card_id": "c", "amount": amount}
        self.log.append("0", [encoded({**row, "ordered_at": at, "known_at": at})])

    def catch_up(self) -> None:
        while self.stream.step():
            pass

    def close(self) -> None:
        for each in (self.stream, self.log, self.store):
            each.close()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'online.db'}"
        return
    with closing(Redis(tmp_path)) as found:
        yield found.url


def inputs(*orders: tuple[str, str]) -> list[dict[str, Any]]:
    rows = len(orders)
    return [
        {"name": "amount", "shape": [rows], "datatype": "FP64", "data": [5.0] * rows},
        {"name": "buyer_id", "shape": [rows], "datatype": "BYTES", "data": [buyer for buyer, _ in orders]},
        {"name": "ip", "shape": [rows], "datatype": "BYTES", "data": [ip for _, ip in orders]},
    ]


def expected(*features: Sequence[float]) -> list[float]:
    weights = np.random.default_rng(7).normal(0, 0.1, (4, 1)).astype(np.float32)
    raw = np.array([[5.0, *each] for each in features], dtype=np.float32) @ weights
    return [float(each) for each in (1 / (1 + np.exp(-raw)))[:, 0]]


def scores(server: Server, *orders: tuple[str, str]) -> tuple[int, list[float], Mapping[str, str]]:
    answer = server.client.post("/v2/models/orders/infer", json={"inputs": inputs(*orders)})
    told = answer.json()
    return answer.status_code, told["outputs"][0]["data"] if answer.status_code == 200 else [], answer.headers


def test_what_happened_a_moment_ago_is_in_the_next_answer(tmp_path: Path, url: str) -> None:
    first = buyers(1, "30d")
    with (
        closing(Shop(tmp_path, url, [first, ADDRESSES])) as shop,
        serving(model(tmp_path / "model", first), url) as server,
    ):
        assert [each["name"] for each in server.client.get("/v2/models/orders").json()["inputs"]] == [
            "buyer_id",
            "ip",
            "amount",
        ]
        status, found, headers = scores(server, ("anna", "1.1.1.1"))
        assert status == 200 and found == pytest.approx(expected((0, 0, 0)), rel=1e-5), "nothing is known of her yet"
        assert "x-hallmark-features" not in headers, "a count of nothing is 0, and no default"
        for amount in (3.0, 4.5):
            shop.order("anna", "1.1.1.1", amount)
        shop.order("anna", "2.2.2.2", 100.0, ago=timedelta(hours=5))
        shop.catch_up()
        _, found, _ = scores(server, ("anna", "1.1.1.1"), ("anna", "2.2.2.2"), ("bob", "1.1.1.1"))
        assert found == pytest.approx(expected((3, 107.5, 2), (3, 107.5, 0), (0, 0, 2)), rel=1e-5)


def test_two_versions_of_a_view_answer_side_by_side_and_never_cross(tmp_path: Path, url: str) -> None:
    old, new = buyers(1, "30d"), buyers(2, "1h")
    with (
        closing(Shop(tmp_path, url, [old, new, ADDRESSES])) as shop,
        serving(model(tmp_path / "stable", old), url) as stable,
        serving(model(tmp_path / "canary", new), url) as canary,
    ):
        for number in range(50):
            shop.order(f"b{number}", "1.1.1.1", 1.0, ago=timedelta(hours=3))
            shop.order(f"b{number}", "1.1.1.1", 2.0)
        shop.catch_up()
        asked = [(f"b{number}", "1.1.1.1") for number in range(50)]
        for server, told in ((stable, (2, 3.0, 50)), (canary, (1, 2.0, 50))):
            for _ in range(10):
                assert scores(server, *asked)[1] == pytest.approx(expected(*[told] * 50), rel=1e-5)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_mixed_requests_of_stable_and_canary_have_no_cross_read(tmp_path: Path, count: int) -> None:
    """Stable on view v1, canary on v2, on one Redis: each answer is of its own version's row, and could be told from the other's."""
    old, new, buyers_ = buyers(1, "30d"), buyers(2, "1h"), 100
    patient = {"features": {"missing": "refuse", "wait": 5.0}}  # the machine is shared
    with (
        closing(Redis(tmp_path)) as redis,
        closing(Shop(tmp_path, redis.url, [old, new, ADDRESSES])) as shop,
        serving(model(tmp_path / "stable", old), redis.url, **patient) as stable,
        serving(model(tmp_path / "canary", new), redis.url, **patient) as canary,
    ):
        for number in range(buyers_):
            shop.order(f"b{number}", f"10.0.0.{number}", 4.0 + number / 8, ago=timedelta(days=2))
            shop.order(f"b{number}", f"10.0.0.{number}", 1.0 + number / 16)
        shop.catch_up()
        own = {
            "stable": [(2, 5.0 + number * 3 / 16, 1) for number in range(buyers_)],
            "canary": [(1, 1.0 + number / 16, 1) for number in range(buyers_)],
        }
        known = {name: expected(*told) for name, told in own.items()}
        apart = [abs(one - other) for one, other in zip(known["stable"], known["canary"], strict=True)]
        assert min(apart) > 1e-3, "an answer of the other version would be seen"
        draw, servers = random.Random(14), {"stable": stable, "canary": canary}
        asked = [(draw.choice(("stable", "canary")), draw.randrange(buyers_)) for _ in range(count)]

        def crossed(each: tuple[str, int]) -> bool:
            name, number = each
            status, (score,), _ = scores(servers[name], (f"b{number}", f"10.0.0.{number}"))
            assert status == 200
            return score != pytest.approx(known[name][number], rel=1e-5)

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(crossed, asked)) == 0
        assert {name for name, _ in asked} == {*servers}


@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP])
def test_fault_22_a_store_that_is_gone_or_hangs_adds_at_most_50_ms(tmp_path: Path, trouble: signal.Signals) -> None:
    """In the middle of 40 requests one after the other; the machine is shared, so 10 ms of its own are left aside."""
    found, policy = buyers(1, "30d"), {"features": {"missing": "refuse", "wait": 0.05}}
    with (
        closing(Redis(tmp_path)) as redis,
        closing(Shop(tmp_path, redis.url, [found, ADDRESSES])) as shop,
        serving(model(tmp_path / "m", found), redis.url, **policy) as server,
    ):
        shop.order("anna", "1.1.1.1")
        shop.catch_up()

        def middle(status: int) -> float:
            times = []
            for _ in range(40):
                began = time.perf_counter()
                assert scores(server, ("anna", "1.1.1.1"))[0] == status
                times.append(time.perf_counter() - began)
            return statistics.median(times)

        up = middle(200)
        redis.process.send_signal(trouble)
        if trouble == signal.SIGKILL:
            redis.process.wait()
        try:
            assert middle(503) - up <= 0.05 + 0.01
        finally:
            if trouble == signal.SIGSTOP:
                redis.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_fault_22_a_store_that_goes_away_costs_no_more_than_the_wait(tmp_path: Path) -> None:
    found, answers = buyers(1, "30d"), {}
    with closing(Redis(tmp_path)) as redis:
        url = redis.url
        policies = {each: {"features": {"missing": each, "wait": 0.05}} for each in ("refuse", "default")}
        with (
            closing(Shop(tmp_path, url, [found, ADDRESSES])) as shop,
            serving(model(tmp_path / "m", found), url, **policies["refuse"]) as refusing,
            serving(model(tmp_path / "n", found), url, **policies["default"]) as defaulting,
        ):
            shop.order("anna", "1.1.1.1")
            shop.catch_up()
            both = {"refuse": refusing, "default": defaulting}
            assert {name: scores(server, ("anna", "1.1.1.1"))[0] for name, server in both.items()} == dict.fromkeys(
                both, 200
            )
            redis.close()
            for name, server in both.items():
                began = time.perf_counter()
                answers[name] = scores(server, ("anna", "1.1.1.1"))
                assert time.perf_counter() - began < 0.5
            assert answers["refuse"][0] == 503 and answers["refuse"][2]["retry-after"]
            assert answers["default"][0] == 200 and answers["default"][2]["x-hallmark-features"] == "default"
            assert answers["default"][1] == pytest.approx(expected((0, 0, 0)), rel=1e-5)
            counted = refusing.client.get("/metrics").text
            assert "hallmark_refused_total{" in counted and 'reason="store_down"' in counted
            assert json.loads(refusing.client.get("/v2/health/ready").text)["ready"], (
                "a store that is down ends no server"
            )
