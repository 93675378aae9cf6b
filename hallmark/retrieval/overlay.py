"""What was changed since an index was sealed, in memory: a state that readers hold and one writer replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.retrieval.columns import Columns
from hallmark.retrieval.filters import Filter
from hallmark.retrieval.words import AddedWords


@dataclass(frozen=True)
class Overlay:
    """The changes as they were at one moment; what a reader holds of it never changes.

    dead:    (n,) rows of the sealed index that were deleted or replaced.
    live:    (size,) added rows that were not deleted or replaced since.
    vectors: (at least size, d) of added rows; of each also ids, texts, words and `columns`.
    """

    dead: NDArray[np.bool_]
    dead_count: int
    live: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    ids: Sequence[str]
    words: AddedWords
    texts: Sequence[str]
    columns: Columns
    latest: dict[str, int]

    @property
    def size(self) -> int:
        """Rows that were added, those that are dead by now among them."""
        return len(self.live)

    def rows(self, where: Filter | None) -> NDArray[np.int64]:
        """The living added rows that meet the filter."""
        met = self.live if where is None else self.live & self.columns.mask(where, self.size)
        return np.flatnonzero(met)

    def row(self, item: str) -> int | None:
        """The living added row of an id."""
        row = self.latest.get(item)
        if row is not None and row >= self.size:  # it was replaced since
            row = next((each for each in reversed(range(self.size)) if self.ids[each] == item), None)
        return row if row is not None and self.live[row] else None


class Growing:
    """Added rows, which are only ever added to: what readers hold of them stays."""

    def __init__(self, dimension: int, columns: Columns) -> None:
        self.vectors = np.empty((64, dimension), dtype=np.float32)
        self.ids: list[str] = []
        self.words = AddedWords()
        self.texts: list[str] = []
        self.columns = columns
        self.latest: dict[str, int] = {}

    def add(
        self, item: str, vector: NDArray[np.float32], values: dict[str, Any], text: str, words: Sequence[str]
    ) -> int:
        """The row of an item that is added."""
        row = len(self.ids)
        self.columns.append({name: [value] for name, value in values.items()}, 1)
        if row == len(self.vectors):
            larger = np.empty((2 * row, self.vectors.shape[1]), dtype=np.float32)
            larger[:row] = self.vectors
            self.vectors = larger
        self.vectors[row] = vector
        self.words.add(words)
        self.texts.append(text)
        self.ids.append(item)
        self.latest[item] = row
        return row
