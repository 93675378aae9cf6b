"""Is the model still right? Its error and calibration on final labels, beside what they were when it was released."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hallmark.drift import statistics
from hallmark.tasks.answers import Label, Value
from hallmark.tasks.task import BaseTask

_ONE = 2**30
Judged = Literal["OK", "DRIFT", "NOT_ENOUGH_LABELS"]


class OutputError(BaseModel):
    """Error of one output on reference rows: the task's loss of `rows` units (records, or requests), and its bias.

    bias: mean of what came true less what was answered; 0 where a task has no such thing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # a profile from before there were tasks has a `kind`

    output: str
    rows: int = Field(ge=1)
    mean: float
    deviation: float
    bias: float = 0.0
    bias_deviation: float = 0.0


class Concept(BaseModel):
    """Result of one variant on final labels.

    error, reference: mean loss of a row now and at release; bias: mean of label - answer now, less that at release,
                      and `tilt` its size over what is allowed.
    kept, promised:   share of the labels that an answered range held, of so many that can say; broken: fewer than are promised.
    worse:            by what part the error grew; p: chance alone would show as much, the worse of error and bias
                      (Welch's test, that of the error on one side), twice the smaller p of the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Judged
    rows: int
    minimum: int
    output: str = ""
    error: float | None = None
    reference: float | None = None
    worse: float | None = None
    bias: float | None = None
    tilt: float = 0.0
    p: float = 1.0
    kept: float | None = None
    promised: int = 0
    broken: bool = False
    reason: str = ""


class LabelSums(BaseModel):
    """Mature labels of one variant as sums, in whole units of 2^-30 and of 2^-60 for squares, so that those of several pods add up exactly.

    rows: units with a loss.   promised, kept: of them, whose label can say whether the answered range held it, and which it held.   told, answers: answers that have a label, of all that are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = 0
    loss: int = 0
    loss_squares: int = 0
    bias: int = 0
    bias_squares: int = 0
    promised: int = 0
    kept: int = 0
    told: int = 0
    answers: int = 0

    @classmethod
    def of(
        cls,
        loss: NDArray[np.float64],
        bias: NDArray[np.float64],
        *,
        kept: NDArray[np.float64] | None = None,
        told: int = 0,
        answers: int = 0,
    ) -> LabelSums:
        """Of the (rows,) loss and bias of each unit, and whether its range held the label."""
        held = np.zeros(0) if kept is None else kept[~np.isnan(kept)]
        losses, biases = ([round(each * _ONE) for each in values.tolist()] for values in (loss, bias))
        return cls(
            rows=len(losses),
            loss=sum(losses),
            loss_squares=sum(each * each for each in losses),
            bias=sum(biases),
            bias_squares=sum(each * each for each in biases),
            promised=len(held),
            kept=int(held.sum()),
            told=told,
            answers=answers,
        )

    def __add__(self, other: LabelSums) -> LabelSums:
        """Both together."""
        return LabelSums(**{name: value + getattr(other, name) for name, value in self})

    def moments(self, name: Literal["loss", "bias"]) -> tuple[float, float]:
        """Mean and standard deviation."""
        total, squares = getattr(self, name), getattr(self, f"{name}_squares")
        return total / (self.rows * _ONE), math.sqrt(max(0, squares * self.rows - total**2)) / (self.rows * _ONE)


def reference(
    task: BaseTask, outputs: Mapping[str, NDArray[Any]], labels: Sequence[Label], requests: Sequence[str]
) -> OutputError | None:
    """The error of the first output that can be held against `labels` (rows,); requests: id of each row's request.

    None where no output is of the labels' kind, or no row has a label.
    """
    for name, values in outputs.items():
        found = task.losses(np.asarray(values).tolist(), labels, requests)
        known = ~np.isnan(found.loss)
        if not known.any():
            continue
        loss, bias = found.loss[known], found.bias[known]
        return OutputError(
            output=name,
            rows=int(known.sum()),
            mean=float(loss.mean()),
            deviation=float(loss.std()),
            bias=float(bias.mean()),
            bias_deviation=float(bias.std()),
        )
    return None


def mature(at: NDArray[np.float64], labelled: NDArray[np.bool_], *, coverage: float) -> NDArray[np.bool_]:
    """(rows,) which rows to judge: labelled ones up to the newest time by which `coverage` of the rows have a label.

    Labels that come early are of one kind: a fraud is charged back within days, an honest order is known to be one only when
    the delay is over. On the labelled rows of yesterday every model would look wrong.
    """
    order = np.argsort(at, kind="stable")
    known = labelled[order]
    share = np.cumsum(known) / np.arange(1, len(known) + 1)
    enough = np.flatnonzero(share >= coverage)
    chosen = np.zeros(len(known), dtype=np.bool_)
    if len(enough):
        chosen[order[: enough[-1] + 1]] = True
    return chosen & labelled


