"""Reads of Feast, for `benchmarks.features.online`: a program for an environment that has Feast, which imports nothing of ours.

Given a folder and a Redis as host:port, it makes the views there, says `ready`, and answers each line "entities calls" with the wall and the
CPU seconds of each of so many calls of `get_online_features`.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64


def made(folder: Path, redis: str, columns: list[int], entities: int) -> tuple[FeatureStore, list[str]]:
    """A store with a view for each number of columns, filled, and the names of all columns."""
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "redis", "connection_string": redis},
            entity_key_serialization_version=3,
        )
    )
    buyer = Entity(name="buyer", join_keys=["buyer"], value_type=ValueType.INT64)
    names = []
    for place, count in enumerate(columns):
        own = [f"v{place}_c{number}" for number in range(count)]
        frame = pd.DataFrame({name: [number * 1.5 for number in range(entities)] for name in own})
        frame["buyer"], frame["event_timestamp"] = range(entities), datetime.now(UTC)
        frame.to_parquet(folder / f"{place}.parquet")
        view = FeatureView(
            name=f"view{place}",
            entities=[buyer],
            ttl=timedelta(days=30),
            schema=[Field(name=name, dtype=Float64) for name in own],
            source=FileSource(path=str(folder / f"{place}.parquet"), timestamp_field="event_timestamp"),
        )
        store.apply([buyer, view])
        store.write_to_online_store(f"view{place}", frame)
        names += [f"view{place}:{name}" for name in own]
    return store, names


def main() -> None:
    """Answer until the input ends."""
    folder, redis, columns, entities = sys.argv[1:]
    store, names = made(Path(folder), redis, [int(each) for each in columns.split(",")], int(entities))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        count, calls = (int(each) for each in line.split())
        rows = [{"buyer": number} for number in range(count)]
        taken = []
        for _ in range(calls):
            wall, cpu = time.perf_counter(), time.process_time()
            found = store.get_online_features(features=names, entity_rows=rows).to_dict()
            taken.append(f"{time.perf_counter() - wall} {time.process_time() - cpu}")
        if found["v0_c1"] != [number * 1.5 for number in range(count)]:
            raise AssertionError("Feast read something else than was written")
        sys.stdout.write(" ".join(taken) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
