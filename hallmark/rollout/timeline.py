"""What happened to a domain's models, and why: entries in order of time, and points between them for the plots."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from hallmark.rollout.decision import Reason
from hallmark.rollout.evidence import Frozen

Kind = Literal["drift", "training", "candidate", "shadow", "canary", "hold", "promote", "rollback", "trouble"]
ENTRIES = 400
POINTS = 720


class Entry(Frozen):
    """One thing that happened. `correlation` ties it to the event that began it, 32 hex digits."""

    at: datetime
    correlation: str
    kind: Kind
    text: str
    version: int | None = None
    percent: int | None = None
    reasons: tuple[Reason, ...] = ()


class Side(Frozen):
    """One variant at a point: requests since the point before, and of these the failed and the slow; its mean scores and its drift."""

    requests: int = 0
    failed: int = 0
    slow: int = 0
    score: float | None = None
    drift: str = ""
    psi: float | None = None


class Point(Frozen):
    """How things stood: the candidate's share, and both variants since the point before."""

    at: datetime
    percent: int | None = None
    version: int | None = None
    stable: Side = Side()
    canary: Side | None = None


class Timeline(Frozen):
    """The newest entries and points of one domain; what is older is in the log of the watch."""

    entries: tuple[Entry, ...] = ()
    points: tuple[Point, ...] = Field(default=())

    def with_entry(self, entry: Entry) -> Timeline:
        """The timeline with one more entry."""
        return self.model_copy(update={"entries": (*self.entries, entry)[-ENTRIES:]})

    def with_point(self, point: Point) -> Timeline:
        """The timeline with one more point; when there are too many, two neighbours of the older half become one."""
        points = (*self.points, point)
        if len(points) > POINTS:
            half = len(points) // 2
            old = points[:half]
            joined = [_joined(old[at], old[at + 1]) for at in range(0, half - 1, 2)]
            points = (*joined, *points[half - half % 2 :])
        return self.model_copy(update={"points": points})


def _joined(first: Point, second: Point) -> Point:
    return second.model_copy(
        update={
            "stable": _added(first.stable, second.stable),
            "canary": _added(first.canary, second.canary) if first.canary and second.canary else second.canary,
        }
    )


def _added(first: Side, second: Side) -> Side:
    return second.model_copy(
        update={name: getattr(first, name) + getattr(second, name) for name in ("requests", "failed", "slow")}
    )
