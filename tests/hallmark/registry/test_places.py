"""Row N10: a registry whose state folder was moved, copied, or split between two places, for Hallmark and for MLflow alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hallmark.artifacts.folder import verify
from hallmark.artifacts.model_card import ModelCard
from hallmark.cli import main
from hallmark.registry import places
from hallmark.registry.store import CHALLENGER, Registry
from hallmark.settings import Settings
from tests.hallmark.registry.conftest import at

Make = Callable[[str], tuple[Path, ModelCard]]


@pytest.fixture
def moved(settings: Settings, make: Make, tmp_path: Path) -> Settings:
    """Version 1 of toy in a state that was moved since, to a place with a blank in its name."""
    Registry(settings).register(*make("one"))
    (tmp_path / "other place").mkdir()
    settings.state.rename(tmp_path / "other place" / "state")
    return at(tmp_path / "other place")


def named(settings: Settings) -> set[str]:
    """All that the database of this registry says about where artifacts lie."""
    with contextlib.closing(sqlite3.connect(settings.state / "mlflow.db")) as link:
        asked = [f"SELECT {column} FROM {table}" for table, column in places._COLUMNS]  # noqa: S608
        return {value for sql in asked for (value,) in link.execute(sql)}


def test_n10_a_moved_state_goes_on_and_mlflow_finds_its_artifacts(moved: Settings, make: Make) -> None:
    registry = Registry(moved)
    found = registry.resolve("toy", CHALLENGER)
    assert found.path is not None and found.path.is_relative_to(moved.models)
    assert found.storage_uri.startswith("pvc://models/toy/")
    assert registry.register(*make("two")) == 2
    assert [row.version for row in Registry(moved).versions("toy")] == [2, 1]
    assert all(value.startswith(moved.models.as_uri()) for value in named(moved))
    assert not (moved.root.parent / "state").exists(), "nothing is written to the old place"

    import mlflow

    client = mlflow.MlflowClient(tracking_uri=moved.tracking, registry_uri=moved.tracking)
    for number in ("1", "2"):
        source = client.get_model_version("toy", number).source
        fetched = mlflow.artifacts.download_artifacts(artifact_uri=source, tracking_uri=moved.tracking)
        assert (Path(fetched) / "model.onnx").read_text() == ("one" if number == "1" else "two")


def test_n10_a_registry_that_cannot_be_written_is_read_where_it_lies_now(moved: Settings) -> None:
    database = moved.state / "mlflow.db"
    before = named(moved)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = Registry(moved).resolve("toy", 1)
    assert verify(found.fetch(), expected=found.digest) is not None
    assert named(moved) == before


def test_n10_a_copy_is_a_registry_of_its_own(settings: Settings, make: Make, tmp_path: Path) -> None:
    Registry(settings).register(*make("one"))
    shutil.copytree(settings.state, tmp_path / "copy" / "state")
    copy = at(tmp_path / "copy")
    before = named(settings)
    assert Registry(copy).register(*make("two")) == 2
    assert all(value.startswith(copy.models.as_uri()) for value in named(copy))
    assert named(settings) == before and len(Registry(settings).versions("toy")) == 1


def test_n10_one_repair_mends_what_is_older_and_the_next_has_nothing_to_do(moved: Settings, tmp_path: Path) -> None:
    registry, old, before = Registry(moved), tmp_path / "state" / "models", named(moved)
    (told,) = {move.old for move in registry.repair(dry=True).moves}
    assert told == old and named(moved) == before
    done = registry.repair()
    assert {(move.old, move.new) for move in done.moves} == {(old, moved.models)}
    assert sum(move.values for move in done.moves) == 6  # two experiments, run, model, and a version's two
    assert registry.repair() == places.Places()


def test_n10_what_lies_at_its_old_place_alone_stays_there_and_what_is_gone_is_named(
    moved: Settings, make: Make, tmp_path: Path
) -> None:
    old = tmp_path / "state" / "models"
    (version,) = (path.parent.parent for path in moved.models.rglob("model.onnx"))
    shutil.copytree(moved.models / "toy", old / "toy")
    shutil.rmtree(version)
    Registry(moved).repair()
    kept = Registry(moved).resolve("toy", 1)
    assert kept.path is not None and kept.path.is_relative_to(old) and kept.fetch() == kept.path
    assert Registry(moved).register(*make("two")) == 2
    shutil.rmtree(old)
    (lost,) = Registry(moved).repair(dry=True).lost
    assert lost.is_relative_to(moved.models) or lost.is_relative_to(old)


@pytest.mark.slow
def test_n10_the_doctor_says_what_is_moved_and_repairs_it(
    moved: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**moved.environment(), "HALLMARK_ROOT": str(Path(__file__).parents[3])}.items():
        monkeypatch.setenv(name, value)

    def row(*options: str) -> tuple[dict[str, str], str]:
        main(["doctor", "-o", "json", *options])
        told = capsys.readouterr()
        return next(each for each in json.loads(told.out) if each["check"] == "registry"), told.err

    old = tmp_path / "state" / "models"
    found, _ = row()
    assert (found["state"], found["fix"]) == ("moved", "`hallmark doctor --repair`") and str(old) in found["found"]
    found, told = row("--repair")
    assert found["state"] == "ok" and f"6: {old} is {moved.models} now" in told
    assert "nothing to repair" in row("--repair")[1]


@pytest.mark.parametrize("at_update", range(1, 6))
def test_n10_a_repair_that_is_killed_has_changed_nothing(moved: Settings, at_update: int) -> None:
    """at_update: the value before which the process is killed."""
    before = named(moved)
    victim = """if True:
        import os, signal, sys
        from pathlib import Path
        from hallmark.registry import places
        told, left = places._target, [int(sys.argv[3])]
        def target(*given):
            left[0] -= 1
            return told(*given) if left[0] > 0 else os.kill(os.getpid(), signal.SIGKILL)
        places._target = target
        places.repair(Path(sys.argv[1]), Path(sys.argv[2]), patience=5)
    """
    command = [sys.executable, "-c", victim, str(moved.state / "mlflow.db"), str(moved.models), str(at_update)]
    assert subprocess.run(command).returncode == -9
    assert named(moved) == before
    assert Registry(moved).repair().moves and all(value.startswith(moved.models.as_uri()) for value in named(moved))


def test_mlflows_own_experiment_lies_in_the_state_and_not_in_the_folder_of_whoever_came_first(
    settings: Settings,
) -> None:
    assert Registry(settings).versions("toy") == []
    assert named(settings) == {(settings.models / "Default").as_uri()}
