"""Evidence of this pod for a rollout: the answers that it holds, counted and summed, as hallmark.rollout.aggregates has it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from hallmark.declaration.rollout import PredictionCosts, Shadow
from hallmark.rollout import aggregates
from hallmark.rollout.aggregates import CostSums, EvidenceRequest, PairedAnswers, PodEvidence
from hallmark.rollout.columns import Coded
from hallmark.tasks.answers import Label
from hallmark.tasks.task import BaseTask
from inference_services.drift_monitor.responses import CapturedRecord, CapturedResponses

Unit = list[CapturedRecord]
"""What a task compares and judges as one: a record, or the records of a request in order."""


def gather(ring: CapturedResponses, asked: EvidenceRequest, task: BaseTask, *, variant: str) -> PodEvidence:
    """What is new of a variant since `asked.cursor`; that of another process begins anew. `ValueError` where it is no cursor."""
    place, until = _read(asked.cursor, ring.epoch)
    asked = asked.model_copy(update={"until": max(asked.until, until)})
    new = [
        row for row in ring.since(place) if row.answered > place and row.variant == variant and row.at >= asked.since
    ]
    pairs = asked.shadow if asked.paired else None
    return PodEvidence(
        cursor=f"{ring.epoch}.{max(place, ring.newest)}.{asked.until!r}",
        rows=len(new),
        lost=ring.lost(place),
        outputs=aggregates.distributions([row.outputs for row in new], ordered=task.rule == "overlap"),
        costs=_costs(ring, asked, task, variant, place=place, until=until),
        paired=PairedAnswers() if pairs is None else _paired(new, task, pairs),
    )


def spent(unit: Unit, labels: list[Label | None], task: BaseTask, shadow: Shadow, declared: PredictionCosts) -> float:
    """Cost of the answer to a unit with these labels; 0 where it was right, NaN where a label is missing."""
    price = 1.0
    if declared.times is not None:
        value = unit[0].columns.get(declared.times)
        price = float(value) if isinstance(value, int | float) else 1.0
    cost = task.cost(
        [row.outputs.get(shadow.output) for row in unit],
        labels,
        threshold=shadow.threshold,
        false_negative=declared.false_negative,
        false_positive=declared.false_positive,
    )
    return cost * price


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
    if shadow is None:
        return CostSums()
    rows = [
        row
        for row in ring.of(variant)
        if row.labels and asked.since <= row.at <= asked.until and (row.number > place or row.at > until)
    ]
    units: Iterable[Unit] = ([row] for row in rows)
    if rows and task.compared_by == "request":
        exchanges = {row.exchange for row in rows}
        units = _requests(row for row in ring.of(variant) if row.exchange in exchanges)
    now, before = [], []
    for unit in units:
        labels = [row.label for row in unit]
        earlier = [row.label_by(place) if row.at <= until else None for row in unit]
        now.append(math.nan if None in labels else spent(unit, labels, task, shadow, asked.costs))
        before.append(math.nan if None in earlier else spent(unit, earlier, task, shadow, asked.costs))
    final, known = (CostSums.of([each for each in costs if not math.isnan(each)]) for costs in (now, before))
    return final - known


def _requests(rows: Iterable[CapturedRecord]) -> Iterator[Unit]:
    """The requests that are whole, of rows that came from the gateway."""
    found: dict[str, dict[int, CapturedRecord]] = {}
    for row in rows:
        if row.exchange:
            found.setdefault(row.exchange, {})[row.row] = row
    for each in found.values():
        unit = [row for _, row in sorted(each.items())]
        if len(unit) == unit[0].kept:
            yield unit


def _paired(rows: list[CapturedRecord], task: BaseTask, shadow: Shadow) -> PairedAnswers:
    """What the task compares of each unit that came from the gateway, with its values of the columns looked at by slice."""
    name, rule = shadow.output, shadow.agreement
    if task.compared_by == "record":
        first = [row for row in rows if row.exchange]
        said = task.compared([row.outputs.get(name) for row in first], rule)
        places = [row.row for row in first]
    else:
        units = list(_requests(rows))
        first = [unit[0] for unit in units]
        said = [each for unit in units for each in task.compared([row.outputs.get(name) for row in unit], rule)]
        places = [0] * len(units)
    watched = {each: Coded.of([row.columns.get(each) for row in first]) for each in shadow.slices}
    return PairedAnswers(aggregates.keys([row.exchange for row in first], places), said, watched)
