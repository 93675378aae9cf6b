"""Gate that decides on registering a candidate: a pure function of two evaluations and the domain's requirements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING

from hallmark.artifacts.evaluation import GateDecision
from hallmark.declaration.gate import Direction
from hallmark.declaration.retrieval import SELECTIVITIES, Selectivity
from hallmark.tasks.bootstrap import Estimate, difference_error

if TYPE_CHECKING:
    from hallmark.artifacts.evaluation import Evaluation, Slice
    from hallmark.artifacts.index_report import IndexReport
    from hallmark.declaration.gate import Gate
    from hallmark.tasks.metric import Metric

NOISE = 2.0
"""Standard errors of a difference that chance alone may make: a loss within them is not a loss."""
ALARM = 0.05
"""How often chance alone may refuse a candidate for one of its slices."""
_SLACK = 1e-12
"""Sums of floats: 0.60 - 0.02 is not quite 0.58, and exactly as good as asked is good enough."""


def decide(
    gate: Gate,
    candidate: Evaluation,
    champion: Evaluation | None = None,
    *,
    metrics: Mapping[str, Metric],
    named: str = "the champion",
    beside: Evaluation | None = None,
    skipped: str = "",
) -> GateDecision:
    """The decision on `candidate`; without a champion only the floors count. `named` is what the reasons call the champion.

    metrics: of the domain's task; they say which direction is better.
    beside:  the candidate on the rows that the champion was evaluated on, where those are not all; floors are for all rows.
    skipped: why a champion that there is was not compared with.
    What cannot be told (a metric that is missing or not a number, evaluations of different examples) is refused.
    """
    checks = list(_checks(gate, candidate, champion, metrics[gate.metric].direction, named, beside, skipped))
    directions = {name: each.direction for name, each in metrics.items()} | gate.figures
    for name, bound in gate.floors.items():
        if name in gate.figures and name not in candidate.metrics:
            checks.append((True, f"{name} is not told of these examples, so its floor judges nothing"))
        else:
            told = candidate.estimates.get(name)
            error = None if told is None else told.error
            checks.append(_within(name, candidate.metrics.get(name, math.nan), bound, directions[name], error=error))
    same = next((each for each in (candidate, beside) if each and champion and each.test == champion.test), None)
    rivals = [(named, same, champion.estimates)] if champion is not None and same is not None else []
    rivals += [(other.name, candidate, other.estimates) for other in candidate.beside]
    checks += _slice_floors(gate, candidate, directions)
    checks += [
        _not_below(name, ours, whose, theirs, metrics[name].direction)
        for name in gate.rivals
        for whose, ours, theirs in rivals
    ]
    ordered = [text for passed, text in checks if not passed] + [text for passed, text in checks if passed]
    return GateDecision(passed=all(passed for passed, _ in checks), reasons=tuple(ordered))


def recalled(decision: GateDecision, report: IndexReport, required: Mapping[Selectivity, float]) -> GateDecision:
    """The decision with the floors of recall, by selectivity, beside it: an index that finds less is refused with its model."""
    checks = []
    for name, floor in required.items():
        row = report.at(SELECTIVITIES[name])
        what = f"recall@{row.k if row else 10} {'overall' if name == 'overall' else f'at {name} of the items'}"
        if row is None:
            checks.append((False, f"{what} of the candidate's index is missing"))
            continue
        passed = row.recall - floor >= -_SLACK
        said = f"{what} {row.recall:.4f} {'reaches' if passed else 'does not reach'} the floor {floor:.4f}"
        checks.append((passed, f"{said} ({row.queries} queries)"))
    failed = [text for passed, text in checks if not passed]
    reasons = (*failed, *decision.reasons, *(text for passed, text in checks if passed))
    return GateDecision(passed=decision.passed and not failed, reasons=reasons)


def _checks(
    gate: Gate,
    candidate: Evaluation,
    champion: Evaluation | None,
    direction: Direction,
    named: str,
    beside: Evaluation | None,
    skipped: str,
) -> Iterator[tuple[bool, str]]:
    value = candidate.metrics.get(gate.metric, math.nan)
    if not math.isfinite(value):
        yield False, f"{gate.metric} of the candidate is {'missing' if math.isnan(value) else value}"
        return
    yield _within(gate.metric, value, gate.floor, direction)
    if champion is None:
        yield True, skipped or "there is no champion to compare with"
        return
    if beside is not None:
        yield True, f"compared on the {beside.rows:,} of {candidate.rows:,} test rows that {named} has not learnt from"
        candidate = beside
    if candidate.test != champion.test:
        yield False, f"candidate and {named.removeprefix('the ')} were evaluated on different examples"
        return
    yield _gains(gate, candidate, champion, direction, named)
    yield from _slices(gate, candidate, champion, direction, named)


def _within(
    name: str, value: float, bound: float | tuple[float, float], direction: Direction, *, error: float | None = None
) -> tuple[bool, str]:
    """A metric against its floor, or against the range it has to keep to, beyond what its standard error explains."""
    if not math.isfinite(value):
        return False, f"{name} of the candidate is {'missing' if math.isnan(value) else value}"
    if isinstance(bound, tuple):
        noise = NOISE * (error or 0.0)
        inside = bound[0] - noise - _SLACK <= value <= bound[1] + noise + _SLACK
        allowed = f"{bound[0]:.4f} to {bound[1]:.4f}" + (
            f", give or take {NOISE:g} standard errors of {error:.4f}" if error else ""
        )
        return inside, f"{name} {value:.4f} is {'within' if inside else 'outside of'} {allowed}"
    passed = (bound - value if direction == "lower" else value - bound) >= -_SLACK
    return passed, f"{name} {value:.4f} {'reaches' if passed else 'does not reach'} the floor {bound:.4f}"


def _gains(
    gate: Gate, candidate: Evaluation, champion: Evaluation, direction: Direction, named: str
) -> tuple[bool, str]:
    value, before = candidate.metrics[gate.metric], champion.metrics.get(gate.metric, math.nan)
    if not math.isfinite(before):
        return False, f"{gate.metric} of {named} is {'missing' if math.isnan(before) else before}"
    gain = before - value if direction == "lower" else value - before
    noise = _noise(candidate.estimates.get(gate.metric), champion.estimates.get(gate.metric))
    shown = f"{gate.metric} {value:.4f} against {named}'s {before:.4f}: gain {gain:+.4f}" + (
        f" (standard error {noise / NOISE:.4f})" if noise else ""
    )
    asked = f"the {gate.minimum_gain:+.4f} asked for"
    if gain >= gate.minimum_gain - _SLACK:
        return True, f"{shown}, at least {asked}"
    if gate.minimum_gain <= 0 and gain + noise >= gate.minimum_gain - _SLACK:
        return True, f"{shown}, less than {asked} by no more than the noise of the test set"
    return False, f"{shown}, less than {asked}"


def _not_below(
    name: str, candidate: Evaluation, whose: str, theirs: Mapping[str, Estimate], direction: Direction
) -> tuple[bool, str]:
    """A metric against a rival's on the same examples: it may lose no more than chance explains."""
    ours, rival = candidate.estimates.get(name), theirs.get(name)
    if ours is None or rival is None:
        return False, f"{name} of {'the candidate' if ours is None else whose} is missing"
    gain = rival.value - ours.value if direction == "lower" else ours.value - rival.value
    noise = _noise(ours, rival)
    passed = gain + noise >= -_SLACK
    shown = f"{name} {ours.value:.4f} against {whose}'s {rival.value:.4f}: gain {gain:+.4f} (standard error {noise / NOISE:.4f})"
    return passed, shown + ("" if passed else ", a loss beyond the noise of the test set")


