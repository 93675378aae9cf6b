"""Views of a place: a new version is filled beside the one that is read, and one that was stopped goes on."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hallmark.declaration.feature_view import load
from hallmark.errors import Conflict, DeclarationError, Unavailable
from hallmark.feature_store import sources
from hallmark.feature_store.place import FeatureStore
from hallmark.feature_store.stream import Published
from hallmark.settings import Settings
from tests.hallmark.cli.test_features import DAY, HOUR, NOW, ROOT, batch, order

AT = NOW + timedelta(minutes=5)
ORDERS = [order(n, ("anna", "bob")[n % 2], ago=n * DAY + HOUR, card=f"c{n % 3}") for n in range(12)]


class Stopped(Exception):
    pass


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A checkout with a second version of buyer_orders, and four batches."""
    root = tmp_path / "root"
    root.mkdir()
    for name in ("domains", "contracts"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "features", root / "features")
    first = (root / "features/buyer_orders/v1.yaml").read_text(encoding="utf-8")
    second = first.replace("version: 1", "version: 2").replace("window: 30d", "window: 7d")
    (root / "features/buyer_orders/v2.yaml").write_text(second, encoding="utf-8")
    made = FeatureStore(Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(tmp_path / "state")}))
    for at in range(0, 12, 3):
        made.ingest("orders@1", Path(batch(tmp_path, f"batch{at}", ORDERS[at : at + 3])))
    return made


def stages(store: FeatureStore) -> list[str]:
    return [str(store.stage(f"buyer_orders@{version}")) for version in (1, 2)]


def anna(store: FeatureStore, version: int) -> dict[str, Any]:
    return store.read(f"buyer_orders@{version}", ["anna"], at=AT)[0].values


def test_a_new_version_is_filled_beside_the_live_one_and_goes_on_where_it_was_stopped(store: FeatureStore) -> None:
    store.apply(["buyer_orders@1"])
    live, told = anna(store, 1), []

    def stopping(view: str, done: int, total: int) -> None:
        told.append((done, total))
        if done > 3:
            raise Stopped

    with pytest.raises(Stopped):
        store.backfill("buyer_orders@2", tell=stopping)
    assert told == [(3, 12), (6, 12)]
    assert anna(store, 2) == {"buyer_orders_30d": 0, "buyer_cards_90d": 0}, "nothing of it is published"
    assert stages(store) == ["applied", "filling (3 of 12 events)"]
    with pytest.raises(Conflict, match="was stopped before its end"):
        store.catch_up(["buyer_orders@2"])
    with pytest.raises(Conflict, match="the backfill of buyer_orders@2 was stopped"):
        store.eraser({"buyer_id": "bob"}).run(by="tests", tell=lambda _: None)
    told.clear()
    assert store.backfill("buyer_orders@2", tell=lambda *each: told.append(each)) == ("buyer_orders@2", True, 12)
    assert told == [("buyer_orders@2", done, 12) for done in (3, 6, 9)], (
        "the first batch was whole, and is not read again"
    )
    assert anna(store, 2) == {"buyer_orders_30d": 4, "buyer_cards_90d": 3}
    assert anna(store, 1) == live == {"buyer_orders_30d": 6, "buyer_cards_90d": 3}
    assert store.catch_up(["buyer_orders@1", "buyer_orders@2"]) == 0, "the log is read from its end on"


def test_a_period_that_only_the_offline_store_has_is_taken_in(store: FeatureStore) -> None:
    with pytest.raises(DeclarationError, match="filled for the first time"):
        store.backfill("buyer_orders@1", since=NOW - 3 * DAY)
    store.apply(["buyer_orders@1"])
    old = pd.DataFrame([order(90 + n, "anna", ago=(20 + n) * DAY) for n in range(2)])
    for column in ("ordered_at", "known_at"):
        old[column] = old[column].astype("datetime64[us, UTC]")
    sources.append(store.offline("orders@1"), old, source="orders@1", batch="history")
    assert anna(store, 1)["buyer_orders_30d"] == 6
    until = NOW - 20 * DAY - HOUR
    for _ in range(2):
        store.backfill("buyer_orders@1", since=NOW - 30 * DAY, until=until)
        assert anna(store, 1)["buyer_orders_30d"] == 7, "one of the two became known in the period, and counts once"
    store.backfill("buyer_orders@1")
    assert anna(store, 1)["buyer_orders_30d"] == 8


