"""qdrant-client's and lancedb's local modes on given vectors: milliseconds a query and rows found, as JSON; run by their own Python.

argv: a folder with vectors.npy, queries.npy and category.npy (0 or 1 per row). Imports nothing of Hallmark.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def timed(search: Callable[[Any], list[int]], queries: Any) -> tuple[float, list[list[int]]]:
    """The best of two rounds, in milliseconds of a core a query, those of all threads together."""
    best, found = float("inf"), []
    for _ in range(2):
        start = time.process_time()
        found = [search(query) for query in queries]
        best = min(best, (time.process_time() - start) / len(queries) * 1000)
    return best, found


def qdrant(vectors: Any, queries: Any, category: Any) -> dict[str, Any]:
    """Its local mode compares with every item: it has no graph."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    size = vectors.shape[1]
    client.create_collection("items", vectors_config=models.VectorParams(size=size, distance=models.Distance.DOT))
    for first in range(0, len(vectors), 10_000):
        rows = range(first, min(len(vectors), first + 10_000))
        client.upsert(
            "items",
            models.Batch(
                ids=list(rows),
                vectors=vectors[rows.start : rows.stop].tolist(),
                payloads=[{"c": int(category[row])} for row in rows],
            ),
        )
    where = models.Filter(must=[models.FieldCondition(key="c", match=models.MatchValue(value=1))])

    def search(query: Any, only: Any = None) -> list[int]:
        answer = client.query_points("items", query=query, limit=10, query_filter=only)
        return [int(point.id) for point in answer.points]

    few = queries[:30]
    ms, found = timed(search, few)
    filtered_ms, filtered = timed(lambda query: search(query, where), few[:5])
    return {
        "ms": ms,
        "found": found,
        "filtered_ms": filtered_ms,
        "filtered": filtered,
        "how": "exact, which is all it has",
    }


def lancedb(vectors: Any, queries: Any, category: Any, truth: Any) -> dict[str, Any]:
    """With an IVF_FLAT and an IVF_HNSW_SQ index: the quickest setting whose recall@10 is 0.95, else the best recall."""
    import tempfile

    import lancedb as lance
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        table = pa.table({"vector": flat, "row": pa.array(range(len(vectors))), "c": pa.array(category)})
        best: dict[str, Any] = {}
        for kind, refine in (("IVF_FLAT", None), ("IVF_HNSW_SQ", 3)):
            made = lance.connect(folder).create_table(kind, table)
            made.create_index(
                metric="dot", vector_column_name="vector", index_type=kind, num_partitions=316 if refine is None else 8
            )
            for probes in (4, 8, 16, 32):

                def search(
                    query: Any, made: Any = made, probes: int = probes, refine: Any = refine, only: str = ""
                ) -> list[int]:
                    asked = (
                        made.search(query, vector_column_name="vector")
                        .metric("dot")
                        .nprobes(min(probes, 8) if refine else probes)
                    )
                    asked = asked.refine_factor(refine) if refine else asked
                    asked = asked.where(only, prefilter=True) if only else asked
                    return [
                        int(each) for each in asked.limit(10).select(["row", "_distance"]).to_arrow()["row"].to_pylist()
                    ]

                ms, found = timed(search, queries[:100])
                share = float(
                    np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth[:100].tolist(), strict=True)])
                )
                if share >= 0.95 and ms < best.get("ms", float("inf")):
                    filtered_ms, filtered = timed(
                        lambda query, search=search: search(query, only="c = 1"), queries[:30]
                    )
                    best = {
                        "ms": ms,
                        "found": found,
                        "filtered_ms": filtered_ms,
                        "filtered": filtered,
                        "how": f"{kind}, nprobes {probes}",
                    }
                if share >= 0.95:
                    break
        return best


def main() -> None:
    folder = Path(sys.argv[1])
    vectors, queries, category, truth = (
        np.load(folder / f"{name}.npy") for name in ("vectors", "queries", "category", "truth")
    )
    sys.stdout.write(
        json.dumps(
            {"qdrant-client": qdrant(vectors, queries, category), "lancedb": lancedb(vectors, queries, category, truth)}
        )
    )


main()
