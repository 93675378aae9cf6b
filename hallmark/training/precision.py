"""In which precision a trained model ships: whether what int8 gains is worth what it loses, judged on the form itself."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.evaluation import GateDecision
from hallmark.artifacts.precision import Int8Measurement, Precision, Speed
from hallmark.declaration import domain as domains
from hallmark.errors import ModelRefused
from hallmark.features.fields import Output
from hallmark.learners import onnx_model
from hallmark.learners.model import examples, spec, task_of
from hallmark.training import evaluate, gate
from hallmark.training.export import evaluate_folder, sample
from hallmark.training.quantize import quantize
from hallmark.training.race import race

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.artifacts.evaluation import Evaluation, GateDecision
    from hallmark.declaration.domain import Domain
    from hallmark.learners.model import Examples, OtherAnswers, Progress
    from hallmark.settings import Settings
    from hallmark.tasks.metric import Metric

INT8 = "int8.onnx"
"""Beside a trained model's own files, where its int8 form was chosen to ship."""
ROWS = 256
"""Training examples that the scales are taken from."""
SPEED_UP = 1.2
"""Least speed-up of int8 to choose it: far more than the best of many runs varies, so that two trainings choose alike."""


@dataclass(frozen=True)
class ModelForm:
    """Result of one form of a model on the test examples."""

    scores: NDArray[Any]
    evaluation: Evaluation

    @classmethod
    def of(
        cls, domain: Domain, path: Path, inputs: NDArray[np.float32], test: pd.DataFrame, settings: Settings | None
    ) -> ModelForm:
        """Of the ONNX model at `path`; `ModelRefused` where its answers are not what the domain declares."""
        outputs = spec(domain, settings).outputs
        made = scores(path, inputs, outputs)
        onnx_model.within(made, outputs[0])
        return cls(made, evaluate.evaluate(domain, made, test, settings=settings))

    def on(
        self, domain: Domain, test: pd.DataFrame, rows: NDArray[np.bool_] | None, settings: Settings | None
    ) -> Evaluation | None:
        """Evaluation on some of the rows; None where those are all."""
        if rows is None:
            return None
        return evaluate.evaluate(domain, self.scores[rows], test[rows].reset_index(drop=True), settings=settings)


def choose(
    domain: Domain,
    candidate: Path,
    *,
    training: pd.DataFrame,
    test: pd.DataFrame,
    seed: int,
    champion: Path | None = None,
    unseen: NDArray[np.bool_] | None = None,
    measure: Callable[[Path, Path, NDArray[np.float32]], Speed] | None = None,
    progress: Progress = lambda done, total, note: None,
    settings: Settings | None = None,
) -> Precision:
    """Try the trained model in the folder `candidate` in int8; put int8.onnx beside it where that is to ship.

    Its scales are of `training` alone. It ships where on `test` it passes the domain's gate beside `champion` (a model
    folder; on its `unseen` rows, where that is given), is worse than its fp32 form by `gate.precision_loss` at most and in no slice by more than the gate allows, and
    is `SPEED_UP` times as fast on this machine, by `measure` (`race`).
    """
    if domain.serving.precision != "int8":
        return Precision()
    theirs = None
    if champion is not None:
        rows = test if unseen is None else test[unseen].reset_index(drop=True)
        theirs = evaluate_folder(domain, champion, rows, settings=settings)[1]
    made = spec(domain, settings)
    metrics = task_of(domain, made).metrics()
    encoded = examples(domain.name, test, settings=settings).inputs
    inputs = examples(domain.name, sample(training, ROWS, seed=seed), settings=settings).inputs
    with tempfile.TemporaryDirectory() as scratch:
        fp32, int8 = Path(scratch) / "fp32.onnx", Path(scratch) / INT8
        progress(0, 3, "test examples in fp32")
        made.restore(candidate).export(fp32)
        onnx_model.tidy(fp32)
        whole = ModelForm.of(domain, fp32, encoded, test, settings)
        progress(1, 3, "test examples in int8")
        try:
            layers = quantize(fp32, int8, inputs)
            small = ModelForm.of(domain, int8, encoded, test, settings)
        except ModelRefused as error:
            return Precision(reasons=(f"{error.message} (expected {error.expected}, got {error.got})",))
        progress(2, 3, "one against the other")
        speed = (measure or race)(fp32, int8, inputs[:1])
        decisions = [
            _faster(speed),
            _near(domain, small, whole, metrics),
            gate.decide(
                domain.gate, small.evaluation, theirs, metrics=metrics, beside=small.on(domain, test, unseen, settings)
            ),
        ]
        passed = all(decision.passed for decision in decisions)
        if passed:
            shutil.copyfile(int8, candidate / INT8)
    ordered = sorted(decisions, key=lambda decision: decision.passed)
    found = Precision(
        kept="int8" if passed else "fp32",
        reasons=tuple(dict.fromkeys(reason for decision in ordered for reason in decision.reasons)),
        measured=_measured(metrics[domain.gate.metric], whole, small, layers=layers, inputs=inputs, speed=speed),
    )
    progress(3, 3, found.line)
    return found


