"""Whether a candidate may be registered: a pure function of two evaluations and the domain's gate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hallmark.artifacts.evaluation import Decision

if TYPE_CHECKING:
    from hallmark.artifacts.evaluation import Evaluation, Slice
    from hallmark.declaration.gate import Gate

_SLACK = 1e-12
"""Sums of floats: 0.60 - 0.02 is not quite 0.58, and exactly as good as asked is good enough."""


def decide(
    gate: Gate, candidate: Evaluation, champion: Evaluation | None = None, *, named: str = "the champion"
) -> Decision:
    """The decision on `candidate`; without a champion only the floor counts. `named` is what the reasons call the champion.

    What cannot be told (a metric that is missing or not a number, evaluations of different examples) is refused.
    """
    checks = list(_checks(gate, candidate, champion, named))
    ordered = [text for passed, text in checks if not passed] + [text for passed, text in checks if passed]
    return Decision(passed=all(passed for passed, _ in checks), reasons=tuple(ordered))


def _checks(gate: Gate, candidate: Evaluation, champion: Evaluation | None, named: str) -> Iterator[tuple[bool, str]]:
    value = candidate.metrics.get(gate.metric, math.nan)
    if not math.isfinite(value):
        yield False, f"{gate.metric} of the candidate is {'missing' if math.isnan(value) else value}"
        return
    yield _reaches(gate, value, gate.floor, f"{gate.metric} {value:.4f}", f"the floor {gate.floor:.4f}")
    if champion is None:
        yield True, "there is no champion to compare with"
        return
    if candidate.test != champion.test:
        yield False, f"candidate and {named.removeprefix('the ')} were evaluated on different examples"
        return
    yield _gains(gate, value, champion.metrics.get(gate.metric, math.nan), named)
    yield from _slices(gate, candidate, champion, named)


def _reaches(gate: Gate, value: float, bound: float, what: str, bound_text: str) -> tuple[bool, str]:
    better = value - bound if gate.direction == "higher" else bound - value
    passed = better >= -_SLACK
    return passed, f"{what} {'reaches' if passed else 'does not reach'} {bound_text}"


def _gains(gate: Gate, value: float, before: float, named: str) -> tuple[bool, str]:
    if not math.isfinite(before):
        return False, f"{gate.metric} of {named} is {'missing' if math.isnan(before) else before}"
    gain = value - before if gate.direction == "higher" else before - value
    passed = gain >= gate.minimum_gain - _SLACK
    return passed, (
        f"{gate.metric} {value:.4f} against {named}'s {before:.4f}: gain {gain:+.4f}, "
        f"{'at least' if passed else 'less than'} the {gate.minimum_gain:+.4f} asked for"
    )


def _slices(gate: Gate, candidate: Evaluation, champion: Evaluation, named: str) -> Iterator[tuple[bool, str]]:
    before = {(part.column, part.value): part.metric for part in champion.slices}
    judged = 0
    for column in gate.slices.columns:
        if not any(part.column == column for part in candidate.slices):
            yield False, f"slices by {column} are missing from the candidate's evaluation"
    for part in candidate.slices:
        old = before.get((part.column, part.value))
        if part.column not in gate.slices.columns or part.rows < gate.slices.minimum_rows:
            continue
        if old is None or part.metric is None:
            continue
        judged += 1
        loss = old - part.metric if gate.direction == "higher" else part.metric - old
        if loss > gate.slices.tolerance + _SLACK:
            yield False, _worse(gate, part, old, named)
    if judged:
        yield True, f"{judged} slices judged, each may be worse by {gate.slices.tolerance:.4f}"


def _worse(gate: Gate, part: Slice, old: float, named: str) -> str:
    return (
        f"{part.column}={part.value}: {gate.metric} {part.metric:.4f} is worse than {named}'s {old:.4f} "
        f"by more than {gate.slices.tolerance:.4f} ({part.rows} rows)"
    )
