"""Text as numbers of its words and of parts of them: the same in training, server and monitor, without a dictionary.

A word is what letters and digits it has, in small letters and without accents: "Écharpe" and "echarpe" are one word. Beside whole
words, runs of three characters tell of it (with its edges: "<ro", "rot", "ot>"), so that a slip of the finger changes a few of
them and not all (Bojanowski et al., 2017). Numbers are hashes into a fixed number of buckets.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RUN = 3
"""Characters of a part of a word."""
_SEPARATORS = re.compile(r"[\W_]+")
_BASE = 0x100000001B3
"""Odd, so that it has an inverse among 64-bit numbers: a hash of any part follows from sums over the whole."""
_KNOWN = 1 << 15
"""Texts whose words are remembered: titles come with one request after the other."""
_MIX = np.uint64(0xFF51AFD7ED558CCD)


@functools.lru_cache(maxsize=_KNOWN)
def plain(text: str) -> str:
    """Words of a text in small letters without accents, one space between them."""
    small = text.casefold()
    if not small.isascii():
        small = "".join(c for c in unicodedata.normalize("NFKD", small) if not unicodedata.combining(c))
    return _SEPARATORS.sub(" ", small).strip()


def grams(texts: Sequence[str], *, slots: int, buckets: int) -> NDArray[np.int32]:
    """(n, slots) numbers 1..buckets-1 of each text's words, then of their parts, in order; 0 where there are no more.

    What does not fit into `slots` is left out, parts of late words first.
    """
    out = np.zeros((len(texts), slots), dtype=np.int32)
    row, number = _hashed([plain(text) for text in texts], buckets=buckets)
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < slots
    out[row[kept], place[kept]] = number[kept]
    return out


def shared(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
    """(n, 2) share of the first text's words that the second has, and of its runs of characters; 0 for a text without words."""
    found = np.zeros((len(first), 2), dtype=np.float32)
    asked: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for at, (one, other) in enumerate(zip(first, second, strict=True)):
        parts, within = asked.get(one) or asked.setdefault(one, _parts(one)), _edged(plain(other))
        for column, some in enumerate(parts):
            if some:
                found[at, column] = sum(part in within for part in some) / len(some)
    return found


def _parts(text: str) -> tuple[frozenset[str], frozenset[str]]:
    words = [f"<{word}>" for word in plain(text).split()]
    return frozenset(words), frozenset(word[at : at + RUN] for word in words for at in range(len(word) + 1 - RUN))


def _edged(words: str) -> str:
    """Words with their edges, "<red><coat>": it has a run, or a whole word, just where one of the words does."""
    return f"<{words.replace(' ', '><')}>"


def _hashed(texts: Sequence[str], *, buckets: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Text and number of each word and each run, those of a text together, its words first."""
    joined = "".join(f" {text} " for text in texts)
    letters = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if not len(letters):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lengths = np.array([len(text) + 2 for text in texts])
    owner = np.repeat(np.arange(len(texts)), lengths)
    powers, inverse = _powers(len(letters) + 1)
    with np.errstate(over="ignore"):
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(letters * powers[:-1], dtype=np.uint64)))
        blank = letters == ord(" ")
        begins = np.flatnonzero(~blank & np.append(True, blank[:-1]))
        ends = np.flatnonzero(blank & np.append(False, ~blank[:-1]))
        words = (sums[ends] - sums[begins]) * inverse[begins]
        at = np.arange(max(0, len(letters) - RUN + 1))
        at = at[~blank[1 : len(letters) - 1][at]] if len(at) else at
        runs = (sums[at + RUN] - sums[at]) * inverse[at]
        hashes = np.concatenate((words * _MIX, runs * _MIX + np.uint64(1)))
        hashes = (hashes ^ (hashes >> np.uint64(33))) * _MIX
        hashes ^= hashes >> np.uint64(29)
    text = np.concatenate((owner[begins], owner[at]))
    order = np.argsort(text, kind="stable")
    number = 1 + (hashes % np.uint64(buckets - 1)).astype(np.int64)
    return text[order], number[order]


def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """(count,) powers of the base and of its inverse, modulo 2^64."""
    with np.errstate(over="ignore"):
        ones = np.ones(count, dtype=np.uint64)
        up, down = ones.copy(), ones.copy()
        up[1:], down[1:] = np.uint64(_BASE), np.uint64(pow(_BASE, -1, 1 << 64))
        return np.cumprod(up, dtype=np.uint64), np.cumprod(down, dtype=np.uint64)
