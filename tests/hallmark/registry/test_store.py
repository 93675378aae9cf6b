"""Versions in MLflow: whole or not there, the same bytes once, and quick to say when the registry is gone."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hallmark.artifacts import folder as folders
from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts.folder import verify
from hallmark.artifacts.model_card import ModelCard
from hallmark.errors import ModelRefused, NotFound, Unavailable
from hallmark.registry import summary
from hallmark.registry.store import CHALLENGER, CHAMPION, Registry
from hallmark.settings import Settings

Make = Callable[[str], tuple[Path, ModelCard]]


def test_the_first_version_is_challenger_and_nobody_is_champion(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    folder, model_card = make("one")
    assert registry.register(folder, model_card) == 1
    (row,) = registry.versions("toy")
    assert (row.version, row.aliases, row.digest, row.value) == (1, (CHALLENGER,), model_card.model, 0.7)
    with pytest.raises(NotFound, match="toy has no version champion"):
        registry.resolve("toy", CHAMPION)


def test_a_version_resolves_to_a_folder_that_holds_the_same_model_and_its_model_card(
    settings: Settings, make: Make
) -> None:
    registry = Registry(settings)
    folder, model_card = make("one")
    registry.register(folder, model_card)
    released = registry.resolve("toy", CHALLENGER)
    assert released == registry.resolve("toy", 1) == registry.resolve("toy", "1")
    assert released.path is not None
    assert verify(released.path, expected=model_card.model) == released.digest
    assert released.storage_uri == f"pvc://models/{released.path.relative_to(settings.models)}"
    assert str(settings.root) not in released.storage_uri
    assert registry.model_card("toy", 1) == model_card
    assert not (folder / "model_card.json").exists()


def test_of_a_version_that_lies_elsewhere_the_model_card_alone_is_fetched_and_is_that_models(
    settings: Settings, make: Make, tmp_path: Path
) -> None:
    registry, (folder, model_card) = Registry(settings), make("one")
    registry.register(folder, model_card)
    here = registry.resolve("toy", 1)
    assert here.path is not None
    shutil.copytree(here.path, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "model.onnx").unlink()
    there = here.model_copy(update={"path": None, "storage_uri": f"{tmp_path / 'elsewhere'}/"})
    assert there.model_card() == model_card
    with pytest.raises(ModelRefused, match="another model's"):
        there.model_copy(update={"digest": "sha256:" + "0" * 64}).model_card()


def test_whoever_serves_a_version_can_read_it(settings: Settings, make: Make) -> None:
    folder, model_card = make("one")
    (folder / "model.onnx").chmod(0o600)
    Registry(settings).register(folder, model_card)
    path = Registry(settings).resolve("toy", 1).path
    assert path is not None
    assert {file.stat().st_mode & 0o044 for file in path.iterdir()} == {0o044}


def test_the_same_digest_is_the_same_version(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    folder, model_card = make("one")
    assert [registry.register(folder, model_card) for _ in range(3)] == [1, 1, 1]
    assert registry.register(*make("two")) == 2
    assert Registry(settings).register(folder, model_card) == 1
    assert [row.version for row in registry.versions("toy")] == [2, 1]
    assert registry.resolve("toy", CHALLENGER).version == registry.resolve("toy", "latest").version == 2


@pytest.mark.parametrize("dangling", [False, True])
def test_a_version_that_was_deleted_in_mlflow_is_gone_and_can_be_registered_again(
    settings: Settings, make: Make, dangling: bool
) -> None:
    """MLflow #24825: a server that deletes a version may leave its alias, which then leads nowhere."""
    registry = Registry(settings)
    folder, card = make("one")
    registry.register(folder, card)
    registry.register(*make("two"))
    client = registry._client()
    client.delete_model_version("toy", "2")
    if dangling:
        with contextlib.closing(sqlite3.connect(settings.state / "mlflow.db")) as database, database:
            database.execute(
                "INSERT INTO registered_model_aliases (name, alias, version) VALUES ('toy', 'challenger', 2)"
            )
    for asked in (2, CHALLENGER):
        with pytest.raises(NotFound, match=f"toy has no version {asked}"):
            Registry(settings).resolve("toy", asked)
    assert [row.version for row in registry.versions("toy")] == [1]
    assert registry.register(*make("three")) == 3
    shutil.rmtree(folder.parent / "made-two")
    assert registry.register(*make("two")) == 4
    assert registry.resolve("toy", CHALLENGER).version == 4


