"""`hallmark features`: events in once and whole, what is read now, and the same from the offline store."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from hallmark.cli import main
from hallmark.errors import DeclarationError
from hallmark.feature_store import offline
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.place import FeatureStore
from hallmark.feature_store.stream import encoded
from hallmark.settings import Settings
from tests.hallmark.feature_store.shop import DECLARED, MINUTE, Shop

ROOT = Path(__file__).parents[3]
NOW = datetime.now(UTC).replace(microsecond=0)
ORDER = {
    **{"seller_id": "s1", "payment": "card", "discount": 0.0, "category": "bags", "brand_tier": "luxury"},
    **{"shipping_distance_km": 12.5, "address_changed": False, "express": True},
}


def order(
    number: int, buyer: str, *, ago: timedelta, card: str | None = "c1", ip: str = "10.0.0.1", **other: Any
) -> dict[str, Any]:
    at = NOW - ago
    who = {"order_id": f"o{number}", "buyer_id": buyer, "device_id": "d1", "ip": ip, "card_id": card}
    return {**who, "ordered_at": at, "known_at": at + timedelta(seconds=1), "amount": 10.0, **ORDER, **other}


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = [
    order(1, "anna", ago=40 * DAY),
    order(2, "anna", ago=2 * DAY, card="c2"),
    order(3, "bob", ago=HOUR / 2, card=None),
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})
    for key, value in {**settings.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(key, value)
    return tmp_path


def batch(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"{name}.parquet"
    frame = pd.DataFrame(rows)
    for column in ("ordered_at", "known_at"):
        frame[column] = frame[column].astype("datetime64[us, UTC]")
    frame.to_parquet(path)
    return str(path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["features", *arguments, "-o", "json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def counts(capsys: pytest.CaptureFixture[str], *buyers: str) -> list[tuple[int, int]]:
    return [
        (each["buyer_orders_30d"], each["buyer_cards_90d"]) for each in told(capsys, "read", "buyer_orders@1", *buyers)
    ]


def test_events_come_in_once_and_are_read_and_joined_alike(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = datetime.now(UTC) - NOW  # all tests take longer than the minutes that a view is fresh
    newer = [order(4, "anna", ago=HOUR / 60 - late), order(5, "carl", ago=HOUR / 3 - late, ip="10.0.0.2")]
    first, second = batch(place, "first", FIRST), batch(place, "second", newer)
    assert told(capsys, "ingest", "orders@1", first) == [{"source": "orders@1", "rows": 3, "new": True}]
    applied = told(capsys, "apply")
    assert [(each["view"], each["made"], each["events"]) for each in applied] == [
        ("buyer_orders@1", True, 3),
        ("device@1", True, 3),
        ("ip_orders@1", True, 1),
    ]
    assert counts(capsys, "anna", "bob", "nobody") == [(1, 2), (1, 0), (0, 0)], "a card that is not known is none"
    assert told(capsys, "ingest", "orders@1", first)[0]["new"] is False
    assert told(capsys, "ingest", "orders@1", second)[0]["new"] is True
    assert counts(capsys, "anna") == [(1, 2)], "nothing changes before the stream has run"
    assert main(["features", "run"]) == 0
    assert counts(capsys, "anna", "bob", "carl") == [(2, 2), (1, 0), (1, 1)]
    assert not any(each["made"] for each in told(capsys, "apply")), "what was applied is left as it is"

    asked = pd.DataFrame(
        {
            "buyer_id": ["anna", "carl", "nobody"],
            "device_id": "d1",
            "ip": "10.0.0.1",
            "at": pd.Timestamp.now("UTC").as_unit("us"),
        }
    )
    asked.to_parquet(place / "asked.parquet")
    told(capsys, "join", str(place / "asked.parquet"), "--out", str(place / "joined"), "--time", "at")
    joined = pd.read_parquet(place / "joined")
    assert joined[["buyer_orders_30d", "buyer_cards_90d"]].to_numpy().tolist() == [[2, 2], [1, 1], [0, 0]]
    assert (joined["device_accounts"].tolist(), joined["ip_orders_1h"].tolist()) == ([3, 3, 3], [2, 2, 2])
    (buyers, *_) = told(capsys, "list")
    assert (buyers["state"], buyers["fresh"]) == ("applied", True)


def test_a_batch_that_breaks_its_contract_is_taken_by_nobody(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = batch(place, "wrong", [*FIRST, order(9, "dora", ago=HOUR, amount=-1.0)])
    assert main(["features", "ingest", "orders@1", wrong]) == 3
    assert "amount" in capsys.readouterr().err
    assert main(["features", "apply"]) == 1 and "features ingest orders@1" in capsys.readouterr().err
    assert {each["state"] for each in told(capsys, "list")} == {"declared"}, "what could not be filled is not applied"


def test_the_present_is_all_that_the_online_store_knows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "ingest", "orders@1", batch(place, "first", FIRST))
    assert main(["features", "read", "buyer_orders@1", "anna"]) == 1
    assert "features apply buyer_orders@1" in capsys.readouterr().err, "zeros would be no answer"
    told(capsys, "apply", "buyer_orders@1")
    assert counts(capsys, "nobody") == [(0, 0)]
    other = ["features", "read", "buyer_orders@1", "anna", "--store", f"sqlite:///{place}/other.db"]
    assert main(other) == 0 and "not all of buyer_orders@1" in capsys.readouterr().err
    assert main(["features", "read", "buyer_orders@1", "anna", "--at", "2026-01-01"]) == 2
    assert "features join" in capsys.readouterr().err
    later = told(capsys, "read", "buyer_orders@1", "anna", "--at", (NOW + 60 * DAY).isoformat())
    assert (later[0]["buyer_orders_30d"], later[0]["buyer_cards_90d"]) == (0, 1), "windows pass by themselves"
    assert main(["features", "read", "buyer_orders@1", "anna", "--at", "soon"]) == 2
    assert main(["features", "read", "buyer_orders@7", "anna"]) == 2 and "no feature view" in capsys.readouterr().err
    assert main(["features", "run", "ip_orders@1"]) == 0


@pytest.mark.parametrize("columns", ["80", "60", "40"])
def test_the_list_loses_nothing_in_a_narrow_terminal(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    rows = told(capsys, "list")
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["features", "list"]) == 0
    shown = capsys.readouterr()
    assert "no room" not in shown.err
    for row in rows:
        for key in ("view", "entity", "columns", "source", "owner", "state", "read_by"):
            values = row[key] if isinstance(row[key], list) else [row[key]]
            for value in values:
                for word in [value["domain"]] if isinstance(value, dict) else [value]:
                    assert word in shown.out, (key, word)
    assert max(map(len, shown.out.splitlines())) <= int(columns)


def test_an_entity_is_read_in_its_contracts_type_and_no_other(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FeatureStore(Settings.load())
    with pytest.raises(DeclarationError) as refused:
        store.read("buyer_orders@1", ["anna", 7])
    assert refused.value.expected == "a text, as the contract orders@1 says" and refused.value.got == "int 7"
    assert "in quotes" in refused.value.fix


@pytest.fixture
def numbered(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose buyers are whole numbers."""
    root = place / "root"
    root.mkdir()
    (root / "features").symlink_to(ROOT / "features")
    (root / "domains").mkdir()
    shutil.copytree(ROOT / "contracts", root / "contracts")
    path = root / "contracts/orders/v1.yaml"
    told = yaml.safe_load(path.read_text())
    for column in told["schema"][0]["properties"]:
        if column["name"] == "buyer_id":
            column["logicalType"] = "integer"
            column.pop("logicalTypeOptions", None)
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    monkeypatch.setenv("HALLMARK_ROOT", str(root))
    return place


