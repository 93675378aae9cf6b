"""The repository that Feast is given: what stands in it, which folders it may be written to, and what Feast answers from it."""

from __future__ import annotations

import ast
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from hallmark.errors import DeclarationError
from hallmark.feature_store import feast
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
UNTIL = datetime(2026, 3, 28, tzinfo=UTC)
ODD = 'Says "no", it\'s a \\ and\nzwölf 🧥 lines'
CLOCKS = {"event_time": "ordered_at", "known_at": "known_at", "event_id": "order_id", "freshness": "15m"}
OWNER = {"team": "trust-and-safety", "contact": "fraud-oncall@hallmark.example"}
SPENT = {
    "orders_1h": {"take": "count", "window": "1h", "where": {"payment": ["card", "wallet"]}, "description": ODD},
    "spent_7d": {"take": "sum", "of": "amount", "window": "7d"},
}


def declared(settings: Settings, name: str, version: int, entity: str, columns: dict[str, Any], **other: Any) -> None:
    path = settings.features / name / f"v{version}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"name": name, "version": version, "owner": OWNER, "description": name, "source": "orders@1", "ttl": "10d"}
    path.write_text(yaml.safe_dump(told | CLOCKS | {"entity": entity, "columns": columns} | other), encoding="utf-8")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A checkout with three views, of which a domain reads two."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "contracts", root / "contracts")
    (root / "domains" / "pricing").mkdir(parents=True)
    domain = (ROOT / "domains" / "pricing" / "domain.yaml").read_text(encoding="utf-8")
    reads = "\nfeatures: {views: [spent@2, device@1], missing: default, wait: 20ms}\n"
    (root / "domains" / "pricing" / "domain.yaml").write_text(domain + reads, encoding="utf-8")
    found = Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(tmp_path / "state")})
    declared(found, "spent", 1, "buyer_id", {"orders_1h": SPENT["orders_1h"]}, description=ODD)
    declared(found, "spent", 2, "buyer_id", SPENT)
    last = {"newest_order": {"take": "last", "of": "ordered_at"}, "last_card": {"take": "last", "of": "card_id"}}
    declared(found, "device", 1, "device_id", {"express": {"take": "last", "of": "express"}, **last})
    return found


def exported(settings: Settings, folder: Path) -> list[feast.Exported]:
    return feast.export(folder, lambda _: [], settings, until=UNTIL)


