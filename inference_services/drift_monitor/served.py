"""How much of what was served was captured: the runtime's own counters beside what came here."""

from __future__ import annotations

import math
import re
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable

STALE = 30.0
"""Seconds after which counters that cannot be read any more prove nothing."""
FEWEST = 20
_LINE = re.compile(rb"^hallmark_capture_(offered_total|queued)(?:\{[^}]*\})? ([0-9.eE+]+)", re.MULTILINE)


class Served:
    """Snapshots of (served there, captured here), so that loss is counted over the time of a window, not since ever."""

    def __init__(self, url: str, *, captured: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._captured = captured
        self._clock = clock
        self._snapshots: deque[tuple[float, int]] = deque(maxlen=4096)
        self._offered = 0.0
        self._read_at = -math.inf

    def read(self) -> None:
        """Ask the runtime and note its answer; silence is noted by the time."""
        captured = self._captured()
        try:
            with urllib.request.urlopen(self.url, timeout=1.0) as answer:  # noqa: S310  from our own command line
                self.note(answer.read(4 << 20), captured)
        except (OSError, ValueError, urllib.error.URLError):
            return

    def note(self, text: bytes, captured: int) -> None:
        """Take the counters from the runtime's /metrics; what still waits in its queue is not lost."""
        found: dict[bytes, float] = {}
        for name, value in _LINE.findall(text):
            found[name] = found.get(name, 0.0) + float(value)
        if b"offered_total" not in found:
            return
        served = found[b"offered_total"] - found.get(b"queued", 0.0)
        if found[b"offered_total"] < self._offered:
            # The runtime began anew.
            self._snapshots.clear()
        self._offered = found[b"offered_total"]
        if not self._snapshots or self._snapshots[-1] != (served, captured):
            self._snapshots.append((served, captured))
        self._read_at = self._clock()

    @property
    def latest(self) -> float | None:
        """Requests served as last read, None before that."""
        return self._snapshots[-1][0] if self._snapshots else None

    def share(self, *, since: int) -> tuple[float | None, tuple[str, ...]]:
        """Captured over served since the request numbered `since`, and why it is not known where it should be."""
        if self._clock() - self._read_at > STALE:
            return None, ("the runtime's counters cannot be read, so loss is unknown",)
        base = next((one for one in reversed(self._snapshots) if one[1] < since), self._snapshots[0])
        served = self._snapshots[-1][0] - base[0]
        captured = self._snapshots[-1][1] - base[1]
        return (round(min(1.0, captured / served), 3), ()) if served >= FEWEST else (None, ())
