"""How good a model is: over all test examples, by slice, and as curves to look at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hallmark.artifacts.evaluation import Confusion, Curves, Evaluation, Point, Slice
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError, ModelRefused
from hallmark.learners import model
from hallmark.training import metrics

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings

POINTS = 200
GROUPS = 24
"""A numeric slice column with more values than this is cut into quarters."""


class Record(BaseModel):
    """A frozen result with no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def evaluate(
    domain: Domain, scores: NDArray[Any], test: pd.DataFrame, *, settings: Settings | None = None
) -> Evaluation:
    """The evaluation of `scores`, (n,) or (n, k), on the n rows of `test`."""
    names = tuple(domains.module(domain.name, "model", settings).LABELS)
    answers = model.labels(test, column=domain.data.label, names=names)
    given = _sane(scores, rows=len(test), classes=len(names))
    overall = _metrics(answers, given, names)
    metric = domain.gate.metric
    if metric not in overall:
        raise DeclarationError(
            f"domains/{domain.name}/domain.yaml: gate.metric cannot be told from these {len(test)} test examples",
            expected=", ".join(overall),
            got=metric,
        )
    return Evaluation(
        rows=len(test),
        test=digest(test),
        metric=metric,
        metrics=overall,
        slices=tuple(_slices(domain, answers, given, test, names)),
        curves=None if names else curves(answers, given),
        confusion=_confusion(answers, given, names) if names else None,
    )


def digest(test: pd.DataFrame) -> str:
    """`sha256:` and the hex digest of the rows, in order, and of their columns' names."""
    import pandas as pd

    sha = hashlib.sha256("\n".join(map(str, test.columns)).encode())
    sha.update(pd.util.hash_pandas_object(test, index=False, categorize=False).to_numpy(dtype="<u8").tobytes())
    return f"sha256:{sha.hexdigest()}"


def _sane(scores: NDArray[Any], *, rows: int, classes: int) -> NDArray[np.float64]:
    shape = (rows, classes) if classes else (rows,)
    given = np.asarray(scores, dtype=np.float64)
    if given.shape != shape:
        raise ModelRefused("the model's scores have the wrong shape", expected=str(shape), got=str(given.shape))
    wrong = ~np.isfinite(given) | (given < 0) | (given > 1 + 1e-6)
    if wrong.any():
        raise ModelRefused(
            f"{int(wrong.sum())} of the model's scores are no probabilities",
            expected="0..1",
            got=str(given[wrong][0]),
        )
    return given


def _metrics(answers: NDArray[np.int64], scores: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, float]:
    values = metrics.multiclass(answers, scores, names=names) if names else metrics.binary(answers, scores)
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _slices(
    domain: Domain,
    answers: NDArray[np.int64],
    scores: NDArray[np.float64],
    test: pd.DataFrame,
    names: tuple[str, ...],
) -> Iterator[Slice]:
    for column in domain.gate.slices.columns:
        if column not in test.columns:
            raise ContractBroken(
                f"there is no column {column} to slice by",
                expected=", ".join(map(str, test.columns)),
                got=column,
                fix=f"mend gate.slices.columns in domains/{domain.name}/domain.yaml",
            )
        groups = _groups(test[column])
        for value in sorted(set(groups)):
            inside = groups == value
            metric = _metrics(answers[inside], scores[inside], names).get(domain.gate.metric)
            yield Slice(column=column, value=str(value), rows=int(inside.sum()), metric=metric)


def _groups(column: pd.Series[Any]) -> NDArray[Any]:
    if column.dtype.kind in "if" and column.nunique() > GROUPS:
        edges = np.quantile(column.to_numpy(), (0.25, 0.5, 0.75))
        texts = np.array(
            [f"1: up to {edges[0]:g}", f"2: up to {edges[1]:g}", f"3: up to {edges[2]:g}", f"4: over {edges[2]:g}"]
        )
        return texts[np.searchsorted(edges, column.to_numpy(), side="left")]
    return column.astype(str).to_numpy()


def curves(answers: NDArray[np.int64], scores: NDArray[np.float64]) -> Curves:
    """Both curves from their first to their last point, at most 200 points each."""
    true, false, _ = metrics.counts(answers, scores)
    positives, negatives = max(true[-1], 1.0), max(false[-1], 1.0)
    return Curves(
        precision_recall=_thin(np.append(0.0, true / positives), np.append(1.0, true / (true + false))),
        roc=_thin(np.append(0.0, false / negatives), np.append(0.0, true / positives)),
    )


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Point, ...]:
    """Points at even steps along the curve, so that neither a steep nor a flat stretch loses its shape."""
    length = np.cumsum(np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])))
    wanted = np.linspace(0, length[-1], POINTS - 2)
    chosen = np.unique(np.concatenate([np.searchsorted(length, wanted), [0, len(x) - 1]]))
    return tuple(Point(x=round(float(x[i]), 6), y=round(float(y[i]), 6)) for i in chosen)


def _confusion(answers: NDArray[np.int64], scores: NDArray[np.float64], names: tuple[str, ...]) -> Confusion:
    matrix = metrics.confusion(answers, scores)
    return Confusion(labels=names, counts=tuple(tuple(int(count) for count in row) for row in matrix))
