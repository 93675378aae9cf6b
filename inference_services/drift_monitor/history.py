"""Verdicts over time: one point per minute for each variant, and one at each change of weight, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from hallmark.drift.verdict import State, Verdict

EVERY = 60.0
MOVED = 0.25
"""Seconds after which the same verdict is a point again, and how far an effect has to move to be one before."""
MOST = 1000


class VerdictPoint(BaseModel):
    """A variant's verdict `at` a time (seconds of the epoch); effect 1 is where a column's drift begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float
    variant: str
    state: State
    rows: int
    captured: float | None = None
    effects: dict[str, float] = {}
    drifted: tuple[str, ...] = ()


class VerdictHistory:
    """The newest `MOST` points of all variants together, oldest first."""

    def __init__(self) -> None:
        self._points: deque[VerdictPoint] = deque(maxlen=MOST)
        self._last: dict[str, VerdictPoint] = {}

    def note(self, variant: str, verdict: Verdict, *, at: float) -> None:
        """Keep a verdict where a minute has passed, where it is another one than before, or where an effect moved far."""
        drifted = tuple(sorted(column.name for column in verdict.columns if column.drifted))
        effects = {column.name: round(column.effect, 3) for column in verdict.columns}
        last = self._last.get(variant)
        if last and (last.state, last.drifted) == (verdict.state, drifted) and 0 <= at - last.at < EVERY:
            moved = max((abs(effect - last.effects.get(name, 0.0)) for name, effect in effects.items()), default=0.0)
            if verdict.state == "INSUFFICIENT" or moved < MOVED:
                return
        point = VerdictPoint(
            at=round(at, 3),
            variant=variant,
            state=verdict.state,
            rows=verdict.rows,
            captured=verdict.captured,
            effects=effects,
            drifted=drifted,
        )
        self._points.append(point)
        self._last[variant] = point

    def points(self, variant: str | None = None) -> list[VerdictPoint]:
        """All points, or those of one variant."""
        return [point for point in self._points if variant in (None, point.variant)]

    def load(self, kept: Sequence[Mapping[str, Any]]) -> None:
        """Take up points that were saved."""
        for each in kept:
            point = VerdictPoint.model_validate(each)
            self._points.append(point)
            self._last[point.variant] = point