def objects(folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """The kind and the arguments of every object by its variable: values where they are written as such, else their text."""
    found = {}
    for node in ast.parse((folder / feast.DEFINITIONS).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            assert isinstance(node.targets[0], ast.Name)
            found[node.targets[0].id] = node.value.func.id, arguments(node.value)
    return found


def arguments(call: ast.Call) -> dict[str, Any]:
    return {str(each.arg): value(each.value) for each in call.keywords}


def value(node: ast.expr) -> Any:
    if isinstance(node, ast.List):
        return [value(each) for each in node.elts]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Field":
        return arguments(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def test_it_names_every_entity_view_and_reader(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "feast"
    assert exported(settings, folder) == [
        ("device@1", "device_v1", 0),
        ("spent@1", "spent_v1", 0),
        ("spent@2", "spent_v2", 0),
    ]
    found = objects(folder)
    assert {name: kind for name, (kind, _) in found.items()} == {
        "project": "Project",
        **{f"entity_{name}": "Entity" for name in ("device_id", "buyer_id")},
        **{f"values_{name}": "FileSource" for name in ("device_v1", "spent_v1", "spent_v2")},
        **{f"view_{name}": "FeatureView" for name in ("device_v1", "spent_v1", "spent_v2")},
        "service_pricing": "FeatureService",
    }
    assert found["entity_buyer_id"][1] == {
        "name": "buyer_id",
        "join_keys": ["buyer_id"],
        "value_type": "ValueType.STRING",
        "description": "The account that ordered.",
        "tags": {"classification": "personal"},
        "owner": "checkout-oncall@hallmark.example",
    }
    assert found["service_pricing"][1] == {
        "name": "pricing",
        "features": ["view_spent_v2", "view_device_v1"],
        "description": "For which price does this item sell within two weeks?",
        "tags": {"missing": "default", "wait": "20ms", "team": "seller-tools"},
        "owner": "pricing-oncall@hallmark.example",
    }
    source = found["values_spent_v2"][1]
    assert (source["timestamp_field"], source["created_timestamp_column"]) == ("event_timestamp", "created_timestamp")
    assert source["tags"] == {"contract": "orders@1", "contract_version": "1.0.0", "until": str(UNTIL)}
    assert yaml.safe_load((folder / feast.STORE).read_text(encoding="utf-8"))["offline_store"] == {"type": "duckdb"}


def test_a_view_says_whose_it_is_how_old_it_may_be_and_how_it_is_computed(settings: Settings, tmp_path: Path) -> None:
    exported(settings, tmp_path / "feast")
    found = objects(tmp_path / "feast")
    first, second = found["view_spent_v1"][1], found["view_spent_v2"][1]
    assert (first["description"], first["schema"][1]["description"]) == (ODD, ODD), "written as they are"
    tags = {"version": "2", "contract": "orders@1", "freshness": "15m", "team": "trust-and-safety"}
    assert second["tags"] == {"view": "spent@2", **tags}
    assert (second["owner"], second["ttl"]) == ("fraud-oncall@hallmark.example", "timedelta(days=10)")
    assert (second["entities"], second["source"]) == (["entity_buyer_id"], "values_spent_v2")
    assert second["schema"] == [
        {"name": "buyer_id", "dtype": "String"},
        {
            "name": "orders_1h",
            "dtype": "Int64",
            "description": ODD,
            "tags": {"take": "count", "window": "1h", "where": "{'payment': ['card', 'wallet']}"},
        },
        {"name": "spent_7d", "dtype": "Float64", "tags": {"take": "sum", "of": "amount", "window": "7d"}},
    ]
    device = {each["name"]: each["dtype"] for each in found["view_device_v1"][1]["schema"]}
    assert device == {"device_id": "String", "express": "Bool", "newest_order": "UnixTimestamp", "last_card": "String"}
    for name in ("device_v1", "spent_v1", "spent_v2"):
        columns = [each["name"] for each in found[f"view_{name}"][1]["schema"]]
        path = tmp_path / "feast" / "values" / f"{name}.parquet"
        assert found[f"values_{name}"][1]["path"] == f"str(VALUES / '{path.name}')"
        assert set(pq.read_schema(path).names) == {*columns, "event_timestamp", "created_timestamp"}


def test_another_export_replaces_what_was_written_and_nothing_of_feasts(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "feast"
    folder.mkdir()
    exported(settings, folder)
    (folder / "registry.db").write_bytes(b"of Feast")
    (settings.features / "spent" / "v1.yaml").unlink()
    exported(settings, folder)
    assert (folder / "registry.db").read_bytes() == b"of Feast"
    assert sorted(path.name for path in (folder / "values").iterdir()) == ["device_v1.parquet", "spent_v2.parquet"]
    assert "view_spent_v1" not in objects(folder)
    assert {each.name for each in tmp_path.iterdir()} == {"checkout", "feast"}, "no draft is left"


def test_a_folder_of_somebody_elses_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "definitions.py").write_text("print('theirs')\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"no export of ours(.|\n)*got: definitions.py\n  fix: name another"):
        exported(settings, folder)
    assert [path.name for path in folder.iterdir()] == ["definitions.py"]
    with pytest.raises(DeclarationError, match="got: a file"):
        exported(settings, folder / "definitions.py")


@pytest.mark.parametrize("name", ["event_timestamp", "rn", "spent_y"])
def test_a_name_that_feast_drops_is_refused(name: str, settings: Settings, tmp_path: Path) -> None:
    declared(settings, "odd", 3, "buyer_id", {name: {"take": "count"}})
    with pytest.raises(DeclarationError, match=f"odd@3: Feast cannot read a column {name}"):
        exported(settings, tmp_path / "feast")
    assert not (tmp_path / "feast").exists()


def test_an_entity_has_one_type_and_a_reader_its_views(settings: Settings, tmp_path: Path) -> None:
    contract = yaml.safe_load((settings.contracts / "orders" / "v1.yaml").read_text(encoding="utf-8"))
    contract["name"], contract["id"] = "visits", "visits"
    (buyer,) = (each for each in contract["schema"][0]["properties"] if each["name"] == "buyer_id")
    buyer["logicalType"], buyer["logicalTypeOptions"] = "integer", {}
    (settings.contracts / "visits").mkdir()
    (settings.contracts / "visits" / "v1.yaml").write_text(yaml.safe_dump(contract), encoding="utf-8")
    declared(settings, "visits", 1, "buyer_id", {"visits": {"take": "count"}}, source="visits@1")
    with pytest.raises(DeclarationError, match=r"visits@1: buyer_id is of another type than in spent@1"):
        exported(settings, tmp_path / "feast")
    (settings.features / "visits" / "v1.yaml").unlink()
    (settings.features / "device" / "v1.yaml").unlink()
    with pytest.raises(DeclarationError, match="no feature view device@1"):
        exported(settings, tmp_path / "feast")
    shutil.rmtree(settings.features)
    with pytest.raises(DeclarationError, match="no view is declared"):
        exported(settings, tmp_path / "feast")
