"""Joins requests with their responses, once each, and keeps a window for each variant: all of it bounded."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from hallmark.declaration.drift import Drift
from hallmark.drift import concept, embedding
from hallmark.drift.analysis import ALPHA_PER_ANALYSIS, ANALYSES, WindowMeasurement, measure
from hallmark.drift.concept import Concept
from hallmark.drift.verdict import Verdict, conclude, lag_of
from inference_services.drift_monitor import responses
from inference_services.drift_monitor.events import Event, Malformed
from inference_services.drift_monitor.history import VerdictHistory
from inference_services.drift_monitor.records import Decoder, ExchangePart
from inference_services.drift_monitor.reference import Reference
from inference_services.drift_monitor.responses import CapturedResponses
from inference_services.drift_monitor.served import ServedCounts
from inference_services.drift_monitor.window import Window

COUNTED = ("joined", "duplicate", "foreign", "malformed", "unpaired", "mismatched", "busy")
"""What becomes of events and exchanges: `joined` counts exchanges, `unpaired` halves that waited for the other in vain;
`busy` calls refused because too many waited."""


@dataclass(frozen=True)
class MonitorLimits:
    """variants kept; ids remembered; halves that wait for their other half; and of a request, the share of a window."""

    variants: int = 8
    ids: int = 50_000
    waiting: int = 2048
    share: float = 0.05


@dataclass
class _Half:
    variant: str
    trace: str = ""
    request: ExchangePart | None = None
    response: ExchangePart | None = None


@dataclass
class _InterimAnalysis:
    """The last interim analysis of a variant: the window's count then, and the result."""

    added: int
    measured: WindowMeasurement


