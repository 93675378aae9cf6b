"""Joins requests with their responses, once each, and keeps a window for each variant: all of it bounded."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from hallmark.domain import Drift
from hallmark.drift.verdict import Verdict, judge
from inference_services.drift_monitor.events import Event, Malformed
from inference_services.drift_monitor.records import Decoder, Part
from inference_services.drift_monitor.reference import Reference
from inference_services.drift_monitor.served import Served
from inference_services.drift_monitor.window import Window

COUNTED = ("joined", "duplicate", "foreign", "malformed", "unpaired", "mismatched", "busy")
"""What becomes of events and exchanges: `joined` counts exchanges, `unpaired` halves that waited for the other in vain;
`busy` calls refused because too many waited."""


@dataclass(frozen=True)
class Limits:
    """variants kept; ids remembered; halves that wait for their other half; and of a request, the share of a window."""

    variants: int = 8
    ids: int = 50_000
    waiting: int = 2048
    share: float = 0.05


@dataclass
class _Half:
    variant: str
    request: Part | None = None
    response: Part | None = None


@dataclass
class _Judged:
    added: int
    captured: float | None
    doubts: tuple[str, ...]
    verdict: Verdict = field(repr=False)


class Monitor:
    """One model's traffic against its profile. Not for several threads at once."""

    def __init__(
        self,
        reference: Reference,
        drift: Drift,
        *,
        service: str | None = None,
        served: Served | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.reference = reference
        self.drift = drift
        self.service = service or reference.signature.domain
        self.served = served
        self.limits = limits or Limits()
        self.decoder = Decoder(reference, most=max(1, int(drift.window * self.limits.share)))
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.windows: OrderedDict[str, Window] = OrderedDict()
        self._waiting: OrderedDict[str, _Half] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()
        self._judged: dict[str, _Judged] = {}

    def take(self, events: Sequence[Event], *, at: float | None = None) -> list[str]:
        """Take in events of one call; gives what is wrong with those that are malformed."""
        wrong: list[str] = []
        fresh = [event for event in events if self._is_ours(event)]
        asked: dict[str, Event] = {}
        answered: dict[str, Event] = {}
        for event in fresh:
            if not self._has(event):
                (asked if event.half == "request" else answered).setdefault(event.id, event)
        self.counts["duplicate"] += len(fresh) - len(asked) - len(answered)
        for event, part in zip(
            asked.values(), self.decoder.requests([event.data for event in asked.values()]), strict=True
        ):
            self._put(event, part, wrong, at)
        for event in answered.values():
            try:
                self._put(event, self.decoder.response(event.data), wrong, at)
            except Malformed as error:
                self._put(event, error, wrong, at)
        self._forget()
        return wrong

    def verdict(self, variant: str) -> Verdict:
        """The verdict on one variant's window; judged anew only when it could be another."""
        window = self.windows[variant]
        captured, doubts = (None, ()) if self.served is None else self.served.share(since=window.first_serial())
        known = self._judged.get(variant)
        if known and (known.added, known.captured, known.doubts) == (window.added, captured, doubts):
            return known.verdict
        verdict = judge(self.reference.profile, window.columns(), self.drift, captured=captured, doubts=doubts)
        self._judged[variant] = _Judged(window.added, captured, doubts, verdict)
        return verdict

    def window(self, variant: str) -> Window:
        """The window of a variant, made when it is first seen; the one silent for longest gives way."""
        if variant not in self.windows:
            if len(self.windows) >= self.limits.variants:
                gone, _ = self.windows.popitem(last=False)
                self._judged.pop(gone, None)
            self.windows[variant] = Window(self.reference.profile, size=self.drift.window)
        self.windows.move_to_end(variant)
        return self.windows[variant]

    def waiting(self) -> int:
        """Halves that wait for the other."""
        return len(self._waiting)

    def done(self) -> list[str]:
        """The ids joined, oldest first."""
        return list(self._done)

    def remember(self, ids: Sequence[str]) -> None:
        """Ids joined before a restart: they never count again."""
        self._done.update(dict.fromkeys(ids))
        self._forget()

    def _is_ours(self, event: Event) -> bool:
        ours = event.service == self.service and event.namespace in ("", self.service)
        self.counts["foreign"] += not ours
        return ours

    def _has(self, event: Event) -> bool:
        half = self._waiting.get(event.id)
        return event.id in self._done or (half is not None and getattr(half, event.half) is not None)

    def _put(self, event: Event, part: Part | Malformed, wrong: list[str], at: float | None) -> None:
        if isinstance(part, Malformed):
            self.counts["malformed"] += 1
            wrong.append(str(part))
            return
        half = self._waiting.setdefault(event.id, _Half(event.variant))
        if event.half == "request":
            half.request = part
        else:
            half.response = part
        if half.request is None or half.response is None:
            return
        del self._waiting[event.id]
        self._done[event.id] = None
        if half.variant != event.variant or half.request.records != half.response.records:
            self.counts["mismatched"] += 1
            return
        self._join(half.variant, {**half.request.columns, **half.response.columns}, at)

    def _join(self, variant: str, columns: dict[str, NDArray[Any]], at: float | None) -> None:
        self.counts["joined"] += 1
        self.window(variant).add(columns, serial=self.counts["joined"], at=time.time() if at is None else at)

    def _forget(self) -> None:
        while len(self._waiting) > self.limits.waiting:
            self._waiting.popitem(last=False)
            self.counts["unpaired"] += 1
        while len(self._done) > self.limits.ids:
            self._done.popitem(last=False)
