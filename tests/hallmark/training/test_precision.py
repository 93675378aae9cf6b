"""Which form of a small CNN ships: judged on its own predictions, raced on this machine, and the same at every training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from hallmark.artifacts import folder as folders
from hallmark.artifacts.precision import Precision, Speed
from hallmark.cli import main
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import ModelRefused
from hallmark.learners.model import examples
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from hallmark.training import precision, run, source
from hallmark.training.evaluate import evaluate
from hallmark.training.export import export, score_folder
from hallmark.training.journal import JournalEvent
from hallmark.training.precision import INT8
from hallmark.training.run import TrainingOutcome
from hallmark.training.split import split

pytestmark = pytest.mark.slow

TOY = Path(__file__).parents[2] / "toy"
HERE = Settings.load({"HALLMARK_ROOT": str(TOY), "HALLMARK_STATE": str(TOY / "never")})
SHAPES = domains.load("shapes", HERE)
END = datetime(2026, 1, 1, tzinfo=UTC)


def raced(gain: float) -> Any:
    """A race that int8 wins by that much."""
    return lambda fp32, int8, row: Speed(fp32=gain, int8=1.0, processor="a test")


def declared(**gate: Any) -> Domain:
    """The domain of shapes with another gate."""
    return SHAPES.model_copy(update={"gate": SHAPES.gate.model_copy(update=gate)})


class Parts:
    """A month of shapes, in its parts."""

    def __init__(self) -> None:
        frame = domains.module("shapes", "data", HERE).draw(start=END - timedelta(days=30), end=END, seed=7)
        parts = split(SHAPES, frame, seed=7, settings=HERE)
        self.train, self.validation, self.test = parts.train, parts.validation, parts.test

    def fit(self, folder: Path, **options: Any) -> Path:
        """A model trained on them, in `folder`."""
        train, validation = (examples("shapes", part, settings=HERE) for part in (self.train, self.validation))
        folder.mkdir(parents=True)
        domains.module("shapes", "model", HERE).fit(train, validation, seed=7, **options).save(folder)
        return folder

    def choose(
        self, folder: Path, domain: Domain = SHAPES, *, test: pd.DataFrame | None = None, **given: Any
    ) -> Precision:
        """The choice for the model in `folder`; int8 wins the race unless said otherwise."""
        given = {"measure": raced(1.5), "seed": 7, **given}
        given["test"] = self.test if test is None else test
        return precision.choose(domain, folder, training=self.train, settings=HERE, **given)

    def ship(self, folder: Path, made: Path) -> str:
        """Export what was chosen of the model in `folder`; give the digest."""
        restored, int8 = domains.module("shapes", "model", HERE).restore(folder), precision.chosen(folder)
        export(SHAPES, restored, made, test=self.test, reference=self.test, int8=int8, settings=HERE)
        return folders.verify(made)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts()


@pytest.fixture(scope="module")
def trained(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts.fit(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "candidate"))


@pytest.fixture(scope="module")
def champion(parts: Parts, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network in float32, sealed."""
    made = tmp_path_factory.mktemp("champion") / "model"
    parts.ship(trained, made)
    return made


def test_int8_ships_where_it_is_faster_and_loses_little(parts: Parts, folder: Path) -> None:
    found = parts.choose(folder)
    assert found.kept == "int8" and found.measured is not None
    measured = found.measured
    assert measured.layers == {"Conv": 3, "Gemm": 1} and measured.rows == 256
    assert measured.loss == pytest.approx(measured.fp32 - measured.int8) and 0 <= measured.loss <= 0.02
    assert found.line == f"int8: 1.50 times as fast, top1 {measured.int8:.4f} (fp32 {measured.fp32:.4f})"
    scores = precision.predict("shapes", folder, examples("shapes", parts.test, settings=HERE).inputs, settings=HERE)
    assert evaluate(SHAPES, scores, parts.test, settings=HERE).metrics["top1"] == measured.int8


