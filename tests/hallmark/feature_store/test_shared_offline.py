"""One offline store in a bucket and two machines: what one takes in, the other computes views, training sets and parity from, and erases."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hallmark.cli import main
from hallmark.errors import Conflict
from hallmark.feature_store import erasure, sources
from hallmark.feature_store.place import FeatureStore
from hallmark.settings import Settings
from tests.hallmark.cli.test_features import ROOT, batch
from tests.hallmark.feature_store.s3 import S3, serving
from tests.hallmark.feature_store.shop import HOUR, MINUTE, Shop
from tests.hallmark.feature_store.test_erasure import AT, FIRST, SECOND, VIEWS, WHO, WITHOUT, erase

_NAMES = (f"shared-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serving() as found:
        yield found


@pytest.fixture
def address(server: S3) -> str:
    server.calm()
    name = next(_NAMES)
    server.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return server.address(name)


def settings(address: str, state: Path) -> Settings:
    given = {"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(state), "HALLMARK_FEATURE_OFFLINE": address}
    return Settings.load(given).prepared()


def rows(place: FeatureStore) -> list[dict[str, Any]]:
    held = sources.snapshot(place.offline("orders@1"))
    return [row for path in held.files() for row in pq.read_table(path).to_pylist()]


@pytest.mark.slow
def test_what_one_machine_takes_in_another_fills_its_views_from_and_erases(address: str, tmp_path: Path) -> None:
    one, other = (FeatureStore(settings(address, tmp_path / name)) for name in ("one", "other"))
    assert one.ingest("orders@1", Path(batch(tmp_path, "first", FIRST))).new
    assert not other.ingest("orders@1", tmp_path / "first.parquet").new, "it is there by its bytes"
    assert other.ingest("orders@1", Path(batch(tmp_path, "second", SECOND))).new
    for place in (one, other):
        place.apply(VIEWS)
    assert [place.read("buyer_orders@1", [WHO], at=AT)[0].values for place in (one, other)] == [
        {"buyer_orders_30d": 4, "buyer_cards_90d": 2}
    ] * 2
    found, record = erase(one)
    assert record is not None and any(each.what == "rows" and each.count for each in found.counts)
    left = sorted(str(row["order_id"]) for row in rows(other))
    assert left == sorted(each["order_id"] for each in [*WITHOUT["first"], *WITHOUT["second"]])
    cached = tmp_path / "other" / "state"
    assert WHO.encode() not in b"".join(path.read_bytes() for path in cached.rglob("*.parquet"))
    with contextlib.suppress(Conflict):
        assert erase(other)[1] is not None, "its own streams and log still had them"
    assert [place.read("buyer_orders@1", [WHO], at=AT)[0].newest for place in (one, other)] == [None, None]


def test_a_source_there_that_nobody_declares_stops_an_erasure(address: str, tmp_path: Path) -> None:
    import pandas as pd

    place = FeatureStore(settings(address, tmp_path))
    place.ingest("orders@1", Path(batch(tmp_path, "first", FIRST)))
    unknown = sources.place(settings(address, tmp_path), "returns@1")
    sources.append(unknown, pd.DataFrame({"buyer_id": [WHO]}), source="returns@1", batch="one")
    with pytest.raises(Conflict, match="offline/returns@1 is here and nobody declares it") as told:
        erase(place)
    assert "s3://" in told.value.fix


@pytest.mark.slow
def test_parity_is_judged_by_what_is_in_the_bucket(address: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path, offline=address)
    shop.ingest(shop.order(1, "anna", ago=30 * MINUTE), shop.order(2, "bob", ago=3 * HOUR))
    shop.run()
    told = shop.ask("anna", "bob")
    assert not any(each.cause for each in shop.judged(told))
    shop.ingest_past_the_log(shop.order(3, "anna", ago=10 * MINUTE))
    assert any(each.cause for each in shop.judged(told))


def test_the_commands_read_and_write_it_and_say_what_is_wrong_with_it(
    server: S3, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings(address, tmp_path / "one").environment().items():
        monkeypatch.setenv(name, value)
    assert main(["features", "ingest", "orders@1", batch(tmp_path, "first", FIRST)]) == 0
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path / "other"))
    monkeypatch.delenv("HALLMARK_FEATURE_STORE")
    joined = [
        "features",
        "join",
        str(tmp_path / "first.parquet"),
        "--time",
        "ordered_at",
        "--out",
        str(tmp_path / "set"),
    ]
    assert main([*joined, "--view", "buyer_orders@1"]) == 0
    assert len(pq.read_table(tmp_path / "set")) == len(FIRST)
    assert main(["features", "apply", "buyer_orders@1"]) == 0
    capsys.readouterr()
    server.refuse = lambda method, path: "AccessDenied"
    assert main(["features", "ingest", "orders@1", batch(tmp_path, "second", SECOND)]) == 1
    said = capsys.readouterr().err
    assert "this account may not read manifest.json in s3://" in said and "run it under an account that has it" in said
    server.calm()
    monkeypatch.setenv("HALLMARK_FEATURE_OFFLINE", server.address("no-such-bucket"))
    assert main(["features", "list"]) == 1
    assert "there is no bucket no-such-bucket" in capsys.readouterr().err


@pytest.mark.slow
def test_an_erasure_is_known_to_who_shares_the_offline_store(address: str, tmp_path: Path) -> None:
    for where in (address, str(tmp_path / "folder")):
        here, there = (
            FeatureStore(settings(where, tmp_path / name / str(where == address))) for name in ("here", "there")
        )
        here.ingest("orders@1", Path(batch(tmp_path, "first", FIRST)))
        old = sources.snapshot(here.offline("orders@1")).digest
        erase(here)
        (record,) = erasure.records(there.erasures)
        assert record == erasure.records(here.erasures)[0] and WHO not in record.model_dump_json()
        assert erasure.followed(there.erasures, old)[-1] == sources.snapshot(there.offline("orders@1")).digest
        until = [erasure.changed(each.erasures, VIEWS[0]) for each in (here, there)]
        assert until[0](WHO) == until[1](WHO) > 0 and until[1]("nobody") < 0
        there.ingest("orders@1", Path(batch(tmp_path, "second", SECOND)))
        erase(there)
        assert len(erasure.records(here.erasures)) == len(erasure.records(there.erasures)) == 2, "each has its own key"
        keys = {(each.erasures / "key").read_text() for each in (here, there)}
        assert len(keys) == 2
        assert erasure.changed(here.erasures, VIEWS[0])(WHO) == erasure.changed(there.erasures, VIEWS[0])(WHO)