def test_a_batch_whose_optional_column_holds_nothing_fits_those_before_and_after(
    store: FeatureStore, tmp_path: Path
) -> None:
    orders = [order(50 + n, "carl", ago=HOUR, card=None) for n in range(2)]
    assert store.ingest("orders@1", Path(batch(tmp_path, "no card", orders))).new
    frame = pd.read_parquet(batch(tmp_path, "none", orders)).iloc[:0]
    frame.to_parquet(tmp_path / "none.parquet")
    other = FeatureStore(
        Settings.load({"HALLMARK_ROOT": str(tmp_path / "root"), "HALLMARK_STATE": str(tmp_path / "other")})
    )
    for place in (store, other):
        assert place.ingest("orders@1", tmp_path / "none.parquet")[:2] == (0, True)
        assert place.ingest("orders@1", Path(batch(tmp_path, "more", [order(60, "carl", ago=HOUR, card="c")]))).new
        place.apply(["buyer_orders@1"])
    assert other.read("buyer_orders@1", ["carl"], at=AT)[0].values == {"buyer_orders_30d": 1, "buyer_cards_90d": 1}
    assert store.read("buyer_orders@1", ["carl"], at=AT)[0].values == {"buyer_orders_30d": 3, "buyer_cards_90d": 1}


def test_of_two_that_bring_one_batch_one_does(store: FeatureStore, tmp_path: Path) -> None:
    path = Path(batch(tmp_path, "again", [order(70 + n, "dora", ago=HOUR) for n in range(3)]))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.ingest("orders@1", path), range(4)))
    assert sorted(each.new for each in found) == [False, False, False, True]
    with store._log("orders@1") as log:
        assert sum(b"dora" in each.value for each in log.read("0", 0, 1000)) == 3


def test_a_segment_that_an_erasure_left_empty_is_no_hindrance_to_the_next(store: FeatureStore, tmp_path: Path) -> None:
    store.ingest("orders@1", Path(batch(tmp_path, "solo", [order(80, "solo", ago=HOUR)])))
    for buyer in ("solo", "anna"):
        store.eraser({"buyer_id": buyer}).run(by="tests", tell=lambda _: None)
    store.apply(["buyer_orders@1"])
    assert store.read("buyer_orders@1", ["solo", "anna"], at=AT)[1].values["buyer_orders_30d"] == 0


def test_a_view_whose_payloads_were_not_written_is_written_by_the_next_apply(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(Published, "write", stopping)
        with pytest.raises(Stopped):
            store.apply(["buyer_orders@1"])
    assert anna(store, 1)["buyer_orders_30d"] == 0
    store.apply(["buyer_orders@1"])
    assert anna(store, 1)["buyer_orders_30d"] == 6


def test_another_online_store_gets_all_that_the_stream_holds(store: FeatureStore, tmp_path: Path) -> None:
    def at(url: str) -> FeatureStore:
        return FeatureStore(store._settings, url=url)

    store.apply(["buyer_orders@1"])
    with pytest.raises(Unavailable):
        at("redis://127.0.0.1:1").apply(["buyer_orders@1"])
    other = at(f"sqlite:///{tmp_path}/other.db")
    assert str(other.stage("buyer_orders@1")) == "filling (0 of 12 events)"
    assert other.apply(["buyer_orders@1"]) == [("buyer_orders@1", True, 12)]
    assert str(other.stage("buyer_orders@1")) == "applied"
    assert anna(other, 1) == anna(store, 1) == {"buyer_orders_30d": 6, "buyer_cards_90d": 3}
    assert other.apply(["buyer_orders@1"]) == [("buyer_orders@1", False, 12)]

    other.ingest("orders@1", Path(batch(tmp_path, "later", [order(20, "anna", ago=HOUR)])))
    other.catch_up(["buyer_orders@1"])
    assert (anna(other, 1)["buyer_orders_30d"], anna(store, 1)["buyer_orders_30d"]) == (7, 6)
    with other._stream(load("buyer_orders@1", store._settings)), pytest.raises(Conflict, match="another online store"):
        store.apply(["buyer_orders@1"])
    store.catch_up(["buyer_orders@1"])
    assert anna(store, 1)["buyer_orders_30d"] == 7, "what came while the other took its place"
