"""Sequences of items as numbers, and what needs no learning on them: popularity, and the items that go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
FIRST = 2
"""Number of the catalogue's first item; smaller ones stand for none."""
NEAREST = 50
_ROWS = 1000
_MOST = 100
"""Pieces of one member's sequence at most; a member who goes in circles has no end."""


def whole(history: Ints, target: Ints, relevant: NDArray[np.bool_]) -> Ints:
    """(m, t + 1) the longest sequences in rows of (n, t) what came before and (n,) what then, the oldest first, 0 at their ends.

    Where one row's sequence is what another's begins with, only the longer one is given: a model that reads from left to right learns
    from all of its beginnings. Of a member with more than t + 1 items they are cut into pieces of that length.
    """
    width = history.shape[1] + 1
    before = [tuple(row[row != 0].tolist()) for row in history[relevant]]
    full = [
        (*row, item)[-width + 1 :] if len(row) == width - 1 else (*row, item)
        for row, item in zip(before, target[relevant].tolist(), strict=True)
    ]
    grown = Counter(before)
    ended: list[tuple[int, ...]] = []
    links = {row: (*old, item) for row, old, item in zip(full, before, target[relevant].tolist(), strict=True)}
    for row, count in Counter(full).items():
        for _ in range(count - grown[row]):
            ended += _pieces(links[row], links, width)
    made = np.zeros((len(ended), max([2, *map(len, ended)])), dtype=np.int64)
    for place, sequence in enumerate(ended):
        made[place, : len(sequence)] = sequence
    return made


def _pieces(
    last: tuple[int, ...], links: dict[tuple[int, ...], tuple[int, ...]], width: int
) -> Iterator[tuple[int, ...]]:
    """The sequence that ends with `last`, and of a longer one what came before it, piece by piece."""
    yield last
    for _ in range(_MOST):
        steps = 0
        while len(last) == width and steps < width - 1 and last[:-1] in links:
            last, steps = links[last[:-1]], steps + 1
        if not steps:
            return
        yield last


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Popularity (items,), and of each item those that the same members looked at, (items, 50) numbers and cosines, 0 for none."""

    counts: Ints
    items: Ints
    cosines: Floats

    @classmethod
    def of(cls, sequences: Ints, *, items: int) -> Neighbours:
        """Of sequences (n, t), 0 at their ends."""
        from scipy import sparse

        row, column = np.nonzero(sequences >= FIRST)
        number = sequences[row, column]
        counts = np.bincount(number, minlength=items)
        seen = sparse.csr_matrix((np.ones(len(row), dtype=np.float32), (row, number)), shape=(len(sequences), items))
        seen.data[:] = 1.0
        norm = sparse.diags(1 / np.sqrt(np.maximum(1.0, np.asarray(seen.sum(axis=0)).ravel())))
        together = (seen @ norm).T.tocsr() @ (seen @ norm)
        near, cosines = np.zeros((items, NEAREST), dtype=np.int64), np.zeros((items, NEAREST), dtype=np.float32)
        for item in range(FIRST, items):
            start, end = together.indptr[item], together.indptr[item + 1]
            others, values = together.indices[start:end], together.data[start:end]
            mine = others != item
            others, values = others[mine], values[mine]
            best = np.lexsort((others, -values))[:NEAREST]
            near[item, : len(best)], cosines[item, : len(best)] = others[best], values[best]
        return cls(counts.astype(np.int64), near, cosines)

    def popular(self, history: Ints, *, k: int) -> Ints:
        """(n, k) the most looked-at items that are not in the history (n, t); 0 where there are fewer."""
        order = np.lexsort((np.arange(len(self.counts)), -self.counts))
        order = order[(order >= FIRST) & (self.counts[order] > 0)][: k + history.shape[1]]
        found = np.zeros((len(history), k), dtype=np.int64)
        for row, mine in enumerate(history):
            left = order[~np.isin(order, mine)][:k]
            found[row, : len(left)] = left
        return found

    def near(self, history: Ints, *, k: int) -> Ints:
        """(n, k) the items whose cosines with those of the history (n, t) sum to most, popular ones where there are fewer."""
        found = self.popular(history, k=k)
        for start in range(0, len(history), _ROWS):
            part = history[start : start + _ROWS]
            scores = np.zeros((len(part), len(self.counts)), dtype=np.float32)
            for place in range(part.shape[1]):
                mine = part[:, place]
                rows = np.flatnonzero(mine >= FIRST)
                np.add.at(scores, (rows[:, None], self.items[mine[rows]]), self.cosines[mine[rows]])
            np.put_along_axis(scores, part, 0.0, axis=1)
            scores[:, :FIRST] = 0.0
            most = min(k, scores.shape[1])
            best = np.argpartition(-scores, most - 1, axis=1)[:, :most]
            best = np.take_along_axis(
                best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable"), axis=1
            )
            for row, numbers in enumerate(best):
                good = numbers[scores[row, numbers] > 0].tolist()
                rest = [each for each in found[start + row].tolist() if each not in good]
                found[start + row] = (good + rest + [0] * k)[:k]
        return found

    def tensors(self) -> dict[str, Any]:
        """What `restored` reads again."""
        import torch

        return {
            "beside.counts": torch.from_numpy(self.counts),
            "beside.items": torch.from_numpy(self.items.astype(np.int32)),
            "beside.cosines": torch.from_numpy(self.cosines),
        }

    @classmethod
    def restored(cls, tensors: dict[str, Any]) -> Neighbours:
        """What `tensors` gave, taken out of `tensors`."""
        counts, items, cosines = (tensors.pop(f"beside.{name}").numpy() for name in ("counts", "items", "cosines"))
        return cls(counts, items.astype(np.int64), cosines)
