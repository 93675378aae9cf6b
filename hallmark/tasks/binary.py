"""Binary: will it happen? One probability a record, against 0 or 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from hallmark.tasks import answers as late
from hallmark.tasks import metric as figures
from hallmark.tasks import targets as columns_of
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.charts import Chart, Confusion, thinned
from hallmark.tasks.metric import Metric
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import BaseTask

if TYPE_CHECKING:
    import pandas as pd

RATE = 0.01
_EPSILON = float(np.finfo(np.float64).eps)


class Binary(BaseTask):
    """One probability a record; in a shadow, answers agree on the same side of a threshold."""

    kind: Literal["binary"] = "binary"
    rule: ClassVar[Literal["threshold"]] = "threshold"

    @property
    def shape(self) -> tuple[int, ...]:
        """(): one number a record."""
        return ()

    @property
    def limits(self) -> tuple[float, float]:
        """A probability."""
        return 0.0, 1.0

    @property
    def gated(self) -> str:
        """Average precision: it does not flatter a rare answer."""
        return "average_precision"

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Labels 0 or 1, int64."""
        labels = columns_of.numbers(frame, columns.label, role="label")
        wrong = ~np.isin(labels, (0.0, 1.0))
        columns_of.refuse_where(wrong, frame[columns.label], role="label", expected="0 or 1")
        return Targets(
            labels=labels.astype(np.int64),
            groups=columns_of.entities(frame, columns),
            weights=columns_of.weights(frame, columns),
        )

    def metrics(self) -> Mapping[str, Metric]:
        """Ranking and calibration, and what a threshold of one half gives."""
        return METRICS

    def enough(self, targets: Targets) -> str | None:
        """Both answers have to be there."""
        found = np.unique(targets.labels).tolist()
        return (
            None
            if found == [0, 1]
            else f"the label is {' and '.join(map(str, found)) or 'missing'} in all {len(targets)} rows"
        )

    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The side of the threshold; without one, the word."""
        least = rule.threshold
        if least is None:
            return list(answers)
        return [value >= least if isinstance(value, int | float) else None for value in answers]

    def disagreement_problem(self, rule: Agreement, *, words: bool = False) -> str | None:
        """A number needs a threshold, a word must have none."""
        if words and rule.threshold is not None:
            return (
                "the output holds words, which have no threshold; take threshold away or name the output with the score"
            )
        if not words and rule.threshold is None:
            return (
                "without a threshold two scores would have to be equal to the last bit; declare the threshold from which on "
                "the answer is a yes"
            )
        return super().disagreement_problem(rule, words=words)

    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """(p - y)² (Brier, 1950) and bias y - p; of words 0 or 1, for another word."""
        return late.by_record(answers, labels, _judged)

    def label_problem(self, label: object) -> str | None:
        """0 or 1, or the word that a domain answers."""
        if isinstance(label, str):
            return None if label else "expected label: 0, 1 or a word"
        return None if late.number(label) in (0.0, 1.0) else "expected label: 0, 1 or a word"

    def costs(
        self,
        answers: Sequence[Value],
        labels: Sequence[Label],
        requests: Sequence[str],
        *,
        threshold: float | None = None,
        false_negative: float = 1.0,
        false_positive: float = 1.0,
    ) -> Floats:
        """0 for a right answer, else what that mistake costs; without a threshold any wrong word is a `false_negative`."""
        if threshold is None:
            return np.array(
                [
                    math.nan if label is None else 0.0 if answer == label else false_negative
                    for answer, label in zip(answers, labels, strict=True)
                ],
                dtype=np.float64,
            )
        said = self.compared(answers, Agreement(threshold=threshold))
        return np.array(
            [
                math.nan
                if label is None
                else 0.0
                if side == bool(label)
                else false_negative
                if side is False
                else false_positive
                for side, label in zip(said, labels, strict=True)
            ],
            dtype=np.float64,
        )

    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """Precision over recall, and the receiver's operating characteristic."""
        true, false = (side[0] for side in counts(targets, predictions, targets.weighed()[None, :]))
        if not len(true):
            return ()
        positives, negatives = max(true[-1], _EPSILON), max(false[-1], _EPSILON)
        precision = thinned("model", np.append(0.0, true / positives), np.append(1.0, true / (true + false)))
        roc = thinned("model", np.append(0.0, false / negatives), np.append(0.0, true / positives))
        share = float(true[-1] / (true[-1] + false[-1]))
        return (
            Chart(
                title="precision over recall",
                across="recall",
                up="precision",
                lines=(precision,),
                metric="average_precision",
                steps=True,
                baseline=share,
            ),
            Chart(
                title="receiver operating characteristic",
                across="false positive rate",
                up="true positive rate",
                lines=(roc,),
                metric="roc_auc",
                diagonal=True,
            ),
        )


