"""Search in an index that changes: by vectors, by words and by both, among the items that a filter leaves."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hallmark.errors import ContractBroken, Refused
from hallmark.retrieval import index, vectors
from hallmark.retrieval.filters import Filter
from hallmark.retrieval.fusion import Fused, fuse
from hallmark.retrieval.words import tokens

if TYPE_CHECKING:
    from hallmark.retrieval.deltas import Deltas
    from hallmark.retrieval.overlay import Overlay
    from hallmark.retrieval.unit import Unit

MOST = 10_000
"""Items that a search gives at most."""
_HOT = 256
SPARE = 32
"""More items that are asked for where some are deleted: enough, but where the dead lie together."""


@dataclass(frozen=True)
class Hits:
    """The best items of each query, best first.

    ids: (n, k) object, "" where fewer than k were found.  scores: (n, k) float32, -inf there.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, query: int = 0) -> list[tuple[str, float]]:
        """What was found for one query."""
        pairs = zip(self.ids[query].tolist(), self.scores[query].tolist(), strict=True)
        return [(item, score) for item, score in pairs if item]


class Nearest(Protocol):
    """Whatever finds the vectors that are nearest: an index in memory, or a collection elsewhere."""

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest items to each of queries (n, d) that meet the filter."""


class Selected:
    """Rows (m,) of the sealed index of `size` that a filter leaves, sorted."""

    def __init__(self, rows: NDArray[np.int64], size: int) -> None:
        self.rows, self._size = rows, size

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(size,) the same as a mask."""
        mask = np.zeros(self._size, dtype=np.bool_)
        mask[self.rows] = True
        return mask

    @cached_property
    def bits(self) -> Any:
        """The mask in the form in which a graph or lists are searched with it."""
        return index.selector(self.mask)

    def without(self, dead: NDArray[np.bool_]) -> Selected:
        """Those that are not dead."""
        return Selected(self.rows[~dead[self.rows]], self._size)