def test_a_champion_is_challenger_no_longer(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    registry.alias("toy", CHAMPION, CHALLENGER)
    assert registry.versions("toy")[0].aliases == (CHAMPION,)
    registry.register(*make("two"))
    assert [row.aliases for row in registry.versions("toy")] == [(CHALLENGER,), (CHAMPION,)]
    registry.alias("toy", CHAMPION, 2)
    assert [row.aliases for row in registry.versions("toy")] == [(CHAMPION,), ()]


@pytest.mark.parametrize("version", [9, "9", "nobody", "v2", "a b", ""])
def test_a_version_that_is_not_there_is_said_so(settings: Settings, make: Make, version: int | str) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    with pytest.raises(NotFound, match="toy has no version"):
        registry.resolve("toy", version)
    with pytest.raises(NotFound):
        registry.alias("toy", CHAMPION, version)
    assert Registry(settings).versions("never-trained") == []


def test_a_registry_that_was_never_written_to_is_empty_and_not_made_by_asking(tmp_path: Path) -> None:
    (tmp_path / "domains").mkdir()
    fresh = Settings.load({"HALLMARK_ROOT": str(tmp_path)})
    assert Registry(fresh).versions("toy") == []
    with pytest.raises(NotFound):
        Registry(fresh).resolve("toy", CHAMPION)
    assert list(tmp_path.iterdir()) == [tmp_path / "domains"]


def test_the_run_holds_parameters_metrics_and_plots(settings: Settings, make: Make, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    page = tmp_path / "page"
    page.write_text("<html></html>")
    Registry(settings).register(*make("one"), plots={"evaluation.html": page})
    client = MlflowClient(tracking_uri=settings.tracking)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["roc_auc"] == 0.9
    assert run.data.params["seed"] == "7"
    assert [item.path for item in client.list_artifacts(run.info.run_id, "plots")] == ["plots/evaluation.html"]
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert Path(model.artifact_location.removeprefix("file://")) == Registry(settings).resolve("toy", 1).path


def test_a_folder_that_is_not_the_model_cards_is_refused(settings: Settings, make: Make) -> None:
    folder, model_card = make("one")
    (folder / "model.onnx").write_text("two")
    with pytest.raises(ModelRefused):
        Registry(settings).register(folder, model_card)
    assert Registry(settings).versions("toy") == []


def test_a_swapped_model_card_is_refused(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    registry.register(*make("two"))
    first, second = registry.resolve("toy", 1).path, registry.resolve("toy", 2).path
    assert first is not None
    assert second is not None
    (first / "model_card.json").write_bytes((second / "model_card.json").read_bytes())
    with pytest.raises(ModelRefused, match="another model's"):
        registry.model_card("toy", 1)


def test_a_locked_registry_is_unavailable_soon_and_nothing_is_half_registered(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    folder, model_card = make("two")
    link = sqlite3.connect(settings.state / "mlflow.db", isolation_level=None)
    link.execute("BEGIN EXCLUSIVE")
    try:
        for attempt in (
            lambda: registry.register(folder, model_card),
            lambda: registry.resolve("toy", 1),
            lambda: registry.alias("toy", CHAMPION, 1),
            lambda: Registry(settings).versions("toy"),
        ):
            began = time.monotonic()
            with pytest.raises(Unavailable, match="the registry does not answer"):
                attempt()
            assert time.monotonic() - began < 5
    finally:
        link.execute("ROLLBACK")
        link.close()
    assert [(row.version, row.aliases) for row in registry.versions("toy")] == [(1, (CHALLENGER,))]
    assert registry.register(folder, model_card) == 2


def test_a_registry_locked_in_the_middle_leaves_no_version(
    settings: Settings, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    folder, model_card = make("two")
    link = sqlite3.connect(settings.state / "mlflow.db", isolation_level=None, check_same_thread=False)
    client = registry._client()
    log = client.log_model_artifacts

    def then_lock(*arguments: object) -> None:
        log(*arguments)
        link.execute("BEGIN EXCLUSIVE")

    monkeypatch.setattr(client, "log_model_artifacts", then_lock)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        registry.register(folder, model_card)
    assert time.monotonic() - began < 5
    link.execute("ROLLBACK")
    link.close()
    assert [row.version for row in registry.versions("toy")] == [1]
    assert len(list(settings.models.glob("toy/models/*/artifacts"))) == 1
    monkeypatch.undo()
    assert registry.register(folder, model_card) == 2


def test_a_registry_that_is_down_is_unavailable_soon(settings: Settings) -> None:
    down = settings.model_copy(update={"tracking": "http://someone:secret@127.0.0.1:9"})
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        Registry(down).resolve("toy", CHAMPION)
    assert time.monotonic() - began < 5
    assert "secret" not in str(caught.value)


def test_a_damaged_registry_is_unavailable(settings: Settings) -> None:
    (settings.state / "mlflow.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(Unavailable):
        Registry(settings).versions("toy")


def test_two_that_register_the_same_model_at_once_get_one_version(settings: Settings, make: Make) -> None:
    folder, model_card = make("one")
    registries = [Registry(settings) for _ in range(3)]
    for registry in registries:
        registry.versions("toy")
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda r=registry: found.append(r.register(folder, model_card)))
        for registry in registries
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [1, 1, 1]
    assert len(registries[0].versions("toy")) == 1


def test_the_library_stays_out_until_it_is_asked() -> None:
    script = "import sys, hallmark.registry.store, hallmark.training.run; print(sorted({'mlflow','kfp','torch','pandas','onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_card_reads_back(make: Make) -> None:
    folder, model_card = make("one")
    (folder / "model_card.json").write_text(model_card.model_dump_json())
    assert model_cards.read(folder) == model_card


def test_a_model_card_knows_its_commit_and_whether_files_differ(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@hallmark.example", "-C", str(tmp_path), *arguments],
            check=True,
            capture_output=True,
        )

    assert model_cards.checkout(tmp_path).commit == "unknown"
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "One")
    clean = model_cards.checkout(tmp_path)
    assert len(clean.commit) == 40
    assert not clean.dirty
    (served := tmp_path / "inference_services" / "toy").mkdir(parents=True)
    for name in (
        "release",
        "inferenceservice",
        "toy-serving-4f1c",
    ):  # the last one is of a unit that was released before
        (served / f"{name}.yaml").write_text("what a release writes")
    assert not model_cards.checkout(tmp_path).dirty, "N9: a release changes what is served, and nothing that trains"
    (tmp_path / "file").write_text("two")
    assert model_cards.checkout(tmp_path).dirty


def test_only_the_registrys_own_database_is_hurried(settings: Settings) -> None:
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.engine import Engine

    from hallmark.registry.store import PATIENCE, _impatient

    client = Registry(settings)._client()
    assert not event.contains(Engine, "before_cursor_execute", _impatient)
    patience = []
    for engine in (
        client._tracking_client.store.engine,
        client._get_registry_client().store.engine,
        create_engine("sqlite://"),
    ):
        with engine.connect() as link:
            link.execute(text("PRAGMA busy_timeout = 20000;"))
            patience.append(link.execute(text("PRAGMA busy_timeout")).scalar())
    assert patience == [PATIENCE * 1000, PATIENCE * 1000, 20000]


def test_a_glance_says_what_mlflow_says(settings: Settings, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(settings)
    registry.register(*make("one"))
    registry.register(*make("two"))
    registry.alias("toy", CHAMPION, 1)
    wanted: tuple[int | str, ...] = (1, "2", CHAMPION, CHALLENGER)
    glanced = [registry.resolve("toy", version) for version in wanted]
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "_asked", None)
        assert [registry.resolve("toy", version) for version in wanted] == glanced
    # A schema that it was not written for is MLflow's to read.
    monkeypatch.setattr(summary, "SCHEMA", "another")
    assert [registry.resolve("toy", version) for version in wanted] == glanced


def test_metrics_go_by_names_that_mlflow_takes() -> None:
    from hallmark.registry.store import metric_name

    assert [metric_name(name) for name in ("roc_auc", "ndcg@10", "f1_men's coats")] == [
        "roc_auc",
        "ndcg_at_10",
        "f1_men_s coats",
    ]


def test_a_version_from_before_model_cards_still_serves(settings: Settings, make: Make) -> None:
    folder, _ = make("one")
    digest = folders.verify(folder)
    (folder / "passport.json").write_text("{}")
    assert folders.verify(folder, expected=digest) == digest
    (folder / "stranger.json").write_text("{}")
    with pytest.raises(ModelRefused, match=r"stranger\.json"):
        folders.verify(folder)
