"""Which cases are looked at twice: drawn by chance, and the same however often they are drawn."""

from __future__ import annotations

import hashlib

SECOND = 0.05
"""Share of the cases that two people see."""


def drawn(purpose: str, id: str, share: float, *, salt: str) -> bool:  # noqa: A002 - a case's own word
    """Is this id among the `share` of all ids? Draws of two purposes know nothing of each other.

    salt: a secret of the queue's, so that whoever names cases cannot name them so that they are never drawn.
    """
    digest = hashlib.sha256(f"{salt}\0{purpose}\0{id}".encode()).digest()
    return int.from_bytes(digest[:7]) < share * 2**56
