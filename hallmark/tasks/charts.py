"""Charts as data: lines of points and tables of counts that say how a model is wrong; drawing them is done elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.section import Section

POINTS = 200


class ChartPoint(Section):
    """One point of a line."""

    x: float
    y: float


class ChartLine(Section):
    """Points from left to right under one name."""

    name: str
    points: tuple[ChartPoint, ...]


class Chart(Section):
    """Lines over one pair of axes.

    metric: the one that the title may show.   steps: drawn as stairs.   diagonal: the line x = y is drawn too.
    baseline: height of what chance alone reaches; None where it has no one height.
    """

    title: str
    across: str
    up: str
    lines: tuple[ChartLine, ...]
    metric: str = ""
    steps: bool = False
    diagonal: bool = False
    baseline: float | None = None


class Confusion(Section):
    """counts[i][j]: examples of class `labels[i]` that the model took for `labels[j]`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def line(name: str, x: NDArray[Any], y: NDArray[Any]) -> ChartLine:
    """The line through all points that are numbers."""
    pairs = zip(np.asarray(x, dtype=np.float64).tolist(), np.asarray(y, dtype=np.float64).tolist(), strict=True)
    points = tuple(ChartPoint(x=round(a, 6), y=round(b, 6)) for a, b in pairs if np.isfinite(a) and np.isfinite(b))
    return ChartLine(name=name, points=points)


def thinned(name: str, x: NDArray[Any], y: NDArray[Any]) -> ChartLine:
    """At most 200 points at even steps along the curve, so that neither a steep nor a flat stretch loses its shape."""
    scaled = [(side - side.min()) / (float(np.ptp(side)) or 1.0) for side in (np.asarray(x), np.asarray(y))]
    length = np.cumsum(sum(np.abs(np.diff(side, prepend=side[0])) for side in scaled))
    wanted = np.linspace(0, length[-1], POINTS - 2)
    chosen = np.unique(np.concatenate([np.searchsorted(length, wanted), [0, len(length) - 1]]))
    return line(name, np.asarray(x)[chosen], np.asarray(y)[chosen])
