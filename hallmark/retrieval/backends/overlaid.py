"""A collection with changes on top: it stays as it was filled from its unit, and each server lays over it what was changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from hallmark.retrieval import index
from hallmark.retrieval.backends.backend import hits
from hallmark.retrieval.filters import Filter
from hallmark.retrieval.search import MOST, SPARE, Hits, Nearest, Retriever, asked_vectors, whole

if TYPE_CHECKING:
    from hallmark.retrieval.overlay import Overlay


class Overlaid:
    """Nearest vectors (hallmark.retrieval.search.Nearest) of a collection, without what was deleted since and with what was put in.

    here: the same unit in memory, with the changes.
    """

    def __init__(self, near: Nearest, here: Retriever) -> None:
        self._near, self._here = near, here

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest items, and never fewer than min(k, items that match)."""
        changed = self._here.deltas.now if self._here.deltas is not None else None
        if changed is None or not (changed.dead_count or changed.size):
            return self._near.search(queries, k, where)
        whole(k)
        asked = min(MOST, k + min(changed.dead_count, SPARE))
        found = self._near.search(queries, asked, where)
        answers = []
        for query in range(len(found)):
            pairs = found.of(query)
            living = [pair for pair in pairs if not self._dead(pair[0], changed)]
            if len(living) < k and len(pairs) == asked:  # many of the dead lie together, and others behind them
                return self._here.search(queries, k, where)
            answers.append(living[:k])
        added = changed.rows(where)
        if len(added):
            card = self._here.unit.card
            vectors = asked_vectors(queries, card.dimension, normalised=card.normalised)
            scores, rows = index.best(vectors @ changed.vectors[added].T, added, k)
            for query, pairs in enumerate(answers):
                more = [
                    (changed.ids[row], score)
                    for row, score in zip(rows[query].tolist(), scores[query].tolist(), strict=True)
                    if row >= 0
                ]
                answers[query] = sorted([*pairs, *more], key=lambda pair: -pair[1])[:k]
        return hits(answers, k)

    def _dead(self, item: str, changed: Overlay) -> bool:
        row = self._here.unit.rows.get(item)
        return row is not None and bool(changed.dead[row])