def test_a_model_that_eight_bits_ruin_stays_in_fp32_and_says_why(parts: Parts, tmp_path: Path) -> None:
    folder = parts.fit(tmp_path / "outlier", outlier=300.0)
    found = parts.choose(folder)
    assert found.kept == "fp32" and found.measured is not None
    assert found.measured.fp32 > 0.95 and found.measured.int8 < 0.75
    assert "does not reach the floor 0.8000" in found.reasons[0]
    assert any("against fp32's" in reason and "less than the -0.0200 asked for" in reason for reason in found.reasons)
    assert not (folder / INT8).exists()
    inputs = examples("shapes", parts.test, settings=HERE).inputs
    expected = domains.module("shapes", "model", HERE).restore(folder).predict(inputs)
    assert np.array_equal(precision.predict("shapes", folder, inputs, settings=HERE), expected)


def test_it_may_lose_what_is_declared_and_no_more(parts: Parts, folder: Path) -> None:
    found = parts.choose(folder, declared(precision_loss=0.0))
    assert found.kept == "fp32" and found.measured is not None and found.measured.loss > 0
    assert found.line.startswith("fp32; int8: top1") and "less than the -0.0000 asked for" in found.line
    assert parts.choose(folder, declared(precision_loss=found.measured.loss)).kept == "int8"


@pytest.mark.parametrize(("gain", "kept"), [(0.7, "fp32"), (1.19, "fp32"), (1.2, "int8")])
def test_it_has_to_be_faster_by_a_clear_margin(parts: Parts, folder: Path, gain: float, kept: str) -> None:
    found = parts.choose(folder, measure=raced(gain))
    assert found.kept == kept
    assert f"{gain:.2f} times as fast" in found.reasons[0]


def test_it_has_to_hold_its_own_beside_the_champion(parts: Parts, folder: Path, champion: Path) -> None:
    assert parts.choose(folder, declared(minimum_gain=-0.02), champion=champion).kept == "int8"
    (folder / INT8).unlink()
    found = parts.choose(folder, declared(minimum_gain=0.001), champion=champion)  # a demanded gain that it has not
    assert found.kept == "fp32"
    assert "against the champion's" in found.line


def test_a_champion_that_was_swapped_is_no_reason_against_int8_but_an_error(
    parts: Parts, folder: Path, champion: Path, tmp_path: Path
) -> None:
    swapped = Path(shutil.copytree(champion, tmp_path / "swapped"))
    (swapped / "model.onnx").write_bytes(b"swapped")
    with pytest.raises(ModelRefused, match="was changed"):
        parts.choose(folder, champion=swapped)


def test_scales_come_from_training_examples_alone_and_the_same_ones_each_time(parts: Parts, folder: Path) -> None:
    kept = []
    for test, seed in ((parts.test, 7), (parts.test[::2].reset_index(drop=True), 7), (parts.test, 8)):
        found = parts.choose(folder, declared(precision_loss=1.0), test=test, seed=seed)
        assert found.measured is not None
        kept.append((found.measured.calibration, (folder / INT8).read_bytes()))
    assert kept[0] == kept[1]
    assert kept[0][0] != kept[2][0]


def test_what_ships_is_what_was_judged_byte_for_byte(parts: Parts, folder: Path, tmp_path: Path) -> None:
    found = parts.choose(folder)
    assert found.measured is not None
    made = tmp_path / "one"
    assert parts.ship(folder, made) == parts.ship(folder, tmp_path / "two")
    assert (made / "model.onnx").read_bytes() == (folder / INT8).read_bytes()
    assert sorted(path.name for path in made.iterdir()) == [
        *("features.py", "manifest.json", "model.onnx", "profile.json", "reference.parquet", "signature.json"),
        "weights.safetensors",
    ]
    metrics = evaluate(SHAPES, score_folder(made, parts.test), parts.test, settings=HERE).metrics
    assert metrics["top1"] == found.measured.int8


def test_a_model_with_nothing_to_quantize_stays_as_it_is(tmp_path: Path) -> None:
    fraud = domains.load("fraud")
    asked = fraud.model_copy(update={"serving": fraud.serving.model_copy(update={"precision": "int8"})})
    frame = source.load("fraud", source=source.SYNTHETIC, start=END - timedelta(days=3), end=END, seed=1)
    rows = examples("fraud", frame)
    domains.module("fraud", "model").fit(rows, rows, seed=1, rounds=3).save(tmp_path)
    found = precision.choose(asked, tmp_path, training=frame, test=frame, seed=1)
    assert found.kept == "fp32" and found.measured is None
    assert found.line.startswith("fp32; int8: there is nothing to quantize") and "TreeEnsemble" in found.line


