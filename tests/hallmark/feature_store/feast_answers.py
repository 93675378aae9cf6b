"""What Feast answers: a program for an environment that has feast[duckdb], which imports nothing of ours.

    feast_answers.py exported FOLDER QUESTIONS OUT   every view of an applied repository
    feast_answers.py raw FOLDER QUESTIONS OUT TTL COLUMN…    columns of FOLDER/events.parquet, the newest row of each buyer

QUESTIONS has `n`, `event_timestamp` and the entities; OUT gets them with the columns beside.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, String


def exported(folder: Path) -> tuple[FeatureStore, list[str]]:
    """The store of a repository that `feast apply` has read, and all its features."""
    found = FeatureStore(repo_path=str(folder))
    names = [f"{view.name}:{each.name}" for view in found.list_feature_views() for each in view.features]
    return found, names


def raw(folder: Path, ttl: str, *columns: str) -> tuple[FeatureStore, list[str]]:
    """A store of events as they are, with their two clocks."""
    config: dict[str, Any] = {
        "project": "raw",
        "provider": "local",
        "registry": str(folder / "raw.db"),
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite", "path": str(folder / "raw_online.db")},
        "entity_key_serialization_version": 3,
    }
    store = FeatureStore(config=RepoConfig(**config))
    buyer = Entity(name="buyer_id", join_keys=["buyer_id"], value_type=ValueType.STRING)
    source = FileSource(
        path=str(folder / "events.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="ordered_at",
        created_timestamp_column="known_at",
    )
    fields = [Field(name=name, dtype=Float64 if name == "amount" else String) for name in columns]
    view = FeatureView(
        name="orders",
        entities=[buyer],
        ttl=timedelta(seconds=float(ttl)),
        schema=[Field(name="buyer_id", dtype=String), *fields],
        source=source,
    )
    store.apply([buyer, source, view])
    return store, [f"orders:{name}" for name in columns]


def main() -> None:
    """Ask, and write the answers."""
    kind, folder, questions, out, *more = sys.argv[1:]
    store, names = {"exported": exported, "raw": raw}[kind](Path(folder), *more)
    found = store.get_historical_features(
        entity_df=pd.read_parquet(questions),
        features=names,
        full_feature_names=True,
        filter_by_created_timestamp=True,
    )
    pq.write_table(found.to_arrow(), out)


if __name__ == "__main__":
    main()
