"""Regression: how much? One number a record, or one a quantile, against a number that may be only a bound."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from hallmark.errors import ModelRefused
from hallmark.tasks import answers as late
from hallmark.tasks import metric as figures
from hallmark.tasks import regression_metrics, telltale
from hallmark.tasks import targets as columns_of
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.charts import Chart, Confusion, line
from hallmark.tasks.metric import Metric
from hallmark.tasks.regression_metrics import Bound, Scale
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import RELATIVE, BaseTask, ModelGap, both, worst

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 0.05
_CROSSED = 1e-5
_PARTS = 10


class Regression(BaseTask):
    """One number a record; in a shadow, answers agree within a relative tolerance.

    A censored row's label is a bound, and has to be there: lower where the true value is the bound or more (not sold
    after 30 days: it takes 30 or more), upper where it is the bound or less (not sold for 40: it is worth 40 or less).
    A row of which not even a bound is known tells nothing and is refused; leave it out in data.py.
    """

    kind: Literal["regression"] = "regression"
    rule: ClassVar[Literal["tolerance"]] = "tolerance"
    reads: ClassVar[tuple[str, ...]] = ("censored",)
    too_good: ClassVar[float] = 0.999  # the price asked ranks the price paid very well, and is known before it
    quantiles: tuple[float, ...] = Field(default=(), description="Rising, in 0..1; none: one number, the expectation.")
    unit: str = Field(default="", description="What the number counts, such as EUR.")
    bound: Bound = Field(default="lower", description="What a censored label says: the truth is that or more, or less.")
    nonnegative: bool = Field(default=False, description="No answer and no label is below 0.")

    @field_validator("quantiles")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < each < 1 for each in value) or any(a >= b for a, b in pairwise(value)):
            raise ValueError(f"expected rising quantiles between 0 and 1, such as [0.1, 0.5, 0.9]; got {list(value)}")
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """() for one number, (quantiles,) for several."""
        return (len(self.quantiles),) if self.quantiles else ()

    @property
    def limits(self) -> tuple[float, float]:
        """Any number, or none below 0."""
        return (0.0 if self.nonnegative else -math.inf), math.inf

    @property
    def gated(self) -> str:
        """Pinball loss of quantiles, mean absolute error of one number."""
        return "pinball_loss" if self.quantiles else "mean_absolute_error"

    @property
    def scale(self) -> Scale:
        """The part of the task that its metrics need."""
        return Scale(quantiles=self.quantiles, bound=self.bound)

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Labels as numbers, and which are only bounds."""
        labels = columns_of.numbers(frame, columns.label, role="label")
        if self.nonnegative:
            columns_of.refuse_where(labels < 0, frame[columns.label], role="label", expected="numbers of 0 or more")
        censored = columns.censored
        return Targets(
            labels=labels,
            groups=columns_of.entities(frame, columns),
            weights=columns_of.weights(frame, columns),
            censored=None if censored is None else columns_of.flags(frame, censored, role="censored"),
        )

    def check(self, raw: NDArray[Any], *, rows: int) -> NDArray[Any]:
        """Numbers whose quantiles do not cross beyond rounding; they are put in order where they do within it."""
        values = super().check(raw, rows=rows)
        if len(self.quantiles) < 2:
            return values
        drop = (values[:, :-1] - values[:, 1:]).max(axis=1)
        crossed = drop > _CROSSED * np.maximum(1.0, np.abs(values).max(axis=1))
        if crossed.any():
            first = values[crossed][0]
            raise ModelRefused(
                f"the quantiles of {int(crossed.sum())} of {rows} records cross",
                expected="a higher quantile is no lower number",
                got=", ".join(f"{q:g}: {value:g}" for q, value in zip(self.quantiles, first, strict=True)),
                fix="sort them in the exported graph, then conformalise",
            )
        return np.sort(values, axis=1)

    def metrics(self) -> Mapping[str, Metric]:
        """Errors of the point, or of the middle quantile; of quantiles also pinball loss and the interval's coverage."""
        return figures.named(regression_metrics.of(self.scale, unit=self.unit))

    def enough(self, targets: Targets) -> str | None:
        """Known labels that differ."""
        known = targets.labels[regression_metrics.known(targets)]
        if not len(known):
            return f"none of {len(targets)} rows has a label that is more than a bound"
        return f"the label is {known[0]:g} in all {len(known)} rows that know it" if np.ptp(known) == 0 else None

    def parity(self, expected: NDArray[Any], exported: NDArray[Any], targets: Targets | None = None) -> ModelGap:
        """Largest difference by size; below a thousandth of the median size, by that."""
        first, second = both(expected, exported)
        size = np.abs(first)
        least = max(1e-3 * float(np.median(size)), 1e-9) if size.size else 1.0
        return ModelGap(
            value=worst(np.abs(first - second) / np.maximum(size, least)), tolerance=RELATIVE, kind="relative"
        )

    def telltale(
        self, targets: Targets, values: NDArray[Any], *, train: tuple[Targets, NDArray[Any]] | None = None
    ) -> float | None:
        """Size of the rank correlation with the labels that are known."""
        rows = regression_metrics.known(targets)
        known = self._known(train)
        return telltale.best(telltale.correlation, self.truths(targets.take(rows)), values[rows], known)

    def truths(self, targets: Targets) -> Floats:
        """(n, 1) the number itself."""
        return np.asarray(targets.labels, dtype=np.float64)[:, None]

    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The numbers of each record."""
        return [_listed(value) for value in answers]

    def same(self, stable: Any, candidate: Any, rule: Agreement) -> bool:
        """Within the tolerance, 5% where none is declared; of several numbers, each."""
        tolerance = TOLERANCE if rule.tolerance is None else rule.tolerance
        return len(stable) == len(candidate) and all(map(_near, stable, candidate, repeat(tolerance)))

    def disagreement_problem(self, rule: Agreement, *, words: bool = False) -> str | None:
        """Words have no tolerance."""
        if words:
            return "the output holds words; name the output that holds the number"
        return super().disagreement_problem(rule, words=words)

    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """|y - a| / |y| and bias (y - a) / |y|; of all quantiles in a list, their pinball loss by |y| and the middle's bias."""
        found = late.by_record(answers, labels, self._judged)
        if len(self.quantiles) < 2:
            return found
        held = [self._held(answer, label) for answer, label in zip(answers, labels, strict=True)]
        return dataclasses.replace(found, kept=np.array(held, dtype=np.float64))

    def late_labels(self, frame: pd.DataFrame, columns: TargetColumns) -> Sequence[Label]:
        """The numbers, and which are only bounds."""
        found = self.targets(frame, columns)
        bounds = [False] * len(found) if found.censored is None else found.censored.tolist()
        pairs = zip(found.labels.tolist(), bounds, strict=True)
        return [{"label": label, "censored": True} if bound else label for label, bound in pairs]

    def label_problem(self, label: object) -> str | None:
        """A number, or a bound."""
        value, _ = _labelled(label)
        if math.isfinite(value) and (value >= 0 or not self.nonnegative):
            return None
        number = "a number of 0 or more" if self.nonnegative else "a number"
        return f'expected label: {number}, or {{"label": {number}, "censored": true}} where it is only a bound'

    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """Labels by tenths of the prediction, and the share of them up to each quantile."""
        rows = regression_metrics.known(targets)
        labels, point = targets.labels[rows], self.scale.point(predictions)[rows]
        if not len(labels):
            return ()
        parts = np.array_split(np.argsort(point, kind="stable"), min(_PARTS, len(point)))
        x, y = (np.array([side[part].mean() for part in parts]) for side in (point, labels))
        title = "actual by tenths of the prediction"
        lines = (line("model", x, y),)
        charts = [Chart(title=title, across="predicted", up="actual", lines=lines, metric=self.gated, diagonal=True)]
        if self.quantiles:
            covered = (labels[:, None] <= predictions[rows]).mean(axis=0)
            lines = (line("model", np.array(self.quantiles), covered),)
            title = "share of labels up to each quantile"
            charts.append(Chart(title=title, across="quantile", up="share", lines=lines, diagonal=True))
        return tuple(charts)

    def parts(self, predictions: Floats, count: int) -> NDArray[Any] | None:
        """By the point, the smallest first."""
        if not count:
            return None
        point = self.scale.point(predictions)
        found = np.empty(len(point), dtype=object)
        for number, rows in enumerate(np.array_split(np.argsort(point, kind="stable"), count), start=1):
            if len(rows):
                found[rows] = f"{number:02}: {point[rows].min():.4g} to {point[rows].max():.4g}"
        return found.astype(np.str_)

    def _held(self, answer: Value, label: Label) -> float:
        """1 where the outermost quantiles hold the label, 0 where not, NaN of a bound that leaves both open."""
        truth, censored = _labelled(label)
        given = late.numbers(answer, count=len(self.quantiles))
        if given is None or not math.isfinite(truth):
            return math.nan
        if not censored:
            return float(given[0] <= truth <= given[-1])
        beyond = truth < given[0] if self.bound == "upper" else truth > given[-1]
        return 0.0 if beyond else math.nan

    def _judged(self, answer: Value, label: Label) -> tuple[float, float]:
        truth, censored = _labelled(label)
        alone = late.number(answer)
        if truth == 0 or not math.isfinite(truth):
            return math.nan, math.nan
        if math.isfinite(alone):
            if censored:
                alone = min(alone, truth) if self.bound == "lower" else max(alone, truth)
            return abs(truth - alone) / abs(truth), (truth - alone) / abs(truth)
        given = late.numbers(answer, count=len(self.quantiles)) if self.quantiles else None
        if given is None:
            return math.nan, math.nan
        targets = Targets(labels=np.array([truth]), censored=np.array([censored]))
        cut = regression_metrics.allowed(targets, given[None, :], self.bound)
        loss = regression_metrics.pinball(truth, cut[0], np.array(self.quantiles)).mean()
        return float(loss / abs(truth)), float((truth - self.scale.point(cut)[0]) / abs(truth))


def _labelled(label: object) -> tuple[float, bool]:
    if isinstance(label, Mapping):
        return late.number(label.get("label")), bool(label.get("censored", False))
    return late.number(label), False


def _listed(value: Value) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _near(first: object, second: object, tolerance: float) -> bool:
    a, b = late.number(first), late.number(second)
    if math.isnan(a) or math.isnan(b):
        return first == second
    return abs(a - b) <= tolerance * max(abs(a), abs(b))
