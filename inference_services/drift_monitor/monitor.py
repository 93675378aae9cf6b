"""Joins requests with their responses, once each, and keeps a window for each variant: all of it bounded."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hallmark.declaration.drift import Drift
from hallmark.drift import concept, fleet
from hallmark.drift.analysis import ALPHA_PER_ANALYSIS, ANALYSES, WindowMeasurement
from hallmark.drift.concept import Concept, LabelSums
from hallmark.drift.fleet import Cut, PodWindow
from hallmark.drift.verdict import Verdict, conclude, lag_of
from inference_services.drift_monitor import responses, sketches
from inference_services.drift_monitor.events import Captured, Event, Malformed, Origin
from inference_services.drift_monitor.history import VerdictHistory
from inference_services.drift_monitor.lookups import LookupRing
from inference_services.drift_monitor.records import Decoder, ExchangePart, WatchedExchanges
from inference_services.drift_monitor.reference import Reference
from inference_services.drift_monitor.responses import CapturedResponses
from inference_services.drift_monitor.served import ServedCounts
from inference_services.drift_monitor.window import Window

COUNTED = ("joined", "duplicate", "foreign", "malformed", "unpaired", "mismatched", "busy", "unknown")
"""What becomes of events and exchanges: `joined` counts exchanges, `unpaired` halves that waited for the other in vain, `duplicate` and
`foreign` exchanges of an event of columns, or halves; `busy` calls refused because too many waited; `unknown` events of another release."""


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
    """The last interim analysis of a variant: the rows that it was on, and the result."""

    cut: Cut
    rows: int
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
        self._largest = max(1, int(drift.window * self.limits.share))
        self.decoder = Decoder(
            reference,
            most=self._largest,
            event_time=drift.freshness.column if drift.freshness else None,
        )
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.windows: OrderedDict[str, Window] = OrderedDict()
        self._waiting: OrderedDict[str, _Half] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()
        self.answers = CapturedResponses()
        self.lookups = LookupRing(reference.signature, digest=reference.digest)
        self.history = VerdictHistory()
        self._analyses: dict[str, _InterimAnalysis] = {}
        self._concepts: dict[str, tuple[int, Concept, LabelSums]] = {}
        few = drift.labels.minimum
        self._unlabelled = Concept(state="NOT_ENOUGH_LABELS", rows=0, minimum=few) if reference.profile.error else None

    def take(self, events: Sequence[Event], *, at: float | None = None) -> list[str]:
        """Take in events of one call; gives what is wrong with those that are malformed."""
        wrong: list[str] = []
        fresh = [event for event in events if self._is_ours(Origin(event.service, event.namespace, event.variant))]
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

    def take_columns(self, captured: Captured, *, at: float | None = None) -> int:
        """Take in the exchanges of one event of columns; gives how many counted, or were known already."""
        found = captured.exchanges
        if not self._is_ours(captured.origin, len(found.ids)):
            return len(found.ids)
        fresh = dict.fromkeys(found.ids)
        new = np.array([each not in self._done for each in found.ids], dtype=np.bool_)
        self.counts["duplicate"] += len(found.ids) - int(new.sum())
        if new.any():
            watched = self.decoder.exchanges(found, new)
            self._done.update(fresh)
            self._forget()
            self._keep(captured.origin.variant, watched, at=at)
            self.lookups.extend(captured.origin.variant, found, new)
        return len(found.ids)

    def verdict(self, variant: str, *, at: float | None = None) -> Verdict:
        """The verdict on one variant's window, as of its last interim analysis; loss, lag, trace and labels as of now.

        Interim analyses are counted in rows (`fleet.Cut`): a window is judged anew when a fiftieth of it is new. One that is still too
        small is judged whenever it grew, since it cannot alarm. It is on the rows that came to this pod.
        """
        window = self.windows[variant]
        captured, doubts = (
            (None, ()) if self.served is None else self.served.share(variant, since=window.first_serial())
        )
        times = window.times()
        cut = Cut.of(np.sort(times), window.added, self.drift)
        last, rows = self._analyses.get(variant), int(cut.holds(times).sum())
        if last is None or (last.cut, last.rows) != (cut, rows):
            told = sketches.of(window, self.reference.profile, cut)
            measured = fleet.measure(self.reference.profile, self.reference.sample, told, self.drift)
            last = self._analyses[variant] = _InterimAnalysis(cut, rows, measured)
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

    def told(self, variant: str, cut: Cut | None = None) -> PodWindow:
        """A variant's window within `cut`, all of it for none, as the verdict of all pods is made of (hallmark.drift.fleet)."""
        window = self.windows.get(variant)
        served: tuple[int, int] | None = None
        doubts: tuple[str, ...] = ()
        if self.served is not None:
            served, doubts = self.served.counts(variant, since=0 if window is None else window.first_serial())
        labels = self._concepts[variant][2] if variant in self._concepts else None
        return PodWindow(
            digest=self.reference.digest,
            sketch=None if window is None else sketches.of(window, self.reference.profile, cut),
            served=served,
            # A pod that nobody has asked yet lost nothing.
            doubts=() if window is None else doubts,
            labels=LabelSums() if labels is None and self.reference.profile.error else labels,
        )

    def label(self, labels: Sequence[responses.SentLabel]) -> tuple[int, int]:
        """Join labels with the answers kept, and learn from them; how many found an answer, and how many did not."""
        joined, unknown = self.answers.label(labels)
        if joined and (error := self.reference.profile.error) is not None:
            for variant in list(self.windows):
                self.learn(variant, self.answers.labelled(variant, error.output))
        return joined, unknown

    def erase(self, person: Mapping[str, str]) -> int:
        """Forget who has these values, by column; how many lookups, watched values and answers that were."""
        count = self.lookups.erase(person)
        for name, value in person.items():
            count += self.answers.erase(name, value)
            count += sum(window.erase(name, value) for window in self.windows.values())
        return count

    def learn(self, variant: str, labelled: responses.LabelledRecords) -> None:
        """Judge the variant's error on its final labels, the newest as many as a window; anew when a fiftieth of them is new.

        labelled: answers of the output that `reference.profile.error` names.
        """
        error, rules = self.reference.profile.error, self.drift.labels
        if error is None:
            return
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
        told = int(final.sum())
        sums = concept.sums(task, judged.answers, judged.labels, judged.requests, told=told, held=len(final))
        found = concept.conclude(
            sums,
            error,
            minimum=rules.minimum,
            margin=rules.margin,
            alpha=ALPHA_PER_ANALYSIS,
            promise=rules.promise,
        )
        if found.state == "NOT_ENOUGH_LABELS" and told > found.rows:
            reason = f"{told} of {len(final)} answers have a label; none is judged until {rules.coverage:.0%} of all up to some time do"
            found = found.model_copy(update={"reason": reason})
        self._concepts[variant] = (told, found, sums)

    def window(self, variant: str) -> Window:
        """The window of a variant, made when it is first seen; the one silent for longest gives way."""
        if variant not in self.windows:
            if len(self.windows) >= self.limits.variants:
                gone, _ = self.windows.popitem(last=False)
                self._analyses.pop(gone, None)
                self._concepts.pop(gone, None)
            sample = self.reference.sample
            self.windows[variant] = Window(
                self.reference.profile,
                size=fleet.kept(self.drift, largest=self._largest),
                width=0 if sample is None else sample.shape[1],
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

    def _is_ours(self, origin: Origin, count: int = 1) -> bool:
        ours = origin.service == self.service and origin.namespace in ("", self.service)
        self.counts["foreign"] += 0 if ours else count
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
        request, response = half.request, half.response
        kept = len(next(iter({**request.columns, **response.columns, **(response.answers or {})}.values()), ()))
        watched = WatchedExchanges(
            records=np.array([request.records]),
            kept=np.array([kept]),
            requests=[event.request],
            exchanges=[event.exchange],
            traces=[half.trace],
            shadows=[event.shadow],
            columns=request.columns,
            outputs=response.columns,
            answers=response.answers or {},
            embeddings=request.embeddings,
            happened=request.happened,
            strata=request.strata,
        )
        self._keep(half.variant, watched, at=at)

    def _keep(self, variant: str, found: WatchedExchanges, *, at: float | None) -> None:
        """Put exchanges into their variant's window, and among the answers."""
        self.counts["joined"] += len(found.records)
        at = time.time() if at is None else at
        self.window(variant).add(
            {**found.columns, **found.outputs},
            at=at,
            kept=found.kept,
            happened=found.happened,
            embeddings=found.embeddings,
            strata=found.strata,
            traces=found.traces,
        )
        self.answers.extend(
            variant,
            columns=found.columns,
            outputs={**found.outputs, **found.answers},
            records=found.records,
            kept=found.kept,
            at=at,
            requests=found.requests,
            exchanges=found.exchanges,
            traces=found.traces,
            shadows=found.shadows,
        )

    def _forget(self) -> None:
        while len(self._waiting) > self.limits.waiting:
            self._waiting.popitem(last=False)
            self.counts["unpaired"] += 1
        while len(self._done) > self.limits.ids:
            self._done.popitem(last=False)
