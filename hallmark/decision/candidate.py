"""A candidate unit against the stable one, on the same items and on what their final decisions cost, whichever part was changed.

A unit that asks the same versions is judged from stable's records alone: its graph and thresholds are a pure function of answers that are on
record. One with another model, index or prompt needs answers of its own, from a shadow; their records are compared in the same way.

Where both do the same with an item they cost the same, whatever the item is, so only the others need a label. What stable gave to a
person has one, and what it accepted where an audit drew it by lot: these stand for the rest. What nobody will ever look at counts by
the worst that it could be, and the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from hallmark.decision import economics, engine
from hallmark.decision.engine import Ask, Verdict
from hallmark.decision.record import DecisionRecord, Part
from hallmark.decision.terms import CONFIDENCE, MARGIN, MINIMUM
from hallmark.decision.unit import Unit
from hallmark.declaration.decision import Decision
from hallmark.section import Frozen

_MISSED = 0.1
"""Share of items that only one decided, above which the others are no fair sample."""
_FEW = 20
"""Labels by lot that stand for the rest; fewer stand for themselves."""
_WHOLE = 0.9
"""Share of persons' cases that stands for the rest: the ones worth most are looked at first."""


class CostComparison(Frozen):
    """Money an item, candidate less stable, on `items` that both decided.

    low, high: the interval that holds the expected difference with `confidence`; candidate is dearer where low is above 0.
    left_out:  items that only one decided.
    differ:    items of which they make something else; of these `labelled` have a label, and `unknown` count by their worst and best.
    """

    items: int
    left_out: int
    differ: int
    labelled: int
    unknown: int
    stable: float
    candidate: float
    low: float
    high: float
    confidence: float

    @property
    def difference(self) -> float:
        """Money that the candidate costs more, an item."""
        return self.candidate - self.stable


class CandidateVerdict(NamedTuple):
    """What becomes of a candidate, and why."""

    outcome: Literal["promote", "refuse", "wait"]
    why: str


def shared(stable: Decision, parts: Mapping[str, Part], unit: Unit) -> frozenset[str]:
    """Nodes whose answer to the one is the answer to the other: the same part, asked the same by all that it reads."""
    other = unit.decision.nodes
    same = {
        name
        for name, part in parts.items()
        if name in other and unit.parts.get(name) == part and other[name] == stable.nodes[name]
    }
    while unfit := {
        name for name in same if any(read.partition(".")[0] not in same for read in other[name].reads if "." in read)
    }:
        same -= unfit
    return frozenset(same)


def redecided(record: DecisionRecord, unit: Unit) -> Verdict | None:
    """What a unit would have made of a recorded item; None where that takes answers that are not on record.

    Answers are those of other versions where a part differs, and so are not the unit's. Labels of stable's audits say nothing of it either.
    """
    given = record.given
    same = shared(record.decision, record.parts, unit)
    answers = {name: each for name, each in given.answers.items() if name in same}
    if any(name not in given.item for name in unit.decision.item):
        return None
    expired = given.expired and record.unit == unit.digest
    asked = given.model_copy(update={"answers": answers, "expired": expired})
    found = engine.decide(unit.decision, unit.thresholds, asked)
    return None if isinstance(found, Ask) else found


def paired(
    records: Iterable[DecisionRecord], *, stable: str, unit: Unit
) -> tuple[list[DecisionRecord], dict[str, Verdict]]:
    """Stable's records, each item's newest, and the candidate's verdicts by item: its own, else what it would have made of a record.

    stable: digest of its unit. Of a candidate that has to be asked, what stable decided before its shadow began is no concern.
    """
    mine: dict[str, DecisionRecord] = {}
    verdicts: dict[str, Verdict] = {}
    for each in records:
        if each.unit == stable:
            mine.pop(each.given.id, None)
            mine[each.given.id] = each
        elif each.unit == unit.digest:
            verdicts[each.given.id] = each.verdict
    for item, each in mine.items():
        if item not in verdicts and (found := redecided(each, unit)) is not None:
            verdicts[item] = found
    ordered = sorted(mine.values(), key=lambda each: each.at)
    first = next((at for at, each in enumerate(ordered) if each.given.id in verdicts), 0)
    return ordered[first:], verdicts


def cost(decision: Decision, verdict: Verdict, *, counterfeit: bool, price: float) -> float:
    """What a verdict has cost once the truth is known: asking, minutes, and the mistake; a person's by how often persons err."""
    if verdict.person is not None:
        person = decision.nodes[verdict.person]
        return verdict.spent + economics.by_person(decision.costs, person, chance=float(counterfeit), price=price)
    assert verdict.action != "person"  # noqa: S101  a person has a name
    return verdict.spent + economics.realized(decision.costs, verdict.action, counterfeit=counterfeit, price=price)


