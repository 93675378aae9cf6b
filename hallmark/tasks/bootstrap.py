"""Standard errors by the bootstrap: every unit drawn again with replacement, the same draws for the same examples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hallmark.section import Section
from hallmark.tasks.metric import Metric
from hallmark.tasks.targets import Floats, Targets

REPLICATES = 100
"""Draws: the standard error itself is then off by some 7%."""
FEWEST = 20
"""Replicates that have to tell a figure, or its error is unknown."""
_CELLS = 2_000_000
"""Weights held at one time: 16 MB."""


class Estimate(Section):
    """A figure and how far chance alone moves it.

    error:      standard deviation of the replicates; None where too few of them can tell the figure.
    replicates: the figure under each draw, None where that draw cannot tell it.
    draws:      which draws they were; two estimates of the same draws may be compared one by one.
    """

    value: float
    error: float | None = None
    replicates: tuple[float | None, ...] = ()
    draws: str = ""


def estimates(
    metrics: Iterable[Metric],
    targets: Targets,
    predictions: Floats,
    *,
    seed: str,
    replicates: int = REPLICATES,
) -> dict[str, Estimate]:
    """Each metric's estimate, by name; one that the rows cannot tell is left out.

    `seed` names the examples, such as the digest of the test set: two models judged on them get the same draws, so that
    `difference_error` sees only what the models differ in. Rows of one group (query, entity) are drawn together.
    """
    values = {metric: metric.value(targets, predictions) for metric in metrics}
    told = [metric for metric, value in values.items() if math.isfinite(value)]
    if not told:
        return {}
    group, count = targets.grouped()
    weights = {metric.name: metric.weighed(targets) for metric in told}
    found: dict[str, list[Floats]] = {metric.name: [] for metric in told}
    for drawn in _draws(count, seed=seed, replicates=replicates):
        by_row = drawn if targets.groups is None else drawn[:, group]
        for metric in told:
            counts = drawn if metric.resampled == "group" else by_row
            weighed = counts if targets.weights is None else counts * weights[metric.name]
            found[metric.name].append(metric.measure(targets, predictions, weighed))
    draws = f"{seed}/{count}/{replicates}"
    return {metric.name: _estimate(values[metric], np.concatenate(found[metric.name]), draws) for metric in told}


def difference_error(candidate: Estimate, champion: Estimate) -> float | None:
    """Standard error of candidate - champion; None where too few draws tell both.

    Far below the root of both errors' squares where the models err on the same examples. `ValueError` where the draws
    are not the same, so that the difference of replicates would mean nothing.
    """
    if candidate.draws != champion.draws:
        raise ValueError(f"expected estimates of the same draws, got {candidate.draws} and {champion.draws}")
    first, second = (np.array(each.replicates, dtype=np.float64) for each in (candidate, champion))
    return _deviation(first - second)


def _draws(count: int, *, seed: str, replicates: int) -> Iterator[Floats]:
    """(some, count) how often each unit was drawn, some replicates at a time."""
    digest = hashlib.sha256(f"{seed}/{count}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    at_once = max(1, min(replicates, _CELLS // count))
    for begin in range(0, replicates, at_once):
        rows = min(at_once, replicates - begin)
        chosen = generator.integers(0, count, size=(rows, count))
        chosen += np.arange(rows)[:, None] * count
        yield np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _estimate(value: float, replicates: Floats, draws: str) -> Estimate:
    kept = tuple(float(each) if math.isfinite(each) else None for each in replicates)
    return Estimate(value=value, error=_deviation(replicates), replicates=kept, draws=draws)


def _deviation(replicates: NDArray[np.float64]) -> float | None:
    known = replicates[np.isfinite(replicates)]
    return float(known.std(ddof=1)) if len(known) >= FEWEST else None
