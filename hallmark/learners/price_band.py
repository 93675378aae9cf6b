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
class Residuals:
    """Rows that a band is calibrated on: (n,) centres, (n, levels) log prices less each level, (n, facts) tokens, (n,) the price is known.

    Of others the price is that or less.  weights: (n,) how much each known row counts.
    """

    centre: Floats
    left: Floats
    tokens: NDArray[np.int32]
    known: NDArray[np.bool_]
    weights: Floats

    def completed(self, below: Floats) -> Residuals:
        """The same rows, all known: of the others (n, draws) log prices are drawn, so far `below` their bounds."""
        draws = below.shape[1]
        row = np.repeat(np.arange(len(self.known)), np.where(self.known, 1, draws))
        place = np.arange(len(row)) - np.searchsorted(row, row)
        hidden = ~self.known[row]
        left = self.left[row] - np.where(hidden, below[row, place], 0.0)[:, None]
        weights = np.where(hidden, 1.0 / draws, 1.0)
        return Residuals(self.centre[row], left, self.tokens[row], np.ones(len(row), dtype=np.bool_), weights)

    def with_rows(self, others: Residuals) -> Residuals:
        """These rows and others behind them; (n, facts) is as wide as the wider."""
        width = max(self.tokens.shape[1], others.tokens.shape[1])
        tokens = [np.pad(each.tokens, ((0, 0), (0, width - each.tokens.shape[1]))) for each in (self, others)]
        return Residuals(
            np.concatenate((self.centre, others.centre)),
            np.concatenate((self.left, others.left)),
            np.concatenate(tokens),
            np.concatenate((self.known, others.known)),
            np.concatenate((self.weights, others.weights)),
        )


@dataclass(frozen=True, eq=False)
class Band:
    """centre, spread: forests, of which the second reads all columns but the first.   levels: of the quantiles.

    summed: the column that the centre's forest adds to: what all words are worth together.
    whole:  (levels,) shift of each.
    tokens: the facts that have a shift of their own, and theirs: (groups,) and (groups, levels).
    knots:  (KNOTS,) centres between which shifts (KNOTS, levels) are drawn as lines.
    """

    centre: Forest
    spread: Forest
    levels: tuple[float, ...]
    summed: int
    whole: Single = field(default_factory=lambda: np.zeros(3, dtype=np.float32))
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    of_tokens: Single = field(default_factory=lambda: np.zeros((0, 3), dtype=np.float32))
    knots: Single = field(default_factory=lambda: np.arange(KNOTS, dtype=np.float32))
    of_knots: Single = field(default_factory=lambda: np.zeros((KNOTS, 3), dtype=np.float32))

    def centre_of(self, inputs: Single) -> Floats:
        """(n,) the centre."""
        return self.centre.predict(inputs).astype(np.float64) + inputs[:, self.summed]

    def predict(self, inputs: Single, tokens: NDArray[np.int32]) -> Floats:
        """(n, levels) log prices, each row rising."""
        centre = self.centre_of(inputs)
        found = centre[:, None] + self.spread.predict(inputs[:, 1:]).astype(np.float64) + self.whole
        return np.sort(found + self.of_groups(tokens, centre), axis=1)

    def of_groups(self, tokens: NDArray[np.int32], centre: Floats) -> Floats:
        """(n, levels) shifts of the groups that each row is of: its facts, and the part of centres that it lies in."""
        lines = [np.interp(centre, self.knots, self.of_knots[:, level]) for level in range(len(self.levels))]
        found = np.stack(lines, axis=1)
        if not len(self.tokens):
            return found
        place = np.minimum(np.searchsorted(self.tokens, tokens), len(self.tokens) - 1)
        mine = (self.tokens[place] == tokens)[:, :, None]
        found += np.where(mine, self.of_tokens[place], 0).sum(axis=1, dtype=np.float64)
        return found

    def calibrated(self, late: Residuals, *, groups: Residuals | None = None) -> Band:
        """The band with its ends where rows that it has not learnt from want them; the middle is moved as a whole.

        late:   after all that the band has learnt from: those that are known say how far ends are moved as a whole.
        groups: all known, answered by models that have not learnt from them: they say how groups differ.
        """
        if not len(late.centre):
            return self
        moved = self if groups is None else self._by_group(groups)
        late = replace(late, left=late.left - moved.of_groups(late.tokens, late.centre))
        whole = np.zeros(len(self.levels))
        for level, share in enumerate(self.levels):
            sign, of = (-1.0, 1 - share) if level == 0 else (1.0, share)
            whole[level] = -sign * conformal.shift(sign * late.left[late.known, level], of, late.weights[late.known])
        return replace(moved, whole=exact(whole))

    def _by_group(self, rows: Residuals) -> Band:
        """The band with shifts of facts, and of parts of the centres."""
        tokens, centre = rows.tokens, rows.centre
        knots = np.unique(np.quantile(centre, (np.arange(KNOTS) + 0.5) / KNOTS))
        knots = np.concatenate((knots, knots[-1] + 1.0 + np.arange(KNOTS - len(knots))))
        nearest = np.abs(centre[:, None] - knots).argmin(axis=1)
        names, counts = np.unique(tokens[tokens > 0], return_counts=True)
        names = names[(counts >= SMALLEST) & (counts <= 0.98 * len(centre))]
        groups = [np.flatnonzero((tokens == name).any(axis=1)) for name in names.tolist()]
        parts = [np.flatnonzero(nearest == knot) for knot in range(KNOTS)]
        parts = [each if len(each) >= SMALLEST else each[:0] for each in parts]
        of_tokens, of_knots = np.zeros((len(names), len(self.levels))), np.zeros((KNOTS, len(self.levels)))
        middle = range(1, len(self.levels) - 1)
        for level, share in enumerate(self.levels):
            if level in middle:
                continue
            # The lower end is a quantile from above: what lies below it is what it may miss.
            sign, of = (-1.0, 1 - share) if level == 0 else (1.0, share)
            some = [each for each in (*groups, *parts) if len(each)]
            there = [place for place, each in enumerate((*groups, *parts)) if len(each)]
            _, each = conformal.shifts(sign * rows.left[:, level], some, level=of, weights=rows.weights)
            found = np.zeros(len(groups) + KNOTS)
            found[there] = -sign * each
            of_tokens[:, level], of_knots[:, level] = found[: len(groups)], found[len(groups) :]
        return replace(
            self,
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
