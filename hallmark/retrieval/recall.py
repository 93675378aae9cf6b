"""Recall of an index against the exact answer: how wide it must search for it, and what is left of it behind a filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hallmark.retrieval import index, vectors
from hallmark.retrieval.card import VECTORS, CodesRow, IndexOptions, RecallRow, UnitCard
from hallmark.retrieval.search import Hits, Selected, among, approximate

if TYPE_CHECKING:
    from hallmark.retrieval.search import Retriever
    from hallmark.retrieval.unit import Unit

K = 10
TIED = 1e-6
"""Scores that differ by less are of items that are equally near."""
SELECTIVITIES = (1.0, 0.1, 0.01, 0.001)
_SAMPLE = 200
_LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
WIDEST = _LADDER[-1]
"""Breadth of a graph that finds enough with none of the smaller ones."""
_NARROWER = (0.7, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.0625, 0.045, 0.03)
_DEAREST = 32
Rows = NDArray[np.int64]
Scored = tuple[NDArray[np.float32], Rows]
"""Scores (n, k) and rows (n, k) of the nearest of each query, -inf and -1 where fewer were found."""


def at_k(found: Hits, truth: Hits) -> NDArray[np.float64]:
    """(n,) for each query the share of the true items that were found, or of others as near as the last of them; 1 where there are none."""
    return np.asarray([_share(found.of(query), truth.of(query)) for query in range(len(truth))], dtype=np.float64)


def count(found: Sequence[tuple[str, float]], truth: Sequence[tuple[str, float]]) -> int:
    """Number of the true items that were found, or of others as near as the last of them: which of equals come first says nothing."""
    if not truth:
        return 0
    items, floor = {item for item, _ in truth}, truth[-1][1] - TIED
    return min(len(truth), sum(item in items or score >= floor for item, score in found))


def _share(found: Sequence[tuple[str, float]], truth: Sequence[tuple[str, float]]) -> float:
    return count(found, truth) / len(truth) if truth else 1.0


def interval(recalls: ArrayLike) -> tuple[float, float, float]:
    """Mean of recalls (n,) of queries, with the bounds of its 95% interval.

    Wilson's (JASA 22, 1927) over queries: too wide rather than too narrow, since no share of 0..1 varies more than one that is
    0 or 1.
    """
    values = np.asarray(recalls, dtype=np.float64)
    if not len(values):
        return 1.0, 0.0, 1.0
    n, z, mean = len(values), 1.959964, float(values.mean())
    middle, half = mean + z * z / (2 * n), z * float(np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)))
    return mean, max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def measure(
    retriever: Retriever,
    queries: ArrayLike,
    *,
    k: int = K,
    selectivities: Sequence[float] = SELECTIVITIES,
    seed: int = 0,
    source: Path | None = None,
) -> tuple[RecallRow, ...]:
    """Recall@k of an open unit behind filters that leave those shares of its items at random, against a scan of all of them.

    source: a file of the vectors as they were before the unit kept codes of them; what codes lose then counts too.
    """
    unit = retriever.unit
    asked = vectors.checked(queries, unit.card.dimension, normalised=unit.card.normalised, what="queries")
    left = _left(len(unit), selectivities, seed)
    alike = source is None or unit.card.codes == "float32"
    truth = (
        [unit.index.scan(asked, k, rows) for rows in left] if source is None else _nearest(source, asked, left, k, None)
    )
    return _rows(unit, asked, left, truth, selectivities, k, alike=alike)


def tuned(folder: Path, card: UnitCard, options: IndexOptions, queries: NDArray[np.float32] | None) -> UnitCard:
    """The card with the least breadth that reaches `options.recall`, the crossover, and the recall that comes of both.

    folder: of an index that is being built, whose vectors are still there.
    """
    from hallmark.retrieval.unit import opened

    if not card.items:
        return card
    asked = between(folder, card, options.seed) if queries is None else queries
    asked = vectors.checked(asked, card.dimension, normalised=card.normalised, what="queries")
    left = _left(card.items, SELECTIVITIES, options.seed)
    truth, alike = _nearest(folder / VECTORS, asked, left, K, None), card.codes == "float32"
    unit = opened(folder, card)
    if card.kind != "exact":
        wanted = options.recall
        if card.codes != "float32":
            wanted = min(wanted, 0.99 * _mean(unit.index.scan(asked, K), truth[0], alike=alike))
        breadth = options.breadth or _breadth(unit, asked, truth[0], wanted, alike=alike)
        unit.index.widen(breadth)
        card = card.model_copy(update={"parameters": {**card.parameters, "breadth": breadth}})
        crossover = _crossover(unit, asked[:_DEAREST], wanted, options.seed)
        card = card.model_copy(update={"crossover": crossover})
        unit.card = card
    return card.model_copy(update={"recall": _rows(unit, asked, left, truth, SELECTIVITIES, K, alike=alike)})


def compared(
    folder: Path, card: UnitCard, options: IndexOptions, queries: NDArray[np.float32] | None
) -> tuple[CodesRow, ...]:
    """What the kind of codes that is asked for, or each, costs and keeps, by a scan of all items with it, against float32."""
    asked = between(folder, card, options.seed) if queries is None else queries
    asked = vectors.checked(asked, card.dimension, normalised=card.normalised, what="queries")
    (truth,) = _nearest(folder / VECTORS, asked, [None], K, None)
    builder = index.Builder(folder, items=card.items, dimension=card.dimension, seed=options.seed)
    rows = [CodesRow(codes="float32", bytes_per_item=4 * card.dimension, recall=1.0)]
    for codes in builder.possible if options.codes == "auto" else (options.codes,):
        store = builder.trained(codes)
        width = store.sa_code_size()
        found = _scanned(folder / VECTORS, asked, partial(_kept, store), K)
        rows.append(CodesRow(codes=codes, bytes_per_item=width, recall=round(_mean(found, truth, alike=False), 4)))
    return tuple(rows)


def between(folder: Path, card: UnitCard, seed: int) -> NDArray[np.float32]:
    """(at most 200, d) points between items: queries of an index that has no others.

    Half lie half-way to one of the nearest, and half nearly half-way to any other, since a query is rarely like one item.
    """
    chosen = np.random.default_rng(seed)
    starts = index.Builder(folder, items=card.items, dimension=card.dimension, seed=seed).sample(_SAMPLE)
    (near,) = exact(folder / VECTORS, starts, [None], min(K, card.items))
    partners = near[np.arange(len(starts)), chosen.integers(0, near.shape[1], len(starts))]
    anyone = chosen.random(len(starts)) < 0.5
    partners[anyone] = chosen.integers(0, card.items, int(anyone.sum()))
    wanted, at = np.unique(partners, return_inverse=True)
    taken = np.concatenate(list(_taken(folder / VECTORS, wanted)))
    middle = starts + np.where(anyone[:, None], 0.7, 1.0).astype(np.float32) * taken[at]
    alone = np.einsum("ij,ij->i", middle, middle) < 1e-12
    middle[alone] = starts[alone]
    return np.asarray(middle, dtype=np.float32)


def exact(source: Path, queries: NDArray[np.float32], left: Sequence[Rows | None], k: int) -> list[NDArray[np.int64]]:
    """For each of `left`, rows that a filter leaves or None for all, the nearest (n, k) of the vectors in a file, -1 where fewer."""
    return [rows for _, rows in _nearest(source, queries, left, k, None)]


def _kept(store: Any, block: NDArray[np.float32]) -> NDArray[np.float32]:
    decoded: NDArray[np.float32] = store.sa_decode(store.sa_encode(np.ascontiguousarray(block)))
    return decoded


def _scanned(source: Path, queries: NDArray[np.float32], decoded: Any, k: int) -> Scored:
    return _nearest(source, queries, [None], k, decoded)[0]


def _nearest(
    source: Path, queries: NDArray[np.float32], left: Sequence[Rows | None], k: int, decoded: Any
) -> list[Scored]:
    index.one_thread()
    nothing = np.full((len(queries), k), -np.inf, dtype=np.float32), np.full((len(queries), k), -1, dtype=np.int64)
    found = [nothing] * len(left)
    first = 0
    for block in vectors.blocks(source):
        scores = queries @ (block if decoded is None else decoded(block)).T
        for at, rows in enumerate(left):
            if rows is None:
                here = index.best(scores, np.arange(first, first + len(block)), k)
            else:
                inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(block))]
                here = index.best(scores[:, inside - first], inside, k)
            found[at] = index.merged(found[at], here, k)
        first += len(block)
    return found


def _taken(source: Path, wanted: Rows) -> Iterator[NDArray[np.float32]]:
    first = 0
    for block in vectors.blocks(source):
        here = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + len(block))]
        yield block[here - first]
        first += len(block)


def _left(items: int, selectivities: Sequence[float], seed: int) -> list[Rows | None]:
    """The rows that random filters leave: None for all."""
    chosen = np.random.default_rng(seed)
    return [
        None if share >= 1 else np.sort(chosen.choice(items, max(1, round(share * items)), replace=False))
        for share in selectivities
    ]


def _rows(
    unit: Unit,
    asked: NDArray[np.float32],
    left: Sequence[Rows | None],
    truth: Sequence[Scored],
    selectivities: Sequence[float],
    k: int,
    *,
    alike: bool,
) -> tuple[RecallRow, ...]:
    made = []
    for share, rows, true in zip(selectivities, left, truth, strict=True):
        found = among(unit, asked, k, None if rows is None else Selected(rows, len(unit)))
        mean, low, high = (round(each, 4) for each in interval(_each(found, true, alike=alike)))
        scanned = unit.card.kind == "exact" or (rows is not None and len(rows) <= unit.card.crossover)
        made.append(
            RecallRow(
                selectivity=share,
                k=k,
                recall=mean,
                low=low,
                high=high,
                queries=len(asked),
                path="exact" if scanned else "approximate",
            )
        )
    return tuple(made)


def _breadth(unit: Unit, asked: NDArray[np.float32], truth: Scored, wanted: float, *, alike: bool) -> int:
    """The least breadth of the ladder that reaches the recall; its widest where none does."""
    most = unit.card.parameters.get("lists", WIDEST)
    steps = [each for each in _LADDER if each < most and (unit.card.kind == "ivf" or each >= K)]
    for breadth in steps:
        if _mean(unit.index.search(asked, K, breadth=breadth), truth, alike=alike) >= wanted:
            return breadth
    return most


def _crossover(unit: Unit, asked: NDArray[np.float32], wanted: float, seed: int) -> int:
    """How many rows a filter may leave at most for a scan of them to be the better way.

    Filters that leave rows at random, and those farthest from the queries, are searched ever narrower, until a scan is less work
    or recall is missed. Work is counted in comparisons, so that one corpus has one card.
    """
    size = len(unit)
    chosen = np.random.default_rng(seed)
    near = unit.index
    towards = near.scan(np.ascontiguousarray(asked.mean(axis=0, keepdims=True)), size)[1][0]
    for share in _NARROWER:
        count = max(1, round(share * size))
        for rows in (np.sort(chosen.choice(size, count, replace=False)), np.sort(towards[-count:])):
            left = Selected(rows, size)
            truth = near.scan(asked, K, rows)
            work = near.compared(partial(approximate, unit, asked, K, left), len(asked))
            if count * near.scan_cost <= work:
                return count
            if _mean(approximate(unit, asked, K, left), truth, alike=True) < wanted - 0.01:
                return count
    return round(_NARROWER[-1] * size)


def _mean(found: Scored, truth: Scored, *, alike: bool) -> float:
    return float(_each(found, truth, alike=alike).mean())


def _each(found: Scored, truth: Scored, *, alike: bool) -> NDArray[np.float64]:
    """(n,) recall of each query; `alike`: the scores of both are of the same vectors, so that equals can be told."""
    there = truth[1] >= 0
    wanted = there.sum(axis=1)
    hits = np.asarray(
        [len((set(got) & set(true)) - {-1}) for got, true in zip(found[1].tolist(), truth[1].tolist(), strict=True)]
    )
    if alike:
        floor = np.where(there, truth[0], np.inf).min(axis=1, initial=np.inf) - TIED
        near = ((found[0] >= floor[:, None]) & (found[1] >= 0)).sum(axis=1)
        hits = np.maximum(hits, np.minimum(near, wanted))
    return np.where(wanted > 0, hits / np.maximum(wanted, 1), 1.0).astype(np.float64)
