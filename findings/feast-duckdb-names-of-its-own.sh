#!/usr/bin/env bash
# Feast's DuckDB offline store cannot read a feature whose name ends with _y, or is rn, entity_row_id or event_expire_timestamp: its join gives such
# names to columns of its own. `feast apply` takes the view, and the file store reads it; here the column "is not found", and for
# event_expire_timestamp there comes, without a word, the time when the row expires in place of the feature.
# Versions: feast 0.67.0, ibis-framework 12.0.0.
# Why it matters: a name that was fine for the registry, the online store and a laptop ends a training run, or trains on something else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "feast[duckdb]==0.67.0" "ibis-framework==12.0.0"
cat > "$folder/names.py" <<'PY'
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

DAY, FOLDER = datetime(2026, 3, 1, tzinfo=UTC), Path(sys.argv[1])


def answered(kind, name):
    path = FOLDER / f"{kind}_{name}"
    path.mkdir()
    pd.DataFrame({"who": ["a"], "event_timestamp": DAY, name: [1.0]}).to_parquet(path / "values.parquet")
    config = {"project": "p", "provider": "local", "registry": str(path / "registry.db"), "entity_key_serialization_version": 3}
    config |= {"offline_store": {"type": kind}, "online_store": {"type": "sqlite", "path": str(path / "online.db")}}
    store = FeatureStore(config=RepoConfig(**config))
    who = Entity(name="who", join_keys=["who"], value_type=ValueType.STRING)
    source = FileSource(path=str(path / "values.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name="v", entities=[who], ttl=timedelta(days=5), schema=[Field(name=name, dtype=Float64)], source=source
    )
    store.apply([who, view])
    question = pd.DataFrame({"who": ["a"], "event_timestamp": [DAY + timedelta(hours=1)]})
    try:
        return store.get_historical_features(entity_df=question, features=[f"v:{name}"]).to_df()[name].tolist()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"


print("feast", version("feast"), "ibis", version("ibis-framework"))
for name in ("spent", "spent_y", "rn", "entity_row_id", "event_expire_timestamp"):
    found = {kind: answered(kind, name) for kind in ("file", "duckdb")}
    print(f"{name}: {found}", flush=True)
    assert found["file"] == [1.0], "the finding has changed"
    assert (found["duckdb"] == [1.0]) == (name == "spent"), "the finding has changed"
PY
"$folder/venv/bin/python" -W ignore "$folder/names.py" "$folder"
