"""Answers kept for records that come again: bounded in bytes, the least recently asked for goes first."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import numpy as np

from hallmark.features.fields import Columns
from inference_services.protocol.column import to_key
from inference_services.protocol.schema import Outputs
from inference_services.runtime.metrics import Metrics

_OVERHEAD = 512
"""Bytes that an entry costs beside its arrays, about."""


class Cache:
    """Outputs by the model's digest and the records' content; an answer that was refused is never kept."""

    def __init__(self, limit: int, *, digest: str, metrics: Metrics) -> None:
        self._limit = limit
        self._digest = digest.encode()
        self._metrics = metrics
        self._kept: OrderedDict[bytes, tuple[Outputs, int]] = OrderedDict()
        self._size = 0

    def key(self, columns: Columns, *, generation: int = 0) -> bytes:
        """The same for the same records, whatever the protocol, the id or the order of the fields they came with.

        generation: of what answers them; answers of another are not found.
        """
        hashed = blake2b(self._digest, digest_size=32)
        hashed.update(f"{generation}".encode())
        for name in sorted(columns):
            array = columns[name]
            content = to_key(array)
            hashed.update(f"\n{name} {array.shape} {len(content)}\n".encode())
            hashed.update(content)
        return hashed.digest()

    def get(self, key: bytes) -> Outputs | None:
        """The answer of before, if it is still here; counted as a hit or a miss."""
        found = self._kept.get(key)
        self._metrics.add("cache_requests", "miss" if found is None else "hit")
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Keep a copy, and let go of what no longer fits."""
        size = _OVERHEAD + sum(_weight(array) for array in outputs.values())
        if size > self._limit or key in self._kept:
            return
        self._kept[key] = ({name: array.copy() for name, array in outputs.items()}, size)
        self._size += size
        while self._size > self._limit:
            self._size -= self._kept.popitem(last=False)[1][1]
        self._metrics.set("cache_bytes", self._size)


def _weight(array: np.ndarray) -> int:  # type: ignore[type-arg]
    return array.nbytes if array.dtype != np.object_ else sum(64 + len(value) for value in array.ravel())
