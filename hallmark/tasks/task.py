"""The questions that the library asks a task, and the answers that most kinds share."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused
from hallmark.section import Section
from hallmark.tasks import telltale
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.charts import Chart, Confusion
from hallmark.tasks.metric import Metric
from hallmark.tasks.targets import Floats, TargetColumns, Targets

if TYPE_CHECKING:
    import pandas as pd

GROUPS = 24
"""A numeric slice column with more values than this is cut into quarters."""
ABSOLUTE = 1e-4
"""Largest difference allowed between a probability of the exported and of the trained model: float32 sums in another order."""
RELATIVE = 1e-4
_SLACK = 1e-6


class ModelGap(Section):
    """The distance of an exported model's answers from the trained one's.

    absolute: largest difference.   relative: largest difference by size.   rank: share of neighbours, or ids, out of order.
    """

    value: float
    tolerance: float
    kind: Literal["absolute", "relative", "rank"]

    @property
    def kept(self) -> bool:
        """Near enough; a NaN is not."""
        return self.value <= self.tolerance


class BaseTask(Section, ABC):
    """The kind of answer that a model gives, and what it is worth.

    needs, reads: roles of columns (`TargetColumns`) that it cannot do without, and that it reads where they are declared.
    compared_by: what is compared and judged as one: a record, or all records of a request together.
    rule:        the key of `Agreement` that this kind reads; "" where answers are compared as words.
    too_good:    a field that alone explains the answer this well (`telltale`) was written after the answer was known.
    """

    kind: str
    needs: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()
    compared_by: ClassVar[Literal["record", "request"]] = "record"
    rule: ClassVar[Literal["", "threshold", "tolerance", "overlap"]] = ""
    too_good: ClassVar[float] = 0.99

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output, per record."""

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that the first output may hold."""
        return -np.inf, np.inf

    @property
    @abstractmethod
    def gated(self) -> str:
        """Name of the metric that a gate uses where none is declared."""

    @abstractmethod
    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """The truth that `frame` tells; `ContractBroken` names the column and its first bad values."""

    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics by name, in the order in which they are shown."""

    @abstractmethod
    def enough(self, targets: Targets) -> str | None:
        """The reason why a part can be neither learnt from nor judged on; None where it can."""

    @abstractmethod
    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The part of answers that decides whether two agree, short and plain JSON: of each record, or of one request's as a whole."""

    @abstractmethod
    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """The losses of (rows,) answers by their late labels; requests: id of each row's request, "" for none."""

    @abstractmethod
    def label_problem(self, label: object) -> str | None:
        """Say what a late label must be, where `label` is not that."""

    @abstractmethod
    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """Charts that show how the predictions are wrong."""

    def agrees(self, stable: Sequence[Value], candidate: Sequence[Value], rule: Agreement) -> bool:
        """Both answers to one unit, its records in order, are the same for whoever acts on them."""
        first, second = self.compared(stable, rule), self.compared(candidate, rule)
        return len(first) == len(second) and all(self.same(a, b, rule) for a, b in zip(first, second, strict=True))

    def same(self, stable: Any, candidate: Any, rule: Agreement) -> bool:
        """`agrees`, of one of what `compared` gave of both."""
        return bool(stable == candidate)

    def differ(self, stable: Sequence[Any], candidate: Sequence[Any], rule: Agreement) -> list[bool]:
        """True for each pair that is not the `same`."""
        if type(self).same is BaseTask.same:
            return list(map(operator.ne, stable, candidate))
        return [not self.same(a, b, rule) for a, b in zip(stable, candidate, strict=True)]

    def check(self, raw: NDArray[Any], *, rows: int) -> NDArray[Any]:
        """The first output of `rows` records, as float64; `ModelRefused` where shape or values cannot be right."""
        shape = (rows, *self.shape)
        given = np.asarray(raw)
        if given.shape != shape or given.dtype.kind not in "biuf":
            raise ModelRefused(
                "the model's answers have the wrong shape",
                expected=f"numbers of shape {shape}",
                got=f"{given.dtype} of shape {given.shape}",
            )
        values = given.astype(np.float64)
        low, high = self.limits
        wrong = ~np.isfinite(values) | (values < low - _SLACK) | (values > high + _SLACK)
        if wrong.any():
            raise ModelRefused(
                f"{int(wrong.sum())} of the model's answers are out of range",
                expected=f"finite numbers in {low:g}..{high:g}",
                got=str(values[wrong][0]),
                fix="look at the domain's model.py and its export",
            )
        return np.clip(values, low, high)

    def predictions(self, raw: NDArray[Any], targets: Targets) -> Floats:
        """The first output as metrics and charts take it."""
        return self.check(raw, rows=len(targets))

    def parity(self, expected: NDArray[Any], exported: NDArray[Any], targets: Targets | None = None) -> ModelGap:
        """The distance of the exported model from the trained one over the same rows."""
        first, second = both(expected, exported)
        return ModelGap(value=worst(np.abs(first - second)), tolerance=ABSOLUTE, kind="absolute")

    def telltale(
        self, targets: Targets, values: NDArray[Any], *, train: tuple[Targets, NDArray[Any]] | None = None
    ) -> float | None:
        """The strength, 0..1, with which one field alone explains the answer; None where that is not defined.

        values: (n,) numbers, where NaN is the smallest, or words, which stand for the mean answer that `train` has for them.
        """
        return telltale.best(telltale.area, self.truths(targets), values, self._known(train))

    def truths(self, targets: Targets) -> Floats:
        """(n, answers) one column of 0 and 1 for each answer that a field may give away."""
        return np.asarray(targets.labels > 0, dtype=np.float64)[:, None]

    def _known(self, train: tuple[Targets, NDArray[Any]] | None) -> tuple[Floats, NDArray[Any]] | None:
        return None if train is None else (self.truths(train[0]), train[1])

    def disagreement_problem(self, rule: Agreement, *, words: bool = False) -> str | None:
        """The reason why a shadow's rule cannot work for this task, with the fix; None where it can.

        words: the named output holds words or true and false, not numbers.
        """
        for key in ("threshold", "tolerance", "overlap"):
            if getattr(rule, key) is not None and key != self.rule:
                right = f"declare {self.rule} instead" if self.rule else "name the output that holds the class"
                return f"{key} says nothing about a {self.kind} answer; take it away and {right}"
        return None

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
        """(units,) cost of the answer to each unit of `losses`, once its labels are final: its loss; NaN where it has none.

        An answer below what came true is weighed with `false_negative`, one above it with `false_positive`.
        """
        found = self.losses(answers, labels, requests)
        return found.loss * np.where(found.bias < 0, false_positive, false_negative)

    def seen_in(self, frame: pd.DataFrame, columns: TargetColumns) -> BaseTask:
        """This task with what only a model or the data can say; itself where it knows all."""
        return self

    def late_labels(self, frame: pd.DataFrame, columns: TargetColumns) -> Sequence[Label]:
        """(n,) labels of the rows in the form in which they come later, one by one."""
        return [each.item() if isinstance(each, np.generic) else each for each in frame[columns.label].tolist()]

    def requests(self, frame: pd.DataFrame, columns: TargetColumns) -> Sequence[str]:
        """(n,) id of the request that each row would be a record of; "" where each is one of its own."""
        if self.compared_by == "record" or columns.query is None:
            return [""] * len(frame)
        return list(map(str, frame[columns.query].tolist()))

    def parts(self, predictions: Floats, count: int) -> NDArray[Any] | None:
        """(n,) name of the part, of `count` of one size, that each answer lies in; None where answers have no order, or `count` is 0."""
        return None

    def groups(self, column: pd.Series[Any], targets: Targets) -> NDArray[Any]:
        """(n,) name of the slice that each row belongs to; numbers of many values are cut into quarters."""
        return slices(column)


