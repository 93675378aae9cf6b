"""The newest rows of something, found by key and read as columns: what a look at tens of thousands of answers costs must be small."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = 1000
"""Different words that one column tells apart; later ones are OTHER."""
OTHER, MISSING, NUMBER = "another value", "missing", "a number"


class Ring:
    """The newest `most` rows. A key that is put again replaces its row where it is; a new one takes the place of the oldest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: dict[Hashable, int] = {}
        self._keys: list[Hashable] = []
        self._next = 0
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._codes: dict[str, NDArray[np.int32]] = {}
        self._words: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, key: Hashable, values: Mapping[str, Any]) -> int:
        """Keep a row; gives its place, 0 up to most - 1. A value is a number, or a word, or missing (None, NaN); a list is missing."""
        place = self._places.get(key)
        if place is None:
            place = self._next
            if place < len(self._keys):
                del self._places[self._keys[place]]
                self._keys[place] = key
            else:
                self._keys.append(key)
            self._places[key] = place
            self._next = (place + 1) % self._most
        for name in values.keys() - self._numbers.keys():
            self._numbers[name] = np.full(self._most, math.nan)
            self._codes[name] = np.zeros(self._most, dtype=np.int32)
            self._words[name] = {MISSING: 0, NUMBER: 1, OTHER: 2}
        for name, numbers in self._numbers.items():
            self._set(name, numbers, place, values.get(name))
        return place

    def place(self, key: Hashable) -> int | None:
        """Where the row of `key` is; none where it is not, or no longer."""
        return self._places.get(key)

    def names(self) -> list[str]:
        """The columns, in order."""
        return sorted(self._numbers)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(rows,) a column's numbers, NaN where a row has none."""
        return self._numbers[name][: len(self)] if name in self._numbers else np.full(len(self), math.nan)

    def words(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """(rows,) places in the list of words that comes with it, by row."""
        if name not in self._codes:
            return np.zeros(len(self), dtype=np.int32), [MISSING]
        return self._codes[name][: len(self)], list(self._words[name])

    def _set(self, name: str, numbers: NDArray[np.float64], place: int, value: Any) -> None:
        code, number = 0, math.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            code = 0 if math.isnan(number) else 1
        elif value is not None and not isinstance(value, list):
            known = self._words[name]
            word = str(value)
            code = known.get(word) or (known.setdefault(word, len(known)) if len(known) < WORDS else known[OTHER])
        numbers[place] = number
        self._codes[name][place] = code