class Retriever:
    """Searches of one unit and of what was changed since; any number of threads may call it."""

    def __init__(self, unit: Unit, deltas: Deltas | None = None) -> None:
        self.unit, self.deltas = unit, deltas
        self._hot: OrderedDict[Filter, Selected] = OrderedDict()
        self._lock = Lock()
        self._ids = np.append(unit.ids, "")  # row -1 is nothing

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None, *, exact: bool = False) -> Hits:
        """The k items whose vectors are the nearest to each of queries (n, d), and never fewer than min(k, items that match).

        exact: compare with every item that matches, which is what recall is measured against.
        `Refused` where a query has another shape, is not finite or is nothing, k is none, or the filter fits no column.
        """
        card = self.unit.card
        asked = asked_vectors(queries, card.dimension, normalised=card.normalised)
        whole(k)
        changed = self.deltas.now if self.deltas is not None else None
        scores, rows = self._sealed(asked, k, where, changed, exact=exact)
        if changed is None or not changed.size:
            return Hits(self._ids[rows], scores)
        added = changed.rows(where)
        if not len(added):
            return Hits(self._ids[rows], scores)
        more, found = index.best(asked @ changed.vectors[added].T, added, k)
        scores, both = index.merged((scores, rows), (more, np.where(found < 0, -1, found + len(self.unit))), k)
        return Hits(self._named(both, changed), scores)

    def search_words(self, text: str, k: int, where: Filter | None = None) -> list[tuple[str, float]]:
        """The k items whose texts have the words of `text` that count most, by BM25; an item with none of them is not found."""
        whole(k)
        words = self._words()
        asked = tokens(text)
        changed = self.deltas.now if self.deltas is not None else None
        if where is not None:
            self.unit.columns.check(where)
        scores = words.search(asked)
        if changed is not None and changed.dead_count:
            scores[changed.dead] = 0
        if where is None:
            having = index.contenders(scores, k)
        else:
            left = self._selected(where).rows
            having = left[index.contenders(scores[left], k)]
        top, rows = index.best(scores[having][None], having, k)
        found = [(item, score) for item, score in zip(self._ids[rows[0]], top[0].tolist(), strict=True) if item]
        if changed is not None and changed.size:
            these, told = words.added(asked, changed.words, changed.size)
            living = np.isin(these, changed.rows(where), assume_unique=True)
            added = zip([changed.ids[row] for row in these[living].tolist()], told[living].tolist(), strict=True)
            found = sorted([*found, *added], key=lambda pair: -pair[1])[:k]
        return found

    def hybrid(
        self,
        query: ArrayLike,
        text: str,
        k: int,
        where: Filter | None = None,
        *,
        depth: int = 100,
        near: Nearest | None = None,
    ) -> list[Fused]:
        """The k best of the `depth` nearest vectors and the `depth` best texts, fused by rank; each says where it came from.

        near: finds the vectors in place of this index.
        """
        rankings = {
            "vectors": (near or self).search(query, max(k, depth), where).of(),
            "words": self.search_words(text, max(k, depth), where),
        }
        return fuse(rankings, k)

    def count(self, where: Filter | None = None) -> int:
        """Items that match now."""
        changed = self.deltas.now if self.deltas is not None else None
        if where is None:
            here = len(self.unit) - (changed.dead_count if changed is not None else 0)
        else:
            self.unit.columns.check(where)
            left = self._selected(where)
            here = len((left.without(changed.dead) if changed is not None else left).rows)
        return here + (len(changed.rows(where)) if changed is not None and changed.size else 0)

    def values(self, item: str) -> dict[str, Any] | None:
        """The values of an item's columns now; None where there is no such item."""
        changed = self.deltas.now if self.deltas is not None else None
        if changed is not None and (row := changed.row(item)) is not None:
            return changed.columns.row(row)
        here = self.unit.rows.get(item)
        if here is None or (changed is not None and changed.dead[here]):
            return None
        return self.unit.columns.row(here)

    def check(self, where: Filter | None) -> None:
        """`Refused` where the filter names a column that the index does not have, or compares it with what it is not."""
        if where is not None:
            self.unit.columns.check(where)

    def _sealed(
        self, asked: NDArray[np.float32], k: int, where: Filter | None, changed: Overlay | None, *, exact: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        near = self.unit.index
        dead = changed.dead_count if changed is not None else 0
        if where is None and not dead:
            return near.scan(asked, k) if exact else among(self.unit, asked, k, None)
        if where is None and not exact and changed is not None and near.kind != "exact":
            return self._without_dead(asked, k, changed)
        left = self._selected(where) if where is not None else None
        if changed is not None and dead:
            left = (
                Selected(np.flatnonzero(~changed.dead), len(self.unit)) if left is None else left.without(changed.dead)
            )
        if exact:
            return near.scan(asked, k, None if left is None else left.rows)
        return among(self.unit, asked, k, left)

    def _without_dead(
        self, asked: NDArray[np.float32], k: int, changed: Overlay
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The nearest that are not deleted: some more are asked for, which is enough but where the dead lie together."""
        near = self.unit.index
        living = len(self.unit) - changed.dead_count
        scores, rows = near.search(asked, k + min(changed.dead_count, SPARE))
        gone = (rows < 0) | changed.dead[rows]
        order = np.argsort(gone, axis=1, kind="stable")[:, :k]
        rows = np.take_along_axis(np.where(gone, -1, rows), order, axis=1)
        scores = np.take_along_axis(np.where(gone, -np.inf, scores), order, axis=1).astype(np.float32)
        if _full(rows, min(k, living)):
            return scores, rows
        found = near.search(asked, k, bits=index.selector(~changed.dead))
        if _full(found[1], min(k, living)):
            return found
        return near.scan(asked, k, np.flatnonzero(~changed.dead))

    def _selected(self, where: Filter) -> Selected:
        """Rows of a filter, kept for the filters that were asked last."""
        with self._lock:
            if where in self._hot:
                self._hot.move_to_end(where)
                return self._hot[where]
        mask = self.unit.columns.mask(where)
        found = Selected(np.flatnonzero(mask), len(mask))
        with self._lock:
            self._hot[where] = found
            while len(self._hot) > _HOT:
                self._hot.popitem(last=False)
        return found

    def _named(self, rows: NDArray[np.int64], changed: Overlay) -> NDArray[Any]:
        size = len(self.unit)
        names = self._ids[np.where(rows < size, rows, -1)]
        for at in zip(*np.nonzero(rows >= size), strict=True):
            names[at] = changed.ids[rows[at] - size]
        return names

    def _words(self) -> Any:
        if self.unit.words is None:
            raise Refused("the index has no words", expected="an index that was built with words", got="vectors alone")
        return self.unit.words


def among(
    unit: Unit, asked: NDArray[np.float32], k: int, left: Selected | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores (n, k) and rows (n, k) of the nearest among those left, or all: by a scan, or approximately where that pays."""
    near = unit.index
    rows = None if left is None else left.rows
    if near.kind == "exact" or (rows is not None and len(rows) <= unit.card.crossover):
        return near.scan(asked, k, rows)
    found = approximate(unit, asked, k, left)
    return found if _full(found[1], min(k, len(unit) if rows is None else len(rows))) else near.scan(asked, k, rows)


def approximate(
    unit: Unit, asked: NDArray[np.float32], k: int, left: Selected | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The same by the graph or the lists, as much wider as the filter leaves less; it may find fewer than there are."""
    near = unit.index
    if left is None:
        return near.search(asked, k)
    return near.search(asked, k, bits=left.bits, breadth=-(-near.breadth * len(unit) // max(1, len(left.rows))))


def asked_vectors(given: ArrayLike, dimension: int, *, normalised: bool) -> NDArray[np.float32]:
    """Queries (n, d) as they are compared, or `Refused`."""
    try:
        return vectors.checked(given, dimension, normalised=normalised, what="queries")
    except ContractBroken as error:
        raise Refused(error.message, expected=error.expected, got=error.got) from error


def whole(k: int) -> None:
    """`Refused` where so many items are none, or too many."""
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST:
        raise Refused("a search is for some items", expected=f"k from 1 to {MOST}", got=repr(k))


def _full(rows: NDArray[np.int64], count: int) -> bool:
    return bool((rows[:, count - 1] >= 0).all()) if count else True
