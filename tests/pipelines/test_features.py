"""The graph that fills a domain's views from batches: what Kubeflow is given, and what its one step does."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from components.features import materialize as component
from components.image import TRAINING_IMAGE
from hallmark.cli import main
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.feature_store import sources
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.place import FeatureStore
from hallmark.settings import Settings
from hallmark.training import graph
from hallmark.training.feature_steps import materialize
from pipelines import features
from tests.graphs import shallow
from tests.hallmark.feature_store.s3 import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A checkout with fraud, which reads three views, and a domain that reads none."""
    root = tmp_path / "root"
    for folder in ("features", "contracts"):
        shutil.copytree(ROOT / folder, root / folder)
    for name in ("fraud", "listing"):
        (root / "domains" / name).mkdir(parents=True)
        shutil.copy(ROOT / "domains" / name / "domain.yaml", root / "domains" / name)
    (root / "inference_services").mkdir()
    found = Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(tmp_path / "state")})
    for key, value in found.environment().items():
        monkeypatch.setenv(key, value)
    return found


@pytest.fixture
def orders(tmp_path: Path) -> str:
    now = datetime.now(UTC).replace(microsecond=0)
    rows = [
        {
            **{"order_id": f"o{n}", "buyer_id": "anna", "seller_id": "s", "device_id": "d", "ip": "10.0.0.1"},
            **{"payment": "card", "discount": 0.0, "category": "bags", "brand_tier": "luxury", "card_id": f"c{n % 2}"},
            **{"shipping_distance_km": 1.5, "address_changed": False, "express": True, "amount": 10.0},
            **{"ordered_at": now - timedelta(minutes=n + 1), "known_at": now - timedelta(minutes=n + 1)},
        }
        for n in range(4)
    ]
    frame = pd.DataFrame(rows)
    for column in ("ordered_at", "known_at"):
        frame[column] = frame[column].astype("datetime64[us, UTC]")
    frame.to_parquet(tmp_path / "orders.parquet")
    return str(tmp_path / "orders.parquet")


def test_the_graph_is_one_step_that_is_never_taken_for_done(settings: Settings, tmp_path: Path) -> None:
    shallow(lambda: features.compile_to(tmp_path / "graph.yaml", "fraud", settings=settings))
    spec, platform = yaml.safe_load_all((tmp_path / "graph.yaml").read_text(encoding="utf-8"))
    assert spec["pipelineInfo"]["name"] == "fraud-features"
    (task,) = spec["root"]["dag"]["tasks"].values()
    assert not task["cachingOptions"].get("enableCache")
    given = spec["root"]["inputDefinitions"]["parameters"]
    assert given["events"]["defaultValue"] == {"orders@1": ""} and given["into"]["defaultValue"] == "store"
    (executor,) = spec["deploymentSpec"]["executors"].values()
    assert executor["container"]["image"] == TRAINING_IMAGE
    (placed,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    (addresses,) = placed["configMapAsEnv"]
    assert addresses["configMapName"] == "feature-store" and addresses["optional"]
    assert {each["envVar"] for each in addresses["keyToEnv"]} == {
        "HALLMARK_FEATURE_STORE",
        "HALLMARK_FEATURE_LOG",
        "HALLMARK_FEATURE_OFFLINE",
    }
    assert component.component_spec.implementation.container.image == TRAINING_IMAGE


def test_the_command_compiles_it_where_the_domain_reads_views(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["pipeline", "compile", "listing", "--features"]) == 2
    assert "features.views" in capsys.readouterr().err
    compiled = graph.compiled(domains.load("fraud", settings), settings, kind="features")
    assert (compiled.name, [each["kind"] for each in compiled.manifest()]) == (
        "fraud-features",
        ["Pipeline", "PipelineVersion"],
    )


def test_the_step_fills_the_online_store(settings: Settings, orders: str, tmp_path: Path) -> None:
    for _ in range(2):  # asked again after a failure
        said = materialize("fraud", events={"orders@1": orders}, into="store", summary=tmp_path / "summary.md")
    assert said == "4 rows of orders@1, 4 events in buyer_orders@1, 4 events in device@1, 4 events in ip_orders@1"
    assert "- 4 rows of orders@1" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    (found,) = FeatureStore(settings).read("buyer_orders@1", ["anna"])
    assert found.values == {"buyer_orders_30d": 4, "buyer_cards_90d": 2}


@pytest.mark.slow
def test_the_step_keeps_rows_where_trainings_find_them(
    settings: Settings, orders: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        server.client().create_bucket(
            Bucket="materialized", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        monkeypatch.setenv("HALLMARK_FEATURE_OFFLINE", server.address("materialized"))
        before = pd.read_parquet(orders).assign(order_id=[f"before{n}" for n in range(4)])
        before.to_parquet(tmp_path / "before.parquet")
        shared = Settings.load()
        FeatureStore(shared).ingest("orders@1", tmp_path / "before.parquet")
        for _ in range(2):
            said = materialize("fraud", events={"orders@1": orders}, into="store", summary=tmp_path / "summary.md")
            assert said.startswith("4 rows of orders@1, 8 events in buyer_orders@1"), "with all that is there"
        held = sources.snapshot(sources.place(shared, "orders@1"))
        assert [each.rows for each in held.manifest.segments] == [4, 4]


def test_the_step_hands_rows_to_the_log(
    settings: Settings, orders: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FileLog(tmp_path / "log")
    monkeypatch.setattr("hallmark.feature_store.log_address.connect", lambda address, source: log)
    monkeypatch.setenv("HALLMARK_FEATURE_LOG", "kafka://a:9092/{source}")
    said = materialize("fraud", events={"orders@1": orders}, into="log", summary=tmp_path / "summary.md")
    rows: list[Any] = [json.loads(each.value) for each in log.read("0", 0, 10)]
    assert said == "4 rows of orders@1" and [each["order_id"] for each in rows] == ["o0", "o1", "o2", "o3"]


@pytest.mark.parametrize(
    ("domain", "events", "into"),
    [
        ("listing", {"orders@1": "x"}, "store"),
        ("fraud", {}, "store"),
        ("fraud", {"orders@1": "x", "more@1": "x"}, "store"),
        ("fraud", {"orders@1": "x"}, "here"),
    ],
)
def test_what_the_step_cannot_do_it_says(
    domain: str, events: dict[str, str], into: str, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match="nothing to materialize"):
        materialize(domain, events=events, into=into, summary=tmp_path / "summary.md")


def test_a_batch_that_breaks_its_contract_is_taken_by_nobody(settings: Settings, orders: str, tmp_path: Path) -> None:
    frame = pd.read_parquet(orders)
    frame.loc[1, "amount"] = -1.0
    frame.to_parquet(orders)
    with pytest.raises(ContractBroken, match="amount"):
        materialize("fraud", events={"orders@1": orders}, into="store", summary=tmp_path / "summary.md")
    (found,) = FeatureStore(settings).read("buyer_orders@1", ["anna"])
    assert found.newest is None