def test_ids_that_are_numbers_are_numbers_from_ingest_to_answer(
    numbered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written: dict[str, Any] = {"numbers": 4711, "texts": "4711"}
    for count, (name, buyer) in enumerate(written.items()):
        path = batch(numbered, name, [order(count, buyer, ago=HOUR)])
        assert told(capsys, "ingest", "orders@1", path)[0]["new"], "a file's whole numbers are those, however written"
    told(capsys, "apply", "buyer_orders@1")
    with FileLog(numbered / "state" / "features" / "log" / "orders@1") as log:
        log.append("0", [encoded(order(7, "4711", ago=HOUR))])
    assert main(["features", "run", "buyer_orders@1"]) == 0
    capsys.readouterr()
    assert [
        (each["buyer_id"], each["buyer_orders_30d"]) for each in told(capsys, "read", "buyer_orders@1", "4711")
    ] == [(4711, 2)]
    letters = numbered / "state/features/streams/buyer_orders@1/dead_letters-0.jsonl"
    assert "buyer_id: expected int64, got '4711'" in letters.read_text(), "nor does the stream take another's type"
    for odd in ("anna", "4_711", "04711", " 4711", "4711.0", "９", str(2**63)):
        assert main(["features", "read", "buyer_orders@1", odd]) == 2, odd
        assert "a whole number of 64 bits" in capsys.readouterr().err
    assert main(["features", "ingest", "orders@1", batch(numbered, "odd", [order(9, "anna", ago=HOUR)])]) == 3
    assert "buyer_id" in capsys.readouterr().err
    with pytest.raises(DeclarationError, match="this is no buyer_id") as refused:
        FeatureStore(Settings.load()).read("buyer_orders@1", ["4711"])
    assert (refused.value.got, refused.value.fix) == ("str '4711'", "write the number without quotes")


def test_views_go_to_feast_with_their_values(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "ingest", "orders@1", batch(place, "first", FIRST))
    folder = place / "feast"
    rows = {each["view"]: (each["feast"], each["rows"]) for each in told(capsys, "export", "--feast", str(folder))}
    assert rows["ip_orders@1"] == ("ip_orders_v1", 5), "three orders of one address, and two hours that passed"
    values = pd.read_parquet(folder / "values" / "buyer_orders_v1.parquet")
    newest = values[values["buyer_id"] == "anna"].sort_values("event_timestamp").iloc[-1]
    assert (newest["buyer_orders_30d"], newest["buyer_cards_90d"]) == (1, 2), "a window has passed since"
    assert "feast apply" in (folder / "definitions.py").read_text(encoding="utf-8")
    assert main(["features", "export", "--feast", str(folder)]) == 0, "an earlier export is replaced"
    assert main(["features", "export", "--feast", str(place)]) == 2
    assert "no export of ours" in capsys.readouterr().err and not (place / "values").exists()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with one order of anna's, and a file of one question about her."""
    found = Shop(tmp_path / "shop")
    for key, value in found.settings.environment().items():
        monkeypatch.setenv(key, value)
    found.ingest(found.order(1, "anna", ago=10 * MINUTE))
    asked(found).to_parquet(tmp_path / "asked.parquet")
    return found


def asked(shop: Shop) -> pd.DataFrame:
    return pd.DataFrame({"buyer_id": ["anna"], "at": pd.Series([shop.now]).astype("datetime64[us, UTC]")})


def test_a_join_takes_the_newest_version_of_each_view_once(
    shop: Shop, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {**DECLARED["columns"], "orders_2h": {"take": "count", "window": "2h"}}
    second = yaml.safe_dump({**DECLARED, "version": 2, "columns": columns}, sort_keys=False)
    (shop.settings.features / "buyers/v2.yaml").write_text(second)

    def columns_of(name: str, *views: str) -> list[str]:
        given = ("join", str(place / "asked.parquet"), "--time", "at", "--out", str(place / name))
        told(capsys, *given, *(item for view in views for item in ("--view", view)))
        return [*pd.read_parquet(place / name)][2:]

    assert columns_of("newest") == [*columns]
    assert columns_of("twice", "buyers@1", "buyers@1") == [*DECLARED["columns"]]
    given = ("features", "join", str(place / "asked.parquet"), "--time", "at", "--out", str(place / "both"))
    assert main([*given, "--view", "buyers@1", "--view", "buyers@2"]) == 2
    assert "buyers@1 and buyers@2" in (said := capsys.readouterr().err) and "join one of the two" in said
    assert not (place / "both").exists()


@pytest.mark.parametrize(
    ("file", "options", "says"),
    [
        ("asked.csv", (), "with a question a row"),
        ("nowhere.parquet", (), "No such file"),
        ("broken.parquet", (), "with a question a row"),
        ("asked.parquet", ("--memory", "lots"), "such as 500MB or 2GB"),
    ],
)
def test_a_join_says_what_it_cannot_use(
    shop: Shop, place: Path, capsys: pytest.CaptureFixture[str], file: str, options: tuple[str, ...], says: str
) -> None:
    asked(shop).to_csv(place / "asked.csv")
    (place / "broken.parquet").write_bytes((place / "asked.parquet").read_bytes()[:-20])
    out = place / "out"
    assert main(["features", "join", str(place / file), "--time", "at", "--out", str(out), *options]) == 2
    assert says in capsys.readouterr().err and not out.exists()


def test_an_export_says_that_its_folder_cannot_be_made(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "export", "--feast", "/proc/feast"]) == 2
    assert "/proc/feast cannot be made" in capsys.readouterr().err


def test_a_signal_within_a_query_ends_the_command_as_elsewhere(
    shop: Shop, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("Query interrupted")  # as DuckDB does

    monkeypatch.setattr(offline, "training_frame", stopped)
    given = ("join", str(place / "asked.parquet"), "--time", "at", "--out", str(place / "out"))
    assert main(["features", *given]) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_an_ingest_warns_of_rows_whose_times_no_stream_takes(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        shop.order(2, "anna", ago=MINUTE),
        shop.order(3, "anna", ago=MINUTE, known=20 * MINUTE),
        shop.order(4, "anna", ago=MINUTE, known=-DAY),
    ]
    assert main(["features", "ingest", "orders@1", str(shop.batch(*rows))]) == 0
    assert "buyers@1 refuses 2 of these rows" in " ".join(capsys.readouterr().err.split())
    assert main(["features", "ingest", "orders@1", str(shop.batch(shop.order(5, "anna", ago=MINUTE)))]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_backfill_of_a_period_that_ends_before_it_begins_is_usage(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.run()
    given = ("features", "backfill", "buyers@1", "--from", "2026-10-02", "--to")
    assert main([*given, "2026-10-01"]) == 2
    assert "--from before --to" in capsys.readouterr().err
    assert main([*given, "2026-10-03"]) == 0
