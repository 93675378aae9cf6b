"""References of a served model: the items nearest to a request's vector among those that share its fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.bundle import Bundle
from hallmark.artifacts.folder import INDEX
from hallmark.artifacts.references import References
from hallmark.errors import ModelRefused
from hallmark.features.fields import Columns
from hallmark.retrieval import filters, pairing
from hallmark.retrieval.card import UNIT
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import open_unit


class NearestReferences:
    """The index of a verified model folder; `ModelRefused` where it has none, or another encoder made it."""

    def __init__(self, bundle: Bundle, declared: References) -> None:
        if bundle.index is None:
            raise ModelRefused(
                "the model has no index of its references",
                expected=f"{INDEX}/ in the folder",
                got="none",
                fix="train it again",
            )
        pair = pairing.of(bundle.digests, bundle.signature)
        digest = bundle.digests[f"{INDEX}/{UNIT}"]
        self._index = Retriever(open_unit(bundle.index, **pair._asdict(), digest=digest))
        self._declared = declared

    def of(self, vectors: NDArray[np.float32], columns: Columns) -> NDArray[np.object_]:
        """(n, k) ids for these records, the nearest first, "" where there are fewer."""
        same = self._declared.same
        shared = [{name: str(columns[name][row]) for name in same} for row in range(len(vectors))]
        found: list[Any] = [
            self._index.search(vectors[row : row + 1], self._declared.k, filters.parse(each)).ids[0]
            for row, each in enumerate(shared)
        ]
        return np.array(found, dtype=np.object_).reshape(len(vectors), self._declared.k)
