"""Share of served requests that were captured: the runtime's own counters beside what came here, variant by variant."""

from __future__ import annotations

import math
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hallmark.drift import fleet
from hallmark.metrics import RUNTIME

STALE = 30.0
"""Seconds after which counters that cannot be read any more prove nothing."""
MOST = 2000
_OFFERED, _QUEUED = (RUNTIME[short].name.encode() for short in ("capture_offered", "capture_queued"))
_LINE = re.compile(rb"^(%s|%s)(?:\{([^}]*)\})? ([0-9.eE+]+)" % (_OFFERED, _QUEUED), re.MULTILINE)
_REVISION = re.compile(rb'(?:^|,)\s*revision="([^"]*)"')


@dataclass
class _Track:
    """One runtime's revision: (served there, captured here) at times past, oldest first.

    served goes on over restarts of the runtime, whose counter begins anew: `before` is what it had counted until then.
    """

    before: float = 0.0
    offered: float = 0.0
    snapshots: list[tuple[float, int]] = field(default_factory=list)

    def note(self, offered: float, queued: float, captured: int) -> None:
        if offered < self.offered:
            self.before += self.offered
        self.offered = offered
        if self.snapshots and captured < self.snapshots[-1][1]:
            # The variant's window was let go and begins anew.
            self.snapshots.clear()
        found = (self.before + offered - queued, captured)
        if not self.snapshots or self.snapshots[-1] != found:
            self.snapshots.append(found)
        if len(self.snapshots) > MOST:
            self.snapshots = [*self.snapshots[:-1:2], self.snapshots[-1]]


class ServedCounts:
    """Snapshots of both counts, so that loss is counted over the time of a window, not since ever.

    captured: requests that came here, by variant. What the runtime counts is its own revision's; where it names another and
    there is one variant only, that one is meant.
    Kept over a restart of the sidecar (`dump`, `load`), so that what was served while it was down counts as lost.
    """

    def __init__(
        self, url: str, *, captured: Callable[[], Mapping[str, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._captured = captured
        self._clock = clock
        self._tracks: dict[str, _Track] = {}
        self._read_at = -math.inf

    def read(self) -> None:
        """Ask the runtime and note its answer; silence is noted by the time."""
        # Counted before it is asked: what comes meanwhile would count as more than was served.
        captured = dict(self._captured())
        try:
            with urllib.request.urlopen(self.url, timeout=1.0) as answer:  # noqa: S310  from our own command line
                self.note(answer.read(4 << 20), captured)
        except (OSError, ValueError, urllib.error.URLError):
            return

    def note(self, text: bytes, captured: Mapping[str, int]) -> None:
        """Take the counters from the runtime's /metrics; what still waits in its queue is not lost."""
        found: dict[str, dict[bytes, float]] = {}
        for name, labels, value in _LINE.findall(text):
            named = _REVISION.search(labels)
            of = found.setdefault(named[1].decode(errors="replace") if named else "", {})
            of[name] = of.get(name, 0.0) + float(value)
        counted = {revision: values for revision, values in found.items() if _OFFERED in values}
        for revision, values in counted.items():
            variant = self._variant(revision, set(counted), set(captured))
            track = self._tracks.setdefault(revision, _Track())
            track.note(values[_OFFERED], values.get(_QUEUED, 0.0), captured.get(variant, 0))
        if counted:
            self._read_at = self._clock()

    @property
    def latest(self) -> float | None:
        """Requests served as last read, None before that."""
        last = [track.snapshots[-1][0] for track in self._tracks.values() if track.snapshots]
        return sum(last) if last else None

    def counts(self, variant: str, *, since: int) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
        """Captured and served requests since the variant's request numbered `since`; or why they are not known where they should be."""
        if self._clock() - self._read_at > STALE:
            return None, ("the runtime's counters cannot be read, so loss is unknown",)
        variants = set(self._captured())
        revision = next(
            (each for each in self._tracks if self._variant(each, set(self._tracks), variants) == variant), ""
        )
        track = self._tracks.get(revision)
        if track is None or not track.snapshots:
            return None, (f"the runtime here does not serve {variant}, so loss is unknown",)
        base = next((one for one in reversed(track.snapshots) if one[1] < since), track.snapshots[0])
        served, captured = (last - first for last, first in zip(track.snapshots[-1], base, strict=True))
        return (int(captured), int(served)), ()

    def share(self, variant: str, *, since: int) -> tuple[float | None, tuple[str, ...]]:
        """Captured over served requests, as `counts` has them; None also where they are few."""
        found, doubts = self.counts(variant, since=since)
        return fleet.share([fleet.PodWindow(served=found, doubts=doubts)])

    def dump(self) -> dict[str, Any]:
        """State for a restart, as JSON."""
        return {
            revision: {"before": track.before, "offered": track.offered, "snapshots": track.snapshots}
            for revision, track in self._tracks.items()
        }

    def load(self, kept: Mapping[str, Any]) -> None:
        """Take up what `dump` gave."""
        for revision, each in kept.items():
            snapshots = [(float(served), int(captured)) for served, captured in each["snapshots"]][-MOST:]
            self._tracks[str(revision)] = _Track(float(each["before"]), float(each["offered"]), snapshots)

    @staticmethod
    def _variant(revision: str, revisions: set[str], variants: set[str]) -> str:
        if revision not in variants and len(variants) == len(revisions) == 1:
            return next(iter(variants))
        return revision
