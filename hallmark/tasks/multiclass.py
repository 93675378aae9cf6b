"""Multiclass: which of k is it? One probability a class, against the class's name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hallmark.errors import ModelRefused
from hallmark.tasks import answers as late
from hallmark.tasks import metric as figures
from hallmark.tasks import targets as columns_of
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.charts import Chart, Confusion
from hallmark.tasks.metric import Measure, Metric
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import BaseTask

if TYPE_CHECKING:
    import pandas as pd

_EPSILON = float(np.finfo(np.float64).eps)
_SUM = 1e-3


class Multiclass(BaseTask):
    """One probability a class; in a shadow, answers agree where they name the same class.

    The classes are the model's to say: the model spec's are bound with `model_copy(update={"labels": …})`.
    """

    kind: Literal["multiclass"] = "multiclass"
    labels: tuple[str, ...] = Field(default=(), description="Names of the classes; the model's own where empty.")

    @property
    def shape(self) -> tuple[int, ...]:
        """(k,): one number a class."""
        return (len(self.labels),)

    @property
    def limits(self) -> tuple[float, float]:
        """Probabilities."""
        return 0.0, 1.0

    @property
    def gated(self) -> str:
        """Macro F1: a rare class counts as much as a common one."""
        return "macro_f1"

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Labels as indices into `labels`, int64."""
        column = columns_of.present(frame, columns.label, role="label")
        index = {name: number for number, name in enumerate(self.labels)}
        found = column.astype(str).map(index)
        columns_of.refuse_where(
            found.isna().to_numpy(dtype=np.bool_),
            column,
            role="label",
            expected=", ".join(self.labels),
            fix="add it to the labels of the domain's model.py, or leave those rows out in its data.py",
        )
        return Targets(
            labels=found.to_numpy(dtype=np.int64),
            groups=columns_of.entities(frame, columns),
            weights=columns_of.weights(frame, columns),
        )

    def check(self, raw: NDArray[Any], *, rows: int) -> NDArray[Any]:
        """Probabilities (rows, k) whose rows sum to 1, as far as float16 can say."""
        values = super().check(raw, rows=rows)
        off = np.abs(values.sum(axis=1) - 1)
        if (off > _SUM).any():
            raise ModelRefused(
                f"the probabilities of {int((off > _SUM).sum())} records do not sum to 1",
                expected="1 over the classes",
                got=f"{float(values[np.argmax(off)].sum()):g}",
                fix="end the model with a softmax",
            )
        return values

    def metrics(self) -> Mapping[str, Metric]:
        """Hits, F1 and calibration, and the F1 of each class as `f1_<class>`."""
        each = (
            Metric(
                f"f1_{name}", "higher", _f1(number), f"F1 of {name}. Not told where it neither is there nor guessed."
            )
            for number, name in enumerate(self.labels)
        )
        return figures.named((*METRICS, *each))

    def enough(self, targets: Targets) -> str | None:
        """Two classes at least."""
        found = np.unique(targets.labels)
        if len(found) >= 2:
            return None
        which = self.labels[int(found[0])] if len(found) and self.labels else "missing"
        return f"the label is {which} in all {len(targets)} rows"

    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The class."""
        return list(answers)

    def disagreement_problem(self, rule: Agreement, *, words: bool = True) -> str | None:
        """Only a class can be compared."""
        if not words:
            return "two numbers would have to be equal to the last bit; name the output that holds the class"
        return super().disagreement_problem(rule, words=words)

    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """1 for another class, else 0."""
        return late.by_record(answers, labels, _judged)

    def label_problem(self, label: object) -> str | None:
        """The name of a class."""
        if isinstance(label, str) and (label in self.labels or (label and not self.labels)):
            return None
        return f"expected label: {'one of ' + ', '.join(self.labels) if self.labels else 'the name of a class'}"

    def truths(self, targets: Targets) -> Floats:
        """(n, classes) each class against the others."""
        return np.asarray(targets.labels[:, None] == np.unique(targets.labels), dtype=np.float64)

    def seen_in(self, frame: pd.DataFrame, columns: TargetColumns) -> Multiclass:
        """With the classes that the data has, where none are bound."""
        if self.labels or columns.label not in frame.columns:
            return self
        return self.model_copy(update={"labels": tuple(sorted(set(map(str, frame[columns.label].tolist()))))})

    def telltale(
        self, targets: Targets, values: NDArray[Any], *, train: tuple[Targets, NDArray[Any]] | None = None
    ) -> float | None:
        """Largest area under the ROC curve of one class against the others."""
        if train is not None:  # the same classes on both sides, in the same order
            known = np.isin(train[0].labels, targets.labels)
            absent = np.setdiff1d(targets.labels, train[0].labels)
            train = None if len(absent) else (train[0].take(known), train[1][known])
        return super().telltale(targets, values, train=train)

    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """The confusion matrix."""
        k = predictions.shape[1]
        matrix = np.bincount(targets.labels * k + predictions.argmax(axis=1), minlength=k * k).reshape(k, k)
        return (Confusion(labels=self.labels, counts=tuple(tuple(map(int, row)) for row in matrix)),)


def _judged(answer: Value, label: Label) -> tuple[float, float]:
    if isinstance(answer, str) and isinstance(label, str):
        return float(answer != label), 0.0
    return math.nan, math.nan


def _top(k: int) -> Callable[[Targets, Floats], Floats]:
    def hits(targets: Targets, probabilities: Floats) -> Floats:
        # A stable sort settles ties by class order, so that the figure is the same on every machine.
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return np.asarray((best == targets.labels[:, None]).any(axis=1), dtype=np.float64)

    return hits


def _log_losses(targets: Targets, probabilities: Floats) -> Floats:
    given = _normal(probabilities)[np.arange(len(targets)), targets.labels]
    return np.asarray(-np.log(np.clip(given, _EPSILON, 1.0)))


def _normal(probabilities: Floats) -> Floats:
    # float32 rows sum to 1 within 1e-7; scikit-learn warns from 1e-8 on.
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _hits(targets: Targets, probabilities: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(r, k) each: twice the hits of each class, and how often it was there or guessed."""
    classes = np.arange(probabilities.shape[1])
    there = (targets.labels[:, None] == classes).astype(np.float64)
    guessed = (probabilities.argmax(axis=1)[:, None] == classes).astype(np.float64)
    return 2 * (weights @ (there * guessed)), weights @ (there + guessed)


