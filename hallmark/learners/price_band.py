"""A band of log prices around a centre, whose ends are moved by group until it holds what it promises."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hallmark.learners import conformal
from hallmark.learners.boosting import Forest
from hallmark.learners.fact_columns import Single, exact

Floats = NDArray[np.float64]
SMALLEST = 150
"""Calibration rows that a group must have to get a shift of its own."""
KNOTS = 10
_STEEPEST = -0.9
"""A shift that falls faster than the centre rises would turn the order of items around."""


@dataclass(frozen=True, eq=False)
class Band:
    """centre, spread: forests, of which the second reads all columns but the first.   levels: of the quantiles.

    whole:  (levels,) shift of each.
    tokens: the facts that have a shift of their own, and theirs: (groups,) and (groups, levels).
    knots:  (KNOTS,) centres between which shifts (KNOTS, levels) are drawn as lines.
    """

    centre: Forest
    spread: Forest
    levels: tuple[float, ...]
    whole: Single = field(default_factory=lambda: np.zeros(3, dtype=np.float32))
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    of_tokens: Single = field(default_factory=lambda: np.zeros((0, 3), dtype=np.float32))
    knots: Single = field(default_factory=lambda: np.arange(KNOTS, dtype=np.float32))
    of_knots: Single = field(default_factory=lambda: np.zeros((KNOTS, 3), dtype=np.float32))

    def centre_of(self, inputs: Single) -> Floats:
        """(n,) the centre."""
        return self.centre.predict(inputs).astype(np.float64)

    def predict(self, inputs: Single, tokens: NDArray[np.int32]) -> Floats:
        """(n, levels) log prices, each row rising."""
        centre = self.centre_of(inputs)
        found = centre[:, None] + self.spread.predict(inputs[:, 1:]).astype(np.float64) + self.whole
        found += self._of_groups(tokens)
        for level in range(len(self.levels)):
            found[:, level] += np.interp(centre, self.knots, self.of_knots[:, level])
        return np.sort(found, axis=1)

    def _of_groups(self, tokens: NDArray[np.int32]) -> Floats:
        if not len(self.tokens):
            return np.zeros((len(tokens), len(self.levels)))
        place = np.minimum(np.searchsorted(self.tokens, tokens), len(self.tokens) - 1)
        mine = (self.tokens[place] == tokens)[:, :, None]
        found: Floats = np.where(mine, self.of_tokens[place], 0).sum(axis=1, dtype=np.float64)
        return found

    def calibrated(self, inputs: Single, tokens: NDArray[np.int32], prices: Floats, *, weights: Floats) -> Band:
        """The band with its ends where these rows, which it has not learnt from, want them; the middle is moved as a whole.

        prices: (n,) log of what items went for.
        """
        if not len(prices):
            return self
        raw, centre = self.predict(inputs, tokens), self.centre_of(inputs)
        knots = np.unique(np.quantile(centre, (np.arange(KNOTS) + 0.5) / KNOTS))
        knots = np.concatenate((knots, knots[-1] + 1.0 + np.arange(KNOTS - len(knots))))
        nearest = np.abs(centre[:, None] - knots).argmin(axis=1)
        names, counts = np.unique(tokens[tokens > 0], return_counts=True)
        names = names[(counts >= SMALLEST) & (counts <= 0.98 * len(prices))]
        groups = [np.flatnonzero((tokens == name).any(axis=1)) for name in names.tolist()]
        parts = [np.flatnonzero(nearest == knot) for knot in range(KNOTS)]
        parts = [rows if len(rows) >= SMALLEST else rows[:0] for rows in parts]
        whole = np.zeros(len(self.levels))
        of_tokens, of_knots = np.zeros((len(names), len(self.levels))), np.zeros((KNOTS, len(self.levels)))
        for level, share in enumerate(self.levels):
            scores = prices - raw[:, level]
            if 0 < level < len(self.levels) - 1:
                whole[level] = -conformal.shift(scores, share, weights)
                continue
            # The lower end is a quantile from above: what lies below it is what it may miss.
            sign, of = (-1.0, 1 - share) if level == 0 else (1.0, share)
            some = [rows for rows in (*groups, *parts) if len(rows)]
            there = [place for place, rows in enumerate((*groups, *parts)) if len(rows)]
            moved, each = conformal.shifts(sign * scores, some, level=of, weights=weights)
            whole[level] = -sign * moved
            found = np.zeros(len(groups) + KNOTS)
            found[there] = -sign * each
            of_tokens[:, level], of_knots[:, level] = found[: len(groups)], found[len(groups) :]
        return replace(
            self,
            whole=exact(whole),
            tokens=names.astype(np.int64),
            of_tokens=exact(of_tokens),
            knots=knots.astype(np.float32),
            of_knots=_flat_enough(of_knots, knots).astype(np.float32),
        )


def _flat_enough(shifts: Floats, knots: Floats) -> Floats:
    """(KNOTS, levels) the shifts, none of which falls faster from one knot to the next than the knots rise."""
    made = shifts.copy()
    for knot in range(1, len(knots)):
        made[knot] = np.maximum(made[knot], made[knot - 1] + _STEEPEST * (knots[knot] - knots[knot - 1]))
    return made
