"""How good a model is: over all test examples, by slice, and as curves to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.domain import Domain
    from hallmark.settings import Settings


class Record(BaseModel):
    """A frozen result with no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Slice(Record):
    """One group of test examples; `metric` is the gate's, None where the group cannot tell it."""

    column: str
    value: str
    rows: int
    metric: float | None


class Point(Record):
    """One point of a curve."""

    x: float
    y: float


class Curves(Record):
    """Precision over recall, and the receiver's operating characteristic, thinned to at most 200 points each."""

    precision_recall: tuple[Point, ...]
    roc: tuple[Point, ...]


class Confusion(Record):
    """counts[i][j]: examples of class `labels[i]` that the model took for `labels[j]`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Evaluation(Record):
    """What one model made of one test set.

    test: digest of the test examples, so that two evaluations can be told to be of the same ones.
    """

    rows: int
    test: str
    metric: str
    metrics: dict[str, float]
    slices: tuple[Slice, ...] = ()
    curves: Curves | None = None
    confusion: Confusion | None = None


def evaluate(
    domain: Domain, scores: NDArray[Any], test: pd.DataFrame, *, settings: Settings | None = None
) -> Evaluation:
    """The evaluation of `scores`, (n,) or (n, k), on the n rows of `test`."""
    raise NotImplementedError