def _f1(number: int) -> Measure:
    def measure(targets: Targets, probabilities: Floats, weights: Floats) -> Floats:
        hits, both = _hits(targets, probabilities, weights)
        return figures.divided(hits[:, number], both[:, number])

    return measure


def _macro_f1(targets: Targets, probabilities: Floats, weights: Floats) -> Floats:
    hits, both = _hits(targets, probabilities, weights)
    each = np.divide(hits, both, out=np.zeros_like(hits), where=both > 0)
    return figures.divided(each.sum(axis=1), (both > 0).sum(axis=1).astype(np.float64))


def _sklearn_top1(targets: Targets, probabilities: Floats) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(targets.labels, probabilities.argmax(axis=1), sample_weight=targets.weights))


def _sklearn_macro_f1(targets: Targets, probabilities: Floats) -> float:
    from sklearn.metrics import f1_score

    guessed = probabilities.argmax(axis=1)
    return float(f1_score(targets.labels, guessed, average="macro", sample_weight=targets.weights))


def _sklearn_log_loss(targets: Targets, probabilities: Floats) -> float:
    from sklearn.metrics import log_loss

    classes = np.arange(probabilities.shape[1])
    return float(log_loss(targets.labels, _normal(probabilities), labels=classes, sample_weight=targets.weights))


METRICS = (
    Metric(
        "top1",
        "higher",
        figures.mean(_top(1)),
        "Share whose class is the most probable; the first class wins a tie.",
        library=_sklearn_top1,
    ),
    Metric(
        "top3",
        "higher",
        figures.mean(_top(3)),
        # top_k_accuracy_score lets the last class win a tie and takes no two classes.
        "Share whose class is among the three most probable; the first class wins a tie.",
    ),
    Metric(
        "macro_f1",
        "higher",
        _macro_f1,
        "Mean F1 over the classes that are there or were guessed.",
        library=_sklearn_macro_f1,
    ),
    Metric(
        "log_loss",
        "lower",
        figures.mean(_log_losses),
        "Mean negative logarithm of the probability given to what it was, cut at the smallest float64 step.",
        unit="nat",
        library=_sklearn_log_loss,
    ),
)
