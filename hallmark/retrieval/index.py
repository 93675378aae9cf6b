"""Vectors in an order in which the nearest are found: exact, an HNSW graph or inverted lists, by faiss, on one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused
from hallmark.retrieval.card import CODEC, CODES, GRAPH, LISTS, VECTORS, CodeKind, IndexKind
from hallmark.retrieval.vectors import Writer, blocks

_LEAST = 2560
"""Items that product quantisation is trained on at least: ten for each of the 256 values of a code."""
_SAMPLED = 64
_SCAN = 16384
"""Rows that an exact scan takes out at a time."""
_DENSE = 0.45
"""Share of the rows above which a scan of some multiplies all of them: one after the other they take a third of what each alone does."""
_local = threading.local()


def one_thread() -> None:
    """Have faiss use this thread alone for what it is called for: OpenMP counts threads for each caller."""
    if not getattr(_local, "set", False):
        import faiss

        faiss.omp_set_num_threads(1)
        _local.set = True


class VectorIndex:
    """An index in memory.

    breadth: efSearch or nprobe of a search without a filter.  store: faiss's flat vectors or codes, in the order of the rows;
    None where inverted lists have them.
    """

    def __init__(self, kind: IndexKind, codes: CodeKind, *, store: Any, ann: Any, breadth: int) -> None:
        self.kind, self.codes, self.breadth = kind, codes, breadth
        self._store, self._ann = store, ann
        self.size: int = (ann if store is None else store).ntotal
        self._plain = self._parameters(breadth, None) if ann is not None else None
        self._flat: NDArray[np.float32] | None = None
        if store is not None and codes == "float32" and self.size:
            import faiss

            self._flat = faiss.rev_swig_ptr(store.get_xb(), self.size * store.d).reshape(self.size, store.d)

    def search(
        self, queries: NDArray[np.float32], k: int, *, bits: Any = None, breadth: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores (n, k) and rows (n, k), best first, -1 where none was found; `bits` are those of `selector`."""
        one_thread()
        if self._ann is None:
            return _pair(self._store.search(queries, k, params=_flat_parameters(bits)))
        breadth = max(breadth or self.breadth, k if self.kind == "hnsw" else 1)
        parameters = self._plain if bits is None and breadth == self.breadth else self._parameters(breadth, bits)
        return _pair(self._ann.search(queries, k, params=parameters))

    def scan(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The same as `search`, exactly, of the vectors as they are kept; of `rows` (m,) alone where they are given."""
        one_thread()
        if rows is None:
            if self._store is not None:
                return _pair(self._store.search(queries, k))
            return _pair(self._ann.search(queries, k, params=self._parameters(self._ann.nlist, None)))
        if self._flat is not None:
            if len(rows) > _DENSE * self.size:
                return self._dense(queries, k, rows)
            return _pair(self._store.search(queries, k, params=_chosen(rows)))
        if len(rows) <= _SCAN:
            return best(queries @ self.vectors(rows).T, rows, k)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        found_rows = np.full((len(queries), k), -1, dtype=np.int64)
        for first in range(0, len(rows), _SCAN):
            part = rows[first : first + _SCAN]
            scores, found_rows = merged((scores, found_rows), best(queries @ self.vectors(part).T, part, k), k)
        return scores, found_rows

    def _dense(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What `scan` gives of rows (m,) that are most of all."""
        import faiss

        found = [(np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64))]
        scores = np.empty(self.size, dtype=np.float32)
        for query in np.ascontiguousarray(queries, dtype=np.float32):
            faiss.fvec_inner_products_ny(
                faiss.swig_ptr(scores), faiss.swig_ptr(query), self._store.get_xb(), self._store.d, self.size
            )
            chosen = scores[rows]
            few = _above(chosen, k)
            found.append(best(chosen[None], rows, k) if few is None else best(chosen[few][None], rows[few], k))
        every, at = zip(*found, strict=True)
        return np.concatenate(every), np.concatenate(at)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m, d) the vectors of `rows` as they are kept."""
        if self._flat is not None:
            return self._flat[rows]
        kept = self._ann if self._store is None else self._store
        decoded: NDArray[np.float32] = kept.reconstruct_batch(np.ascontiguousarray(rows, dtype=np.int64))
        return decoded

    @property
    def scan_cost(self) -> float:
        """A row of `scan` costs so many of the comparisons of a search of this index: docs/decisions/0040."""
        if self.codes != "float32":
            return 6.0
        return 1.25 if self._flat is None else 0.75

    def widen(self, breadth: int) -> None:
        """Search so wide from now on."""
        self.breadth = breadth
        self._plain = self._parameters(breadth, None)

    def compared(self, search: Callable[[], object], queries: int) -> int:
        """Vectors that `search` of so many queries compares for each: its work, in a process that searches nothing else."""
        import faiss

        stats = faiss.cvar.hnsw_stats if self.kind == "hnsw" else faiss.cvar.indexIVF_stats
        stats.reset()
        search()
        return int(stats.ndis) // queries

    def _parameters(self, breadth: int, bits: Any) -> Any:
        import faiss

        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=breadth, sel=bits)
        return faiss.SearchParametersIVF(nprobe=min(breadth, self._ann.nlist), sel=bits)


def _pair(found: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores, rows = found
    if len(rows) and (rows[:, -1] < 0).any():
        scores[rows < 0] = -np.inf  # faiss leaves the least float32 there
    return scores, rows


def selector(mask: NDArray[np.bool_]) -> Any:
    """A filter (size,) in the form in which faiss compares rows with it."""
    import faiss

    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def best(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of `scores` (n, m), best first, with the rows (m,) that they are of; -inf and -1 where there are fewer."""
    count, width = scores.shape
    if width > k:
        at = np.argpartition(scores, width - k, axis=1)[:, width - k :]
        scores = np.take_along_axis(scores, at, axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(scores, order, axis=1), rows[np.take_along_axis(at, order, axis=1)]
    order = np.argsort(-scores, axis=1, kind="stable")
    padded = np.full((count, k), -np.inf, dtype=np.float32)
    padded_rows = np.full((count, k), -1, dtype=np.int64)
    padded[:, :width] = np.take_along_axis(scores, order, axis=1)
    padded_rows[:, :width] = rows[order]
    return padded, padded_rows


def contenders(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Rows (m,) of scores above 0, none below it, with the k best among them."""
    found = _above(scores, k, least=0.0)
    return np.flatnonzero(scores) if found is None else found


def _above(scores: NDArray[np.float32], k: int, *, least: float = -np.inf) -> NDArray[np.int64] | None:
    """Where scores (n,) are above a bound that a sample gives, so that few are put in order; none where that leaves fewer than k."""
    sample = scores[::_SAMPLED]
    wanted = 2 * k // _SAMPLED + 8
    if wanted < len(sample) and (bound := np.partition(sample, len(sample) - wanted)[len(sample) - wanted]) > least:
        found = np.flatnonzero(scores > bound)
        if len(found) >= k:
            return found
    return None


def merged(
    one: tuple[NDArray[np.float32], NDArray[np.int64]], other: tuple[NDArray[np.float32], NDArray[np.int64]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of two answers to the same queries."""
    scores, rows = np.hstack([one[0], other[0]]), np.hstack([one[1], other[1]])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _chosen(rows: NDArray[np.int64]) -> Any:
    """Those rows alone: faiss reads them where they lie, six times as fast as a copy of them is made and multiplied."""
    import faiss

    return faiss.SearchParameters(sel=faiss.IDSelectorArray(np.ascontiguousarray(rows, dtype=np.int64)))


def _flat_parameters(bits: Any) -> Any:
    import faiss

    return None if bits is None else faiss.SearchParameters(sel=bits)


class Builder:
    """Files of an index, made from `vectors.npy` in a folder, a block at a time: codec, codes, graph, lists."""

    def __init__(self, folder: Path, *, items: int, dimension: int, seed: int) -> None:
        self._folder, self._items, self._dimension, self._seed = folder, items, dimension, seed
        self._source = folder / VECTORS

    @property
    def possible(self) -> tuple[CodeKind, ...]:
        """Kinds of codes that there are enough items to train."""
        return ("int8", "pq") if self._items >= _LEAST else ("int8",)

    def trained(self, codes: CodeKind) -> Any:
        """Codes that keep vectors, fitted to a sample of them."""
        one_thread()
        store = _store(codes, self._dimension)
        store.train(self.sample(65536 if codes == "int8" else 16384))
        return store

    def codec(self, codes: CodeKind) -> Any:
        """The same, written to its file."""
        import faiss

        store = self.trained(codes)
        faiss.write_index(store, str(self._folder / CODEC))
        return store

    def encode(self, store: Any) -> None:
        """Write codes.npy of all vectors, and forget the vectors."""
        with Writer(self._folder / CODES, store.sa_code_size(), np.uint8) as writer:
            for block in blocks(self._source):
                writer.add(store.sa_encode(np.ascontiguousarray(block)))

    def graph(self, *, neighbours: int, construction: int) -> None:
        """Write the HNSW graph of the vectors: links alone, since the vectors lie beside it."""
        import faiss

        one_thread()
        index = faiss.IndexHNSWFlat(self._dimension, neighbours, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = construction
        reserve(faiss.downcast_index(index.storage), self._items)
        for block in blocks(self._source):
            index.add(block)
        faiss.write_index(index, str(self._folder / GRAPH), faiss.IO_FLAG_SKIP_STORAGE)

    def lists(self, count: int, *, spherical: bool) -> int:
        """Write the centres of inverted lists and which list each row is in; how many lists there are."""
        import faiss

        one_thread()
        count = max(1, min(count, self._items // 39 or 1))
        quantizer = faiss.IndexFlatIP(self._dimension)
        clusters = faiss.Clustering(self._dimension, count)
        clusters.seed, clusters.niter, clusters.spherical = self._seed + 1, 10, spherical
        clusters.max_points_per_centroid = 64
        clusters.train(self.sample(64 * count), quantizer)
        faiss.write_index(quantizer, str(self._folder / GRAPH))
        with Writer(self._folder / LISTS, 1, np.int32) as writer:
            for block in blocks(self._source):
                writer.add(quantizer.search(block, 1)[1].astype(np.int32))
        return count

    def sample(self, count: int) -> NDArray[np.float32]:
        """(at most count, d) vectors, evenly apart."""
        wanted = np.unique(np.linspace(0, self._items - 1, min(count, self._items)).astype(np.int64))
        taken = np.empty((len(wanted), self._dimension), dtype=np.float32)
        first = at = 0
        for block in blocks(self._source):
            here = wanted[at : np.searchsorted(wanted, first + len(block))] - first
            taken[at : at + len(here)] = block[here]
            first, at = first + len(block), at + len(here)
        return taken


def load(
    folder: Path, *, kind: IndexKind, codes: CodeKind, dimension: int, items: int, breadth: int, files: dict[str, str]
) -> VectorIndex:
    """The index in `folder`; `ModelRefused` where a file is not of the digest in `files`, or does not fit the others."""
    import faiss

    one_thread()
    store = _store(codes, dimension) if codes == "float32" else _read(folder, CODEC, files, dimension)
    raw = VECTORS if codes == "float32" else CODES
    rows = _coded(folder / raw, files[raw], items=items, width=store.sa_code_size())
    if kind == "ivf":
        return VectorIndex(kind, codes, store=None, ann=_listed(folder, store, rows, files, items), breadth=breadth)
    reserve(store, items)
    for block in rows:
        store.add_sa_codes(block)
    if kind == "exact":
        return VectorIndex(kind, codes, store=store, ann=None, breadth=breadth)
    ann = _read(folder, GRAPH, files, dimension)
    if not isinstance(ann, faiss.IndexHNSW) or ann.ntotal != items:
        raise _unfit(GRAPH, f"a graph of {items} items", type(ann).__name__)
    ann.storage, ann.own_fields = store, False
    ann.referenced_objects = [store]
    return VectorIndex(kind, codes, store=store, ann=ann, breadth=breadth)


def _listed(folder: Path, store: Any, rows: Iterator[NDArray[np.uint8]], files: dict[str, str], items: int) -> Any:
    """Inverted lists with the codes in them, filled block by block."""
    import faiss

    quantizer = _read(folder, GRAPH, files, store.d)
    count, dimension, metric = quantizer.ntotal, store.d, faiss.METRIC_INNER_PRODUCT
    if isinstance(store, faiss.IndexScalarQuantizer):
        ann = faiss.IndexIVFScalarQuantizer(quantizer, dimension, count, store.sq.qtype, metric, False)
        ann.sq = store.sq
    elif isinstance(store, faiss.IndexPQ):
        ann = faiss.IndexIVFPQ(quantizer, dimension, count, store.pq.M, 8, metric)
        ann.by_residual, ann.pq = False, store.pq
    else:
        ann = faiss.IndexIVFFlat(quantizer, dimension, count, metric)
    ann.is_trained = True
    ann.referenced_objects = [quantizer]
    where = np.concatenate(
        [each[:, 0].copy() for each in blocks(folder / LISTS, expected=files[LISTS])] or [np.empty(0, np.int32)]
    )
    if len(where) != items or (items and not 0 <= where.min() <= where.max() < count):
        raise _unfit(LISTS, f"a list below {count} for each of {items} items", f"{len(where)} of them")
    for number, size in enumerate(np.bincount(where, minlength=count).tolist()):
        ann.invlists.resize(number, size)  # at once to the size that it will have
        ann.invlists.resize(number, 0)
    first = 0
    for block in rows:
        here = where[first : first + len(block)]
        order = np.argsort(here, kind="stable")
        numbers, starts = np.unique(here[order], return_index=True)
        ids, codes = (first + order).astype(np.int64), block[order]
        for number, start, end in zip(numbers.tolist(), starts, [*starts[1:], len(here)], strict=True):
            ann.invlists.add_entries(
                number, int(end - start), faiss.swig_ptr(ids[start:end]), faiss.swig_ptr(codes[start:end])
            )
        first += len(block)
    ann.ntotal = items
    ann.make_direct_map(True)
    return ann


def _coded(path: Path, digest: str, *, items: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """The rows of a file as bytes (m, width), each block good until the next."""
    seen = 0
    for block in blocks(path, expected=digest):
        if block.dtype not in (np.float32, np.uint8) or block.ndim != 2 or block[:1].nbytes != width:
            raise _unfit(path.name, f"rows of {width} bytes", f"{block.dtype} of {block.shape}")
        seen += len(block)
        yield np.ascontiguousarray(block).view(np.uint8)
    if seen != items:
        raise _unfit(path.name, f"{items} rows", str(seen))


def _read(folder: Path, name: str, files: dict[str, str], dimension: int) -> Any:
    """The faiss index in a file whose very bytes have been checked."""
    import faiss

    from hallmark.retrieval import sealed

    data = sealed.read(folder, name, files)
    try:
        found = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        raise _unfit(name, "an index of faiss", str(error).splitlines()[0]) from error
    if found.d != dimension:
        raise _unfit(name, f"vectors of {dimension}", str(found.d))
    return found


def _store(codes: CodeKind, dimension: int) -> Any:
    import faiss

    if codes == "float32":
        return faiss.IndexFlatIP(dimension)
    if codes == "int8":
        return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    store = faiss.IndexPQ(dimension, _parts(dimension), 8, faiss.METRIC_INNER_PRODUCT)
    store.pq.cp.min_points_per_centroid = _LEAST // 256
    return store


def _parts(dimension: int) -> int:
    """Into how many parts a vector is cut: the most that divide its dimension, of four numbers each at least."""
    return max(parts for parts in range(1, max(1, dimension // 4) + 1) if dimension % parts == 0)


def reserve(store: Any, items: int) -> None:
    """Take the room for so many items at once: growing would hold the vectors twice."""
    store.codes.resize(items * store.sa_code_size())
    store.codes.clear()


def _unfit(name: str, expected: str, got: str) -> ModelRefused:
    return ModelRefused(f"{name} of the index does not fit its {'unit.json'}", expected=expected, got=got)
