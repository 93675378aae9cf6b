"""Rankings by query: what stands at which place, and what that is worth, for all queries at once.

Conventions, since libraries differ. Rows with equal scores stand in any order, each as likely: a figure is its mean over
those orders, as scikit-learn's ndcg_score has it (McSherry and Najork, 2008). trec_eval goes by document id and others by
the order of rows, in which clicks often come first: a score that ranks nothing then looks good. The gain is the label
itself (trec_eval, scikit-learn; the same as 2^label - 1 for 0 and 1), the discount log2(1 + place). A query in which
nothing is relevant tells nothing and is left out: as a 1 or a 0 it would move the mean with the mix of queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hallmark.tasks.targets import Bools, Floats, Ints, Targets


@dataclass(frozen=True, eq=False)
class QueryPlaces:
    """Rows of all queries in the order in which they stand.

    query:  (n,) number of the query, 0.. count - 1.      place: (n,) from 1; infinite where it was not returned.
    gains:  (n,) expected label at that place.            hits:  (n,) chance that what stands there is relevant.
    firsts: (n,) chance that it is the first relevant one.
    ideal:  (n,) labels, in each query the highest first, beside `query` and `best`, their places.
    """

    query: Ints
    place: Floats
    gains: Floats
    hits: Floats
    firsts: Floats
    ideal: Floats
    best: Floats
    count: int

    def ndcg(self, k: int) -> Floats:
        """(queries,) discounted gain over the first k places by that of the best order; NaN where nothing is relevant."""
        return self._by(
            self._sum(self.gains * _discount(self.place, k)), self._sum(self.ideal * _discount(self.best, k))
        )

    def recall(self, k: int) -> Floats:
        """(queries,) share of what is relevant that stands in the first k places; NaN where nothing is."""
        return self._by(self._sum(self.hits * (self.place <= k)), self.relevant)

    def precision(self, k: int) -> Floats:
        """(queries,) share of the first k places that are relevant, of k also where there are fewer; NaN where nothing is."""
        return self._by(self._sum(self.hits * (self.place <= k)), np.where(self.relevant > 0, float(k), 0.0))

    def reciprocal_rank(self) -> Floats:
        """(queries,) 1 by the place of the first relevant row, 0 where none was returned; NaN where nothing is relevant."""
        return self._by(self._sum(self.firsts / self.place), (self.relevant > 0).astype(np.float64))

    @property
    def relevant(self) -> Floats:
        """(queries,) how many rows are relevant."""
        return self._sum((self.ideal > 0).astype(np.float64))

    def _sum(self, values: Floats) -> Floats:
        return np.bincount(self.query, weights=values, minlength=self.count).astype(np.float64)

    def _by(self, above: Floats, below: Floats) -> Floats:
        return np.asarray(np.divide(above, below, out=np.full(self.count, np.nan), where=below > 0))


def scored(targets: Targets, scores: Floats) -> QueryPlaces:
    """Places by score within each query, best first."""
    group, count = targets.grouped()
    order = np.lexsort((-scores, group))
    query, labels, ranked = group[order], targets.labels[order].astype(np.float64), scores[order]
    fresh = np.append(True, np.diff(query) != 0)[: len(query)]
    block = np.cumsum(fresh | np.append(True, np.diff(ranked) != 0)[: len(query)]) - 1
    size = np.bincount(block)[block] if len(block) else block
    relevant = labels > 0
    place = _within(query)
    return QueryPlaces(
        query=query,
        place=place,
        gains=_mean(labels, block),
        hits=_mean(relevant.astype(np.float64), block),
        firsts=_firsts(query, block, size, relevant),
        ideal=labels[np.lexsort((-labels, query))],
        best=place,
        count=count,
    )


def returned(targets: Targets, places: Floats) -> QueryPlaces:
    """Places as an index gave them: (n,) from 1 in the answer to the row's query, infinite where it did not return the row."""
    group, count = targets.grouped()
    order = np.lexsort((places, group))
    query, labels, place = group[order], targets.labels[order].astype(np.float64), places[order]
    hits = labels > 0
    # The first relevant row of a query: no relevant row stands before it.
    before: Ints = np.cumsum(hits) - hits
    start = np.append(True, np.diff(query) != 0)[: len(query)]
    base = np.maximum.accumulate(np.where(start, before, 0)) if len(query) else before
    return QueryPlaces(
        query=query,
        place=place,
        gains=labels,
        hits=hits.astype(np.float64),
        firsts=(hits & (before == base)).astype(np.float64),
        ideal=labels[np.lexsort((-labels, query))],
        best=_within(query),
        count=count,
    )


def _firsts(query: Ints, block: Ints, size: Ints, relevant: Bools) -> Floats:
    """Chance that the first relevant row stands here: in the first block of equal scores that has one.

    Of c relevant among m rows in any order, the first is the j-th with chance C(m - j, c - 1) / C(m, c).
    """
    if not len(query):
        return np.zeros(0)
    from scipy.special import gammaln

    c = np.bincount(block, weights=relevant)[block]
    seen: Ints = np.cumsum(relevant) - relevant
    starts = np.append(True, np.diff(block) != 0)
    before = np.maximum.accumulate(np.where(starts, seen, 0))  # relevant rows of all blocks before this one
    begins = np.append(True, np.diff(query) != 0)
    base = np.maximum.accumulate(np.where(begins, seen, 0))
    j = _within(block)
    possible = (c > 0) & (before == base) & (j <= size - c + 1)
    m, c, j = (np.where(possible, each, 1.0) for each in (size, c, j))
    chance = (
        gammaln(m - j + 1) - gammaln(c) - gammaln(m - j - c + 2) - gammaln(m + 1) + gammaln(c + 1) + gammaln(m - c + 1)
    )
    return np.where(possible, np.exp(chance), 0.0)


def _within(codes: Ints) -> Floats:
    """(n,) 1, 2, … within each stretch of equal codes."""
    places = np.arange(len(codes))
    starts = np.where(np.append(True, np.diff(codes) != 0)[: len(codes)], places, 0)
    return (places - np.maximum.accumulate(starts) + 1).astype(np.float64) if len(codes) else np.zeros(0)


def _mean(values: Floats, block: Ints) -> Floats:
    return np.asarray((np.bincount(block, weights=values) / np.bincount(block))[block]) if len(block) else values


def _discount(place: Floats, k: int) -> Floats:
    return np.where(place <= k, 1 / np.log2(1 + place), 0.0)
