"""Release, promote and roll back from the command line, on a local cluster: what each leaves behind, and what a dry run does not."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.folder import seal
from hallmark.cli import app
from hallmark.cli.serve import apply_all
from hallmark.registry.store import Registry
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from local_cluster import cluster
from tests.hallmark.registry.conftest import model_card
from tests.local_cluster.real_model import real_model

ROOT = Path(__file__).parents[3]
NAME = "fraud"


@pytest.fixture
def settings(tmp_path: Path, empty_registry: Path) -> Iterator[Settings]:
    """Two versions of fraud in the registry, and a local cluster that serves nothing yet."""
    given = {
        "HALLMARK_ROOT": ROOT,
        "HALLMARK_STATE": tmp_path / "s",
        "HALLMARK_RELEASES": tmp_path / "releases",
    }
    made = Settings.load({name: str(path) for name, path in given.items()}).prepared()
    shutil.copyfile(empty_registry, made.state / "mlflow.db")
    for number in (1, 2):
        folder = tmp_path / str(number)
        real_model(folder)
        with (folder / "features.py").open("a") as stream:
            stream.write(f"# {number}\n")
        assert Registry(made).register(folder, model_card(seal(folder), NAME)) == number
    cluster.up(made, port=0)
    try:
        apply_all(InferenceServiceWriter.connect(made, kubeconfig=made.kubeconfig), made)
        yield made
    finally:
        cluster.down(made)


def test_a_first_release_that_does_not_load_fails_and_nothing_follows_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    uri = Registry(settings).resolve(NAME, 1).storage_uri
    with (settings.models / uri.removeprefix("pvc://models/") / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    assert app.main(["release", NAME, "--candidate", "1"]) == 3
    told = capsys.readouterr().err
    assert "does not load" in told and "serves" not in told
    assert releases.read(NAME, settings).stable is None
    assert not any("champion" in each.aliases for each in Registry(settings).versions(NAME))


def test_an_operation_writes_down_who_is_stable_and_its_dry_run_does_not(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)

    def stable() -> tuple[int, str]:
        champions = [each.version for each in Registry(settings).versions(NAME) if "champion" in each.aliases]
        resting = releases.read(NAME, settings).stable
        return resting.version if resting else 0, ",".join(map(str, champions))

    assert app.main(["release", NAME, "--candidate", "1", "--dry-run"]) == 0
    assert stable() == (0, "") and "kind: InferenceService" in capsys.readouterr().out
    assert app.main(["release", NAME, "--candidate", "1"]) == 0
    assert stable() == (1, "1") and f"next: hallmark status {NAME}" in capsys.readouterr().err
    assert app.main(["release", NAME, "--candidate", "2", "--percent", "100"]) == 0
    assert stable() == (1, "1") and f"next: hallmark promote {NAME}" in capsys.readouterr().err
    assert app.main(["promote", NAME, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "# and version 2 the champion of fraud in the registry" in told.out and "nothing was changed" in told.err
    assert stable() == (1, "1")
    assert app.main(["promote", NAME]) == 0
    assert stable() == (2, "2") and "version 2 is stable" in capsys.readouterr().err
    assert app.main(["rollback", NAME, "--dry-run"]) == 0
    assert stable() == (2, "2")
    assert app.main(["rollback", NAME]) == 0
    assert stable() == (1, "1")
    capsys.readouterr()
    assert app.main(["status", NAME, "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["version"], row["percent"], row["ready"]) for row in rows if row["percent"]] == [("1", 100, True)]

    # A promotion while somebody else writes the registry, and while release.yaml cannot be written: what follows is late, and not lost.
    assert app.main(["release", NAME, "--candidate", "2", "--percent", "100"]) == 0
    file = releases.path(NAME, settings)
    text = file.read_text()
    file.unlink()
    file.mkdir()  # no file can take its place
    with contextlib.closing(sqlite3.connect(settings.state / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        capsys.readouterr()
        assert app.main(["promote", NAME]) == 1
        told = capsys.readouterr().err
        assert "version 2 of fraud is stable and serves; release.yaml and champion could not be written" in told
        assert "hallmark settle fraud" in told
        other.execute("ROLLBACK")
    file.rmdir()
    file.write_text(text)
    assert stable() == (1, "1")
    assert app.main(["promote", NAME]) == 0  # again, as after ctrl-c
    assert stable() == (2, "2") and "version 2 is champion" in capsys.readouterr().err
    assert app.main(["promote", NAME]) == 3 and "no rollout of fraud is running" in capsys.readouterr().err
    Registry(settings).alias(NAME, "champion", 1)  # somebody's mistake
    assert app.main(["settle"]) == 0 and stable() == (2, "2")
    assert app.main(["settle"]) == 0 and "say what is stable already" in capsys.readouterr().err
