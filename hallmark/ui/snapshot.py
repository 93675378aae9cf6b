"""Snapshot of all that the page shows, each part with its value or the reason why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime
from functools import cached_property
from typing import Generic, TypeVar

from hallmark.registry.store import TrialLine, VersionLine
from hallmark.rollout.timeline import TimelineEntry
from hallmark.section import Frozen

T = TypeVar("T")


class Part(Frozen, Generic[T]):
    """One part: its value, or why there is none.   failed: empty where it did not fail."""

    value: T
    failed: str = ""


class Declared(Frozen):
    """A domain as its domain.yaml says."""

    description: str
    task: str
    team: str
    schedule: str


class Released(Frozen):
    """Versions as release.yaml says; `percent` of the traffic goes to the candidate."""

    stable: int | None = None
    candidate: int | None = None
    percent: int | None = None


class LiveVariant(Frozen):
    """One revision that serves.   percent: of the traffic.   ready: pods of `pods` that are.   service: is the whole ready, as KServe says it."""

    variant: str
    version: str
    revision: str
    percent: int
    since: str
    ready: int
    pods: int
    restarts: int
    service: str


class DriftLine(Frozen):
    """The verdict on one variant.   far: its columns that drifted, the farthest first, with their effects; 1 is where drift begins."""

    variant: str
    version: str
    state: str
    rows: int
    reasons: tuple[str, ...]
    far: tuple[tuple[str, float], ...]


class TrainingLine(Frozen):
    """One training.   name: "version 3", or the run it is in MLflow.   outcome: version, refused or experiment.   reason: of a refusal."""

    at: datetime
    name: str
    outcome: str
    metric: str
    value: float
    reason: str = ""


class Cost(Frozen):
    """A month in USD: in house, and by the cheapest managed way that keeps the objective."""

    house: float
    managed: float
    way: str
    cheapest: str
    prices: str


class DomainView(Frozen):
    """All about one domain."""

    name: str
    declared: Part[Declared | None]
    released: Part[Released]
    live: Part[tuple[LiveVariant, ...]]
    drift: Part[tuple[DriftLine, ...]]
    versions: Part[tuple[VersionLine, ...]]
    trials: Part[tuple[TrialLine, ...]]
    entries: Part[tuple[TimelineEntry, ...]]
    cost: Part[Cost | None]

    @cached_property
    def mark(self) -> str:
        """A digest, which is another where anything of it is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def trainings(self) -> list[TrainingLine]:
        """Versions and trials as one list, the newest first."""
        made = [
            TrainingLine(
                at=each.created, name=f"version {each.version}", outcome="version", metric=each.metric, value=each.value
            )
            for each in self.versions.value
        ]
        tried = [
            TrainingLine(
                at=each.created,
                name=f"run {each.run[:8]}" + (f" of {each.experiment}" if each.experiment else ""),
                outcome=each.outcome,
                metric=each.metric,
                value=each.value,
                reason="" if each.passed else each.reason,
            )
            for each in self.trials.value
        ]
        return sorted((*made, *tried), key=lambda each: each.at, reverse=True)


class Link(Frozen):
    """A page of another tool: MLflow's, Kubeflow's, Grafana's."""

    name: str
    address: str


class Snapshot(Frozen):
    """All domains.   cluster: which one was asked, or why none answered; `asking` until the first answer is there."""

    cluster: Part[str]
    domains: tuple[DomainView, ...]
    links: tuple[Link, ...] = ()
    asking: bool = False

    def seen_by(self, domains: Collection[str] | None) -> Snapshot:
        """What a member of these domains sees; everything where it is None."""
        if domains is None:
            return self
        return self.model_copy(update={"domains": tuple(each for each in self.domains if each.name in domains)})

    def domain(self, name: str) -> DomainView | None:
        """One domain, where it is there."""
        return next((each for each in self.domains if each.name == name), None)

    def mark(self, name: str = "") -> str:
        """A digest of what a page shows: of one domain's, or of the first one."""
        shown = [each for each in self.domains if name in ("", each.name)]
        told = [self.cluster.value, self.cluster.failed, str(self.asking), *(each.mark for each in shown)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
