"""The newest records of one variant, a ring of fixed size."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.drift.profile import Profile, numbers, words
from hallmark.features.fields import Columns


class Window:
    """At most `size` records; numbers as float64, strings cut short and shared, so its memory is bounded."""

    def __init__(self, profile: Profile, *, size: int) -> None:
        self.size = size
        self.rows = 0
        self.added = 0
        """Records ever added: what the window holds has changed when this has."""
        self.requests = 0
        self.seen_at = time.time()
        self._kinds = {column.name: column.kind for column in profile.columns}
        self._rings = {name: self._empty(kind) for name, kind in self._kinds.items()}
        self._times = np.zeros(size)
        self._serials = np.zeros(size, dtype=np.int64)
        self._words: dict[str, str] = {}

    def add(self, columns: Columns, *, serial: int, at: float | None = None) -> None:
        """Append the records of one request; `serial` numbers the requests of the whole monitor."""
        rows = len(next(iter(columns.values()), ()))
        places = (self.added + np.arange(rows)) % self.size
        for name, ring in self._rings.items():
            ring[places] = self._read(name, columns[name]) if name in columns else self._gap(name)
        self.seen_at = time.time() if at is None else at
        self._times[places] = self.seen_at
        self._serials[places] = serial
        self.added += rows
        self.requests += 1
        self.rows = min(self.size, self.rows + rows)

    def columns(self, *, newest: int | None = None) -> dict[str, NDArray[Any]]:
        """The records, oldest first: copies, so that what is judged holds still."""
        places = self._places(newest)
        return {name: ring[places] for name, ring in self._rings.items()}

    def span(self) -> tuple[float, float]:
        """When the oldest and the newest record came, in seconds of the epoch."""
        places = self._places(None)
        return (float(self._times[places[0]]), float(self._times[places[-1]])) if self.rows else (0.0, 0.0)

    def first_serial(self) -> int:
        """The request of the oldest record."""
        return int(self._serials[self._places(None)[0]]) if self.rows else 0

    def _places(self, newest: int | None) -> NDArray[np.int64]:
        count = self.rows if newest is None else min(self.rows, max(0, newest))
        return (self.added - count + np.arange(count)) % self.size

    def _empty(self, kind: str) -> NDArray[Any]:
        return np.full(self.size, np.nan) if kind == "number" else np.full(self.size, None, dtype=object)

    def _gap(self, name: str) -> float | None:
        return float("nan") if self._kinds[name] == "number" else None

    def _read(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        if self._kinds[name] == "number":
            return numbers(values)
        found = words(values)
        if len(self._words) > 4 * self.size:
            self._words.clear()
        for at, value in enumerate(found):
            if value is not None:
                found[at] = self._words.setdefault(value, value)
        return found