def slices(column: pd.Series[Any]) -> NDArray[Any]:
    """(n,) words: the value itself, or a quarter of a numeric column with more than 24 values; missing is its own."""
    missing = column.isna().to_numpy(dtype=np.bool_)
    if column.dtype.kind in "if" and column.nunique() > GROUPS:
        values = column.to_numpy(dtype=np.float64)
        edges = np.quantile(values[~missing], (0.25, 0.5, 0.75))
        names = [f"1: up to {edges[0]:g}", f"2: up to {edges[1]:g}", f"3: up to {edges[2]:g}", f"4: over {edges[2]:g}"]
        found = np.array(names)[np.searchsorted(edges, values, side="left").clip(max=3)]
    else:
        found = column.astype(str).to_numpy(dtype=np.str_)
    return np.where(missing, "missing", found)


def both(expected: NDArray[Any], exported: NDArray[Any]) -> tuple[Floats, Floats]:
    """Two models' answers as float64; `ModelRefused` where their shapes differ."""
    if np.shape(expected) != np.shape(exported):
        raise ModelRefused(
            "the exported model answers in another shape",
            expected=str(np.shape(expected)),
            got=str(np.shape(exported)),
        )
    return np.asarray(expected, dtype=np.float64), np.asarray(exported, dtype=np.float64)


def worst(gaps: Floats) -> float:
    """The largest; NaN where one is NaN, 0 of none."""
    return float(np.max(gaps, initial=0.0))
