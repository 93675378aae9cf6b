"""Words as numbers by their hash: the same in every process and on every machine, with no list of words to keep."""

from __future__ import annotations

import zlib


def bucket(word: str, *, buckets: int) -> int:
    """The word's number, 1..buckets - 1; 0 is left to mean that there is no word. Different words may share one."""
    return 1 + zlib.crc32(word.encode()) % (buckets - 1)
