"""Evidence of this pod for a rollout: the answers that it holds, counted and summed, as hallmark.rollout.aggregates has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hallmark.declaration.rollout import Shadow
from hallmark.rollout import aggregates
from hallmark.rollout.aggregates import CostSums, EvidenceRequest, PairedAnswers, PodEvidence
from hallmark.rollout.columns import Coded
from hallmark.tasks import answers as late
from hallmark.tasks.answers import Label, Value
from hallmark.tasks.task import BaseTask
from inference_services.drift_monitor.responses import CapturedResponses, Ints

Unit = Ints
"""Where in the ring is what a task compares and judges as one: a record, or the records of a request in order."""


def gather(ring: CapturedResponses, asked: EvidenceRequest, task: BaseTask, *, variant: str) -> PodEvidence:
    """What is new of a variant since `asked.cursor`; that of another process begins anew. `ValueError` where it is no cursor."""
    place, until = _read(asked.cursor, ring.epoch)
    asked = asked.model_copy(update={"until": max(asked.until, until)})
    new = ring.places(variant, after=place)
    if len(new):
        new = new[(ring.told("answered", new) > place) & (ring.told("at", new) >= asked.since)]
    pairs = asked.shadow if asked.paired else None
    return PodEvidence(
        cursor=f"{ring.epoch}.{max(place, ring.newest)}.{asked.until!r}",
        rows=len(new),
        lost=ring.lost(place),
        outputs=aggregates.distributions(ring.outputs(new), ordered=task.rule == "overlap") if len(new) else {},
        costs=_costs(ring, asked, task, variant, place=place, until=until),
        paired=_paired(ring, new, task, pairs) if pairs is not None and len(new) else PairedAnswers(),
    )


def spent(
    units: Sequence[Unit],
    answers: Sequence[Value],
    labels: Sequence[Label | None],
    times: Sequence[Any],
    task: BaseTask,
    asked: EvidenceRequest,
) -> list[float]:
    """Costs of the answers to those units all of whose labels are known, by `times` (a number, or 1); answers in the units' order."""
    shadow, declared = asked.shadow, asked.costs
    ends = np.cumsum([0, *map(len, units)]).tolist()
    known = [(a, b) for a, b in pairwise(ends) if None not in labels[a:b]]
    if shadow is None or not known:
        return []
    rows = [row for a, b in known for row in range(a, b)]
    costs = task.costs(
        [answers[row] for row in rows],
        [labels[row] for row in rows],
        [str(a) for a, b in known for _ in range(a, b)],
        threshold=shadow.threshold,
        false_negative=declared.false_negative,
        false_positive=declared.false_positive,
    )
    prices = [late.number(times[a]) if times else 1.0 for a, _ in known]
    found = costs * [price if math.isfinite(price) else 1.0 for price in prices]
    return [each for each in found.tolist() if not math.isnan(each)]


def _read(cursor: str, epoch: str) -> tuple[int, float]:
    """Place in the ring, and the time up to which labels were final, of the answer before; before all for none."""
    if not cursor:
        return 0, -math.inf
    try:
        theirs, place, until = cursor.split(".", 2)
        return (int(place), float(until)) if theirs == epoch else (0, -math.inf)
    except ValueError as error:
        raise ValueError("expected cursor: that of an answer") from error


def _costs(
    ring: CapturedResponses, asked: EvidenceRequest, task: BaseTask, variant: str, *, place: int, until: float
) -> CostSums:
    """Costs of answers whose labels are final, less those that the answer before had of the same.

    A unit counted there where it was old enough and all its labels had come: with those that held then it is taken out again.
    """
    shadow = asked.shadow
    whole = ring.places(variant)
    if shadow is None or not len(whole):
        return CostSums()
    at, number = ring.told("at", whole), ring.told("number", whole)
    ripe = ~np.isnan(ring.told("label_at", whole)) & (asked.since <= at) & (at <= asked.until)
    rows = whole[ripe & ((number > place) | (at > until))]
    if not len(rows):
        return CostSums()
    units: list[Unit] = [rows[at : at + 1] for at in range(len(rows))]
    if task.compared_by == "request":
        exchanges = set(ring.told("exchange", rows).tolist())
        units = _requests(ring, whole[[each in exchanges for each in ring.told("exchange", whole).tolist()]])
        rows = np.concatenate([*units, rows[:0]])
    answers = ring.answers(shadow.output, rows)
    labels = ring.told("labels", rows).tolist()
    before = [
        _label_by(each, place) if at <= until else None
        for each, at in zip(labels, ring.told("at", rows).tolist(), strict=True)
    ]
    holding = [each[-1][1] if each else None for each in labels]
    times = [] if asked.costs.times is None else ring.watched(asked.costs.times, rows).tolist()
    final, known = (CostSums.of(spent(units, answers, each, times, task, asked)) for each in (holding, before))
    return final - known


def _label_by(labels: Sequence[tuple[int, Label]] | None, number: int) -> Label | None:
    """The label that held at this place of the ring."""
    return next((label for at, label in reversed(labels or ()) if at <= number), None)


def _requests(ring: CapturedResponses, places: Ints) -> list[Unit]:
    """The requests that are whole, of rows that came from the gateway."""
    found: dict[str, dict[int, int]] = {}
    for exchange, row, place in zip(
        *(ring.told(name, places).tolist() for name in ("exchange", "row")), places.tolist(), strict=True
    ):
        if exchange:
            found.setdefault(exchange, {})[row] = place
    units = [np.array([place for _, place in sorted(each.items())]) for each in found.values()]
    return [unit for unit in units if len(unit) == ring.told("kept", unit[:1])[0]]


def _paired(ring: CapturedResponses, places: Ints, task: BaseTask, shadow: Shadow) -> PairedAnswers:
    """What the task compares of each unit that came from the gateway, with its values of the columns looked at by slice."""
    name, rule = shadow.output, shadow.agreement
    if task.compared_by == "record":
        first = places[ring.told("exchange", places) != ""]
        said = task.compared(ring.answers(name, first), rule)
        rows = ring.told("row", first)
    else:
        units = _requests(ring, places)
        first = np.array([unit[0] for unit in units], dtype=np.int64)
        answers = ring.answers(name, np.concatenate([*units, places[:0]]))
        ends = np.cumsum([0, *map(len, units)]).tolist()
        said = [each for begin, end in pairwise(ends) for each in task.compared(answers[begin:end], rule)]
        rows = np.zeros(len(units), dtype=np.int64)
    columns = {each: Coded.of(ring.watched(each, first)) for each in shadow.slices}
    return PairedAnswers(aggregates.keys(ring.told("exchange", first).tolist(), rows), said, columns)
