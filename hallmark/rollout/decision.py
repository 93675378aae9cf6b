"""Forward, hold or back: a pure function of the policy, the evidence and the clock.

A rule says against, wait, or ok. One against rolls back. While one waits the share is held, and at the deadline that is a roll-back
too: too few answers, or a metric that is missing, never promote. All rules ok and the dwell over is the next step.

The candidate's false-alarm rate is `policy.false_alarm`, shared equally by the tests that can speak against it; each is sequential
(hallmark.rollout.sequential), so looking every second costs nothing. A promotion besides needs evidence of the same strength that
the candidate is not `error_ratio` times as bad as stable, or under what is negligible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

from hallmark.declaration.rollout import CandidateLimits, Rollout
from hallmark.rollout import sequential
from hallmark.rollout.capacity import pods_for
from hallmark.rollout.evidence import AgreementSlice, Evidence, Exposure, RequestCounts, RolloutProgress
from hallmark.section import Frozen, spelled

Outcome = Literal["against", "wait", "ok", "unjudged"]
Bad = Literal["failed", "slow"]
TESTS = 10
"""Tests that can speak against a candidate: errors and slowness each against stable and against a limit, invalid answers,
scores, agreement, drift, costs, recall."""


class Reason(Frozen):
    """Finding of one rule."""

    rule: str
    outcome: Outcome
    text: str


class RolloutDecision(Frozen):
    """Next action. `reasons` has every rule, the deciding one first.

    percent: the share to shift to; of a hold, the share that waits for nothing but its pods.
    """

    action: Literal["hold", "shift", "promote", "rollback"]
    percent: int | None = None
    reasons: tuple[Reason, ...]

    @property
    def why(self) -> str:
        """The reasons that decided, as a sentence."""
        first = {"rollback": "against", "hold": "wait"}.get(self.action, "ok")
        told = [reason.text for reason in self.reasons if reason.outcome == first] or [self.reasons[0].text]
        return "; ".join(told)


def decide(policy: Rollout, progress: RolloutProgress, evidence: Evidence, *, now: datetime) -> RolloutDecision:
    """The next step of a rollout."""
    reasons = [
        *_judged(policy, progress, evidence),
        *_dwelt(policy, progress, now),
        *_carried(policy, progress, evidence),
    ]
    if any(reason.outcome == "against" for reason in reasons):
        return RolloutDecision(action="rollback", reasons=_first("against", reasons))
    waiting = [reason for reason in reasons if reason.outcome == "wait"]
    if now - progress.started >= policy.deadline and (waiting or _next(policy, progress) != 100):
        late = Reason(
            rule="deadline",
            outcome="against",
            text=f"not promoted within {spelled(policy.deadline)}"
            + (": " + "; ".join(reason.text for reason in waiting[:3]) if waiting else "")
            + (f"; and {len(waiting) - 3} more" if len(waiting) > 3 else ""),
        )
        return RolloutDecision(action="rollback", reasons=(late, *_first("wait", reasons)))
    percent = _next(policy, progress)
    if waiting:
        ahead = percent if all(reason.rule == "capacity" for reason in waiting) else None
        return RolloutDecision(action="hold", percent=ahead, reasons=_first("wait", reasons))
    return RolloutDecision(action="promote" if percent == 100 else "shift", percent=percent, reasons=tuple(reasons))


def _judged(policy: Rollout, progress: RolloutProgress, evidence: Evidence) -> Iterator[Reason]:
    """Reasons of every rule, in the order in which a person would ask."""
    if progress.phase == "canary" and not progress.percent:
        # Nothing is asked of it yet: it waits for the pods of its first share.
        yield from _loaded(evidence)
        return
    alpha = policy.false_alarm / TESTS
    last = progress.phase == "canary" and _next(policy, progress) == 100
    whole = evidence.whole()
    yield from _loaded(evidence)
    yield from _counted(policy, progress, evidence, whole.canary)
    yield from _rates(policy.limits, evidence, whole, alpha, last=last)
    yield from _sane(policy.limits, whole.canary, alpha)
    yield from _watched(evidence)
    yield from _recomputed(evidence)
    yield from _scored(policy.limits, evidence, alpha)
    yield from _agreed(policy, progress, evidence, alpha)
    yield from _recalled(policy.limits, whole, alpha)
    yield from _priced(policy, evidence, last=last)


def _dwelt(policy: Rollout, progress: RolloutProgress, now: datetime) -> Iterator[Reason]:
    held = max(0.0, (now - progress.since).total_seconds())
    if progress.phase == "canary" and progress.percent and held < policy.dwell.total_seconds():
        yield Reason(rule="dwell", outcome="wait", text=f"{held:.0f} s of {spelled(policy.dwell)} at this share")


def _carried(policy: Rollout, progress: RolloutProgress, evidence: Evidence) -> Iterator[Reason]:
    """No share before the ready pods that carry it."""
    if evidence.pods is None:
        return
    percent, ready = _next(policy, progress), evidence.pods.candidate
    needed = pods_for(percent, evidence.pods.whole)
    text = f"{ready} of {needed} ready pods for {percent}%"
    yield Reason(rule="capacity", outcome="ok" if ready >= needed else "wait", text=text)


def _loaded(evidence: Evidence) -> Iterator[Reason]:
    if evidence.refused:
        yield Reason(rule="model", outcome="against", text=f"it does not run: {evidence.refused}")
    elif not evidence.ready:
        yield Reason(rule="model", outcome="wait", text="it is not ready")
    for each in evidence.missing:
        yield Reason(rule="metrics", outcome="wait", text=f"missing: {each}")


def _counted(policy: Rollout, progress: RolloutProgress, evidence: Evidence, canary: RequestCounts) -> Iterator[Reason]:
    """Enough answers of both variants in this step; in shadow, enough pairs."""
    if progress.phase == "shadow":
        wanted = policy.shadow.minimum if policy.shadow else 0
        pairs = _pairs(evidence)
        text = f"{pairs} of {wanted} pairs of answers compared"
        yield Reason(rule="samples", outcome="ok" if pairs >= wanted else "wait", text=text)
        return
    here = evidence.now if evidence.now.percent == progress.percent else Exposure(percent=progress.percent)
    for name, counts in (("the candidate", here.canary), ("stable", here.stable)):
        # Where a candidate fails, what was meant for it is the sample; that it answered is not.
        text = f"{counts.requests} of {policy.minimum_samples} requests to {name} at {progress.percent}%"
        yield Reason(rule="samples", outcome="ok" if counts.requests >= policy.minimum_samples else "wait", text=text)
    if canary.requests >= policy.minimum_samples and not canary.answered:
        yield Reason(
            rule="samples", outcome="wait", text="its model server counted no answer, so nothing is known of them"
        )


def _rates(
    limits: CandidateLimits, evidence: Evidence, whole: Exposure, alpha: float, *, last: bool
) -> Iterator[Reason]:
    """Failed requests and slow answers, by one rule; that failures stay under their limit is asked of the candidate alone too."""
    rows: tuple[tuple[Bad, str, str, str, float, float, float], ...] = (
        (
            "failed",
            "errors",
            "of its requests failed",
            "one that fails more",
            limits.errors,
            limits.negligible,
            limits.errors,
        ),
        ("slow", "latency", "of its answers are over the objective", "a slow one", limits.slow, limits.slow, math.inf),
    )
    requests = whole.canary.requests
    for name, rule, what, other, limit, least, most in rows:
        bad, theirs = getattr(whole.canary, name), getattr(whole.stable, name)
        shown = f"{_share(bad, requests)} {what}, {_share(theirs, whole.stable.requests)} of stable's"
        found = _compared(evidence, whole, name, ratio=_ratio(limits, name), least=least, limit=limit, alpha=alpha)
        if found == "worse":
            yield Reason(rule=rule, outcome="against", text=shown)
        elif found == "both":
            yield Reason(rule=rule, outcome="wait", text=f"{shown}: {_BOTH}")
        elif last and _rate(bad, requests) > most:
            yield Reason(rule=rule, outcome="wait", text=f"{shown}, and {most:.1%} is allowed")
        elif last and not _is_good(bad, requests, least, evidence, name, limits):
            yield Reason(rule=rule, outcome="wait", text=f"{shown}: too few to tell it from {other}")
        else:
            yield Reason(rule=rule, outcome="ok", text=shown)


def _ratio(limits: CandidateLimits, name: Bad) -> float:
    return limits.error_ratio if name == "failed" else limits.slow_ratio


def _sane(limits: CandidateLimits, canary: RequestCounts, alpha: float) -> Iterator[Reason]:
    tried = canary.answered + canary.invalid
    shown = f"{canary.invalid} of {tried} answers were NaN, misshapen, out of range, or none"
    found = sequential.above(canary.invalid, tried, limit=limits.invalid) >= _needed(alpha)
    yield Reason(rule="outputs", outcome="against" if found else "ok", text=shown)


def _watched(evidence: Evidence) -> Iterator[Reason]:
    """The drift monitor's verdicts: a candidate that drifts where stable does not is not what was registered."""
    stable, canary = evidence.stable, evidence.canary
    if stable is None or canary is None:
        name = "stable" if stable is None else "the candidate"
        yield Reason(rule="drift", outcome="wait", text=f"no drift verdict on {name}")
    elif "INSUFFICIENT" in (stable.state, canary.state):
        name, seen = ("stable", stable) if stable.state == "INSUFFICIENT" else ("the candidate", canary)
        why = f": {seen.reasons[0]}" if seen.reasons else ""
        yield Reason(rule="drift", outcome="wait", text=f"the drift verdict on {name} is INSUFFICIENT{why}")
    elif canary.state == "OK":
        yield Reason(rule="drift", outcome="ok", text=f"drift: candidate OK, stable {stable.state}")
    elif stable.state == "OK" or not canary.inputs:
        what = ", ".join((*canary.outputs, *canary.inputs)[:3])
        though = "stable does not" if stable.state == "OK" else "its inputs do not"
        yield Reason(rule="drift", outcome="against", text=f"it drifts from its own reference ({what}), {though}")
    else:
        what = ", ".join(canary.inputs[:3])
        yield Reason(
            rule="drift", outcome="wait", text=f"the traffic is not what the candidate learned either ({what})"
        )


