"""Training sets in Iceberg, on the real pyiceberg with a catalog in SQLite: the values of the Parquet files, by snapshot and digest, or refused."""

from __future__ import annotations

import builtins
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.errors import ContractBroken, DeclarationError, NotFound, Unavailable
from hallmark.feature_store import snapshots
from hallmark.feature_store.iceberg import Place

AT = datetime(2026, 9, 1, 12, 0, 0, 123456, tzinfo=UTC)
SCHEMA = pa.schema(
    {
        "buyer_id": pa.string(),
        "orders": pa.int64(),
        "spent": pa.float64(),
        "new": pa.bool_(),
        "at": pa.timestamp("us", "UTC"),
        "last": pa.timestamp("us", "UTC"),
    }
)
ROWS: list[dict[str, Any]] = [
    {"buyer_id": "anna", "orders": 2**63 - 1, "spent": 0.1, "new": True, "at": AT, "last": AT},
    {"buyer_id": None, "orders": None, "spent": None, "new": None, "at": AT, "last": None},
    {
        "buyer_id": "",
        "orders": -(2**63),
        "spent": math.nan,
        "new": False,
        "at": AT,
        "last": datetime.min.replace(tzinfo=UTC),
    },
    {"buyer_id": "Zoë \0 🧥", "orders": 0, "spent": -math.inf, "new": True, "at": AT, "last": AT},
]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at("iceberg://local/training_sets", tmp_path / "iceberg")


def part(folder: Path, rows: list[dict[str, Any]], name: str = "part", schema: pa.Schema = SCHEMA) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def kept(place: Place, *parts: Path) -> tuple[int, str]:
    return place.write("fraud", parts, time="at", views=[], sources={})


def shown(table: pa.Table) -> list[str]:
    """Rows as text, in which NaN is NaN and null is None."""
    return [repr(row) for row in table.to_pylist()]


def table(place: Place) -> Any:
    return place._catalog().load_table("training_sets.fraud")


def test_a_set_has_the_digest_that_it_has_in_a_folder_and_is_kept_once(place: Place, tmp_path: Path) -> None:
    parts = [part(tmp_path, ROWS[:2], "one"), part(tmp_path, ROWS[2:], "two")]
    snapshot, digest = kept(place, *parts)
    assert digest == snapshots.write(parts, tmp_path / "folder", time="at", views=[], sources={})
    assert kept(place, *parts) == (snapshot, digest) and len(table(place).snapshots()) == 1
    training, paths = place.read("fraud", snapshot, digest, tmp_path / "back")
    _, held = snapshots.read(tmp_path / "folder", digest)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in held]
    assert (training.rows, training.columns["spent"].nans, training.earliest) == (4, 1, AT)


def test_whoever_reads_iceberg_finds_the_same_values(place: Place, tmp_path: Path) -> None:
    path = part(tmp_path, ROWS)
    snapshot, _ = kept(place, path)
    found = table(place).scan(snapshot_id=snapshot).to_arrow()
    assert found.schema.types == SCHEMA.types and found.schema.names == SCHEMA.names
    assert shown(found) == shown(pq.read_table(path))


