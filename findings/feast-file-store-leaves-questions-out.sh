#!/usr/bin/env bash
# Feast's default offline store gives back fewer rows than it was asked about: a question that is asked twice comes back once, and one whose
# newest feature is older than the view's ttl is gone, label and all, where its DuckDB store gives a row with nothing in it.
# Versions: feast 0.67.0.
# Why it matters: a training set loses just those examples that have no fresh features, without a word, and a model never learns of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "feast[duckdb]==0.67.0"
cat > "$folder/ask.py" <<'PY'
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

DAY, FOLDER = datetime(2026, 3, 1, tzinfo=UTC), Path(sys.argv[1])
pd.DataFrame({"who": ["a", "b"], "event_timestamp": DAY, "spent": [1.0, 2.0]}).to_parquet(FOLDER / "spent.parquet")
questions = pd.DataFrame(
    {
        "asked": ["once", "twice", "twice, again", "after ttl", "of nobody"],
        "who": ["b", "a", "a", "b", "c"],
        "event_timestamp": [DAY + timedelta(days=each) for each in (1, 1, 1, 6, 1)],
    }
)


def answered(kind):
    config = {"project": "p", "provider": "local", "registry": str(FOLDER / f"{kind}.db"), "entity_key_serialization_version": 3}
    config |= {"offline_store": {"type": kind}, "online_store": {"type": "sqlite", "path": str(FOLDER / f"{kind}_online.db")}}
    store = FeatureStore(config=RepoConfig(**config))
    who = Entity(name="who", join_keys=["who"], value_type=ValueType.STRING)
    source = FileSource(path=str(FOLDER / "spent.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name="spent", entities=[who], ttl=timedelta(days=5), schema=[Field(name="spent", dtype=Float64)], source=source
    )
    store.apply([who, view])
    frame = store.get_historical_features(entity_df=questions.copy(), features=["spent:spent"]).to_df()
    return {row.asked: row.spent for row in frame.itertuples()}


print("feast", version("feast"))
found = {kind: answered(kind) for kind in ("duckdb", "file")}
for kind, answers in found.items():
    print(f"{kind}: {len(questions)} questions, {len(answers)} answers: {answers}")
lost = set(found["duckdb"]) - set(found["file"])
assert len(found["duckdb"]) == 5 and "after ttl" in lost and len(lost) == 2, "the finding has changed"
PY
"$folder/venv/bin/python" -W ignore "$folder/ask.py" "$folder"
