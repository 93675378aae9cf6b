"""Metrics: named figures of predictions against targets, each able to weigh its units a hundred ways at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hallmark.tasks.targets import Floats, Targets

Direction = Literal["higher", "lower", "neither"]
Measure = Callable[[Targets, Floats, Floats], Floats]
"""Targets, predictions and weights (r, units) to the figure under each row of weights, (r,); NaN where it cannot be told."""
Parts = Callable[[Targets, Floats], tuple[Floats, Floats]]
Reference = Callable[[Targets, Floats], float]


@dataclass(frozen=True)
class Metric:
    """One figure of n predictions.

    direction:   which way is better; neither: shown, never gated on.
    unit:        what it is counted in; "" for a share or a ratio.
    resampled:   what is drawn again for its standard error, and what `measure` takes weights of: row (or the rows of
                 one entity together), or group: a query.
    description: what it says, with its conventions: ties, empty groups, divisor.
    measure:     sorts or sums once for all rows of weights.
    library:     scikit-learn's function where it has one: the published value is that one's, `measure` agrees with it.
    """

    name: str
    direction: Direction
    measure: Measure
    description: str
    unit: str = ""
    resampled: Literal["row", "group"] = "row"
    library: Reference | None = None

    def value(self, targets: Targets, predictions: Floats) -> float:
        """The figure over all rows, weighed where the targets have weights; NaN where the rows cannot tell it."""
        if not len(targets):
            return math.nan
        weights = self.weighed(targets)
        value = float(self.measure(targets, predictions, weights[None, :])[0])
        # Asked only where there is an answer: scikit-learn warns, or answers 0, where there is none.
        return self.library(targets, predictions) if self.library is not None and math.isfinite(value) else value

    def weighed(self, targets: Targets) -> Floats:
        """(units,) weight of each row; of a group the mean of its rows'."""
        weights = targets.weighed()
        if self.resampled == "row":
            return weights
        group, count = targets.grouped()
        sizes = np.bincount(group, minlength=count)
        return np.asarray(np.bincount(group, weights=weights, minlength=count) / sizes)


def named(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by name, in their order."""
    return {metric.name: metric for metric in metrics}


def ratio(parts: Parts) -> Measure:
    """The measure that is a sum over units by another: `parts` gives both (units,), so all weights are two products."""

    def measure(targets: Targets, predictions: Floats, weights: Floats) -> Floats:
        above, below = parts(targets, predictions)
        return divided(weights @ above, weights @ below)

    return measure


def mean(each: Callable[[Targets, Floats], Floats]) -> Measure:
    """The measure that is a mean over the units that can tell it: `each` gives (units,), NaN for the others."""

    def parts(targets: Targets, predictions: Floats) -> tuple[Floats, Floats]:
        values = each(targets, predictions)
        known = ~np.isnan(values)
        return np.where(known, values, 0.0), known.astype(np.float64)

    return ratio(parts)


def divided(above: Floats, below: Floats) -> Floats:
    """Above by below; NaN where below is 0."""
    shape = np.broadcast_shapes(np.shape(above), np.shape(below))
    return np.asarray(np.divide(above, below, out=np.full(shape, np.nan), where=np.asarray(below) != 0))