def counts(targets: Targets, scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(r, d) weight of true and of false positives at each distinct score as threshold, best first, under each of r weights."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.array([], dtype=np.int64)
    sorted_weights = weights[:, order]
    whole = np.cumsum(sorted_weights, axis=1)[:, last]
    true = np.cumsum(sorted_weights * (targets.labels[order] == 1), axis=1)[:, last]
    return true, whole - true


def _average_precision(targets: Targets, scores: Floats, weights: Floats) -> Floats:
    true, false = counts(targets, scores, weights)
    flagged = true + false
    precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
    return figures.divided((np.diff(true, axis=1, prepend=0.0) * precision).sum(axis=1), true[:, -1])


def _roc_auc(targets: Targets, scores: Floats, weights: Floats) -> Floats:
    true, false = counts(targets, scores, weights)
    steps = np.diff(false, axis=1, prepend=0.0)
    middle = true - np.diff(true, axis=1, prepend=0.0) / 2
    return figures.divided((steps * middle).sum(axis=1), true[:, -1] * false[:, -1])


def _recall_at_rate(targets: Targets, scores: Floats, weights: Floats) -> Floats:
    true, false = counts(targets, scores, weights)
    few = false <= RATE * false[:, -1:]
    found = np.where(few, true, 0.0).max(axis=1)
    return np.where(false[:, -1] > 0, figures.divided(found, true[:, -1]), np.nan)


def _log_losses(targets: Targets, scores: Floats) -> Floats:
    given = np.where(targets.labels == 1, scores, 1 - scores)
    return np.asarray(-np.log(np.clip(given, _EPSILON, 1.0)))


def _flags(targets: Targets, scores: Floats) -> tuple[Floats, Floats, Floats]:
    flagged, positive = (scores >= 0.5).astype(np.float64), (targets.labels == 1).astype(np.float64)
    return flagged * positive, flagged, positive


def _sklearn(name: str) -> Callable[[Targets, Floats], float]:
    def called(targets: Targets, scores: Floats) -> float:
        from sklearn import metrics

        given = scores >= 0.5 if name in ("precision_score", "recall_score") else scores
        extra = {"labels": [0, 1]} if name == "log_loss" else {}
        return float(getattr(metrics, name)(targets.labels, given, sample_weight=targets.weights, **extra))

    return called


METRICS = figures.named(
    (
        Metric(
            "average_precision",
            "higher",
            _average_precision,
            "Mean precision over the steps in recall; equal scores are one step. Not told without a positive.",
            library=_sklearn("average_precision_score"),
        ),
        Metric(
            "roc_auc",
            "higher",
            _roc_auc,
            "Chance that a positive outranks a negative; a tie counts half. Not told with one class only.",
            library=_sklearn("roc_auc_score"),
        ),
        Metric(
            "log_loss",
            "lower",
            figures.mean(_log_losses),
            "Mean negative logarithm of the probability given to what happened, cut at the smallest float64 step.",
            unit="nat",
            library=_sklearn("log_loss"),
        ),
        Metric(
            "brier",
            "lower",
            figures.mean(lambda targets, scores: (scores - targets.labels) ** 2),
            "Mean squared distance between score and label.",
            library=_sklearn("brier_score_loss"),
        ),
        Metric(
            "precision",
            "higher",
            figures.ratio(lambda targets, scores: _flags(targets, scores)[:2]),
            "Share of positives among what scores 0.5 or more. Not told where nothing does.",
            library=_sklearn("precision_score"),
        ),
        Metric(
            "recall",
            "higher",
            figures.ratio(lambda targets, scores: _flags(targets, scores)[::2]),
            "Share of the positives that score 0.5 or more. Not told without a positive.",
            library=_sklearn("recall_score"),
        ),
        Metric(
            "recall_at_1pct_fpr",
            "higher",
            _recall_at_rate,
            "Share of the positives found while at most 1% of the negatives are flagged; equal scores are flagged together.",
        ),
        Metric(
            "positive_share",
            "neither",
            figures.mean(lambda targets, scores: (targets.labels == 1).astype(np.float64)),
            "Share of positives among the examples.",
        ),
    )
)


def _judged(answer: Value, label: Label) -> tuple[float, float]:
    if isinstance(answer, str) and isinstance(label, str):
        return float(answer != label), 0.0
    given, right = late.number(answer), late.number(label)
    if not 0 <= given <= 1 or right not in (0.0, 1.0):
        return math.nan, math.nan
    return (given - right) ** 2, right - given