def judge(
    task: BaseTask,
    error: OutputError | None,
    answers: Sequence[Value],
    labels: Sequence[Label],
    requests: Sequence[str],
    *,
    minimum: int,
    margin: float,
    alpha: float,
    promise: float | None = None,
) -> Concept:
    """Test whether the model is worse on these rows, `answers` of the output that `error` is about, than at release.

    answers, labels, requests: (rows,) one a row, labels final; what is of another kind is left out.
    margin: by what part the error may grow, and of the reference's error as a root how far the bias may go.
    promise: share of labels that answered ranges have to hold.
    """
    if error is None:
        return Concept(state="NOT_ENOUGH_LABELS", rows=0, minimum=minimum, reason="the profile has no reference error")
    found = sums(task, answers, labels, requests)
    return conclude(found, error, minimum=minimum, margin=margin, alpha=alpha, promise=promise)


def sums(
    task: BaseTask,
    answers: Sequence[Value],
    labels: Sequence[Label],
    requests: Sequence[str],
    *,
    told: int = 0,
    held: int = 0,
) -> LabelSums:
    """Loss and bias of these rows, as in `judge`; `told` of the `held` answers have a label."""
    found = task.losses(answers, labels, requests)
    known = ~np.isnan(found.loss)
    kept = None if found.kept is None else found.kept[known]
    return LabelSums.of(found.loss[known], found.bias[known], kept=kept, told=told, answers=held)


def conclude(
    found: LabelSums,
    error: OutputError,
    *,
    minimum: int,
    margin: float,
    alpha: float,
    promise: float | None = None,
) -> Concept:
    """`judge` on sums."""
    rows = found.rows
    if rows < minimum:
        reason = f"{rows} final labels, {minimum} are needed"
        return Concept(state="NOT_ENOUGH_LABELS", rows=rows, minimum=minimum, output=error.output, reason=reason)
    (loss, spread), (bias, bias_spread) = found.moments("loss"), found.moments("bias")
    worse, moved = loss / max(error.mean, 1e-9) - 1, bias - error.bias
    tests = (
        _welch(loss, spread, rows, error.mean, error.deviation, error.rows) / 2 if worse > 0 else 1.0,
        _welch(bias, bias_spread, rows, error.bias, error.bias_deviation, error.rows),
    )
    limit = margin * math.sqrt(max(error.mean, 1e-9))
    grown, tilted = worse > margin and tests[0] < alpha / 2, abs(moved) > limit and tests[1] < alpha / 2
    share = found.kept / found.promised if found.promised >= minimum else None
    broken = (
        promise is not None
        and share is not None
        and statistics.two_sides((share - promise) / math.sqrt(promise * (1 - promise) / found.promised)) / 2 < alpha
        and share < promise
    )
    reason = ""
    if broken:
        reason = (
            f"{error.output} held {share:.0%} of {found.promised} final outcomes, {promise:.0%} at least are promised"
        )
    elif grown:
        reason = f"error {loss:.3g} on {rows} final labels, {error.mean:.3g} at release"
    elif tilted:
        which = "higher" if moved > 0 else "lower"
        reason = f"labels are {which} than {error.output} says, by {abs(moved):.3g} a row beyond release ({rows} rows)"
    return Concept(
        state="DRIFT" if grown or tilted or broken else "OK",
        rows=rows,
        minimum=minimum,
        output=error.output,
        error=round(float(loss), 5),
        reference=round(error.mean, 5),
        worse=round(float(worse), 4),
        bias=round(moved, 5),
        tilt=round(abs(moved) / limit, 4),
        p=float(f"{min(1.0, 2 * min(tests)):.3g}"),
        kept=None if share is None else round(share, 4),
        promised=found.promised,
        broken=broken,
        reason=reason,
    )


def _welch(mean: float, deviation: float, rows: int, before: float, spread: float, count: int) -> float:
    """p of two means being one (Welch's test on two sides, by the normal: there are hundreds of rows)."""
    error = math.sqrt(deviation**2 / rows + spread**2 / count)
    if error == 0:
        return 1.0 if mean == before else 0.0
    return statistics.two_sides((mean - before) / error)
