"""The graph of a batch, and the step that it calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml

from hallmark.batch import steps
from hallmark.registry import store
from hallmark.registry.store import ServableVersion
from pipelines.batch import compile_to


def test_the_graph_scores_an_imported_file_and_is_never_cached(tmp_path: Path) -> None:
    compile_to(tmp_path / "graph.yaml", "marketing")
    spec = next(yaml.safe_load_all((tmp_path / "graph.yaml").read_text()))
    assert spec["pipelineInfo"]["name"] == "marketing-batch"
    task = spec["root"]["dag"]["tasks"]["score-batch"]
    assert not task["cachingOptions"] and "records" in task["inputs"]["artifacts"]
    given = spec["root"]["inputDefinitions"]["parameters"]
    assert set(given) == {"domain", "records", "run", "version"} and given["run"]["defaultValue"] == ""
    scheduled = task["inputs"]["parameters"]["scheduled"]["runtimeValue"]["constant"]
    assert scheduled == "{{$.pipeline_job_schedule_time_utc}}"  # lots of their own in each run of a schedule
    kubernetes = [*yaml.safe_load_all((tmp_path / "graph.yaml").read_text())][1]["platforms"]["kubernetes"]
    assert "MLFLOW_TRACKING_URI" in str(kubernetes)  # where the version is looked up


def test_the_step_writes_who_is_treated_and_says_it_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domains.marketing import data, model
    from hallmark.artifacts import bundle
    from hallmark.declaration import domain as domains
    from hallmark.learners.model import examples
    from hallmark.training import export

    start = datetime(2026, 6, 1, tzinfo=UTC)
    frame = data.draw(start=start, end=start + timedelta(days=3), seed=7)
    some = examples("marketing", frame)
    (tmp_path / "model").mkdir()
    made = model.fit(some, some, seed=7, rounds=3, folds=2)
    export.export(domains.load("marketing"), made, tmp_path / "model", test=frame, reference=frame)
    digest = bundle.read(tmp_path / "model", expected=None).digest
    version = ServableVersion(domain="marketing", version=2, storage_uri="", digest=digest, path=tmp_path / "model")
    monkeypatch.setattr(store.Registry, "resolve", lambda self, domain, asked: version)
    frame.astype({"days_since_order": "Int64"}).to_parquet(tmp_path / "records.parquet")
    (tmp_path / "records.parquet").rename(tmp_path / "records")
    line = steps.score_batch.function(
        "marketing", version="champion", run="week 1", records=tmp_path / "records", scored=tmp_path / "out" / "scored",
        summary=tmp_path / "out" / "summary.md",
    )  # fmt: skip
    found = pd.read_parquet(tmp_path / "out" / "scored")
    treated = int((found["treatment"] == 1).sum())
    assert line.startswith(f"{len(frame):,} rows by version 2, {digest}; {treated:,} treated for ")
    assert "held out" in (tmp_path / "out" / "summary.md").read_text()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
