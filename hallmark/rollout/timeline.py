"""History of a domain's models with reasons: entries in order of time, and points between them for the plots."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Literal

from pydantic import Field

from hallmark.rollout.decision import Reason
from hallmark.section import Frozen

Kind = Literal[
    "drift",
    "guarantee",
    "training",
    "candidate",
    "shadow",
    "canary",
    "hold",
    "promote",
    "rollback",
    "trouble",
    "labels",
    "reset",
    "pull",
    "decision",
]
ENTRIES = 200
POINTS = 720
_FRESH = 60.0
"""Seconds; points younger than this are joined last."""


class TimelineEntry(Frozen):
    """One thing that happened. `correlation` ties it to the event that began it, 32 hex digits; `by` is the person who asked for it, `why` their words."""

    at: datetime
    correlation: str
    kind: Kind
    text: str
    version: int | None = None
    percent: int | None = None
    reasons: tuple[Reason, ...] = ()
    by: str = ""
    why: str = Field(default="", exclude_if=lambda value: not value)

    @property
    def told(self) -> str:
        """The text, the person who asked for it, and why."""
        return self.text + (f"; by {self.by}" if self.by else "") + (f": {self.why}" if self.why else "")


class VariantState(Frozen):
    """One variant at a point: requests since the point before, and of these the failed and the slow; its mean scores and its drift."""

    requests: int = 0
    failed: int = 0
    slow: int = 0
    score: float | None = None
    drift: str = ""
    psi: float | None = None


class TimelinePoint(Frozen):
    """State at one time: the candidate's share, and both variants since the point before."""

    at: datetime
    percent: int | None = None
    version: int | None = None
    stable: VariantState = VariantState()
    canary: VariantState | None = None


class Timeline(Frozen):
    """The newest entries and points of one domain; what is older is in the log of the watch."""

    entries: tuple[TimelineEntry, ...] = ()
    points: tuple[TimelinePoint, ...] = Field(default=())

    def with_entry(self, entry: TimelineEntry) -> Timeline:
        """The timeline with one more entry, after all that are no later."""
        place = bisect_right(self.entries, entry.at, key=lambda each: each.at)
        return self.model_copy(update={"entries": (*self.entries[:place], entry, *self.entries[place:])[-ENTRIES:]})

    def with_point(self, point: TimelinePoint) -> Timeline:
        """The timeline with one more point; when there are too many, neighbours become one, the more so the older they are."""
        points = (*self.points, point)
        return self.model_copy(update={"points": points if len(points) <= POINTS else _thinned(points)})


def _thinned(points: tuple[TimelinePoint, ...]) -> tuple[TimelinePoint, ...]:
    """An eighth fewer, so that a point stands for a time in proportion to its age; none joins two shares or two versions."""
    most = len(points) // 8
    last = points[-1].at

    def cost(place: int) -> float:
        span = points[place + 1].at - points[max(place - 1, 0)].at
        return span.total_seconds() / ((last - points[place].at).total_seconds() + _FRESH)

    alike = [place for place in range(len(points) - 1) if _kind(points[place]) == _kind(points[place + 1])]
    joined: set[int] = set()
    for place in sorted(alike, key=cost):
        if len(joined) < most and not joined & {place - 1, place, place + 1}:
            joined.add(place)
    if not joined:
        return points[most:]
    return tuple(
        merged(each, points[place + 1]) if place in joined else each
        for place, each in enumerate(points)
        if place - 1 not in joined
    )


def _kind(point: TimelinePoint) -> tuple[int | None, int | None, bool]:
    return point.percent, point.version, point.canary is None


def merged(first: TimelinePoint, second: TimelinePoint) -> TimelinePoint:
    """One point over the times of both."""
    return second.model_copy(
        update={
            "stable": _joined(first.stable, second.stable),
            "canary": _joined(first.canary, second.canary) if first.canary and second.canary else second.canary,
        }
    )


def _joined(first: VariantState, second: VariantState) -> VariantState:
    """One variant over both times: counts added up, the later of what is no count."""
    counts = {name: getattr(first, name) + getattr(second, name) for name in ("requests", "failed", "slow")}
    score = first.score if second.score is None else second.score
    psi = first.psi if second.psi is None else second.psi
    return second.model_copy(update={**counts, "score": score, "psi": psi})
