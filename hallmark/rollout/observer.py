"""Observation of a rollout: counts from gateway and model servers, verdicts and answers from the drift monitors, as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from hallmark import object_labels
from hallmark.declaration.domain import Domain
from hallmark.errors import HallmarkError
from hallmark.rollout import meter, parity
from hallmark.rollout.aggregates import EvidenceRequest
from hallmark.rollout.capacity import ReadyPods
from hallmark.rollout.evidence import Evidence, Exposure, RequestCounts, RolloutProgress, VariantDrift
from hallmark.rollout.meter import Meter, Variants
from hallmark.rollout.monitors import Monitors, Verdicts
from hallmark.rollout.responses import CapturedResponses
from hallmark.rollout.samples import Sample
from hallmark.rollout.writer import ready, refusal, revisions

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter, Object


class SampleSource(Protocol):
    """Source of metric samples: the components themselves here, Prometheus on EKS."""

    def read(self, namespace: str, names: Sequence[str]) -> list[Sample]:
        """The samples called `names` now; `Unavailable` where they cannot be read."""


class Observer:
    """One rollout, observed again and again. What it counted so far can be handed in, so that a restart goes on from there."""

    def __init__(
        self,
        domain: Domain,
        writer: InferenceServiceWriter,
        source: SampleSource,
        *,
        since: datetime,
        series: dict[str, float] | None = None,
        exposures: tuple[Exposure, ...] = (),
    ) -> None:
        self.exposures = exposures
        self.latest: dict[str, RequestCounts] = {}
        self.verdicts: dict[str, Verdicts | None] = {}
        self.means: dict[str, float] = {}
        self.ready: ReadyPods | None = None
        self._domain = domain
        self._source = source
        self._meter = Meter(series)
        self._writer = writer
        self._monitors = Monitors(writer, domain.name)
        self._since = since
        self._answers = CapturedResponses(shadow=domain.rollout.shadow, task=domain.task)

    @property
    def series(self) -> dict[str, float] | None:
        """The last value of each counter."""
        return self._meter.last

    def observe(self, live: Object, progress: RolloutProgress, *, now: datetime, whole: int = 0) -> Evidence:
        """All that is known of the rollout now; what could not be read is named in it.

        whole: the ready pods that stable had at most so far.
        """
        stable, newest = revisions(live)
        variants = Variants(stable=stable, canary=newest)
        shadow = progress.phase == "shadow"
        missing = [*self._count(variants, progress), *self._ask(variants, whole, shadow=shadow, now=now)]
        self.means = self._answers.means()
        return Evidence(
            exposures=self.exposures,
            scores=self._answers.scores(),
            slices=self._answers.slices(),
            stable=_seen(self.verdicts.get("stable")),
            canary=_seen(self.verdicts.get("canary")),
            cost=self._answers.cost(self._domain),
            parity=parity.evidence(self._writer, self._domain, now),
            pods=self.ready,
            ready=ready(live),
            refused=refusal(live),
            missing=tuple(missing),
        )

    def _count(self, variants: Variants, progress: RolloutProgress) -> list[str]:
        if not self.exposures or self.exposures[-1].percent != progress.percent:
            self.exposures = (*self.exposures, Exposure(percent=progress.percent))
        self.latest = {}
        try:
            grown = self._meter.added(self._source.read(self._domain.namespace, meter.NAMES))
        except HallmarkError as error:
            return [error.message]
        objective = self._domain.serving.latency_objective.total_seconds()
        self.latest = meter.counts(grown, variants, objective=objective, shadow=progress.phase == "shadow")
        last = self.exposures[-1]
        counted = last.model_copy(
            update={name: getattr(last, name) + self.latest[name] for name in ("stable", "canary")}
        )
        self.exposures = (*self.exposures[:-1], counted)
        return []

    def _ask(self, variants: Variants, whole: int, *, shadow: bool, now: datetime) -> list[str]:
        self.ready = None
        policy = self._domain.rollout
        asked = EvidenceRequest(
            since=self._since.timestamp(),
            until=(now - self._domain.data.label_delay).timestamp(),
            paired=shadow,
            shadow=policy.shadow,
            costs=policy.labels.costs,
        )
        bare = asked.model_copy(update={"shadow": policy.shadow and policy.shadow.model_copy(update={"slices": ()})})
        try:
            pods = self._monitors.pods()
        except HallmarkError as error:
            return [error.message]
        stable, candidate = (
            sum(map(object_labels.is_ready, pods.get(each, []))) for each in (variants.stable, variants.canary)
        )
        self.ready = ReadyPods(candidate=candidate, whole=max(whole, stable))
        missing = []
        for name, revision in (("stable", variants.stable), ("canary", variants.canary)):
            mine = pods.get(revision, [])
            self.verdicts[name] = self._monitors.verdict(revision, mine) if mine else None
            try:
                for found in self._monitors.evidence(mine, asked if name == "stable" else bare):
                    self._answers.take(name, found)
            except HallmarkError as error:
                missing.append(f"the answers of {name}: {error.message}" + (f" ({error.got})" if error.got else ""))
        return missing


def _seen(found: Verdicts | None) -> VariantDrift | None:
    return None if found is None else found.seen
