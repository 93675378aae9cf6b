"""How fast items sell, and what a higher price does to that: a hazard of sale in periods of days, unsold items censored.

The hazard of item x at price p on day t is steps(t) * exp(f(x) - elasticity * (log p - centre(x))): a baseline of steps (piecewise
exponential, so a pooled Poisson regression of sales on days on offer, Holford 1980), a forest f, and one elasticity.

Sellers ask more for what is wanted, so high prices and fast sales go together, and an elasticity from prices as they are is too small.
Ours is orthogonal: from what is left of log p after what facts tell of it among the sold, on rows that neither forest has learnt from
(Robinson 1988; Chernozhukov et al. 2018, for a log link). What sellers know and no fact tells still confounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hallmark.learners.boosting import Boosting, Forest, Rows

Floats = NDArray[np.float64]
EDGES = np.array([0, 0.25, 0.5, 1, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365, 36_600], dtype=np.float64)
"""Days at which the baseline takes another step."""
LEAST, MOST = 0.1, 20.0
"""An elasticity is kept in this range: a chance that does not fall with the price is no answer to a seller."""
_LEAST_DAYS = 1e-3
_PASSES = 5
_PARTS = 5
_FEWEST = 30.0
_PAIRS = 4000
Grow = Callable[[Boosting, Rows, Rows], Forest]
"""Trains a forest of some examples, watched on others."""
Worth = Callable[[Floats, NDArray[np.bool_]], Floats]


@dataclass(frozen=True, eq=False)
class SaleHazard:
    """A hazard as it was learnt.

    forest: f.  elasticity, error: with its standard error.  naive: the elasticity of prices as they are.
    steps:  (periods,) hazard a day of an item at its centre where f is 0.
    """

    forest: Forest
    elasticity: float
    error: float
    naive: float
    steps: Floats

    def within(self, days: float) -> float:
        """Sales to expect of such an item that is on offer for so long."""
        return float((_exposure(np.array([days])) @ self.steps)[0])

    def expected(self, inputs: NDArray[np.float32], relative: Floats, days: Floats) -> Floats:
        """(n,) sales to expect of items that are on offer for so many days at log prices `relative` to their centre."""
        found: Floats = (_exposure(np.maximum(days, _LEAST_DAYS)) @ self.steps) * np.exp(self.risk(inputs, relative))
        return found

    def risk(self, inputs: NDArray[np.float32], relative: Floats) -> Floats:
        """(n,) log of how fast items sell at log prices `relative` to their centre."""
        return _log(self.forest.predict(inputs)) - self.elasticity * relative


def fit(
    inputs: NDArray[np.float32],
    *,
    relative: Floats,
    asked: Floats,
    days: Floats,
    sold: NDArray[np.bool_],
    price_of: Boosting,
    forest: Boosting,
    grow: Grow,
    worth: Worth,
    seed: int,
) -> SaleHazard:
    """The hazard of rows (n,): log of the price `asked`, also `relative` to a centre, days on offer, and whether sold.

    The centre has to be one and the same function of the facts in all rows, or the rows that a forest learns from are not like the others.

    price_of, forest: recipes for what facts tell of the price, and of the hazard.
    worth: what the words of all rows are worth by those of some, (n,) of (n,) and which: columns that sum words up say less of them than they do.
    """
    exposure = _exposure(np.maximum(days, _LEAST_DAYS))
    part = np.random.default_rng([seed, 11]).integers(0, _PARTS, len(sold))
    parts = [(part == each, part != each) for each in range(_PARTS)]
    events = sold.astype(np.float64)
    naive = _alone(asked - asked.mean(), events, exposure)
    expected = np.zeros(len(sold))
    for mine, others in parts:
        rows, summed = others & sold, worth(relative, others)
        found = grow(price_of, Rows(inputs[rows], (relative - summed)[rows]), Rows(inputs[:0], relative[:0]))
        expected[mine] = summed[mine] + found.predict(inputs[mine])
    left = relative - expected
    elasticity, error = max(LEAST, _alone(left, events, exposure)), 0.0
    steps = _steps(events, exposure, -elasticity * relative)
    for _ in range(_PASSES):
        offset = np.log(exposure @ steps) - elasticity * relative
        told = np.zeros(len(sold))
        for mine, others in parts:
            found = _pooled(forest, inputs, events, offset, rows=others, grow=grow)
            told[mine] = _log(found.predict(inputs[mine]))
        change, error = _orthogonal(left, events, np.exp(told + offset))
        elasticity = float(np.clip(elasticity + change, LEAST, MOST))
        # f takes over what the elasticity gives up: it was learnt beside the old one.
        steps = _steps(events, exposure, told - elasticity * left - (elasticity - change) * expected)
        if abs(change) < 0.25 * error:
            break
    offset = np.log(exposure @ steps) - elasticity * relative
    whole = _pooled(forest, inputs, events, offset, rows=np.ones(len(sold), dtype=np.bool_), grow=grow)
    steps = _steps(events, exposure, _log(whole.predict(inputs)) - elasticity * relative)
    return SaleHazard(forest=whole, elasticity=elasticity, error=error, naive=naive, steps=steps)


def drawn_below(expected: Floats, elasticity: float, *, share: Floats) -> Floats:
    """(n,) by how much in logs the best price that an unsold item would have had lies below what was asked for it: a quantile each.

    expected: sales at that price.  P(best < p) is exp(-expected * (p / asked)^-elasticity), of which all above what was asked is ruled out.
    """
    found: Floats = np.log1p(-np.log1p(-share) / np.maximum(expected, 1e-9)) / elasticity
    return found


def concordance(risk: Floats, days: Floats, sold: NDArray[np.bool_], *, seed: int = 0) -> float:
    """Share of pairs, of which it is known which sold sooner, where that one has the higher risk (Harrell, 1982); ties count half.

    Of at most 4,000 rows, drawn by `seed`.  NaN where no pair is known.
    """
    if len(risk) > _PAIRS:
        some = np.random.default_rng(seed).choice(len(risk), _PAIRS, replace=False)
        risk, days, sold = risk[some], days[some], sold[some]
    later = (days[None, :] > days[:, None]) | ((days[None, :] == days[:, None]) & ~sold[None, :])
    known = later & sold[:, None]
    np.fill_diagonal(known, False)
    count = int(known.sum())
    ahead = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float(ahead[known].sum() / count) if count else float("nan")


def _exposure(days: Floats) -> Floats:
    """(n, periods) days on offer within each period."""
    found: Floats = np.clip(days[:, None] - EDGES[:-1], 0.0, np.diff(EDGES))
    return found


def _steps(events: Floats, exposure: Floats, told: Floats) -> Floats:
    """(periods,) the baseline that expects as many sales in each period as there were; of few sales, as in all later ones together."""
    last = np.where(events > 0, (exposure > 0).sum(axis=1) - 1, -1)
    happened = np.bincount(last[last >= 0], minlength=exposure.shape[1]).astype(np.float64)
    at_risk = np.exp(np.clip(told, -30, 30)) @ exposure
    steps, start = np.zeros(exposure.shape[1]), 0
    edges = []
    for period in range(exposure.shape[1]):
        if happened[start : period + 1].sum() >= _FEWEST:
            edges.append((start, period + 1))
            start = period + 1
    if start < exposure.shape[1]:
        edges = [*edges[:-1], (edges[-1][0] if edges else 0, exposure.shape[1])]
    for first, after in edges:
        steps[first:after] = max(happened[first:after].sum(), 0.5) / max(at_risk[first:after].sum(), 1e-9)
    return steps


def _alone(price: Floats, events: Floats, exposure: Floats) -> float:
    """The elasticity in a hazard that hangs on the price and a baseline alone."""
    found = 0.0
    for _ in range(25):
        steps = _steps(events, exposure, -found * price)
        expected = np.exp(np.clip(-found * price, -30, 30)) * (exposure @ steps)
        change, _ = _orthogonal(price - (price @ expected) / max(expected.sum(), 1e-9), events, expected)
        found = float(np.clip(found + change, -MOST, MOST))
        if abs(change) < 1e-4:
            break
    return found


def _orthogonal(left: Floats, events: Floats, expected: Floats) -> tuple[float, float]:
    """The change of elasticity with which `left` (n,) says nothing more of events beyond `expected`, and its standard error."""
    change, now, slope = 0.0, expected, 1.0
    for _ in range(20):
        now = expected * np.exp(np.clip(-change * left, -10, 10))
        slope = float(left**2 @ now)
        if slope <= 0:
            return 0.0, float("inf")
        step = -float(left @ (events - now)) / slope
        change += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-6:
            break
    return change, float(np.sqrt((left**2) @ (events - now) ** 2)) / slope


def _pooled(
    recipe: Boosting,
    inputs: NDArray[np.float32],
    events: Floats,
    offset: Floats,
    *,
    rows: NDArray[np.bool_],
    grow: Grow,
) -> Forest:
    """The forest of a pooled Poisson regression; a tenth of the rows watches."""
    watches = np.zeros(len(rows), dtype=np.bool_)
    watches[::10] = True
    examples = Rows(inputs, events, offsets=offset)
    return grow(recipe, examples.take(rows & ~watches), examples.take(rows & watches))


def _log(values: NDArray[np.float32]) -> Floats:
    return np.log(np.maximum(values.astype(np.float64), 1e-12))
