"""Row N10: a state folder that is moved, at rest and while its cluster runs, with what is released on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hallmark.settings import Settings
from local_cluster import cluster
from tests.hallmark.rollout.candidates import Trained

ROOT = Path(__file__).parents[2]


def hallmark(settings: Settings, *arguments: str) -> str:
    command = [sys.executable, "-m", "hallmark.cli", *arguments]
    done = subprocess.run(command, env=settings.child_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def at(state: Path) -> Settings:
    given = {"HALLMARK_ROOT": ROOT, "HALLMARK_STATE": state, "HALLMARK_RELEASES": state / "releases"}
    return Settings.load({name: str(path) for name, path in given.items()})


def serves(settings: Settings) -> None:
    """Its version answers, and is told."""
    (row,) = json.loads(hallmark(settings, "call", "fraud", "--requests", "20", "-o", "json"))
    assert (row["requests"], row["failed"]) == (20, 0)
    (row,) = json.loads(hallmark(settings, "status", "-o", "json"))
    assert (row["domain"], row["version"], row["ready"]) == ("fraud", "1", True)


@pytest.mark.slow
def test_n10_what_is_released_is_served_after_a_move_and_through_one(tmp_path: Path, trained_fraud: Trained) -> None:
    first, second, third = (at(tmp_path / name) for name in ("first", "second", "third"))
    try:
        assert trained_fraud.register(first) == 1
        hallmark(first, "up", "--port", "0")
        hallmark(first, "release", "fraud", "--candidate", "1")
        first.state.rename(second.state)  # the cluster runs on
        serves(second)
        hallmark(second, "down")
        second.state.rename(third.state)
        assert json.loads(hallmark(third, "model-card", "fraud", "champion", "-o", "json"))["domain"] == "fraud"
        hallmark(third, "up", "--port", "0")
        serves(third)
        hallmark(third, "down")
        assert {path.name for path in tmp_path.iterdir()} == {"third"}, "nothing is written to an old place"
    finally:
        for each in (first, second, third):
            cluster.down(each)
        shutil.rmtree(third.state, ignore_errors=True)
