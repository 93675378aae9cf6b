"""A candidate unit against the stable one, on the same items and on what their final decisions cost, whichever part was changed.

A unit that asks the same versions is judged from stable's records alone: its graph and thresholds are a pure function of answers that are on
record. One with another model, index or prompt needs answers of its own, from a shadow; their records are compared in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from hallmark.decision import economics, engine
from hallmark.decision.engine import Ask, Verdict
from hallmark.decision.record import DecisionRecord
from hallmark.decision.unit import Unit
from hallmark.declaration.decision import Decision
from hallmark.section import Frozen


class CostComparison(Frozen):
    """Money an item, candidate less stable, on `items` that both decided and whose truth is known.

    low, high: the interval that holds the expected difference with `confidence`; candidate is dearer where low is above 0.
    left_out:  items that only one decided, or whose truth nobody knows.
    """

    items: int
    left_out: int
    stable: float
    candidate: float
    low: float
    high: float
    confidence: float

    @property
    def difference(self) -> float:
        """Money that the candidate costs more, an item."""
        return self.candidate - self.stable


def redecided(record: DecisionRecord, unit: Unit) -> Verdict | None:
    """What a unit would have made of a recorded item; None where that takes answers that are not on record.

    Answers are those of other versions where a part differs, and so are not the unit's.
    """
    given = record.given
    answers = {name: each for name, each in given.answers.items() if unit.parts.get(name) == record.parts.get(name)}
    if any(name not in given.item for name in unit.decision.item):
        return None
    found = engine.decide(unit.decision, unit.thresholds, given.model_copy(update={"answers": answers}))
    return None if isinstance(found, Ask) else found


def cost(decision: Decision, verdict: Verdict, *, counterfeit: bool, price: float) -> float:
    """What a verdict has cost once the truth is known: asking, minutes, and the mistake; a person's by how often persons err."""
    if verdict.person is not None:
        person = decision.nodes[verdict.person]
        return verdict.spent + economics.by_person(decision.costs, person, chance=float(counterfeit), price=price)
    assert verdict.action != "person"  # noqa: S101  a person has a name
    return verdict.spent + economics.realized(decision.costs, verdict.action, counterfeit=counterfeit, price=price)


def compare(
    stable: Sequence[DecisionRecord],
    candidate: Mapping[str, Verdict],
    *,
    truth: Mapping[str, bool],
    confidence: float = 0.95,
) -> CostComparison:
    """Costs of both by the same prices, those that stable's unit declares, item by item.

    candidate: verdicts by the request's id, such as of `redecided` or of a shadow's records.   truth: whether it is a counterfeit, by the same.
    """
    pairs = []
    for record in stable:
        found, item = candidate.get(record.given.id), record.given.id
        if (
            found is None
            or item not in truth
            or (found.person is not None and found.person not in record.decision.nodes)
        ):
            continue
        price = float(record.given.item[record.decision.costs.price])
        pairs.append(
            [
                cost(record.decision, verdict, counterfeit=truth[item], price=price)
                for verdict in (record.verdict, found)
            ]
        )
    if len(pairs) < 2:
        return CostComparison(
            items=len(pairs),
            left_out=len(stable) - len(pairs),
            stable=0.0,
            candidate=0.0,
            low=-math.inf,
            high=math.inf,
            confidence=confidence,
        )
    costs = np.array(pairs)
    more = costs[:, 1] - costs[:, 0]
    wide = NormalDist().inv_cdf((1 + confidence) / 2) * float(more.std(ddof=1)) / math.sqrt(len(more))
    return CostComparison(
        items=len(pairs),
        left_out=len(stable) - len(pairs),
        stable=float(costs[:, 0].mean()),
        candidate=float(costs[:, 1].mean()),
        low=float(more.mean()) - wide,
        high=float(more.mean()) + wide,
        confidence=confidence,
    )
