"""The most alike of past sales: every fact in words is a direction, counted for as much as it tells, and the nearest are looked up.

All numbers are whole and small, so that float32 products are exact: here and in ONNX the same sales come out, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hallmark.learners.fact_columns import FactColumns, Named, Single, coded

POOL, NEAREST = 4096, 5
SIDES, DIRECTIONS = 32, 4096
STRONGEST = 6
TITLE = 12
"""Words of free text that are looked at."""
TIES = 8192.0
_CHUNK = 1024


def directions() -> Single:
    """(DIRECTIONS, SIDES) of -1 and 1, by token; of 0, no word, zeros."""
    made = np.random.default_rng(20).integers(0, 2, (DIRECTIONS, SIDES)).astype(np.float32) * 2 - 1
    made[0] = 0
    return made


def strengths(columns: FactColumns, table: Single) -> Single:
    """(names + 1,) how much a fact of each name counts, 1..6 by how much it tells of the price; the last is of any other, 0."""
    first = len(columns.numbers)
    spread = {name: float(table[:, first + place].std()) for place, name in enumerate(columns.words)}
    most = max([1e-9, *spread.values()])
    counted = [max(1.0, np.round(STRONGEST * spread[name] / most)) if name in spread else 0.0 for name in columns.names]
    return np.array([*counted, 0.0], dtype=np.float32)


def placed(named: Named, columns: FactColumns, strength: Single) -> Single:
    """(n, SIDES) where each record lies."""
    table, out = directions(), np.zeros((len(named["names"]), SIDES), dtype=np.float32)
    codes = coded(named["names"], columns.names)
    for place in range(codes.shape[1]):
        out += strength[codes[:, place], None] * table[named["tokens"][:, place] % DIRECTIONS]
    for place in range(min(TITLE, named["words"].shape[1])):
        out += table[named["words"][:, place] % DIRECTIONS]
    return out


@dataclass(frozen=True, eq=False)
class Comparables:
    """A pool of sales.

    vectors: (p, SIDES).  ids: of the items.  told: (p,) how much more each went for than its words say, log, a multiple of 2^-12.
    strength: of each fact.
    """

    vectors: Single
    ids: tuple[str, ...]
    told: Single
    strength: Single

    def nearest(
        self, named: Named, columns: FactColumns, *, itself: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """(n, NEAREST) places in the pool, the most alike first, of equal ones the first; a record is never its own.

        itself: (n,) place of each record in the pool, -1 for none; by its id where not given.
        """
        at = placed(named, columns, self.strength)
        known = {each: place for place, each in enumerate(self.ids) if each}
        if itself is None:
            itself = np.array([known.get(each, -1) for each in named["item"].tolist()], dtype=np.int64)
        own = (self.vectors.astype(np.float64) ** 2).sum(axis=1)
        tie = np.arange(len(self.ids), dtype=np.float64)
        found = np.empty((len(at), NEAREST), dtype=np.int64)
        for start in range(0, len(at), _CHUNK):
            part = slice(start, start + _CHUNK)
            score = (2 * (at[part] @ self.vectors.T).astype(np.float64) - own) * TIES - tie
            mine = np.flatnonzero(itself[part] >= 0)
            score[mine, itself[part][mine]] = -np.inf
            best = np.argpartition(-score, NEAREST - 1, axis=1)[:, :NEAREST]
            order = np.argsort(-np.take_along_axis(score, best, axis=1), axis=1)
            found[part] = np.take_along_axis(best, order, axis=1)
        return found

    def near(self, places: NDArray[np.int64]) -> Single:
        """(n,) the mean of what those at `places` (n, NEAREST) went for beyond their words."""
        total: Single = self.told[places].sum(axis=1, dtype=np.float32)
        return np.asarray(total * np.float32(1 / 8), dtype=np.float32)


def pool(
    named: Named, rows: NDArray[np.int64], told: NDArray[np.float64], *, columns: FactColumns, strength: Single
) -> Comparables:
    """The pool of these rows of examples, of which `told` (len(rows),) says how much more each went for than its words say."""
    from hallmark.learners.fact_columns import exact

    some = {name: values[rows] for name, values in named.items()}
    short = max(0, NEAREST + 1 - len(rows))
    vectors = placed(some, columns, strength)
    vectors = np.concatenate((vectors, np.full((short, SIDES), 1000.0, dtype=np.float32)))
    ids = (*map(str, some["item"].tolist()), *[""] * short)
    return Comparables(
        vectors, ids, np.concatenate((exact(np.clip(told, -3, 3)), np.zeros(short, np.float32))), strength
    )