class _Pair(NamedTuple):
    """One item of which they make something else: what the candidate costs more if it is authentic, and if it is a counterfeit."""

    at: int
    ended: str
    authentic: float
    counterfeit: float
    truth: bool | None

    @property
    def known(self) -> float:
        return self.counterfeit if self.truth else self.authentic


def compare(
    stable: Sequence[DecisionRecord],
    candidate: Mapping[str, Verdict],
    *,
    truth: Mapping[str, bool],
    confidence: float = CONFIDENCE,
) -> CostComparison:
    """Costs of both by the same prices, those that stable's unit declares, item by item.

    candidate: verdicts by the request's id, such as of `paired`.   truth: whether it is a counterfeit, by the same.
    """
    costs, more, pairs = [], [], []
    for record in stable:
        found, item, nodes = candidate.get(record.given.id), record.given.id, record.decision.nodes
        if found is None or (found.person is not None and found.person not in nodes):
            continue
        price = float(record.given.item[record.decision.costs.price])
        counterfeit = truth.get(item)
        costs.append(_known_or_expected(record, counterfeit, price))
        if (found.action, found.person) == (record.verdict.action, record.verdict.person):
            more.append(found.spent - record.verdict.spent)
            continue
        either = [
            cost(record.decision, found, counterfeit=each, price=price)
            - cost(record.decision, record.verdict, counterfeit=each, price=price)
            for each in (False, True)
        ]
        pairs.append(_Pair(len(more), record.verdict.action, either[0], either[1], counterfeit))
        more.append(0.0)
    low, high, unknown = _bounds(np.array(more), pairs)
    items = len(more)
    wide = NormalDist().inv_cdf((1 + confidence) / 2)
    few = items < 2
    mean = float(np.mean(costs)) if costs else 0.0
    middle = float(low.mean() + high.mean()) / 2 if items else 0.0
    return CostComparison(
        items=items,
        left_out=len(stable) - items,
        differ=len(pairs),
        labelled=sum(each.truth is not None for each in pairs),
        unknown=unknown,
        stable=mean,
        candidate=mean + middle,
        low=-math.inf if few else float(low.mean()) - wide * float(low.std(ddof=1)) / math.sqrt(items),
        high=math.inf if few else float(high.mean()) + wide * float(high.std(ddof=1)) / math.sqrt(items),
        confidence=confidence,
    )


def verdict_on(found: CostComparison, *, minimum: int = MINIMUM, margin: float = MARGIN) -> CandidateVerdict:
    """Promote what costs no more than stable and its margin, refuse what costs more, and wait while that is not known."""
    span = f"{found.low:+.4g} to {found.high:+.4g} an item with {found.confidence:.0%} confidence"
    if found.items < minimum:
        return CandidateVerdict("wait", f"{found.items} of {minimum} items were decided by both")
    whole = found.items + found.left_out
    if found.left_out > _MISSED * whole:
        return CandidateVerdict("wait", f"of {whole} items {found.left_out} were decided by stable alone")
    if found.high <= margin * found.stable:
        return CandidateVerdict("promote", f"it costs {span}, and stable {found.stable:.4g}")
    if found.low > 0:
        return CandidateVerdict("refuse", f"it is dearer: {span}, and stable costs {found.stable:.4g}")
    return CandidateVerdict(
        "wait",
        f"whether it is dearer is not known yet: {span}, where {margin:.0%} of stable's {found.stable:.4g} are allowed;"
        f" of {found.differ} items that they differ on {found.labelled} have a label",
    )


def _known_or_expected(record: DecisionRecord, counterfeit: bool | None, price: float) -> float:
    """What stable's verdict has cost, or is expected to where nobody knows."""
    if counterfeit is not None:
        return cost(record.decision, record.verdict, counterfeit=counterfeit, price=price)
    return record.verdict.spent + (record.verdict.expected or 0.0)


def _bounds(more: np.ndarray, pairs: Sequence[_Pair]) -> tuple[np.ndarray, np.ndarray, int]:
    """What the candidate costs more, item by item, at the least and at the most; and of how many items both were taken for want of a label."""
    low, high, unknown = more.copy(), more.copy(), 0
    for ended in sorted({each.ended for each in pairs}):
        mine = [each for each in pairs if each.ended == ended]
        labelled = [each for each in mine if each.truth is not None]
        enough = {"accept": len(labelled) >= _FEW, "person": len(labelled) >= _WHOLE * len(mine)}.get(ended, False)
        times = len(mine) / len(labelled) if enough else 1.0
        for each in labelled:
            low[each.at] = high[each.at] = times * each.known
        if enough:
            continue
        for each in mine:
            if each.truth is None:
                unknown += 1
                low[each.at] = min(each.authentic, each.counterfeit)
                high[each.at] = max(each.authentic, each.counterfeit)
    return low, high, unknown