def _recomputed(evidence: Evidence) -> Iterator[Reason]:
    """Features that are not what they were trained on: whichever variant gets them, a comparison on them says nothing."""
    outcomes: dict[str, Outcome] = {"OK": "ok", "BURNS": "wait", "UNKNOWN": "unjudged"}
    if evidence.parity is not None:
        yield Reason(rule="parity", outcome=outcomes[evidence.parity.state], text=evidence.parity.text)


def _scored(limits: CandidateLimits, evidence: Evidence, alpha: float) -> Iterator[Reason]:
    if _is_drifted(evidence):
        yield Reason(rule="scores", outcome="unjudged", text="stable has drifted, so its scores are no yardstick")
        return
    for each in evidence.scores:
        found = sequential.distance(each.stable, each.canary)
        share = alpha / (2 * len(evidence.scores))
        doubt = sum(sequential.radius(sum(counts), alpha=share) for counts in (each.stable, each.canary))
        shown = f"{each.output} is {found:.2f} from stable's distribution, {limits.score_shift:g} is allowed"
        if found - doubt > limits.score_shift:
            yield Reason(rule="scores", outcome="against", text=shown)
        else:
            yield Reason(rule="scores", outcome="ok" if found <= limits.score_shift else "wait", text=shown)
    if not evidence.scores:
        yield Reason(rule="scores", outcome="wait", text="no scores of both variants to compare")


