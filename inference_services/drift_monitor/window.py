"""The newest records of one variant, a ring of fixed size."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.drift import fleet
from hallmark.drift.profile import Profile
from hallmark.features.arrays import objects
from hallmark.features.fields import Columns
from inference_services.drift_monitor.table import LONGEST_WORD, Words

_TRUTH = np.array(["false", "true"], dtype=object)


class Window:
    """At most `size` records; numbers as float64, strings cut short and shared, so its memory is bounded.

    width: numbers in an embedding, 0 for none.
    """

    def __init__(self, profile: Profile, *, size: int, width: int = 0) -> None:
        self.size = size
        self.rows = 0
        self.added = 0
        """Records ever added: what the window holds has changed when this has."""
        self.requests = 0
        """Requests ever added; the records of a request carry its number."""
        self.seen_at = time.time()
        self._columns = {column.name: column for column in profile.columns}
        self._kinds = {column.name: column.kind for column in profile.columns}
        self._rings = {name: self._empty(kind) for name, kind in self._kinds.items()}
        self._times = np.zeros(size)
        self._serials = np.zeros(size, dtype=np.int64)
        self._lags = np.full(size, np.nan)
        self._traces = np.full(size, "", dtype=object)
        self._strata = np.full(size, "", dtype=object)
        self._embeddings = np.full((size, width), np.nan, dtype=np.float32)
        self._words = Words(4 * size)

    def add(
        self,
        columns: Columns,
        *,
        at: float | None = None,
        kept: NDArray[np.int64] | None = None,
        happened: NDArray[np.float64] | None = None,
        embeddings: NDArray[np.float32] | None = None,
        strata: NDArray[Any] | None = None,
        traces: Sequence[str] = ("",),
    ) -> None:
        """Append the records (rows,) of requests that were scored `at`, in seconds of the epoch; now where that is not known.

        kept:     how many of the records each request has; None: all are of one.   traces: one a request.
        happened: (rows,) event time of each record, NaN for none.
        """
        rows = len(next(iter(columns.values()), ()))
        kept = np.array([rows]) if kept is None else kept
        newest = slice(max(0, rows - self.size), rows)
        places = (self.added + np.arange(rows)[newest]) % self.size
        for name, ring in self._rings.items():
            ring[places] = self._read(name, columns[name][newest]) if name in columns else self._gap(name)
        self.seen_at = time.time() if at is None else at
        # A microsecond apart at least, in the order in which they came: rows of one time cannot be told apart where a window is cut (fleet.Cut).
        last = self._times[(self.added - 1) % self.size] if self.rows else 0.0
        self._times[places] = max(self.seen_at, last + 1e-6) + 1e-6 * np.arange(rows)[newest]
        self._serials[places] = np.repeat(self.requests + 1 + np.arange(len(kept)), kept)[newest]
        self.requests += len(kept)
        self._lags[places] = np.nan if happened is None else self.seen_at - happened[newest]
        self._traces[places] = np.repeat(objects(traces), kept)[newest]
        self._strata[places] = "" if strata is None else self._words.of(strata[newest].tolist())
        self._embeddings[places] = np.nan if embeddings is None else embeddings[newest]
        self.added += rows
        self.rows = min(self.size, self.rows + rows)

    def erase(self, name: str, value: str) -> int:
        """Forget a word of a column; in how many records it stood."""
        ring = self._rings.get(name)
        if ring is None or ring.dtype != object:
            return 0
        same = ring == value[:LONGEST_WORD]
        ring[same] = None
        self._words.pop(value[:LONGEST_WORD], None)
        return int(same.sum())

    def columns(self, *, newest: int | None = None) -> dict[str, NDArray[Any]]:
        """The records, oldest first: copies, so that what is judged holds still."""
        places = self._places(newest)
        return {name: ring[places] for name, ring in self._rings.items()}

    def times(self) -> NDArray[np.int64]:
        """(rows,) arrival of each record in microseconds of the epoch, oldest first."""
        return (self._times[self._places(None)] * 1e6).round().astype(np.int64)

    def traces(self) -> list[str]:
        """(rows,) the trace id of each record, "" for none, oldest first."""
        found: list[str] = self._traces[self._places(None)].tolist()
        return found

    def embeddings(self) -> NDArray[np.float32]:
        """(rows, d) oldest first, NaN where there was none."""
        return self._embeddings[self._places(None)]

    def strata(self) -> list[str]:
        """(rows,) what the records have in the field that the reference is matched by, oldest first."""
        found: list[str] = self._strata[self._places(None)].tolist()
        return found

    def lags(self) -> NDArray[np.float64]:
        """(rows,) seconds from event to scoring, NaN where that is not known."""
        return self._lags[self._places(None)]

    def trace(self) -> str:
        """The trace id that most records share, where it is at least a tenth of all; "" for none."""
        return fleet.shared_trace(Counter(each for each in self.traces() if each), self.rows)

    def dump(self) -> dict[str, Any]:
        """All of it as JSON."""
        places = self._places(None)
        return {
            "columns": {
                name: [None if value != value else value for value in values.tolist()]
                for name, values in self.columns().items()
            },
            "seen_at": self.seen_at,
            "added": self.added,
            "requests": self.requests,
            "times": self._times[places].tolist(),
            "serials": self._serials[places].tolist(),
            "lags": [None if value != value else value for value in self._lags[places].tolist()],
            "traces": self._traces[places].tolist(),
            "strata": self._strata[places].tolist(),
            "embeddings": base64.b64encode(self._embeddings[places].astype("<f4").tobytes()).decode(),
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Take up what `dump` gave of a window of any size, the newest records of it; `ValueError` or such where it is broken."""
        lengths = {len(kept[name]) for name in ("times", "serials", "lags", "traces", "strata")}
        lengths |= {len(values) for values in kept["columns"].values()}
        if len(lengths) != 1:
            raise ValueError("columns of several lengths")
        (rows,) = lengths
        width = self._embeddings.shape[1]
        vectors = np.frombuffer(base64.b64decode(kept["embeddings"]), dtype="<f4")
        vectors = vectors.reshape(rows, width) if len(vectors) == rows * width else np.full((rows, width), np.nan)
        count = min(rows, self.size)
        self.added, self.requests = max(rows, int(kept["added"])), int(kept["requests"])
        self.rows, self.seen_at = count, float(kept["seen_at"])
        places, newest = self._places(None), slice(rows - count, rows)
        for name, ring in self._rings.items():
            values = np.array(kept["columns"].get(name, [None] * rows)[newest], dtype=object)
            ring[places] = self._read(name, values)
        self._times[places] = np.array(kept["times"][newest], dtype=np.float64)
        self._serials[places] = np.array(kept["serials"][newest], dtype=np.int64)
        self._lags[places] = np.array(kept["lags"][newest], dtype=np.float64)
        self._traces[places] = np.array([str(each) for each in kept["traces"][newest]], dtype=object)
        self._strata[places] = np.array([str(each) for each in kept["strata"][newest]], dtype=object)
        self._embeddings[places] = vectors[newest]

    def span(self) -> tuple[float, float]:
        """Arrival of the oldest and of the newest record, in seconds of the epoch."""
        places = self._places(None)
        return (float(self._times[places[0]]), float(self._times[places[-1]])) if self.rows else (0.0, 0.0)

    def first_serial(self) -> int:
        """The number of the oldest record's request."""
        return int(self._serials[self._places(None)[0]]) if self.rows else 0

    def _places(self, newest: int | None) -> NDArray[np.int64]:
        count = self.rows if newest is None else min(self.rows, max(0, newest))
        return (self.added - count + np.arange(count)) % self.size

    def _empty(self, kind: str) -> NDArray[Any]:
        return np.full(self.size, np.nan) if kind == "number" else np.full(self.size, None, dtype=object)

    def _gap(self, name: str) -> float | None:
        return float("nan") if self._kinds[name] == "number" else None

    def _read(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind == "b" and self._kinds[name] != "number":
            return _TRUTH[values.astype(np.int64)]
        if self._kinds[name] != "number" and (whole := self._words.known(values)) is not None:
            return whole
        found = self._columns[name].read(values)
        if self._kinds[name] == "number":
            return found
        return objects(self._words.of(found.tolist()))
