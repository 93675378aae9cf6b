"""Facts of a record under their names, as arrays: words as hashes, numbers as they are; which facts there are is for the data to say.

Of n records: `names` (n, f) objects, "" where there is no more; `tokens` (n, f) INT32, the hash of name and value of a word, 0 of none;
`values` (n, f) float32, the number of a fact that is one, else NaN. A short whole number has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import Misfit
from hallmark.features.hashing import bucket
from hallmark.features.text import plain

_WHOLE = 5
"""Characters up to which a whole number also counts as a word, such as a year or a code."""


class Facts:
    """Facts of n records, gathered one name after the other."""

    def __init__(self, rows: int, *, buckets: int, longest: int) -> None:
        self._rows, self._buckets, self._longest = rows, buckets, longest
        self._columns: list[tuple[NDArray[Any], NDArray[np.int32], NDArray[np.float32]]] = []
        self._hashed: dict[tuple[str, str], int] = {}

    def number(self, name: str, values: NDArray[Any]) -> None:
        """A fact that is a number; NaN where it is not known."""
        numbers = values.astype(np.float32)
        there = ~np.isnan(numbers)
        self._add(name, there, np.zeros(self._rows, dtype=np.int32), numbers)

    def word(self, name: str, values: NDArray[Any]) -> None:
        """A fact in words; None or "" where it is not known."""
        known: dict[Any, int] = {}
        tokens = np.zeros(self._rows, dtype=np.int32)
        for row, value in enumerate(values.tolist()):
            if value:
                if value not in known:
                    known[value] = self._token(name, value)
                tokens[row] = known[value]
        self._add(name, tokens > 0, tokens, np.full(self._rows, np.nan, dtype=np.float32))

    def both(self, first: str, values: NDArray[Any], second: str, others: NDArray[Any]) -> None:
        """Two facts in words taken together."""
        joined = [f"{a}\t{b}" if a and b else None for a, b in zip(values.tolist(), others.tolist(), strict=True)]
        self.word(f"{first}+{second}", np.array([*joined, None], dtype=object)[:-1])

    def pairs(self, names: NDArray[Any], values: NDArray[Any]) -> None:
        """Facts of each record as lists (n,) of names and of values, both as words; what reads as a number is one."""
        longest = max([0, *(len(each) for each in names)])
        said = np.full((self._rows, longest), "", dtype=object)
        tokens = np.zeros((self._rows, longest), dtype=np.int32)
        numbers = np.full((self._rows, longest), np.nan, dtype=np.float32)
        known: dict[tuple[str, str], tuple[int, float]] = {}
        for row, (mine, told) in enumerate(zip(names.tolist(), values.tolist(), strict=True)):
            if len(mine) != len(told):
                raise Misfit(row, f"expected a value for each of {len(mine)} fact_names, got {len(told)} fact_values")
            for place, both in enumerate(zip(mine, told, strict=True)):
                if both not in known:
                    known[both] = self._read(*both)
                said[row, place] = str(both[0])[: self._longest]
                tokens[row, place], numbers[row, place] = known[both]
        for place in range(longest):
            self._columns.append((said[:, place], tokens[:, place], numbers[:, place]))

    def text(self, *parts: tuple[NDArray[Any], int]) -> NDArray[np.int32]:
        """(n, words) hashes of the first words of free texts, so many of each; 0 where there are no more."""
        width = sum(most for _, most in parts)
        out = np.zeros((self._rows, width), dtype=np.int32)
        longest = 1
        known: dict[str, int] = {}
        for row in range(self._rows):
            place = 0
            for texts, most in parts:
                text = texts[row]
                if not text:
                    continue
                for word in plain(text[: 16 * most]).split()[:most]:
                    token = known.get(word)
                    if token is None:
                        token = known[word] = bucket(f"text={word}", buckets=self._buckets)
                    out[row, place] = token
                    place += 1
            longest = max(longest, place)
        return np.ascontiguousarray(out[:, :longest])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`names`, `tokens` and `values`, each (n, f)."""
        names, tokens, values = zip(*self._columns, strict=True)
        return {
            "names": np.stack(names, axis=1),
            "tokens": np.stack(tokens, axis=1),
            "values": np.stack(values, axis=1),
        }

    def _add(self, name: str, there: NDArray[np.bool_], tokens: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        said = np.where(there, np.array(name, dtype=object), np.array("", dtype=object))
        self._columns.append((said, tokens, values))

    def _token(self, name: str, value: str) -> int:
        return bucket(f"{name}={value[: self._longest].casefold().strip()}", buckets=self._buckets)

    def _read(self, name: str, value: str) -> tuple[int, float]:
        text = str(value).strip()
        name = str(name)[: self._longest]
        try:
            number = float(text)
        except ValueError:
            return (self._token(name, text) if text else 0), np.nan
        if not np.isfinite(np.float32(number)):
            return 0, np.nan
        whole = number.is_integer() and len(text) <= _WHOLE
        return (self._token(name, f"{number:g}") if whole else 0), number


def numbered(values: NDArray[Any], ranks: Mapping[str, float]) -> NDArray[np.float64]:
    """(n,) the rank of each word, however it is written ("Very_Good" is "very good"); NaN for one that has none."""
    known: dict[Any, float] = {}
    found = np.full(len(values), np.nan)
    for row, value in enumerate(values.tolist()):
        if value:
            if value not in known:
                known[value] = ranks.get(plain(value), np.nan)
            found[row] = known[value]
    return found