def _agreed(policy: Rollout, progress: RolloutProgress, evidence: Evidence, alpha: float) -> Iterator[Reason]:
    """Predictions on the same requests, overall and by slice; only a drifted stable is no yardstick."""
    if policy.shadow is None:
        return
    if _is_drifted(evidence):
        yield Reason(
            rule="agreement", outcome="unjudged", text="stable has drifted, so its predictions are no yardstick"
        )
        return
    limit = policy.shadow.disagreement
    parts = [each for each in evidence.slices if each.pairs]
    for each in parts:
        strength = sequential.above(each.changed, each.pairs, limit=limit)
        if strength >= _needed(alpha / len(parts)):
            yield Reason(rule="agreement", outcome="against", text=_changed(each, limit))
            return
    if not parts:
        # Once it has real traffic, the comparison of the shadow has been made, or the operator would not be here.
        if progress.phase == "shadow":
            yield Reason(rule="agreement", outcome="wait", text="no pair of answers was compared yet")
        return
    most = max(parts, key=lambda each: _rate(each.changed, each.pairs))
    if progress.phase == "shadow":
        if _rate(most.changed, most.pairs) > limit:
            yield Reason(rule="agreement", outcome="wait", text=_changed(most, limit))
            return
        # What 20 pairs do not show is no agreement yet: a slice is waited for where it is no rarity.
        large = [each for each in parts if each.pairs >= LARGE * parts[0].pairs]
        least = min(large, key=lambda each: sequential.below(each.changed, each.pairs, limit=_TWICE * limit))
        if limit and sequential.below(least.changed, least.pairs, limit=_TWICE * limit) < _needed(_MISS):
            text = f"{_changed(least, limit)}: too few to tell it from {_TWICE} times that"
            yield Reason(rule="agreement", outcome="wait", text=text)
            return
    yield Reason(rule="agreement", outcome="ok", text=_changed(most, limit))


