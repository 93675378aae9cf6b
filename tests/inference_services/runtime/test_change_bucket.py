"""The log of item changes in a bucket, on moto: writers that race, snapshots, and servers that follow it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stock import items, stock_folder

from hallmark.artifacts import bundle
from hallmark.errors import DeclarationError, HallmarkError
from inference_services.protocol.errors import StoreDown
from inference_services.runtime import change_bucket, change_log
from inference_services.runtime.change_log import Changes, ItemChange, Logged
from inference_services.runtime.items import ItemCodec, LiveItems
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.retrieval import RetrievalModel
from tests.hallmark.feature_store.s3 import S3, serving

numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serving() as found:
        yield found


@pytest.fixture
def address(server: S3) -> Iterator[str]:
    name = f"changes-{next(numbers)}"
    server.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield server.address(name, "search/changes")
    server.calm()


def everything(log: Changes, *, begin: int = 0, limit: int = 7) -> list[Logged]:
    found: list[Logged] = []
    while batch := log.read(found[-1].offset + 1 if found else begin, limit):
        found += batch
    return found


def state(changes: list[Logged]) -> dict[str, Logged]:
    return {each.change.id: each for each in changes if each.change.id}


@pytest.mark.slow
def test_two_that_write_at_once_lose_nothing_and_overwrite_nothing(address: str) -> None:
    said: list[tuple[int, list[ItemChange]]] = []

    def write(name: str) -> None:
        log = change_log.connect(address)
        for number in range(20):
            some = [ItemChange(f"{name}{number}-{part}", 1.0, {"price": number}) for part in range(1 + number % 3)]
            said.append((log.append(some), some))

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = everything(change_log.connect(address))
    assert [each.offset for each in found] == list(range(sum(len(some) for _, some in said)))
    for first, some in said:
        assert [each.change for each in found[first : first + len(some)]] == some


@pytest.mark.slow
def test_a_snapshot_holds_what_stands_for_who_reads_from_anywhere(
    address: str, monkeypatch: pytest.MonkeyPatch, server: S3
) -> None:
    monkeypatch.setattr(change_bucket, "_MANY", 20)
    monkeypatch.setattr(change_bucket, "_KEPT", -60.0)  # removed at once
    log, other, reader = (change_log.connect(address) for _ in range(3))
    for number in range(30):
        log.append([ItemChange(f"k{number % 4}", float(number), {"n": number}), ItemChange(f"gone{number % 3}", 0.0)])
        if number == 3:
            assert len(everything(reader)) == 8
    before = everything(change_log.connect(address))
    assert len(before) == 60
    assert other.compact() == 60 - 7
    assert other.compact() == 0
    assert other.append([ItemChange("late", 1.0, {})]) == 60 and log.append([ItemChange("k0", 2.0)]) == 61
    after = [*before, Logged(60, ItemChange("late", 1.0, {})), Logged(61, ItemChange("k0", 2.0))]
    keys = [each["Key"] for each in server.client().list_objects_v2(Bucket=address[5:].split("/")[0])["Contents"]]
    assert len(keys) == 3, "the batches that it holds are gone"
    for begin in (0, 30, 59, 60, 61):
        found = everything(change_log.connect(address), begin=begin)
        wanted = {key: each for key, each in state(after).items() if each.offset >= begin}
        assert state(found) == wanted and found[-1].offset == 61
    monkeypatch.setattr(change_bucket, "_SURE", 0.0)  # as of one that stood still for long
    assert state(everything(reader, begin=8)) == {key: each for key, each in state(after).items() if each.offset >= 8}
    assert everything(change_log.connect(address), begin=62) == []


def test_what_is_no_address_and_a_bucket_that_is_not_ours_are_told(address: str, server: S3) -> None:
    with pytest.raises(DeclarationError):
        change_log.connect("s3://No_Bucket/..")
    server.refuse = lambda method, path: "AccessDenied"
    log = change_log.connect(address)
    with pytest.raises(HallmarkError, match="may not"):
        log.append([ItemChange("i1", 1.0)])
    with pytest.raises(HallmarkError, match="may not"):
        log.read(0, 5)


@pytest.mark.slow
def test_servers_that_follow_a_bucket_show_nothing_that_was_deleted_once_it_is_acknowledged(
    address: str, server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock_folder(tmp_path / "model", items(60))

    def start(name: str) -> RetrievalModel:
        model = RetrievalModel("stock", bundle.read(tmp_path / "model", expected=None))
        model.live = LiveItems(
            model.index,
            codec=ItemCodec(model.signature, model.retriever),
            encode=model.item_encoder(),
            log=change_log.connect(address),
            state=tmp_path / name,
            fresh=1.0,
            metrics=Metrics({"model": "stock", "version": "", "revision": "", "variant": ""}, workers=1),
        )
        return model

    one, two = start("one"), start("two")
    assert one.live is not None and two.live is not None

    def change(**asked: Any) -> float:
        return one.live.change(json.dumps(asked).encode()).bound  # type: ignore[union-attr]

    try:
        assert change(put=[{**items(1)[0], "item_id": "n1"}]) <= time.monotonic(), (
            "an item that is put in waits for nobody"
        )
        until = time.monotonic() + 10
        while two.index.values("n1") is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        for number in range(3):
            bound = change(delete=[f"i{number}"])
            assert (
                one.index.values(f"i{number}") is None and 0 < bound - time.monotonic() <= change_bucket.BucketLog.lag
            )
            time.sleep(max(0.0, bound - time.monotonic()))
            two.live.refresh()
            assert two.index.values(f"i{number}") is None
        asked = len(server.asked)
        for _ in range(200):
            one.live.refresh()
        assert len(server.asked) - asked < 100, "a search does not ask the bucket each time"
        server.refuse = lambda method, path: "AccessDenied"
        time.sleep(2 * change_bucket.BucketLog.lag)
        with pytest.raises(StoreDown):
            two.live.refresh()
        assert two.live.broken
        server.calm()
        until = time.monotonic() + 10
        while two.live.broken or one.live.broken:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        one.live.close()
        two.live.close()
