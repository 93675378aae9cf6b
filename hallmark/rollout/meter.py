"""Counters into counts: what was added to each series since the last sample, by variant, whatever restarted in between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hallmark import metrics
from hallmark.rollout.evidence import RecallCounts, RequestCounts
from hallmark.rollout.samples import Sample
from hallmark.section import Frozen

GATEWAY_REQUESTS = metrics.GATEWAY_REQUESTS.name
GATEWAY_BUCKETS = metrics.GATEWAY_MILLISECONDS.samples[0]
RUNTIME_ANSWERS = metrics.RUNTIME_ANSWERS
RUNTIME_REFUSED = metrics.RUNTIME_REFUSED
RUNTIME_BUCKETS = metrics.RUNTIME_BUCKETS
RUNTIME_RECALL = metrics.RUNTIME_RECALL
NAMES: tuple[str, ...] = (
    *(GATEWAY_REQUESTS, GATEWAY_BUCKETS),
    *RUNTIME_ANSWERS,
    *(RUNTIME_REFUSED, RUNTIME_BUCKETS),
    *RUNTIME_RECALL,
)
FAULT = metrics.FAULT


class Variants(Frozen):
    """The revisions that a rollout is between."""

    stable: str
    canary: str

    def of(self, revision: str) -> str:
        """stable, canary, or nothing for a revision of another time."""
        return {self.stable: "stable", self.canary: "canary"}.get(revision, "")


class Meter:
    """The last value of each series. The first sample is the baseline; a series that is new after it began at 0.

    A value below the last one is a counter that began again, as a pod's do when it restarts: all of it is new.
    """

    def __init__(self, last: dict[str, float] | None = None) -> None:
        self.last = last

    def added(self, samples: Iterable[Sample]) -> list[Sample]:
        """Growth of each series since the last sample; empty at the first."""
        now = {_key(sample): sample for sample in samples}
        before = self.last
        # A series that is not there for a moment (a pod that restarts) keeps its last value.
        self.last = {**(before or {}), **{key: sample.value for key, sample in now.items()}}
        if before is None:
            return []
        grown = []
        for key, sample in now.items():
            was = before.get(key, 0.0)
            grown.append(
                Sample(sample.name, sample.labels, sample.value - was if sample.value >= was else sample.value)
            )
        return [sample for sample in grown if sample.value]


def counts(grown: Sequence[Sample], variants: Variants, *, objective: float, shadow: bool) -> dict[str, RequestCounts]:
    """Growth of both variants' series, as `RequestCounts`.

    objective: seconds; an answer counts as slow above the first bucket edge that is not under it.
    shadow:    the candidate gets mirrored requests only, which the gateway does not answer: its own counters stand for them.
               While it counts none, as before it is ready, stable's are nothing to compare with and are left out.
    """
    found = {}
    for name, revision in (("stable", variants.stable), ("canary", variants.canary)):
        mine = [sample for sample in grown if sample.labels.get("revision") == revision]
        invalid = _sum(s for s in mine if s.name == RUNTIME_REFUSED and s.labels.get("reason") == FAULT)
        answers = [sample for sample in mine if sample.name in RUNTIME_ANSWERS]
        answered = _sum(sample for sample in answers if sample.labels.get("code") == "200")
        if shadow and name == "canary":
            failed = _sum(sample for sample in answers if sample.labels.get("code", "").startswith("5"))
            requests = answered + failed
            slow = _over(mine, RUNTIME_BUCKETS, objective)
        else:
            meant = [sample for sample in mine if sample.name == GATEWAY_REQUESTS]
            requests = _sum(meant)
            failed = _sum(sample for sample in meant if _has_failed(sample, name))
            slow = _over(mine, GATEWAY_BUCKETS, objective * 1000)
        found[name] = RequestCounts(
            requests=requests,
            failed=failed,
            slow=min(slow, requests),
            answered=answered,
            invalid=invalid,
            recall=_recall(mine),
        )
    if shadow and not found["canary"].requests:
        # An outage behind both would else be a larger part of the fewer requests, and be blamed on the candidate.
        found["stable"] = RequestCounts()
    return found


def _recall(mine: Sequence[Sample]) -> tuple[RecallCounts, ...]:
    """Queries that were run again exactly, by selectivity, in the order in which the samples have them."""
    selectivities = dict.fromkeys(s.labels.get("selectivity", "") for s in mine if s.name in RUNTIME_RECALL)
    told = [
        (
            name,
            [
                _sum(s for s in mine if s.name == each and s.labels.get("selectivity") == name)
                for each in RUNTIME_RECALL
            ],
        )
        for name in selectivities
    ]
    return tuple(
        RecallCounts(selectivity=name, checked=checked, wanted=wanted, found=found)
        for name, (checked, wanted, found) in told
        if checked and found <= wanted
    )


def _has_failed(sample: Sample, variant: str) -> bool:
    """By the gateway's count: the other variant's answer is none of this one, whatever it says; a client's error (4xx) is one.

    A client that left before any answer (code 0, answered by nobody) says nothing.
    """
    code, answered = sample.labels.get("code", ""), sample.labels.get("answered", "")
    if code.startswith("5") or sample.labels.get("grpc", "") in metrics.GRPC_FAULTS:
        return True
    if answered in {"stable", "canary"} - {variant}:
        return True
    return answered not in (variant, "") and not code.startswith("4")


def _over(samples: Sequence[Sample], name: str, limit: float) -> int:
    """Number of observations of a histogram above the first edge that is not under `limit`."""
    edges: dict[float, float] = {}
    for sample in samples:
        if sample.name == name:
            edge = float(sample.labels["le"].replace("+Inf", "inf"))
            edges[edge] = edges.get(edge, 0.0) + sample.value
    if math.inf not in edges:
        return 0
    at = min((edge for edge in edges if edge >= limit * (1 - 1e-9)), default=math.inf)
    return round(edges[math.inf] - edges[at])


def _key(sample: Sample) -> str:
    return sample.name + "{" + ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items())) + "}"


def _sum(samples: Iterable[Sample]) -> int:
    return round(sum(sample.value for sample in samples))