def _recalled(limits: CandidateLimits, whole: Exposure, alpha: float) -> Iterator[Reason]:
    """Recall of live queries by selectivity: an index may lose where few items match and keep its overall recall.

    A query counts as bad by the share of its items that it missed: the tests hold for parts of 1 as they do for 0 and 1.
    """
    before = {each.selectivity: each for each in whole.stable.recall}
    both = [(each, before[each.selectivity]) for each in whole.canary.recall if each.selectivity in before]
    told: list[str] = []
    for mine, stable in both:
        shown = f"recall {1 - mine.missed:.3f} at {mine.selectivity}, stable's {1 - stable.missed:.3f}"
        parts = [(each.missed * each.checked, each.checked) for each in (mine, stable)]
        strength = sequential.worse(*parts[0], *parts[1], ratio=_TWICE)
        if mine.missed - stable.missed > limits.recall_loss and strength >= _needed(alpha / len(both)):
            yield Reason(rule="recall", outcome="against", text=f"{shown}: {limits.recall_loss:g} may be lost")
            return
        told.append(shown)
    if told:
        yield Reason(rule="recall", outcome="ok", text="; ".join(told))


def _priced(policy: Rollout, evidence: Evidence, *, last: bool) -> Iterator[Reason]:
    cost = evidence.cost
    if cost is None or cost.state == "NOT_ENOUGH_LABELS":
        labels = min(cost.labels) if cost else 0
        text = f"NOT_ENOUGH_LABELS: {labels} of {policy.labels.minimum} final labels"
        waits = policy.labels.required and last
        yield Reason(rule="labels", outcome="wait" if waits else "unjudged", text=text)
        return
    more = cost.canary - cost.stable
    allowed = policy.labels.regression * cost.stable
    shown = f"its wrong predictions cost {cost.canary:.4g} an answer, stable's {cost.stable:.4g}"
    if more - cost.radius > allowed:
        yield Reason(rule="labels", outcome="against", text=shown)
    else:
        waits = last and policy.labels.required and more > allowed
        yield Reason(rule="labels", outcome="wait" if waits else "ok", text=shown)


