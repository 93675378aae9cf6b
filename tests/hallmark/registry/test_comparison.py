"""Two trainings beside each other: row N8 of ../shared/cases/users.md."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hallmark.artifacts.evaluation import Evaluation, GateDecision
from hallmark.artifacts.trial import Fit, Point, Trial
from hallmark.errors import NotFound
from hallmark.registry import comparison, comparison_page
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from hallmark.tasks.binary import Binary
from hallmark.tasks.bootstrap import Estimate
from tests.hallmark.registry.conftest import Make, model_card

TEST = "sha256:" + "5" * 64


def evaluation(path: Path, value: float, noise: float, *, fields: dict[str, float]) -> Path:
    """One whose error is `noise`; all of them err in the same draws."""
    replicates = tuple(value + noise * (1 if number % 2 else -1) for number in range(100))
    estimate = Estimate(value=value, error=noise, replicates=replicates, draws="same")
    made = Evaluation(
        rows=200,
        test=TEST,
        metric="average_precision",
        metrics={"average_precision": value},
        estimates={"average_precision": estimate},
        importance=fields,
    )
    path.write_text(made.model_dump_json())
    return path


def trial(value: float, *, experiment: str, passed: bool = True, **options: float) -> Trial:
    card = model_card("sha256:" + "7" * 64)
    request = card.request.model_copy(update={"options": options})
    return Trial(
        domain="toy",
        outcome="experiment" if experiment else "refused",
        experiment=experiment,
        created=datetime(2026, 11, 1, tzinfo=UTC),
        request=request,
        data=card.data,
        code=card.code,
        features=card.features,
        libraries=card.libraries,
        test=TEST,
        test_rows=200,
        metric="average_precision",
        metrics={"average_precision": value},
        errors={"average_precision": 0.02},
        decision=GateDecision(passed=passed, reasons=("it is too bad" if not passed else "it is good",)),
        fit=Fit(
            began=datetime(2026, 11, 1, 12, tzinfo=UTC), seconds=90.0, curve=(Point(step=1, name="loss", value=0.5),)
        ),
    )


@pytest.fixture
def registry(settings: Settings, make: Make, tmp_path: Path) -> Registry:
    """Version 1, and two trials of an experiment."""
    registry = Registry(settings)
    folder, card = make("one")
    first = evaluation(tmp_path / "first.json", 0.70, 0.02, fields={"amount": 0.1, "hour": 0.01})
    registry.register(folder, card, plots={"evaluation.json": first})
    for value, rate in ((0.701, 0.03), (0.75, 0.1)):
        seen = evaluation(tmp_path / f"{rate}.json", value, 0.02, fields={"amount": 0.2})
        registry.log(trial(value, experiment="rates", learning_rate=rate), plots={"evaluation.json": seen})
    return registry


def test_n8_trials_are_logged_make_no_challenger_and_are_compared(registry: Registry) -> None:
    assert [each.version for each in registry.versions("toy")] == [1]
    found = registry.trials("toy")
    assert {(each.experiment, each.options) for each in found} == {
        ("rates", "learning_rate=0.03"),
        ("rates", "learning_rate=0.1"),
    }
    assert {each.seconds for each in found} == {90.0}, "a run lasts as long as its fit did"
    better = next(each for each in found if each.value == 0.75)
    with pytest.raises(NotFound, match="no trial") as few:
        registry.trial("toy", better.run[:1])
    assert "4 of its letters" in few.value.expected
    told = comparison.compare("toy", "1", better.run[:8], registry, Binary().metrics())
    (row, *_) = told.metrics
    assert told.paired and row.metric == "average_precision"
    assert row.difference == pytest.approx(0.05) and row.error == pytest.approx(0.0, abs=1e-9)
    assert (row.told, row.better) == (True, "b"), "both err on the same examples, so the difference is told"
    assert [(each.what, each.a, each.b) for each in told.options] == [
        ("learning_rate", "-", "0.1"),
        ("pause", "0", "-"),
    ]
    assert [each.field for each in told.importance] == ["amount", "hour"]


def test_a_trial_on_made_up_examples_is_never_called_better_than_a_model_of_real_ones(registry: Registry) -> None:
    """A newcomer forgot --data in a trial of their own domain, and `compare` praised it."""
    own = trial(0.3, experiment="rates")
    run = registry.log(own.model_copy(update={"request": own.request.model_copy(update={"origin": "orders.parquet"})}))
    told = comparison.compare("toy", "1", run[:8], registry, Binary().metrics())
    said = comparison_page.verdict(told)
    assert said.startswith("version 1 has learnt from synthetic and run") and "orders.parquet" in said
    assert "do not tell which is better" in said


def test_a_refused_training_is_logged_once_with_its_reason(registry: Registry) -> None:
    refused = trial(0.2, experiment="", passed=False)
    assert registry.log(refused) == registry.log(refused)
    (line,) = [each for each in registry.trials("toy") if each.outcome == "refused"]
    assert (line.reason, line.passed) == ("it is too bad", False)


def test_mlflow_has_the_run_as_its_page_wants_it(registry: Registry) -> None:
    run = next(each for each in registry.trials("toy") if each.value == 0.75).run
    with registry._asked("toy") as client:
        found = client.get_run(run)
        curve = client.get_metric_history(run, "curve.loss")
        kind = client.get_experiment(found.info.experiment_id).tags["mlflow.experimentKind"]
    assert (found.info.end_time - found.info.start_time) == 90_000
    assert found.data.params["option.learning_rate"] == "0.1"
    assert found.data.metrics["average_precision_error"] == 0.02
    assert [(each.step, each.value) for each in curve] == [(1, 0.5)]
    assert found.inputs.dataset_inputs[0].dataset.name == "synthetic"
    assert found.data.tags["mlflow.user"] and found.data.tags["mlflow.source.name"] == "hallmark train toy"
    assert kind == "custom_model_development"


def test_what_is_not_there_is_said(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no trial"):
        comparison.compare("toy", "1", "deadbeef", registry, Binary().metrics())
    with pytest.raises(NotFound, match="no version 9"):
        comparison.compare("toy", "9", "1", registry, Binary().metrics())


def test_versions_and_trials_are_read_without_mlflow(registry: Registry) -> None:
    script = (
        "import json, sys; from hallmark.settings import Settings; from hallmark.registry.store import Registry\n"
        "settings = Settings.model_validate_json(sys.argv[1]); registry = Registry(settings)\n"
        "told = [registry.versions('toy')[0].model_dump(mode='json'), len(registry.trials('toy'))]\n"
        "registry.model_card('toy', 'challenger')\n"
        "print(json.dumps([*told, 'mlflow' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, registry.settings.model_dump_json()], capture_output=True, text=True, check=True
    )
    line, trials, heavy = json.loads(done.stdout)
    with registry._asked("toy") as client:
        item = client.get_model_version("toy", "1")
    assert (line["digest"], line["aliases"], trials, heavy) == (item.tags["digest"], ["challenger"], 2, False)


def test_what_rounding_makes_is_not_told_from_chance() -> None:
    assert comparison._told(1.1e-16, 0.0) is False, "two models that rank the same have one average precision"
    assert comparison._told(0.01, 0.004) is True
    assert comparison._told(0.01, None) is None
