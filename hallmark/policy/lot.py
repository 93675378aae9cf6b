"""Lots that hang on an entity's id: the same id and topic give the same number, in every run and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def drawn(ids: Sequence[str], topic: str) -> NDArray[np.float64]:
    """(n,) numbers in 0..1, one an id, from a keyed hash (BLAKE2b)."""
    key = hashlib.blake2b(topic.encode(), digest_size=32).digest()
    start = hashlib.blake2b(key=key, digest_size=8)

    def digest(text: str) -> bytes:
        one = start.copy()
        one.update(text.encode())
        return one.digest()

    words = np.frombuffer(b"".join(map(digest, ids)), dtype="<u8")
    return np.asarray((words >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def held_out(ids: Sequence[str], *, domain: str, share: float) -> NDArray[np.bool_]:
    """(n,) entities that nobody treats: of a domain always the same ones; a larger share holds those of a smaller one."""
    return np.asarray(drawn(ids, f"{domain}/holdout") < share)
