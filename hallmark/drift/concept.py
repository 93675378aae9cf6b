"""Is the model still right? Its error and calibration on final labels, beside what they were when it was released."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hallmark.drift import statistics

Kind = Literal["probability", "word"]
Judged = Literal["OK", "DRIFT", "NOT_ENOUGH_LABELS"]


class Error(BaseModel):
    """How wrong one output was on reference rows: `rows` of them, `mean` and `deviation` of the loss of a row.

    probability: loss is (probability - label)² (Brier, 1950), label 0 or 1; `bias` is the mean of label - probability.
    word:        loss is 1 for another word than the label, else 0; `bias` is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: str
    kind: Kind
    rows: int = Field(ge=1)
    mean: float
    deviation: float
    bias: float = 0.0
    bias_deviation: float = 0.0


class Concept(BaseModel):
    """What final labels say of one variant.

    error, reference: mean loss of a row now and at release; bias: mean of label - probability now, less that at release,
                      and `tilt` its size over what is allowed.
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
    reason: str = ""


def reference(outputs: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> Error | None:
    """The error of the output that can be held against `labels` (rows,): words against words, a number against 0 and 1.

    None where no output is of the labels' kind, or no row has a label.
    """
    for name, values in outputs.items():
        kind = _kind(np.asarray(values), labels)
        if kind is None:
            continue
        loss, bias = losses(kind, values, labels)
        known = ~np.isnan(loss)
        if not known.any():
            continue
        return Error(
            output=name,
            kind=kind,
            rows=int(known.sum()),
            mean=float(loss[known].mean()),
            deviation=float(loss[known].std()),
            bias=float(bias[known].mean()),
            bias_deviation=float(bias[known].std()),
        )
    return None


def losses(kind: Kind, answers: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rows,) loss and label - probability of each row; NaN where answer or label is not of `kind`."""
    if kind == "word":
        pairs = zip(np.asarray(answers, dtype=object).tolist(), np.asarray(labels, dtype=object).tolist(), strict=True)
        wrong = [float(a != b) if isinstance(a, str) and isinstance(b, str) else math.nan for a, b in pairs]
        return np.array(wrong), np.zeros(len(wrong))
    given, right = _probabilities(answers), _probabilities(labels)
    right[~np.isin(right, (0.0, 1.0))] = np.nan
    return (given - right) ** 2, right - given


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
    error: Error | None,
    answers: NDArray[Any],
    labels: NDArray[Any],
    *,
    minimum: int,
    margin: float,
    alpha: float,
) -> Concept:
    """Whether the model is worse on these rows, `answers` of the output that `error` is about, than when it was released.

    answers, labels: (rows,) one a row, labels final; what is of another kind is left out.
    margin: by what part the error may grow, and of the reference's error as a root how far the bias may go.
    """
    if error is None:
        return Concept(state="NOT_ENOUGH_LABELS", rows=0, minimum=minimum, reason="the profile has no reference error")
    loss, bias = losses(error.kind, answers, labels)
    known = ~np.isnan(loss)
    loss, bias, rows = loss[known], bias[known], int(known.sum())
    if rows < minimum:
        reason = f"{rows} final labels, {minimum} are needed"
        return Concept(state="NOT_ENOUGH_LABELS", rows=rows, minimum=minimum, output=error.output, reason=reason)
    worse = loss.mean() / max(error.mean, 1e-9) - 1
    moved = float(bias.mean()) - error.bias
    tests = (
        _welch(float(loss.mean()), float(loss.std()), rows, error.mean, error.deviation, error.rows) / 2
        if worse > 0
        else 1.0,
        _welch(float(bias.mean()), float(bias.std()), rows, error.bias, error.bias_deviation, error.rows),
    )
    limit = margin * math.sqrt(max(error.mean, 1e-9))
    grown, tilted = worse > margin and tests[0] < alpha / 2, abs(moved) > limit and tests[1] < alpha / 2
    reason = ""
    if grown:
        reason = f"error {loss.mean():.3g} on {rows} final labels, {error.mean:.3g} at release"
    elif tilted:
        which = "more" if moved > 0 else "fewer"
        reason = f"{which} labels came true than {error.output} says: {abs(moved):.1%} of {rows} rows beyond release"
    return Concept(
        state="DRIFT" if grown or tilted else "OK",
        rows=rows,
        minimum=minimum,
        output=error.output,
        error=round(float(loss.mean()), 5),
        reference=round(error.mean, 5),
        worse=round(float(worse), 4),
        bias=round(moved, 5),
        tilt=round(abs(moved) / limit, 4),
        p=float(f"{min(1.0, 2 * min(tests)):.3g}"),
        reason=reason,
    )


def _welch(mean: float, deviation: float, rows: int, before: float, spread: float, count: int) -> float:
    """p of two means being one (Welch's test on two sides, by the normal: there are hundreds of rows)."""
    error = math.sqrt(deviation**2 / rows + spread**2 / count)
    if error == 0:
        return 1.0 if mean == before else 0.0
    return statistics.two_sides((mean - before) / error)


def _kind(values: NDArray[Any], labels: NDArray[Any]) -> Kind | None:
    words = sum(isinstance(label, str) for label in labels.tolist())
    if words * 2 > len(labels):
        return "word" if values.dtype.kind in "OU" else None
    return "probability" if values.dtype.kind == "f" else None


def _probabilities(values: NDArray[Any]) -> NDArray[np.float64]:
    def read(value: object) -> float:
        if isinstance(value, bool | np.bool_):
            return float(value)
        if isinstance(value, int | float | np.integer | np.floating) and 0 <= float(value) <= 1:
            return float(value)
        return math.nan

    return np.array([read(value) for value in np.asarray(values).tolist()], dtype=np.float64)
