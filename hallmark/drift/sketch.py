"""Sketch of a column's tail, the words that are too many to count one by one: buckets of a hash, and a filter of known values.

Of a reference it says which values are known (a Bloom filter), and which share of a later window's rows will have one that is not.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hallmark.drift import statistics
from hallmark.section import Frozen

BUCKETS = 64
"""Parts of the known tail, by a hash of the value; fewer where a window has few rows of it (`_folded`)."""
LONGEST = 64
"""Characters of a word that is hashed."""
_BITS_A_VALUE = 10
_FEWEST_BITS, _MOST_BITS = 2**10, 2**17
_FEWEST = 8
"""Rows that a bucket has on average, in the smaller set: more than the chi-square approximation needs."""
_SURE = 4.0
"""Deviations by which order in time has to show before it counts."""
_BLOCKS, _PARTS = 10, 16
_MIX = np.frombuffer(hashlib.shake_128(b"tail of a column").digest(LONGEST * 8), dtype="<u8") | np.uint64(1)
"""A factor for each character of a word: fixed, so that every pod and every version hashes alike."""


def hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """(n,) 64-bit hashes of words of at most `LONGEST` characters: a sum of products, mixed as in SplitMix64 (Steele, 2014)."""
    longest = max(map(len, words), default=0) or 1
    points = np.array(words, dtype=f"<U{longest}").view("<u4").reshape(len(words), longest).astype(np.uint64)
    return _mixed((points * _MIX[:longest]).sum(axis=1, dtype=np.uint64))


class KnownValues(Frozen):
    """Bloom filter of a reference's tail: `bits` in base64, a power of two, of which each value sets `tries`."""

    bits: str
    tries: int

    @classmethod
    def of(cls, hashed: NDArray[np.uint64]) -> KnownValues:
        """Of the values with these hashes: 10 to 20 bits a value, 1 KB to 16 KB; fewer a value where there are over 13,000."""
        size = 2 ** math.ceil(math.log2(max(1, len(hashed) * _BITS_A_VALUE)))
        size = min(_MOST_BITS, max(_FEWEST_BITS, size))
        tries = min(8, max(1, round(math.log(2) * size / max(1, len(hashed)))))
        bits = np.zeros(size, dtype=np.uint8)
        bits[_places(hashed, size, tries)] = 1
        return cls(bits=base64.b64encode(np.packbits(bits, bitorder="little").tobytes()).decode(), tries=tries)

    @property
    def false_positive(self) -> float:
        """Share of values that are not in it, and that it takes for known ones."""
        packed = _unpacked(self.bits)
        return float((np.unpackbits(packed).mean()) ** self.tries)

    def holds(self, hashed: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """(n,) True for each that was put in, and for `false_positive` of all others."""
        packed = _unpacked(self.bits)
        at = _places(hashed, 8 * len(packed), self.tries)
        found: NDArray[np.bool_] = ((packed[at >> 3] >> (at & 7).astype(np.uint8)) & 1).all(axis=1)
        return found


class Tail(Frozen):
    """The tail of a column of words in its reference.

    unseen:   share of all rows of a later window that will have a value which the reference has not, on clean traffic: the rows
              whose value came once (Good, 1953), and `churn`.
    churn:    share of the rows of known values that will have new ones instead, since values come and go with time: how many
              more of the newest quarter were not in the first three than would be in any order of the rows.
    clumping: by how much more than chance the buckets differ from one tenth of the reference to the next.
    """

    known: KnownValues
    unseen: float
    churn: float
    clumping: float

    def codes(self, words: Sequence[str]) -> NDArray[np.int64]:
        """(n,) the bucket of each known word, `BUCKETS` of one that was never seen."""
        hashed = hashes(words)
        return np.where(self.known.holds(hashed), _buckets(hashed), BUCKETS)

    def expected(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reference counts (BUCKETS + 1,), those of values that came once last, as a later window of as many rows would show them.

        What the filter takes for known wrongly is among the buckets, here as in a window, so that both can be compared.
        """
        known, new = counts[:-1].astype(np.float64), float(counts[-1])
        new, known = new + self.churn * known.sum(), known * (1 - self.churn)
        wrong = self.known.false_positive
        whole = np.concatenate([[0.0], known + new * wrong / BUCKETS, [new * (1 - wrong)]])
        return np.diff(np.cumsum(whole).round()).astype(np.int64)

    def share(self, observed: float) -> float:
        """Share of rows with a value never seen, of the share that the filter does not know."""
        return min(1.0, observed / max(1e-9, 1 - self.known.false_positive))

    def compare(self, reference: NDArray[np.int64], current: NDArray[np.int64]) -> tuple[float, float]:
        """Population stability index between two sets of (BUCKETS,) counts, less what chance gives, and p that it is chance."""
        first, second = _folded(reference, current)
        if len(first) < 2:
            return 0.0, 1.0
        chance = (self.clumping - 1) * (len(first) - 1) * (1 / first.sum() + 1 / second.sum())
        statistic, degrees, p = statistics.homogeneity(first, second)
        p = statistics.upper_tail(statistic / self.clumping, degrees) if degrees else p
        return max(0.0, statistics.stability_index(first, second) - chance), p


def tail(words: Sequence[str], places: NDArray[np.int64], rows: int) -> Tail:
    """The tail of a reference of `rows` rows in the order of time, of which those at `places` have these words."""
    counts = Counter(words)
    distinct = list(counts)
    hashed = hashes(distinct)
    often = np.array([counts[word] for word in words], dtype=np.int64)
    single = int((often == 1).sum())
    churn = _churn(words, often, late=places >= 3 * rows // 4)
    bucket = dict(zip(distinct, _buckets(hashed).tolist(), strict=True))
    repeated = np.array([bucket[word] for word in words], dtype=np.int64)[often > 1]
    return Tail(
        known=KnownValues.of(hashed),
        unseen=round((single + churn * (len(words) - single)) / rows, 6),
        churn=round(churn, 6),
        clumping=round(_clumping(repeated), 4),
    )


def _churn(words: Sequence[str], often: NDArray[np.int64], *, late: NDArray[np.bool_]) -> float:
    if not late.any():
        return 0.0
    before = {word for word, is_late in zip(words, late.tolist(), strict=True) if not is_late}
    new = np.mean([word not in before for word, is_late in zip(words, late.tolist(), strict=True) if is_late])
    # In any order all other rows of a row's value are in its quarter with this chance.
    chance = float((0.25 ** (often - 1.0)).mean())
    deviation = math.sqrt(chance * (1 - chance) / late.sum())
    return float((new - chance) / (1 - chance)) if new > chance + max(_SURE * deviation, 0.005) else 0.0


def _clumping(buckets: NDArray[np.int64]) -> float:
    if len(buckets) < _BLOCKS * _PARTS * _FEWEST:
        return 1.0
    cells = np.arange(len(buckets)) * _BLOCKS // len(buckets) * _PARTS + buckets % _PARTS
    table = np.bincount(cells, minlength=_BLOCKS * _PARTS).reshape(_BLOCKS, _PARTS).astype(np.float64)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    full = expected.min(axis=0) >= statistics.EXPECTED
    degrees = (_BLOCKS - 1) * max(1, int(full.sum()) - 1)
    ratio = float(((table - expected)[:, full] ** 2 / expected[:, full]).sum()) / degrees
    return ratio if ratio > 1 + _SURE * math.sqrt(2 / degrees) else 1.0


def _folded(reference: NDArray[np.int64], current: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both in as many buckets as have rows enough, a power of two; in one where none has."""
    fewest, parts = min(int(reference.sum()), int(current.sum())), BUCKETS
    while parts > 1 and fewest < parts * _FEWEST:
        parts //= 2
    first, second = (each.reshape(-1, parts).sum(axis=0) for each in (reference, current))
    return first, second


def _mixed(found: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    whole: NDArray[np.uint64] = found ^ (found >> np.uint64(31))
    return whole


def _buckets(hashed: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (hashed >> np.uint64(58)).astype(np.int64)


def _places(hashed: NDArray[np.uint64], size: int, tries: int) -> NDArray[np.int64]:
    """(n, tries) places of a filter: two hashes give all (Kirsch and Mitzenmacher, 2006)."""
    again = _mixed(hashed + np.uint64(0x9E3779B97F4A7C15))
    first, step = again & np.uint64(0xFFFFFFFF), (again >> np.uint64(32)) | np.uint64(1)
    found: NDArray[np.uint64] = first[:, None] + step[:, None] * np.arange(tries).astype(np.uint64)
    return (found & np.uint64(size - 1)).astype(np.int64)


@lru_cache(maxsize=64)
def _unpacked(bits: str) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