def _slices(
    gate: Gate, candidate: Evaluation, champion: Evaluation, direction: Direction, named: str
) -> Iterator[tuple[bool, str]]:
    before = {(part.column, part.value): part for part in champion.slices}
    judged = 0
    for column in gate.slices.columns:
        if not any(part.column == column for part in candidate.slices):
            yield False, f"slices by {column} are missing from the candidate's evaluation"
    for part in candidate.slices:
        old = before.get((part.column, part.value))
        if part.column not in gate.slices.columns or part.rows < gate.slices.minimum_rows:
            continue
        if old is None or old.metric is None or part.metric is None:
            continue
        judged += 1
        loss = part.metric - old.metric if direction == "lower" else old.metric - part.metric
        if loss - _noise(part.estimate, old.estimate) > gate.slices.tolerance + _SLACK:
            yield False, _worse(gate, part, old.metric, named)
    if judged:
        yield True, f"{judged} slices judged, each may be worse by {gate.slices.tolerance:.4f}"


def _slice_floors(gate: Gate, candidate: Evaluation, directions: Mapping[str, Direction]) -> Iterator[tuple[bool, str]]:
    """What each larger slice has to reach by itself; off by so many standard errors that chance shows it in one training of twenty, among all slices."""
    larger = [part for part in candidate.slices if part.rows >= gate.slices.minimum_rows]
    errors = max(NOISE, NormalDist().inv_cdf(1 - ALARM / 2 / max(1, len(larger))))
    for name, bound in gate.slices.floors.items():
        kept = 0
        for part in larger:
            told = part.metric if name == candidate.metric else None
            given = part.others.get(name) or (None if told is None else part.estimate or Estimate(value=told))
            where = f"{part.column}={part.value}: {name}"
            if given is None or not math.isfinite(given.value):
                yield False, f"{where} is missing ({part.rows} rows)"
                continue
            noise = errors * (given.error or 0.0)
            low, high = bound if isinstance(bound, tuple) else (bound, bound)
            beyond = max(
                0.0 if not isinstance(bound, tuple) and directions[name] == "lower" else low - given.value,
                0.0 if not isinstance(bound, tuple) and directions[name] == "higher" else given.value - high,
            )
            if beyond > noise + _SLACK:
                asked = f"{low:.4f} to {high:.4f}" if isinstance(bound, tuple) else f"the floor {low:.4f}"
                chance = f"{errors:.1f} standard errors of {given.error or 0.0:.4f}"
                yield (
                    False,
                    f"{where} {given.value:.4f} misses {asked} by more than chance, {chance} ({part.rows} rows)",
                )
            else:
                kept += 1
        yield (
            True,
            f"{name} is kept in {kept} of {len(larger)} slices, give or take {errors:.1f} standard errors of each",
        )


def _noise(candidate: Estimate | None, champion: Estimate | None) -> float:
    """Difference that chance alone may explain; 0 where that is not known."""
    if candidate is None or champion is None or candidate.draws != champion.draws:
        return 0.0
    return NOISE * (difference_error(candidate, champion) or 0.0)


def _worse(gate: Gate, part: Slice, old: float, named: str) -> str:
    return (
        f"{part.column}={part.value}: {gate.metric} {part.metric:.4f} is worse than {named}'s {old:.4f} "
        f"by more than {gate.slices.tolerance:.4f} ({part.rows} rows)"
    )
