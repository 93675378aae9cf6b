"""Feast's file store: the newest event of each question, from events.parquet and questions.parquet in a folder, to a frame or a file; what it took."""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.repo_config import RepoConfig
from feast.types import Float64, String


def main() -> None:
    folder = Path(sys.argv[1])
    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "file"},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    buyer = Entity(name="buyer", join_keys=["buyer_id"])
    source = FileSource(
        path=str(folder / "events.parquet"), timestamp_field="ordered_at", created_timestamp_column="known_at"
    )
    view = FeatureView(
        name="newest",
        entities=[buyer],
        ttl=timedelta(days=90),
        schema=[Field(name="amount", dtype=Float64), Field(name="country", dtype=String)],
        source=source,
    )
    store.apply([buyer, view])
    began, used = time.perf_counter(), time.process_time()
    questions = pd.read_parquet(folder / "questions.parquet").rename(columns={"asked_at": "event_timestamp"})
    frame = store.get_historical_features(entity_df=questions, features=["newest:amount", "newest:country"]).to_df()
    if sys.argv[2] == "file to file":
        frame.to_parquet(folder / "feast.parquet")
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mb": memory, "rows": len(frame)}))


if __name__ == "__main__":
    main()
