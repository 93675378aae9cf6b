"""The changes of a served index in one process: what its own disk does to it, and a log that was compacted meanwhile."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stock import items, stock_folder

from hallmark.artifacts import bundle
from inference_services.protocol.errors import StoreDown
from inference_services.runtime import change_log
from inference_services.runtime import items as live
from inference_services.runtime.items import ItemCodec, LiveItems
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.retrieval import RetrievalModel

STOCK = items(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("stock") / "model"
    stock_folder(found, STOCK)
    return found


class Servers:
    """Models of one folder that follow one log, each with a state of its own."""

    def __init__(self, folder: Path, at: Path) -> None:
        self.folder, self.at, self.open = folder, at, list[LiveItems]()

    def start(self, name: str) -> RetrievalModel:
        model = RetrievalModel("stock", bundle.read(self.folder, expected=None))
        model.live = LiveItems(
            model.index,
            codec=ItemCodec(model.signature, model.retriever),
            encode=model.item_encoder(),
            log=change_log.connect(f"file://{self.at / 'changes'}"),
            state=self.at / name,
            fresh=1.0,
            metrics=Metrics({"model": "stock", "version": "", "revision": "", "variant": ""}, workers=1),
        )
        self.open.append(model.live)
        return model


@pytest.fixture
def servers(folder: Path, tmp_path: Path) -> Iterator[Servers]:
    made = Servers(folder, tmp_path)
    yield made
    for each in made.open:
        each.close()


def changed(model: RetrievalModel, **asked: Any) -> int:
    assert model.live is not None
    return model.live.change(json.dumps(asked).encode()).position


def item(name: str, price: float = 50.0) -> dict[str, Any]:
    return {"item_id": name, "title": f"red wool coat {name}", "category": "coats", "price": price, "new": True}


def held(model: RetrievalModel) -> dict[str, Any]:
    """Every item with its price, as searches see them."""
    deltas = model.index.deltas
    assert deltas is not None and model.live is not None
    model.live.refresh()
    ids = {*model.index.unit.ids.tolist(), *deltas.now.latest}
    return {each: values["price"] for each in ids if (values := model.index.values(each)) is not None}


def test_a_server_whose_own_disk_takes_nothing_is_broken_until_it_starts_again(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = servers.start("first"), servers.start("other")
    changed(first, put=[item("n1")])
    assert first.live is not None and other.live is not None

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)  # the journal's; the log writes otherwise
        with pytest.raises(StoreDown):
            changed(first, put=[item("n2")], delete=["i3"])
    assert first.live.broken
    time.sleep(0.5)
    assert first.live.broken, "the disk is well again, and the journal does not know what is on it"
    with pytest.raises(StoreDown):
        changed(first, put=[item("n3")])
    until = time.monotonic() + 5
    while "n2" not in held(other) or "i3" in held(other):  # it was logged, so the others have it
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not other.live.broken and "n3" not in held(other)
    first.live.close()
    again = servers.start("first")
    assert again.live is not None and not again.live.broken
    assert held(again) == held(other)


def test_a_server_whose_log_was_put_back_to_an_earlier_day_answers_nothing_until_it_starts_again(
    servers: Servers, tmp_path: Path
) -> None:
    model = servers.start("first")
    changed(model, put=[item("n1")])
    shutil.copytree(tmp_path / "changes", tmp_path / "backup")
    changed(model, put=[item("n2")], delete=["i3"])
    shutil.rmtree(tmp_path / "changes")
    shutil.copytree(tmp_path / "backup", tmp_path / "changes")
    with pytest.raises(StoreDown):
        changed(model, delete=["i4"])
    assert model.live is not None
    until = time.monotonic() + 5
    while "start it again" not in model.live.broken and time.monotonic() < until:
        time.sleep(0.02)  # it may have looked while the log was away
    for _ in range(3):
        assert "start it again" in model.live.broken
        with pytest.raises(StoreDown):
            model.live.refresh()
        time.sleep(0.15)


def test_servers_that_read_a_log_while_it_is_compacted_and_one_that_starts_after_hold_the_same(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log, "_SEGMENT", 4096)
    monkeypatch.setattr(change_log, "_COMPACTED", 4096)
    monkeypatch.setattr(live, "_COMPACTS", 0.0)  # at each turn of the thread that follows
    one, two = servers.start("one"), servers.start("two")
    for number in range(60):
        changed(one, put=[item(f"n{each}", price=float(number)) for each in range(number % 7, 20)])
        changed(two, delete=[f"n{number % 20}", f"i{number}"])
    log = servers.at / "changes" / "0"
    until = time.monotonic() + 10
    while len(list(log.glob("*.log"))) > 3:
        assert time.monotonic() < until, "nobody compacted it"
        time.sleep(0.05)
    late = servers.start("late")
    until = time.monotonic() + 10
    while not held(one) == held(two) == held(late):  # each reads what another was asked for a moment later
        assert time.monotonic() < until, (held(one), held(two), held(late))
        time.sleep(0.05)
    assert not {"n19", "i0", "i59"} & held(late).keys() and held(late)["n18"] == 59.0
    read = change_log.connect(f"file://{servers.at / 'changes'}").read(0, 10_000)
    assert sum(not each.change.id for each in read) and len(read) < 400