def _is_good(bad: int, of: int, margin: float, evidence: Evidence, name: Bad, limits: CandidateLimits) -> bool:
    """Is it shown that the candidate is under `margin`, or not `ratio` times as bad as stable?"""
    needed = _needed(_MISS / 2)
    if sequential.below(bad, of, limit=margin) >= needed:
        return True
    return _summed(evidence, name, sequential.not_worse, ratio=_ratio(limits, name)) >= needed


_MISS = 0.005
"""Chance that a candidate at the ratio that matters passes as good."""
_TWICE = 2
"""Times the allowed disagreement that a shadow has to rule out, in every slice that holds this part of the pairs or more."""
LARGE = 0.05
_SLIGHTLY = 1.25
"""Times stable's rate from which a candidate over a limit is worse than stable, where stable may be over it too."""
_BOTH = "stable's may be too many as well, so the candidate alone is not to blame"


def _compared(
    evidence: Evidence,
    whole: Exposure,
    name: Bad,
    *,
    ratio: float,
    least: float,
    limit: float,
    alpha: float,
) -> Literal["worse", "both", ""]:
    """Is the candidate `ratio` times as bad as stable, and over `least`; or over `limit`, alone or with stable?

    Over a limit alone is two findings, each at `alpha`: it is over, and stable is better, step by step. (Not: stable is under. A
    bad hour in which the candidate has half of the traffic, after a good one with a tenth, would be blamed on it.) So what fails
    behind both variants speaks against neither.
    """
    canary, needed = whole.canary, _needed(alpha)
    bad = getattr(canary, name)
    if _rate(bad, canary.requests) > least and _summed(evidence, name, sequential.worse, ratio=ratio) >= needed:
        return "worse"
    if sequential.above(bad, canary.requests, limit=limit) < needed:
        return ""
    alone = not whole.stable.requests or _summed(evidence, name, sequential.worse, ratio=_SLIGHTLY) >= needed
    return "worse" if alone else "both"


def _summed(evidence: Evidence, name: Bad, test: Callable[..., float], *, ratio: float) -> float:
    """Result of `test` on candidate against stable, summed over stages: shares differ, and so do the expected counts."""
    return sum(
        test(
            getattr(each.canary, name),
            each.canary.requests,
            getattr(each.stable, name),
            each.stable.requests,
            ratio=ratio,
        )
        for each in evidence.exposures
    )


def _pairs(evidence: Evidence) -> int:
    return max((each.pairs for each in evidence.slices if each.name == OVERALL), default=0)


OVERALL = "all"


def _is_drifted(evidence: Evidence) -> bool:
    return evidence.stable is not None and evidence.stable.state == "DRIFT"


def _next(policy: Rollout, progress: RolloutProgress) -> int:
    if progress.phase == "shadow":
        return policy.stages[0]
    return next((stage for stage in policy.stages if stage > progress.percent), 100)


def _needed(alpha: float) -> float:
    return math.log(1 / alpha)


def _rate(bad: int, of: int) -> float:
    return bad / of if of else 0.0


def _share(bad: int, of: int) -> str:
    return f"{bad} of {of} ({_rate(bad, of):.1%})" if of else "0 of 0"


def _changed(found: AgreementSlice, limit: float) -> str:
    where = "" if found.name == OVERALL else f" where {found.name}"
    return f"it changes {found.changed} of {found.pairs} predictions ({_rate(found.changed, found.pairs):.1%}){where}, {limit:.1%} is allowed"


def _first(outcome: Outcome, reasons: list[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons, key=lambda reason: reason.outcome != outcome))
