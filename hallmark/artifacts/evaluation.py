"""Measured quality of a model and the gate's decision on it: records that pipeline steps pass on and the model card keeps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hallmark.section import Section
from hallmark.tasks.bootstrap import Estimate
from hallmark.tasks.charts import Chart, Confusion


class Slice(Section):
    """One group of test examples; `metric` is the gate's, None where the group cannot tell it.

    error, replicates, draws: its standard error, and what it was under each draw of the bootstrap (`Estimate`).
    others: metrics of `gate.slices.floors`, without replicates.
    """

    column: str
    value: str
    rows: int
    metric: float | None
    error: float | None = None
    replicates: tuple[float | None, ...] = ()
    draws: str = ""
    others: dict[str, Estimate] = Field(default={}, exclude_if=lambda value: not value)

    @property
    def estimate(self) -> Estimate | None:
        """The metric with its error."""
        if self.metric is None or not self.replicates:
            return None
        return Estimate(value=self.metric, error=self.error, replicates=self.replicates, draws=self.draws)

    @property
    def brief(self) -> Slice:
        """Without its replicates, for the model card."""
        return self.model_copy(update={"replicates": (), "draws": ""})


class Beside(Section):
    """Quality of other answers to the same examples, such as popularity's, by the same metrics; gated on where `gate.rivals` says so.

    estimates: of the metrics of `gate.rivals`.
    """

    name: str
    metrics: dict[str, float]
    slices: tuple[Slice, ...] = ()
    estimates: dict[str, Estimate] = Field(default={}, exclude_if=lambda value: not value)

    @property
    def brief(self) -> Beside:
        """Without replicates, for the model card."""
        return self.model_copy(update={"slices": tuple(each.brief for each in self.slices), "estimates": {}})


class Evaluation(Section):
    """Result of one model on one test set.

    test:      digest of the test examples, so that two evaluations can be told to be of the same ones.
    metrics:   by name; one that the examples cannot tell is left out.
    estimates: the same metrics with their standard errors and replicates.
    charts:    how the model is wrong, as its task shows it.
    beside:    other answers to the same examples.
    importance: what `metric` loses where a field is shuffled (importance.py), the largest first.
    """

    rows: int
    test: str
    metric: str
    metrics: dict[str, float]
    estimates: dict[str, Estimate] = Field(default={})
    slices: tuple[Slice, ...] = ()
    charts: tuple[Chart | Confusion, ...] = ()
    beside: tuple[Beside, ...] = ()
    importance: dict[str, float] = Field(default={})

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors of the metrics that have one."""
        return {name: each.error for name, each in self.estimates.items() if each.error is not None}


class GateDecision(Section):
    """Passed or not, and one line a rule that says why; what failed comes first."""

    passed: bool
    reasons: tuple[str, ...]


class Parity(Section):
    """Distance between the ONNX model and the trained one over the test rows, in the task's own measure."""

    rows: int
    difference: float
    tolerance: float
    kind: Literal["absolute", "relative", "rank"] = "absolute"
