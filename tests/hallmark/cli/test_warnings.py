"""Row B37: what libraries warn of and log never reaches the terminal with a path of theirs; what matters is told in our words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from domains.fraud import data
from hallmark.settings import Settings
from local_cluster import cluster

ROOT = Path(__file__).parents[3]
SOURCE = re.compile(r"site-packages|\.(py|cc|cpp|h):\d+|\w*Warning\b|\[LightGBM\]|\bWARNING\b")

LIBRARY = """if True:
    import logging, sys, warnings
    from hallmark.cli import app, main
    @app.app.command("noise")
    def noise(kind: str) -> None:
        "Warn and log as libraries do."
        warnings.warn("the default will change", FutureWarning)
        warnings.warn_explicit("slow", UserWarning, "/lib/site-packages/pandas/frame.py", 12)
        logging.getLogger("mlflow.store").warning("/lib/site-packages/mlflow/store.py:7: UserWarning: retried")
        logging.getLogger("urllib3.connectionpool").warning("Retrying (Retry(total=2))")
        logging.getLogger("hallmark.registry.store").warning("the registry was mended")
        logging.getLogger("kfp.client").error("the host is not reachable\\n  at frame 1")
    sys.exit(main(sys.argv[1:]))
"""


def noise(*before: str) -> str:
    command = [sys.executable, "-W", "default", "-c", LIBRARY, *before, "noise", "all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_b37_libraries_warn_nobody_and_what_matters_is_a_sentence() -> None:
    told = noise()
    assert SOURCE.search(told) is None, told
    assert told.splitlines() == ["the registry was mended", "kfp: the host is not reachable"]


def test_b37_debug_shows_what_libraries_warn_of() -> None:
    told = noise("--debug")
    assert "FutureWarning: the default will change" in told and "frame.py:12: UserWarning: slow" in told


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_b37_no_command_of_the_main_job_shows_a_librarys_source(tmp_path: Path) -> None:
    given = {"HALLMARK_ROOT": ROOT, "HALLMARK_STATE": tmp_path / "s", "HALLMARK_RELEASES": tmp_path / "releases"}
    settings = Settings.load({name: str(path) for name, path in given.items()}).prepared()
    orders = tmp_path / "orders.csv"
    environment = settings.child_environment(PYTHONWARNINGS="default", MLFLOW_DISABLE_TELEMETRY="true")

    def hallmark(line: str, *, code: int = 0) -> str:
        command = [sys.executable, "-W", "default", "-m", "hallmark.cli", *line.split()]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, (line, done.stderr)
        assert SOURCE.search(done.stderr) is None, (line, done.stderr)
        return done.stdout

    try:
        hallmark("data fraud --days 20 --until 2026-09-01 --out orders.parquet")
        pd.read_parquet(tmp_path / "orders.parquet").to_csv(orders, index=False)
        until = datetime(2026, 9, 1, tzinfo=UTC)
        data.events(data.ORDERS, start=until - timedelta(days=120), end=until, seed=7).to_parquet(
            tmp_path / "events.parquet"
        )
        hallmark("features ingest orders@1 events.parquet")
        hallmark(f"data fraud --data {orders}")
        lines = orders.read_text().splitlines()
        (tmp_path / "cut.csv").write_text("\n".join(lines[:50])[:-40])  # the last line is cut
        hallmark(f"data fraud --data {tmp_path / 'cut.csv'}", code=3)
        hallmark("train fraud --until 2026-09-01 --window 14d --option rounds=40")
        hallmark("versions fraud")
        hallmark("model-card fraud 1")
        hallmark("pipeline compile fraud")
        hallmark("up --port 0")
        hallmark("release fraud --candidate 1")
        hallmark("call fraud --requests 400", code=3)  # events of our own are here, which synthetic ones stay away from
        hallmark("call fraud --requests 400 --among-real-events")
        (row,) = json.loads(hallmark("status -o json"))
        assert row["version"] == "1"
        hallmark(f"drift fraud --html {tmp_path / 'drift.html'}")
        hallmark("rollback fraud", code=3)
        hallmark("down")
    finally:
        cluster.down(settings)