def test_an_int8_form_that_answers_nonsense_stays_here(
    parts: Parts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fp32: Path, int8: Path, inputs: Any) -> dict[str, int]:
        made = onnx.load(str(fp32))
        for tensor in made.graph.initializer:
            if tensor.name == "bias":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, dtype=np.float32), "bias"))
        onnx.save(made, str(int8))
        return {"Conv": 3}

    monkeypatch.setattr(precision, "quantize", broken)
    found = parts.choose(folder)
    assert found.kept == "fp32" and "probabilities are not what it declares" in found.line
    assert not (folder / INT8).exists()


def test_nothing_is_tried_where_nothing_is_declared(parts: Parts, folder: Path) -> None:
    plain = SHAPES.model_copy(update={"serving": SHAPES.serving.model_copy(update={"precision": "fp32"})})
    assert parts.choose(folder, plain) == Precision()
    assert not (folder / INT8).exists()


class Run:
    """A whole training with real processes, in a state of its own."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(TOY, folder / "root")
        self.settings = Settings.load({"HALLMARK_ROOT": str(folder / "root"), "HALLMARK_STATE": str(folder / "state")})

    def train(self, **options: Any) -> tuple[TrainingOutcome, dict[str, JournalEvent]]:
        """What it came to, and the last event of each step."""
        ends: dict[str, JournalEvent] = {}
        outcome = run.train(
            "shapes", settings=self.settings, report=lambda event: ends.update({event.step: event}), **options
        )
        return outcome, ends


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, TrainingOutcome, dict[str, JournalEvent]]:
    made = Run(tmp_path_factory.mktemp("ran"))
    return made, *made.train()


Ran = tuple[Run, TrainingOutcome, dict[str, JournalEvent]]
CLI = Callable[..., Any]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CLI:
    """What `hallmark` prints of a run, as JSON."""

    def said(made: Run, *arguments: str) -> Any:
        for key, value in made.settings.environment().items():
            monkeypatch.setenv(key, value)
        assert main([*arguments, "-o", "json"]) == 0
        return json.loads(capsys.readouterr().out)

    return said


def test_a_training_ships_int8_its_model_card_says_so_and_the_next_one_repeats_it(
    ran: Ran, parts: Parts, folder: Path, tmp_path: Path, cli: CLI
) -> None:
    made, outcome, ends = ran
    model_card = Registry(made.settings).model_card("shapes", 1)
    assert model_card.precision == outcome.precision
    measured = model_card.precision.measured
    assert model_card.precision.kept == "int8" and measured is not None
    assert measured.speed_up >= precision.SPEED_UP and measured.milliseconds.processor
    assert model_card.metrics["top1"] == measured.int8  # of what ships, not of what it was made of
    assert outcome.evaluation.metrics == model_card.metrics
    assert model_card.parity.difference <= model_card.parity.tolerance
    assert ends["quantize"].note == outcome.precision.line

    assert cli(made, "versions", "shapes")[0]["precision"] == "int8"
    assert Precision.model_validate(cli(made, "model-card", "shapes", "1")["precision"]) == outcome.precision

    parts.choose(folder)  # in this process, where another wins the race by another time
    assert parts.ship(folder, tmp_path / "model") == outcome.digest

    again, ends = made.train()
    assert {event.state for event in ends.values()} == {"reused"} and "quantize" in ends
    assert (again.version, again.digest, again.precision) == (1, outcome.digest, outcome.precision)


@pytest.mark.long
def test_a_changed_declaration_makes_the_choice_anew(ran: Ran) -> None:
    made, first, _ = ran
    file = made.settings.root / "domains" / "shapes" / "domain.yaml"
    before = file.read_text()
    try:
        file.write_text(before.replace("precision_loss: 0.02", "precision_loss: 0"))
        strict, ends = made.train()
    finally:
        file.write_text(before)
    assert {name for name, event in ends.items() if event.state == "reused"} == {"load", "validate", "split", "train"}
    assert strict.precision.kept == "fp32" and strict.digest != first.digest
    assert Registry(made.settings).model_card("shapes", 2).metrics["top1"] > first.evaluation.metrics["top1"]
    assert [row.precision for row in Registry(made.settings).versions("shapes")] == ["fp32", "int8"]
