"""Columns of rows that are added at the end: arrays that grow, each of the narrowest type that holds what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_WORD = 64
_FEWEST = 256


class Words(dict[Any, Any]):
    """Strings cut at `LONGEST_WORD`, the same object for the same string, for as long as there are at most `most` of them."""

    def __init__(self, most: int) -> None:
        super().__init__({None: None})
        self._most = most
        self._odd = False

    def __missing__(self, value: Any) -> Any:
        if type(value) is not str or len(value) > LONGEST_WORD:
            self._odd = True
            return self[value[:LONGEST_WORD]] if isinstance(value, str) else value
        if len(self) > self._most:
            self.clear()
            self[None] = None
        self[value] = value
        return value

    def of(self, values: Sequence[str | None]) -> list[Any]:
        """(n,) words, and None, as they are kept."""
        return list(map(self.__getitem__, values))

    def known(self, values: NDArray[Any]) -> NDArray[Any] | None:
        """(n,) the same where all are words that are kept whole, or None; None where one is anything else."""
        if values.dtype.kind != "O" or values.ndim != 1:
            return None
        self._odd = False
        try:
            found = np.fromiter(map(self.__getitem__, values.tolist()), dtype=np.object_, count=len(values))
        except TypeError:  # a list
            return None
        return None if self._odd else found


class Table:
    """Columns by name, (rows,) each: int64, float64, bool or objects. What is missing is NaN or None."""

    def __init__(self) -> None:
        self.rows = 0
        self._room = 0
        self._columns: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """(rows,) a column, to be read and written."""
        return self._columns[name][: self.rows]

    @property
    def names(self) -> list[str]:
        """All columns, in the order in which they came."""
        return list(self._columns)

    def append(self, columns: Mapping[str, NDArray[Any]], count: int) -> None:
        """Add so many rows; a column that is new is missing before, one that does not come is missing in them."""
        first, self.rows = self.rows, self.rows + count
        if self.rows > self._room:
            self._room = max(2 * self._room, self.rows, _FEWEST)
            for name, values in self._columns.items():
                self._columns[name] = np.concatenate([values[:first], _missing(self._room - first, values.dtype)])
        for name in self._columns.keys() - columns.keys():
            self._fit(name, np.array([None], dtype=object))
            self._columns[name][first : self.rows] = _missing(1, self._columns[name].dtype)[0]
        for name, values in columns.items():
            if name not in self._columns:
                kind = np.dtype(
                    {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}.get(values.dtype.kind, object)
                )
                self._columns[name] = _missing(self._room, kind if not first else _wider(kind))
            self._fit(name, values)
            self._columns[name][first : self.rows] = values

    def keep(self, places: NDArray[np.int64]) -> None:
        """Let all rows go but these, in this order."""
        count = len(places)
        first = int(places[0]) if count else 0
        together = count and int(places[-1]) - first == count - 1 and bool((np.diff(places) == 1).all())
        chosen: Any = slice(first, first + count) if together else places
        for values in self._columns.values():
            values[:count] = values[chosen]
            if values.dtype.kind == "O":  # what is not kept is not held on to
                values[count : self.rows] = None
        self.rows = count

    def _fit(self, name: str, values: NDArray[Any]) -> None:
        """Make a column of a type that holds these values too."""
        mine, theirs = self._columns[name].dtype.kind, values.dtype.kind
        if mine == "O" or mine == theirs or (mine == "i" and theirs == "u") or (mine == "f" and theirs in "iu"):
            return
        if theirs == "O" and mine == "f" and set(values.tolist()) == {None}:
            return
        kind = (
            np.float64
            if mine == "i" and (theirs == "f" or (theirs == "O" and set(values.tolist()) == {None}))
            else object
        )
        self._columns[name] = self._columns[name].astype(kind)


def _missing(count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    if kind.kind == "O":
        return np.full(count, None, dtype=object)
    return np.full(count, np.nan) if kind.kind == "f" else np.zeros(count, dtype=kind)


def _wider(kind: np.dtype[Any]) -> np.dtype[Any]:
    """A type that has what is missing too."""
    return np.dtype({"i": np.float64, "b": object}.get(kind.kind, kind))