def chosen(folder: Path) -> Path | None:
    """The int8 form that is to ship of the trained model in `folder`; none where fp32 is."""
    path = folder / INT8
    return path if path.is_file() else None


def predict(name: str, folder: Path, inputs: Any, *, settings: Settings | None = None) -> NDArray[Any]:
    """Predictions of the trained model of domain `name` in `folder` on `inputs`, in the precision that is to ship."""
    declared = spec(domains.load(name, settings), settings)
    int8 = chosen(folder)
    if int8 is not None:
        return scores(int8, inputs, declared.outputs)
    found: NDArray[Any] = declared.restore(folder).predict(inputs)
    return found


def others(name: str, folder: Path, inputs: Any, *, settings: Settings | None = None) -> OtherAnswers | None:
    """What the trained model of domain `name` in `folder` shows beside its answers to `inputs`; None where it shows nothing."""
    trained = spec(domains.load(name, settings), settings).restore(folder)
    found: OtherAnswers | None = trained.others(inputs) if hasattr(trained, "others") else None
    return found


def figures(name: str, folder: Path, examples: Examples, *, settings: Settings | None = None) -> dict[str, float]:
    """What the trained model of domain `name` in `folder` tells of itself on `examples`, what it cannot tell left out."""
    trained = spec(domains.load(name, settings), settings).restore(folder)
    found: Mapping[str, float] = trained.figures(examples) if hasattr(trained, "figures") else {}
    return {each: float(value) for each, value in found.items() if math.isfinite(value)}


def completed(
    name: str, folder: Path, examples: Examples, *, settings: Settings | None = None
) -> NDArray[np.float64] | None:
    """(n,) labels, of which the trained model of domain `name` drew those that are only bounds; None where it cannot."""
    trained = spec(domains.load(name, settings), settings).restore(folder)
    found: NDArray[np.float64] | None = trained.completed(examples) if hasattr(trained, "completed") else None
    return found


def scores(path: Path, inputs: NDArray[np.float32], outputs: tuple[Output, ...]) -> NDArray[Any]:
    """The first of `outputs` of the ONNX model at `path`; `ModelRefused` where it does not give what they say."""
    running = onnx_model.session(path)
    onnx_model.agrees(running, outputs)
    return onnx_model.run(running, inputs, [outputs[0].name])[outputs[0].name]


def _faster(speed: Speed) -> GateDecision:
    passed = speed.gain >= SPEED_UP
    text = (
        f"{speed.int8:.3f} ms a row instead of {speed.fp32:.3f}: {speed.gain:.2f} times as fast, "
        f"{'at least' if passed else 'less than'} the {SPEED_UP:.2f} asked for"
    )
    return GateDecision(passed=passed, reasons=(text,))


def _near(domain: Domain, small: ModelForm, whole: ModelForm, metrics: Mapping[str, Metric]) -> GateDecision:
    """int8 judged beside fp32 as a candidate beside its champion, with its own tolerance, which no noise widens."""
    allowed = domain.gate.model_copy(update={"minimum_gain": -domain.gate.precision_loss})
    exact = small.evaluation.model_copy(
        update={"estimates": {}, "slices": tuple(each.brief for each in small.evaluation.slices)}
    )
    return gate.decide(allowed, exact, whole.evaluation, metrics=metrics, named="fp32")


def _measured(
    metric: Metric,
    whole: ModelForm,
    small: ModelForm,
    *,
    layers: dict[str, int],
    inputs: NDArray[np.float32],
    speed: Speed,
) -> Int8Measurement:
    fp32, int8 = whole.evaluation.metrics[metric.name], small.evaluation.metrics[metric.name]
    return Int8Measurement(
        layers=layers,
        rows=len(inputs),
        calibration=f"sha256:{hashlib.sha256(inputs.tobytes()).hexdigest()}",
        metric=metric.name,
        fp32=fp32,
        int8=int8,
        loss=int8 - fp32 if metric.direction == "lower" else fp32 - int8,
        difference=float(np.abs(small.scores - whole.scores).max()),
        milliseconds=speed,
        speed_up=round(speed.gain, 2),
    )
