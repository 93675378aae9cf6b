"""Memory of a build: `python -m benchmarks.retrieval.memory COUNT` writes an index in this process and prints its peak."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.retrieval.data import Corpus
from hallmark.retrieval.unit import Items, build


def peak() -> int:
    """Most bytes that this process ever had in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    corpus = Corpus(int(sys.argv[1]))

    def blocks() -> Iterator[Items]:
        for first, vectors in corpus.blocks():
            rows = range(first, first + len(vectors))
            values = {"category": [f"c{row % 100}" for row in rows], "price": [float(row % 997) for row in rows]}
            yield Items([f"item-{row}" for row in rows], vectors, values)

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        card = build(
            Path(folder) / "index",
            blocks(),
            encoder="sha256:a",
            preprocessing="sha256:b",
            dimension=corpus.dimension,
            columns={"category": "keyword", "price": "number"},
        )
        seconds = time.perf_counter() - start
    told = {
        "bytes": peak(),
        "vectors": 4 * corpus.count * corpus.dimension,
        "seconds": seconds,
        "kind": card.kind,
        "parameters": card.parameters,
        "crossover": card.crossover,
        "recall": {str(row.selectivity): row.recall for row in card.recall},
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