@pytest.mark.slow
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "buyer_id": st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
                "orders": st.none() | st.integers(-(2**63), 2**63 - 1),
                "spent": st.none() | st.floats(),
                "new": st.none() | st.booleans(),
                "at": st.datetimes(timezones=st.just(UTC)),
                "last": st.none() | st.datetimes(timezones=st.just(UTC)),
            }
        ),
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_value_of_every_type_comes_back(
    place: Place, tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("set")
    path = part(folder, rows)
    snapshot, digest = kept(place, path)
    read = [pq.read_table(each) for each in place.read("fraud", snapshot, digest, folder / "back")[1]]
    by_iceberg = table(place).scan(snapshot_id=snapshot).to_arrow()
    for found in (pa.concat_tables(read), by_iceberg):
        assert found.schema.types == SCHEMA.types or not rows  # of no rows pyiceberg 0.12 gives large_string
        assert shown(found) == shown(pq.read_table(path))


def test_older_sets_are_read_beside_newer_ones_with_other_columns(place: Place, tmp_path: Path) -> None:
    first = kept(place, part(tmp_path, ROWS))
    wider = SCHEMA.append(pa.field("devices", pa.int64()))
    second = kept(place, part(tmp_path, [{**ROWS[0], "devices": 3}], "wider", wider))
    assert place.read("fraud", *first, tmp_path / "first")[0].rows == 4
    assert place.read("fraud", *second, tmp_path / "second")[0].rows == 1
    assert table(place).scan().to_arrow().num_rows == 1, "the table itself is the newest"
    assert len([name for name in table(place).refs() if name.startswith("set-")]) == 2
    other = SCHEMA.set(1, pa.field("orders", pa.string()))
    with pytest.raises(DeclarationError, match="does not fit into Iceberg"):
        kept(place, part(tmp_path, [{**ROWS[0], "orders": "many"}], "other", other))


def test_a_set_that_was_expired_is_refused(place: Place, tmp_path: Path) -> None:
    first = kept(place, part(tmp_path, ROWS))
    kept(place, part(tmp_path, ROWS[:1], "second"))
    held = table(place)
    with pytest.raises(ValueError, match="protected"):  # by its tag
        held.maintenance.expire_snapshots().by_id(first[0]).commit()
    held.manage_snapshots().remove_tag(next(n for n, r in held.refs().items() if r.snapshot_id == first[0])).commit()
    table(place).maintenance.expire_snapshots().by_id(first[0]).commit()
    with pytest.raises(NotFound, match="is gone") as told:
        place.read("fraud", *first, tmp_path / "back")
    assert first[1] in told.value.expected
    with pytest.raises(NotFound, match=r"no table training_sets\.search"):
        place.read("search", *first, tmp_path / "back")


def test_a_set_that_was_altered_is_refused(place: Place, tmp_path: Path) -> None:
    snapshot, digest = kept(place, part(tmp_path, ROWS))
    (file,) = (tmp_path / "iceberg").rglob("part-*.parquet")
    whole = file.read_bytes()
    with pytest.raises(ContractBroken, match="the manifest of snapshot"):
        place.read("fraud", snapshot, f"sha256:{'0' * 64}", tmp_path / "back")
    file.write_bytes(whole[:-9] + b"x" + whole[-8:])
    with pytest.raises(ContractBroken, match=r"part-00000\.parquet of snapshot"):
        place.read("fraud", snapshot, digest, tmp_path / "back")
    file.write_bytes(whole)
    table(place).append(pa.Table.from_pylist(ROWS[:1], SCHEMA))
    later = table(place).current_snapshot().snapshot_id
    with pytest.raises(ContractBroken):
        place.read("fraud", later, digest, tmp_path / "back")
    assert place.read("fraud", snapshot, digest, tmp_path / "back")[0].rows == 4
    file.unlink()
    with pytest.raises(Unavailable):
        place.read("fraud", snapshot, digest, tmp_path / "back")


def test_a_catalog_is_pyicebergs_own_where_it_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("PYICEBERG_CATALOG__COMPANY__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__COMPANY__URI", f"sqlite:///{elsewhere / 'c.db'}")
    monkeypatch.setenv("PYICEBERG_CATALOG__COMPANY__WAREHOUSE", elsewhere.as_uri())
    kept(Place.at("iceberg://company/sets", tmp_path / "here"), part(tmp_path, ROWS))
    assert list(elsewhere.rglob("part-*.parquet")) and not (tmp_path / "here").exists()
    monkeypatch.setenv("PYICEBERG_CATALOG__DOWN__URI", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="catalog down does not answer"):
        kept(Place.at("iceberg://down/sets", tmp_path), part(tmp_path, ROWS))


@pytest.mark.parametrize("address", ["iceberg://", "iceberg://local", "iceberg://local/a/b", "iceberg://lo cal/a"])
def test_a_place_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no place of training sets"):
        Place.at(address, tmp_path)


def test_without_the_library_it_says_what_to_install(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def none(name: str, *given: Any, **more: Any) -> Any:
        if name.startswith("pyiceberg"):
            raise ModuleNotFoundError("No module named 'pyiceberg'", name="pyiceberg")
        return real(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(Unavailable, match="a library for this table format") as told:
        kept(place, part(tmp_path, ROWS))
    assert told.value.expected.startswith("pyiceberg") and "HALLMARK_TRAINING_SETS" in told.value.fix