class Monitor:
    """One model's traffic against its profile. Not for several threads at once."""

    def __init__(
        self,
        reference: Reference,
        drift: Drift,
        *,
        service: str | None = None,
        served: ServedCounts | None = None,
        limits: MonitorLimits | None = None,
    ) -> None:
        self.reference = reference
        self.drift = drift
        self.service = service or reference.signature.domain
        self.served = served
        self.limits = limits or MonitorLimits()
        self.decoder = Decoder(
            reference,
            most=max(1, int(drift.window * self.limits.share)),
            event_time=drift.freshness.column if drift.freshness else None,
        )
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.windows: OrderedDict[str, Window] = OrderedDict()
        self._waiting: OrderedDict[str, _Half] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()
        self.answers = CapturedResponses()
        self.history = VerdictHistory()
        self._analyses: dict[str, _InterimAnalysis] = {}
        self._concepts: dict[str, tuple[int, Concept]] = {}
        few = drift.labels.minimum
        self._unlabelled = Concept(state="NOT_ENOUGH_LABELS", rows=0, minimum=few) if reference.profile.error else None

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

    def verdict(self, variant: str, *, at: float | None = None) -> Verdict:
        """The verdict on one variant's window, as of its last interim analysis; loss, lag, trace and labels as of now.

        Interim analyses are counted in rows (hallmark.drift.analysis): a window is judged anew when a fiftieth of it is new. One
        that is
        still too small is judged whenever it grew, since it cannot alarm.
        """
        window = self.windows[variant]
        captured, doubts = (
            (None, ()) if self.served is None else self.served.share(variant, since=window.first_serial())
        )
        last = self._analyses.get(variant)
        if last is None or self._is_due(last, window):
            last = self._analyses[variant] = _InterimAnalysis(window.added, self._measured(window))
        freshness = self.drift.freshness
        verdict = conclude(
            last.measured,
            self.drift,
            captured=captured,
            doubts=doubts,
            lag=lag_of(window.lags(), freshness.limit.total_seconds()) if freshness else None,
            labels=self._concepts[variant][1] if variant in self._concepts else self._unlabelled,
            trace=window.trace(),
        )
        self.history.note(variant, verdict, at=time.time() if at is None else at)
        return verdict

    def label(self, labels: Sequence[responses.SentLabel]) -> tuple[int, int]:
        """Join labels with the answers kept, and learn from them; how many found an answer, and how many did not."""
        joined, unknown = self.answers.label(labels)
        if joined and (error := self.reference.profile.error) is not None:
            for variant in list(self.windows):
                self.learn(variant, responses.labels(self.answers.of(variant), error.output))
        return joined, unknown

    def learn(self, variant: str, labelled: responses.LabelledRecords) -> None:
        """Judge the variant's error on its final labels, the newest as many as a window; anew when a fiftieth of them is new.

        labelled: answers of the output that `reference.profile.error` names.
        """
        error, rules = self.reference.profile.error, self.drift.labels
        final = np.array([label is not None for label in labelled.labels], dtype=np.bool_)
        known = self._concepts.get(variant)
        enough = known is not None and known[1].state != "NOT_ENOUGH_LABELS"
        if known and enough and 0 <= int(final.sum()) - known[0] < max(1, self.drift.window // ANALYSES):
            return
        chosen = np.flatnonzero(concept.mature(labelled.at, final, coverage=rules.coverage))
        chosen = chosen[np.argsort(labelled.at[chosen], kind="stable")][-self.drift.window :]
        task = self.reference.signature.task
        rows = chosen.tolist()
        if task.compared_by == "request":  # neither an order nor what was found can be known of a part of one
            asked = {labelled.requests[row] for row in rows} - {""}
            rows = sorted({*rows, *(row for row, request in enumerate(labelled.requests) if request in asked)})
        judged = labelled.take(rows)
        found = concept.judge(
            task,
            error,
            judged.answers,
            judged.labels,
            judged.requests,
            minimum=rules.minimum,
            margin=rules.margin,
            alpha=ALPHA_PER_ANALYSIS,
        )
        if found.state == "NOT_ENOUGH_LABELS" and (told := int(final.sum())) > found.rows:
            reason = f"{told} of {len(final)} answers have a label; none is judged until {rules.coverage:.0%} of all up to some time do"
            found = found.model_copy(update={"reason": reason})
        self._concepts[variant] = (int(final.sum()), found)

    def window(self, variant: str) -> Window:
        """The window of a variant, made when it is first seen; the one silent for longest gives way."""
        if variant not in self.windows:
            if len(self.windows) >= self.limits.variants:
                gone, _ = self.windows.popitem(last=False)
                self._analyses.pop(gone, None)
                self._concepts.pop(gone, None)
            sample = self.reference.sample
            self.windows[variant] = Window(
                self.reference.profile, size=self.drift.window, width=0 if sample is None else sample.shape[1]
            )
        self.windows.move_to_end(variant)
        return self.windows[variant]

    def captured(self) -> dict[str, int]:
        """Requests joined with their responses, by variant."""
        return {name: window.requests for name, window in list(self.windows.items())}

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

    def _put(self, event: Event, part: ExchangePart | Malformed, wrong: list[str], at: float | None) -> None:
        if isinstance(part, Malformed):
            self.counts["malformed"] += 1
            wrong.append(str(part))
            return
        half = self._waiting.setdefault(event.id, _Half(event.variant))
        half.trace = half.trace or event.trace
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
        self.counts["joined"] += 1
        self.window(half.variant).add(
            {**half.request.columns, **half.response.columns},
            at=at,
            happened=half.request.happened,
            embeddings=half.request.embeddings,
            strata=half.request.strata,
            trace=half.trace,
        )
        self.answers.add(
            half.variant,
            columns=half.request.columns,
            outputs={**half.response.columns, **(half.response.answers or {})},
            records=half.request.records,
            at=time.time() if at is None else at,
            request=event.request,
            exchange=event.exchange,
            trace=half.trace,
            shadow=event.shadow,
        )

    def _is_due(self, last: _InterimAnalysis, window: Window) -> bool:
        if last.added == window.added:
            return False
        small = last.measured.rows < self.drift.minimum
        return small or window.added - last.added >= max(1, self.drift.window // ANALYSES)

    def _measured(self, window: Window) -> WindowMeasurement:
        sample = self.reference.sample
        separation = None
        if sample is not None and window.rows >= self.drift.minimum:
            separation = embedding.separate(sample, window.embeddings())
        return measure(
            self.reference.profile,
            window.columns(),
            self.drift,
            at=datetime.fromtimestamp(window.middle(), UTC),
            separation=separation,
            strata=window.strata() if self.reference.profile.strata else (),
        )

    def _forget(self) -> None:
        while len(self._waiting) > self.limits.waiting:
            self._waiting.popitem(last=False)
            self.counts["unpaired"] += 1
        while len(self._done) > self.limits.ids:
            self._done.popitem(last=False)
