"""Release, promote and roll back from the command line, on a local cluster: what each leaves behind, and what a dry run does not."""

from __future__ import annotations

import contextlib
import getpass
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.folder import seal
from hallmark.cli import main
from hallmark.cli.serve import apply_all
from hallmark.errors import DeclarationError
from hallmark.registry.store import Registry
from hallmark.rollout.history import History
from hallmark.rollout.writer import InferenceServiceWriter, revisions, variants
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
    assert main(["release", NAME, "--candidate", "1"]) == 3
    told = capsys.readouterr().err
    assert "does not load" in told and "serves" not in told
    assert releases.read(NAME, settings).stable is None
    assert not any("champion" in each.aliases for each in Registry(settings).versions(NAME))


def test_a_service_of_no_domain_is_named_and_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Cluster:
        host = "https://example"

        def all(self) -> list[dict[str, object]]:
            spec = {"predictor": {"sklearn": {"storageUri": "gs://models/iris"}}}
            places = (("models", "iris"), ("other", NAME), (NAME, NAME))
            return [{"metadata": {"namespace": space, "name": name}, "spec": spec} for space, name in places]

        def pods(self, name: str) -> list[dict[str, object]]:
            assert name == NAME, "a namespace that is nobody's is not asked"
            return []

    monkeypatch.setattr("hallmark.cli.serve.connected", lambda *_, **__: Cluster())
    monkeypatch.setenv("HALLMARK_ROOT", str(ROOT))
    assert main(["status", "-o", "json"]) == 0
    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert (row["domain"], row["version"], row["percent"], row["service"]) == (NAME, "", 0, "Unknown")
    assert "of no domain, so not shown: models/iris, other/fraud" in told.err


@pytest.mark.slow
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

    assert main(["release", NAME, "--candidate", "1", "--dry-run"]) == 0
    assert stable() == (0, "") and "kind: InferenceService" in capsys.readouterr().out
    assert main(["release", NAME, "--candidate", "1"]) == 0
    assert stable() == (1, "1") and f"next: hallmark status {NAME}" in capsys.readouterr().err
    assert main(["release", NAME, "--candidate", "2", "--percent", "100"]) == 0
    assert stable() == (1, "1") and f"next: hallmark promote {NAME}" in capsys.readouterr().err
    assert main(["status", NAME, "-o", "json"]) == 0
    told_of = {row["version"]: row["variant"] for row in json.loads(capsys.readouterr().out) if row["percent"]}
    assert told_of == {"2": "canary"}, "all of the traffic makes nobody stable"
    live = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig).live(NAME)
    assert live is not None and variants(live)[revisions(live).newest] == "canary"
    assert main(["promote", NAME, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "# and version 2 the champion of fraud in the registry" in told.out and "nothing was changed" in told.err
    assert stable() == (1, "1")
    assert main(["promote", NAME]) == 0
    assert stable() == (2, "2") and "version 2 with serving config" in capsys.readouterr().err
    assert main(["rollback", NAME, "--dry-run"]) == 0
    assert stable() == (2, "2")
    with monkeypatch.context() as patch:  # an emergency, in a checkout whose domain.yaml somebody has just broken

        def broken(*_: object) -> None:
            raise DeclarationError("domains/fraud/domain.yaml: 1 problem")

        patch.setattr("hallmark.declaration.domain.load", broken)
        assert main(["rollback", NAME]) == 1
        told = capsys.readouterr().err
        assert "domain.yaml: 1 problem: rolling back by what is live" in told
        assert "version 1 with serving config" in told and f"hallmark settle {NAME}" in told
    assert main(["settle", NAME]) == 0
    assert stable() == (1, "1")
    capsys.readouterr()
    assert main(["status", NAME, "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["version"], row["percent"], row["ready"]) for row in rows if row["percent"]] == [("1", 100, True)]
    assert main(["timeline", NAME, "-o", "json"]) == 0
    told_of_all = json.loads(capsys.readouterr().out)["entries"]
    assert {each["version"] for each in told_of_all if each["kind"] == "training"} == {1, 2}
    entries = [each for each in told_of_all if each["kind"] != "training"]
    kinds = [("promote", 1, 100), ("canary", 2, 100), ("promote", 2, 100), ("rollback", 2, 0)]
    assert [(each["kind"], each["version"], each["percent"]) for each in entries] == kinds, "no watch has run"
    assert {each["by"] for each in entries} == {getpass.getuser()}
    assert sorted(each["at"] for each in entries) == [each["at"] for each in entries]
    kept = [(each.kind, each.state) for each in History(settings, NAME).lines() if each.state != "begun"]
    acts = ("canary", "canary", "promote", "rollback")
    assert kept == [(each, "done") for each in acts], "N7: the same is on record here, and needs no cluster to be read"

    # A promotion while somebody else writes the registry, and while release.yaml cannot be written: what follows is late, and not lost.
    assert main(["release", NAME, "--candidate", "2", "--percent", "100"]) == 0
    file = releases.path(NAME, settings)
    text = file.read_text()
    file.unlink()
    file.mkdir()  # no file can take its place
    with contextlib.closing(sqlite3.connect(settings.state / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        capsys.readouterr()
        assert main(["promote", NAME]) == 1
        told = capsys.readouterr().err
        assert "version 2 of fraud is stable and serves; release.yaml and champion could not be written" in told
        assert "hallmark settle fraud" in told
        other.execute("ROLLBACK")
    file.rmdir()
    file.write_text(text)
    assert stable() == (1, "1")
    assert main(["promote", NAME]) == 0  # again, as after ctrl-c
    assert stable() == (2, "2") and "version 2 is champion" in capsys.readouterr().err
    assert main(["promote", NAME]) == 3 and "no rollout of fraud is running" in capsys.readouterr().err
    Registry(settings).alias(NAME, "champion", 1)  # somebody's mistake
    assert main(["settle"]) == 0 and stable() == (2, "2")
    assert main(["settle"]) == 0 and "say what is stable already" in capsys.readouterr().err
