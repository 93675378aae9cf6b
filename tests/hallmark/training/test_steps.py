"""The steps as plain functions of files, as a cluster calls them, and what decides whether their results still hold."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hallmark.artifacts.evaluation import Evaluation
from hallmark.artifacts.folder import verify
from hallmark.artifacts.model_card import DatasetFacts, GateJudgement
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.registry.store import CHAMPION, Registry
from hallmark.settings import Settings
from hallmark.training import steps
from hallmark.training.journal import Failure, Journal, JournalEvent

TOY = Path(__file__).parents[2] / "toy"
AS_OF = "2026-11-01T00:00:00+00:00"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one small domain, which the environment names."""
    folder = tmp_path / "root"
    shutil.copytree(TOY, folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("HALLMARK_STATE", "HALLMARK_RELEASES", "MLFLOW_TRACKING_URI", "HALLMARK_RUN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HALLMARK_ROOT", str(folder))
    return folder


def through_evaluation(out: Path) -> None:
    """load, validate, split, train and evaluate, each output at `out` under its own name."""
    out.mkdir(exist_ok=True)
    steps.load("toy", source="synthetic", as_of=AS_OF, window="10d", seed=7, shift="", examples=out / "examples")
    steps.validate("toy", examples=out / "examples", facts=out / "facts", summary=out / "summary")
    parts = {name: out / name for name in ("training", "validation", "test", "seen")}
    steps.split("toy", as_of=AS_OF, seed=7, examples=out / "examples", **parts)
    steps.train(
        "toy",
        seed=7,
        options={},
        history=out / "history",
        training=parts["training"],
        validation=parts["validation"],
        trained=out / "t",
    )
    shown = steps.evaluate(
        "toy",
        trained=out / "t",
        test=parts["test"],
        evaluation=out / "evaluation",
        scores=out / "scores",
        plots=out / "plots",
        slices=out / "slices",
    )
    assert shown["metrics"] == Evaluation.model_validate_json((out / "evaluation").read_bytes()).metrics
    false_positives, true_positives, thresholds = shown["roc"]
    assert len(false_positives) == len(true_positives) == len(thresholds) <= 200
    assert shown["confusion"] is None


@pytest.mark.slow
def test_the_steps_run_as_plain_functions_where_there_is_no_journal(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    through_evaluation(out)
    facts = DatasetFacts.model_validate_json((out / "facts").read_bytes())
    assert facts.rows == 1000
    assert "| kind = x |" in (out / "slices").read_text()
    steps.compare(
        "toy",
        evaluation=out / "evaluation",
        scores=out / "scores",
        test=out / "test",
        decision=out / "decision",
        summary=out / "why",
    )
    assert steps.gate("toy", decision=out / "decision") is True
    model, parity = out / "model", out / "parity"
    digest = steps.export("toy", trained=out / "t", test=out / "test", model=model, parity=parity)
    assert verify(model) == digest
    named = {name: out / name for name in ("facts", "evaluation", "decision", "plots", "parity", "model")}
    given = {"source": "synthetic", "as_of": AS_OF, "seed": 7, "shift": "", "options": {"epochs": 3.0}}
    versions = [steps.register("toy", **given, **named) for _ in range(2)]  # type: ignore[arg-type]
    assert versions == [1, 1]
    registry = Registry(Settings.load())
    assert registry.model_card("toy", 1).request.options == {"epochs": 3}
    assert not (root / ".hallmark" / "runs").exists()

    registry.alias("toy", CHAMPION, 1)
    released = registry.resolve("toy", CHAMPION)
    assert released.path is not None
    (released.path / "model.onnx").write_bytes(b"swapped")
    with pytest.raises(ModelRefused):
        steps.compare(
            "toy",
            evaluation=out / "evaluation",
            scores=out / "scores",
            test=out / "test",
            decision=out / "again",
            summary=out / "why",
        )


def test_the_gate_says_no_to_a_candidate_below_the_floor(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    through_evaluation(out)
    declaration = root / "domains" / "toy" / "domain.yaml"
    declaration.write_text(declaration.read_text().replace("floor: 0.5", "floor: 0.9999"))
    steps.compare(
        "toy",
        evaluation=out / "evaluation",
        scores=out / "scores",
        test=out / "test",
        decision=out / "decision",
        summary=out / "why",
    )
    assert steps.gate("toy", decision=out / "decision") is False
    assert GateJudgement.model_validate_json((out / "decision").read_bytes()).champion is None
    assert (out / "why").read_text().startswith("# toy: refused")


_RESUMABLE = """
_fit = fit


def fit(train, validation, *, seed, checkpoint=None, killed=False, progress=None):
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / str(len(list(checkpoint.iterdir())))).touch()
    if killed:
        raise KeyboardInterrupt
    (checkpoint.parent / "told").write_text(str(len(list(checkpoint.iterdir()))))
    return _fit(train, validation, seed=seed)


import dataclasses

SPEC = dataclasses.replace(SPEC, fit=fit)
"""


def test_a_training_is_given_a_place_that_a_kill_leaves_and_its_end_removes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    through_evaluation(out)
    for name in [name for name in sys.modules if name.endswith(".toy.model")]:  # by whatever name its checkout goes
        del sys.modules[name]
    (model := root / "domains" / "toy" / "model.py").write_text(model.read_text() + _RESUMABLE)
    cache = tmp_path / "cache"
    trained = cache / "drafts" / "train-abc" / "outputs" / "trained"
    parts = {name: out / name for name in ("training", "validation")}
    with pytest.raises(KeyboardInterrupt):
        steps.train("toy", seed=7, options={"killed": True}, trained=trained, history=out / "history", **parts)
    assert [path.name for path in (cache / "checkpoints").iterdir()] == ["train-abc"]
    steps.train("toy", seed=7, options={}, trained=trained, history=out / "history", **parts)
    assert [path.name for path in (cache / "checkpoints").iterdir()] == ["told"]
    assert (cache / "checkpoints" / "told").read_text() == "2" and trained.is_dir()
    assert steps.checkpoint(tmp_path / "artifacts" / "trained") is None


def test_the_day_is_the_one_given_else_the_scheduled_one_else_today() -> None:
    assert steps.day("2026-11-01", "2026-10-01") == AS_OF
    assert steps.day("", "2026-11-01T00:00:00Z") == AS_OF
    assert steps.day("2026-11-01T02:00:00+02:00") == AS_OF
    today = datetime.now(UTC).date()
    assert steps.day("", "{{$.pipeline_job_schedule_time_utc}}")[:10] in {
        today.isoformat(),
        datetime.now(UTC).date().isoformat(),
    }
    with pytest.raises(DeclarationError, match="the time is not a day"):
        steps.day("tomorrow")


def test_a_window_ends_where_labels_are_final(root: Path) -> None:
    start, end = steps.span(domains.load("toy"), AS_OF, "10d")
    assert (start.isoformat()[:10], end.isoformat()[:10]) == ("2026-10-21", "2026-10-31")


def test_errors_keep_their_kind_and_parts_on_their_way_out_of_a_process(tmp_path: Path) -> None:
    error = ModelRefused("no", expected="a", got="b", fix="c")
    back = Failure.model_validate_json(Failure.of(error).model_dump_json()).error()
    assert isinstance(back, ModelRefused)
    assert str(back) == str(error)
    assert Failure.of(ValueError("x")).error() is None
    assert Failure(kind="Path", message="not one of ours").error() is None


def test_a_journal_gives_whole_lines_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    follow = journal.follow()
    assert next(follow) is None
    journal.add(JournalEvent(step="load", state="started"))
    with journal.path.open("a") as stream:
        stream.write('{"step": "load", "sta')
    first = next(follow)
    assert first is not None
    assert first.state == "started"
    assert next(follow) is None
    with journal.path.open("a") as stream:
        stream.write('te": "finished"}\n')
    last = next(follow)
    assert last is not None
    assert last.state == "finished"
