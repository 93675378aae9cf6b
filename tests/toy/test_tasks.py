"""Every task the whole way: train, gate, model card, shadow, late labels and drift, with the parts that serve and watch."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts.evaluation import Evaluation
from hallmark.artifacts.folder import signature
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from tests.conftest import once
from tests.hallmark.rollout import candidates
from tests.toy.whole_way import DRIFT, KINDS, OPTIONS, TOY, Watched, changed, compared, requests, shifted


@dataclass(frozen=True)
class Trained:
    """All six, version 1 each. at: what the steps of each wrote, and its model folder as the registry gave it back."""

    settings: Settings
    at: Path

    def folder(self, name: str) -> Path:
        """The sealed model folder, with its model card."""
        return self.at / name / "version"


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Trained:
    def settings_of(folder: Path) -> Settings:
        return Settings.load({"HALLMARK_ROOT": str(folder / "root"), "HALLMARK_STATE": str(folder / "state")})

    def make(folder: Path) -> None:
        shutil.copytree(TOY / "domains", folder / "root" / "domains", ignore=shutil.ignore_patterns("__pycache__"))
        settings = settings_of(folder).prepared()
        shutil.copyfile(empty_registry, settings.state / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            for key, value in settings.environment().items():
                patch.setenv(key, value)
            for name in KINDS:
                assert candidates.train(folder / name, name=name, window="20d", options=OPTIONS.get(name, {})) == 1
                shutil.copytree(Registry(settings).resolve(name, 1).fetch(), folder / name / "version")

    folder = once(tmp_path_factory, "six", make)
    return Trained(settings_of(folder), folder)


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", KINDS)
def test_a_task_is_trained_gated_and_registered_with_its_card(six: Trained, name: str) -> None:
    declared = domains.load(name, six.settings)
    assert declared.task.kind == KINDS[name] == signature(six.folder(name)).task.kind
    card = model_cards.read(six.folder(name))
    assert card.decision.passed and card.metrics[declared.gate.metric]
    assert card.parity.difference <= card.parity.tolerance
    evaluation = Evaluation.model_validate_json((six.at / name / "evaluation").read_bytes())
    assert declared.gate.metric in evaluation.errors and evaluation.charts
    assert all(
        point.y == point.y
        for chart in evaluation.charts
        if hasattr(chart, "lines")
        for line in chart.lines
        for point in line.points
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_shadow_of_an_equal_candidate_agrees_and_of_a_broken_one_does_not(
    six: Trained, name: str, scratch: Path
) -> None:
    declared, good = domains.load(name, six.settings), six.folder(name)
    assert declared.rollout.shadow is not None
    sides = {"stable": good}
    for kind in ("good", "backwards"):
        sides[kind] = scratch / kind
        candidates.make(kind, good, sides[kind])
    watched = {side: Watched(name, folder) for side, folder in sides.items()}
    given = requests(name, six.settings)
    for each in watched.values():
        each.ask(given)
    assert changed(declared, watched["stable"], watched["good"]) == 0
    assert compared(declared, watched["stable"], watched["good"]).scores(), (
        "nothing that a rollout could hold side by side"
    )
    assert changed(declared, watched["stable"], watched["backwards"]) > 2 * declared.rollout.shadow.disagreement


@pytest.mark.parametrize("name", KINDS)
def test_late_labels_tell_a_model_that_is_right_from_one_that_is_not(six: Trained, name: str, scratch: Path) -> None:
    good = six.folder(name)
    candidates.make("backwards", good, scratch / "backwards")
    given = requests(name, six.settings, count=2 * DRIFT.labels.minimum if name != "letters" else 900)
    found = {}
    for side, folder in (("good", good), ("backwards", scratch / "backwards")):
        watched = Watched(name, folder)
        watched.ask(given)
        assert watched.label(given) == (sum(len(labels) for _, labels in given), 0)
        found[side] = watched.monitor.verdict("v").labels
    assert found["good"] is not None and found["backwards"] is not None
    assert found["good"].state == "OK", found["good"]
    assert found["backwards"].error > found["good"].error  # type: ignore[operator]
    if name != "letters":  # the noise of a transformed outcome hides what a few hundred labels say of an uplift
        assert found["backwards"].state == "DRIFT", found["backwards"]


@pytest.mark.parametrize("name", KINDS)
def test_drift_is_seen_and_usual_requests_are_none(six: Trained, name: str) -> None:
    watched = Watched(name, six.folder(name))
    watched.ask(requests(name, six.settings))
    before = watched.monitor.verdict("v")
    assert before.state == "OK", (before.reasons, json.dumps([c.model_dump() for c in before.columns if c.drifted]))
    moved = Watched(name, six.folder(name))
    moved.ask(shifted(name, six.settings))
    assert moved.monitor.verdict("v").state == "DRIFT"


def test_all_records_of_a_query_come_in_one_request_and_a_retrieval_asks_once(six: Trained) -> None:
    ranked, found = (requests(name, six.settings, count=20) for name in ("places", "finds"))
    for body, labels in ranked:
        inputs = json.loads(body)["inputs"]
        assert {each["shape"][0] for each in inputs} == {len(labels)} and len(labels) > 1
        assert [label["row"] for label in labels] == list(range(len(labels)))
    for body, labels in found:
        assert {each["shape"][0] for each in json.loads(body)["inputs"]} == {1}
        assert len(labels) == 1 and len(labels[0]["label"]) > 1
    assert len({json.loads(body)["id"] for body, _ in ranked}) == 20


@pytest.mark.parametrize(("output", "named"), [("scores", "probabilities"), ("probabilities", "holds the class")])
def test_a_shadow_that_would_compare_nothing_is_refused_at_export(
    six: Trained, scratch: Path, output: str, named: str
) -> None:
    from hallmark.data import dataset
    from hallmark.learners.model import spec
    from hallmark.training.export import export

    declared = domains.overridden(domains.load("sizes", six.settings), [f"rollout.shadow.output={output}"])
    trained = spec(declared, six.settings).restore(six.at / "sizes" / "trained")
    frame = dataset.read(six.at / "sizes" / "test")
    with pytest.raises(DeclarationError, match=named):
        export(declared, trained, scratch / "model", test=frame, reference=frame, settings=six.settings)
    assert not (scratch / "model").exists()
