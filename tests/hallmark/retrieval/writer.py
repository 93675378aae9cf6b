"""A process that changes an index until it is killed, and says what was acknowledged: `python -m … UNIT STATE BATCH SEED`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.unit import open_unit
from tests.hallmark.retrieval.corpus import ENCODER, PREPROCESSING


def vector(item: str, dimension: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The vector of an item, from its id alone."""
    made = np.random.default_rng(sum(map(ord, item)) * 7919 + len(item)).standard_normal(dimension)
    return (made / np.linalg.norm(made)).astype(np.float32)


def main() -> None:
    unit = open_unit(Path(sys.argv[1]), encoder=ENCODER, preprocessing=PREPROCESSING)
    deltas = Deltas.open(Path(sys.argv[2]), unit)
    batch, total = int(sys.argv[3]), int(sys.argv[4])
    dimension = unit.card.dimension
    for first in range(int(sys.argv[5]), total, batch):
        changes: list[Upsert | Delete] = []
        for number in range(first, min(total, first + batch)):
            changes.append(
                Upsert(f"n{number}", vector(f"n{number}", dimension), {"price": float(number)}, f"word{number}")
            )
            if number % 5 == 0:
                changes.append(Delete(f"i{number // 5}"))
        deltas.apply(changes)
        sys.stdout.write(f"{min(total, first + batch)}\n")
        sys.stdout.flush()


main()
