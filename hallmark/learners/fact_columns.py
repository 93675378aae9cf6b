"""Columns for a forest out of facts that nobody knew before the data came: numbers as they are, words by what they are worth.

What a word is worth is its weight in a linear model of all words together, cross-fitted for the rows that it learns from. Weights are
multiples of 2^-12, so that float32 sums of them are exact in any order: here and in ONNX each column is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Named = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]
Single = NDArray[np.float32]
GRID = 4096.0
_STEPS = 40
_FEWEST = 0.003
"""Share of rows that must have a fact for it to become a column."""


def exact(values: NDArray[Any]) -> Single:
    """The nearest multiples of 2^-12, as float32."""
    return (np.round(np.asarray(values, dtype=np.float64) * GRID) / GRID).astype(np.float32)


TEXT = "title"
"""What free text is called beside facts."""


@dataclass(frozen=True, eq=False)
class FactColumns:
    """Which facts are columns, and what words are worth.

    first:   name of the number in column 0, whether or not the data has it.
    numbers, words: names of facts that are numbers, and of those in words; one may be both.
    worth:   (buckets,) float32, by token; of 0, no word, it is 0.
    Columns: numbers, then words, then free text, then all words together.
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...]
    worth: Single

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all facts, each once."""
        return tuple(dict.fromkeys((*self.numbers, *self.words)))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.numbers) + len(self.words) + 2

    @property
    def summed(self) -> int:
        """The column of all words together."""
        return self.width - 1

    def of(self, name: str) -> list[int]:
        """The columns of a fact: of its number, and of its word; of `TEXT`, which is none, that of free text."""
        found = [self.numbers.index(name)] if name in self.numbers else []
        found += [len(self.numbers) + self.words.index(name)] if name in self.words else []
        return [self.width - 2] if name == TEXT and not found else found

    def columns(self, named: Named, *, worth: Single | None = None) -> Single:
        """(n, width) float32, NaN for a number that is missing and 0 for a word that is."""
        worth = self.worth if worth is None else worth
        codes = coded(named["names"], self.names)
        tokens, values = named["tokens"], named["values"]
        place = {name: number for number, name in enumerate(self.names)}
        out = np.zeros((len(codes), self.width), dtype=np.float32)
        for column, name in enumerate(self.numbers):
            mine = (codes == place[name]) & ~np.isnan(values)
            out[:, column] = np.where(mine.any(axis=1), np.where(mine, values, 0).sum(axis=1, dtype=np.float32), np.nan)
        worths = worth[tokens]
        for column, name in enumerate(self.words, len(self.numbers)):
            out[:, column] = np.where(codes == place[name], worths, 0).sum(axis=1, dtype=np.float32)
        out[:, -2] = worth[named["words"]].sum(axis=1, dtype=np.float32)
        out[:, -1] = out[:, len(self.numbers) : -1].sum(axis=1, dtype=np.float32)
        return out


def coded(names: NDArray[Any], known: tuple[str, ...]) -> NDArray[np.int64]:
    """(n, f) place of each name among the known ones, -1 for another."""
    import pandas as pd

    codes, found = pd.factorize(names.ravel())
    place = {name: number for number, name in enumerate(known)}
    table = np.array([place.get(name, -1) for name in found.tolist()] + [-1], dtype=np.int64)
    return table[codes].reshape(names.shape)


def choose(named: Named, *, first: str, most: int, buckets: int) -> FactColumns:
    """The facts that enough rows have, the commonest of them; what they are worth is still to be learnt."""
    import pandas as pd

    names, tokens, values = named["names"], named["tokens"], named["values"]
    codes, found = pd.factorize(names.ravel())
    number = np.bincount(codes, weights=~np.isnan(values.ravel()), minlength=len(found))
    word = np.bincount(codes, weights=tokens.ravel() > 0, minlength=len(found))
    least = _FEWEST * len(names)

    def common(counts: NDArray[Any]) -> list[str]:
        order = sorted(range(len(found)), key=lambda each: (-counts[each], str(found[each])))
        return [str(found[each]) for each in order if counts[each] > least and found[each]][:most]

    numbers = (first, *(name for name in common(number) if name != first))
    return FactColumns(numbers=numbers, words=tuple(common(word)), worth=np.zeros(buckets, dtype=np.float32))


def learnt(named: Named, labels: Floats, weights: Floats, *, buckets: int, ridge: float) -> Single:
    """(buckets,) worth of each token: of least squares with a penalty on the squares of the worths, by conjugate gradients.

    labels: (n,) as they differ from their mean.  Rows of weight 0 teach nothing.
    """
    rows = np.flatnonzero(weights > 0)
    matrix = _matrix(named, rows, buckets)
    root = np.sqrt(weights[rows])
    target = matrix.T @ (weights[rows] * labels[rows])
    found = np.zeros(buckets)
    left = target.copy()
    step, size = left.copy(), float(left @ left)
    goal = 1e-6 * size
    for _ in range(_STEPS):
        if size <= goal:
            break
        seen = root * (matrix @ step)
        turned = matrix.T @ (root * seen) + ridge * step
        along = size / float(step @ turned)
        found += along * step
        left -= along * turned
        size, before = float(left @ left), size
        step = left + size / before * step
    found[0] = 0.0
    return exact(np.clip(found, -7.9, 7.9))


def _matrix(named: Named, rows: NDArray[np.int64], buckets: int) -> Any:
    from scipy import sparse

    tokens = np.hstack((named["tokens"][rows], named["words"][rows]))
    row, place = np.nonzero(tokens)
    made = sparse.csr_matrix(
        (np.ones(len(row)), (row, tokens[row, place])), shape=(len(rows), buckets), dtype=np.float64
    )
    made.sum_duplicates()
    return made
