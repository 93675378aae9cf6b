"""Learning curve of a fit, from what its learner says as it goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hallmark.artifacts.trial import Fit, Point

MOST = 1000
_VALUE = re.compile(r"([A-Za-z_][\w@%./ -]*?)[ :=]+(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.%])")
"""A name and its number in a note, such as `loss 0.31`."""


class Curve:
    """A learner's `progress` that remembers the numbers in its notes, and passes all on."""

    def __init__(self, report: Callable[[int, int, str], None]) -> None:
        self._report = report
        self._points: list[Point] = []
        self._began, self._clock = datetime.now(UTC), time.monotonic()

    def __call__(self, done: int, total: int, note: str) -> None:
        """One more step is done."""
        self._points += [
            Point(step=done, name=name.strip(" ,;").replace(" ", "_"), value=float(value))
            for name, value in _VALUE.findall(note)
        ]
        self._report(done, total, note)

    @property
    def fit(self) -> Fit:
        """The fit until now; of a long curve every nth step, and the last."""
        every = -(-len(self._points) // MOST) or 1
        steps = sorted({point.step for point in self._points})
        kept = {*steps[::every], *steps[-1:]}
        points = tuple(point for point in self._points if point.step in kept)
        return Fit(began=self._began, seconds=round(time.monotonic() - self._clock, 3), curve=points)
