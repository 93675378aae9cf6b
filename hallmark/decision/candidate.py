"""A candidate unit against the stable one, on the same items and on what their final decisions cost, whichever part was changed.

A unit that asks the same versions is judged from stable's records alone: its graph and thresholds are a pure function of answers that are on
record. One with another model, index or prompt needs answers of its own, from a shadow; their records are compared in the same way.

Where both do the same with an item they cost the same, whatever the item is, so only the others need a label. What stable gave to a
person has one, and what it accepted where an audit drew it by lot: these stand for the rest. What nobody will ever look at counts by
the worst that it could be, and the best.

Those who label err as often as the graph declares, and a label counts as much less than the truth as that: else each of their mistakes would
be one of whoever accepts. Where much hangs on a label, as on that of a counterfeit that one of them accepts, a second person's word is worth more
than a hundred further items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from hallmark.decision import economics, engine
from hallmark.decision.engine import Ask, Verdict
from hallmark.decision.record import DecisionRecord, Part
from hallmark.decision.terms import CONFIDENCE, MARGIN, MINIMUM
from hallmark.decision.unit import Unit
from hallmark.declaration.decision import Decision, Node
from hallmark.section import Frozen

_MISSED = 0.1
"""Share of items that only one decided, above which the others are no fair sample."""
_FEW = 20
"""Labels by lot that stand for the rest; fewer stand for themselves."""
_NOBODY: Mapping[str, Node] = {}
_WHOLE = 0.9
"""Share of persons' cases that stands for the rest: the ones worth most are looked at first."""


class CostComparison(Frozen):
    """Money an item, candidate less stable, on `items` that both decided.

    low, high: the interval that holds the expected difference with `confidence`; candidate is dearer where low is above 0.
    left_out:  items that only one decided.
    differ:    items of which they make something else; of these `labelled` have a label, and `unknown` count by their worst and best.
    doubted:   labels by which they differ most, a counterfeit accepted for one; `looked_again` of them have a second person's.
    candidate, difference: of what it costs, and costs more; None where some are unknown.
    wanting:   which labels are missing, and how they come.
    """

    items: int
    left_out: int
    differ: int
    labelled: int
    unknown: int
    doubted: int = 0
    looked_again: int = 0
    stable: float
    candidate: float | None
    low: float
    high: float
    confidence: float
    wanting: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Money that the candidate costs more, an item."""
        return None if self.candidate is None else self.candidate - self.stable


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
        if name in other and unit.parts.get(name) == part and _asked(other[name]) == _asked(stable.nodes[name])
    }
    while unfit := {
        name for name in same if any(read.partition(".")[0] not in same for read in other[name].reads if "." in read)
    }:
        same -= unfit
    return frozenset(same)


def _asked(node: Node) -> Node:
    """A node without what follows where it does not answer."""
    return node.model_copy(update={"fallback": None})


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


def by_label(authentic: float, counterfeit: float, *, label: bool, mistaken: tuple[float, float]) -> float:
    """What is `authentic` or `counterfeit` by the truth, by a label instead: the same on the average.

    mistaken: chances that an authentic item is labelled a counterfeit, and that a counterfeit is labelled authentic; together under 1.
    Natarajan, Dhillon, Ravikumar and Tewari, Learning with noisy labels (2013), lemma 1.
    """
    of_authentic, of_counterfeit = mistaken
    if label:
        told = (1 - of_authentic) * counterfeit - of_counterfeit * authentic
    else:
        told = (1 - of_counterfeit) * authentic - of_authentic * counterfeit
    return told / (1 - of_authentic - of_counterfeit)


def cost(
    decision: Decision, verdict: Verdict, *, counterfeit: bool, price: float, persons: Mapping[str, Node] = _NOBODY
) -> float:
    """What a verdict has cost once the truth is known: asking, minutes, and the mistake; a person's by how often persons err.

    persons: of another graph, those that this one lacks count by it.
    """
    if verdict.person is not None:
        person = decision.nodes[verdict.person] if verdict.person in decision.nodes else persons[verdict.person]
        return verdict.spent + economics.by_person(decision.costs, person, chance=float(counterfeit), price=price)
    assert verdict.action != "person"  # noqa: S101  a person has a name
    return verdict.spent + economics.realized(decision.costs, verdict.action, counterfeit=counterfeit, price=price)


def _either(
    decision: Decision, verdict: Verdict, *, price: float, persons: Mapping[str, Node] = _NOBODY
) -> tuple[float, float]:
    """What a verdict costs of an authentic item, and of a counterfeit."""
    return (
        cost(decision, verdict, counterfeit=False, price=price, persons=persons),
        cost(decision, verdict, counterfeit=True, price=price, persons=persons),
    )


class _Pair(NamedTuple):
    """One item of which they make something else: what the candidate costs more if it is authentic, and if it is a counterfeit.

    ended: stable's action.   labels: those of persons who could tell, the first of them first.   wrong: share of them that is mistaken.
    """

    item: str
    at: int
    ended: str
    authentic: float
    counterfeit: float
    labels: tuple[bool, ...]
    wrong: float

    @property
    def doubted(self) -> bool:
        """Is its label the one by which more hangs on the two?"""
        return bool(self.labels) and self.labels[0] == self.weighty

    @property
    def weighty(self) -> bool:
        """The label by which they differ more: a counterfeit where one of them accepts."""
        return abs(self.counterfeit) > abs(self.authentic)

    def known(self, *, twice: bool) -> float:
        """What the candidate costs more by the labels.   twice: the weighty one counts where a second person says the same."""
        label, wrong = self.labels[0], self.wrong
        if not twice:
            return by_label(self.authentic, self.counterfeit, label=label, mistaken=(wrong, wrong))
        if self.doubted and len(self.labels) > 1:
            label = label if self.labels[1] == label else not label
        both, either = wrong**2, 1 - (1 - wrong) ** 2
        mistaken = (both, either) if self.weighty else (either, both)
        return by_label(self.authentic, self.counterfeit, label=label, mistaken=mistaken)


def compare(
    stable: Sequence[DecisionRecord],
    candidate: Mapping[str, Verdict],
    *,
    labels: Mapping[str, Sequence[bool]],
    persons: Mapping[str, Node] = _NOBODY,
    confidence: float = CONFIDENCE,
) -> CostComparison:
    """Costs of both by the same prices, those that stable's unit declares, item by item.

    candidate: verdicts by the request's id, such as of `paired`.
    labels:    whether it is a counterfeit, by the same, as the persons said who could tell, the first of them first.
    persons:   nodes of the candidate's graph: of persons that stable has too, stable's minutes count for both.
    """
    costs, more, pairs = _paired_costs(stable, candidate, labels, persons)
    doubted = [each for each in pairs if each.doubted]
    again = sum(len(each.labels) > 1 for each in doubted)
    low, high, unknown = _bounds(np.array(more), pairs, twice=bool(doubted) and again >= _WHOLE * len(doubted))
    items = len(more)
    wide = NormalDist().inv_cdf((1 + confidence) / 2)
    few = items < 2
    mean = float(np.mean(costs)) if costs else 0.0
    return CostComparison(
        items=items,
        left_out=len(stable) - items,
        differ=len(pairs),
        labelled=sum(bool(each.labels) for each in pairs),
        unknown=unknown,
        doubted=len(doubted),
        looked_again=again,
        stable=mean,
        candidate=None if unknown or not items else mean + float(low.mean()),
        low=-math.inf if few else float(low.mean()) - wide * float(low.std(ddof=1)) / math.sqrt(items),
        high=math.inf if few else float(high.mean()) + wide * float(high.std(ddof=1)) / math.sqrt(items),
        confidence=confidence,
        wanting=tuple(_wanting(stable, pairs, items=items)) if unknown else (),
    )


def doubts(
    stable: Sequence[DecisionRecord],
    candidate: Mapping[str, Verdict],
    *,
    labels: Mapping[str, Sequence[bool]],
    persons: Mapping[str, Node] = _NOBODY,
) -> list[str]:
    """Items, by the request's id, on whose one label most hangs: a second person would settle it."""
    *_, pairs = _paired_costs(stable, candidate, labels, persons)
    return [each.item for each in pairs if each.doubted and len(each.labels) == 1]


def _paired_costs(
    stable: Sequence[DecisionRecord],
    candidate: Mapping[str, Verdict],
    labels: Mapping[str, Sequence[bool]],
    persons: Mapping[str, Node],
) -> tuple[list[float], list[float], list[_Pair]]:
    """What stable has cost, item by item; what the candidate costs more, 0 where that hangs on a label; and the items where it does."""
    costs, more, pairs = list[float](), list[float](), list[_Pair]()
    for record in stable:
        item = record.given.id
        found = candidate.get(item)
        if found is None or (found.person is not None and found.person not in {*record.decision.nodes, *persons}):
            continue
        price = float(record.given.item[record.decision.costs.price])
        told, stables = tuple(labels.get(item, ())), _either(record.decision, record.verdict, price=price)
        costs.append(_known_or_expected(record, told, stables))
        if (found.action, found.person) == (record.verdict.action, record.verdict.person):
            more.append(found.spent - record.verdict.spent)
            continue
        mine, wrong = _either(record.decision, found, price=price, persons=persons), record.decision.mistaken
        authentic, counterfeit = (each - other for each, other in zip(mine, stables, strict=True))
        if authentic == counterfeit:  # such as of another person, and as sure
            more.append(authentic)
            continue
        pairs.append(_Pair(item, len(more), record.verdict.action, authentic, counterfeit, told, wrong))
        more.append(0.0)
    return costs, more, pairs


def verdict_on(found: CostComparison, *, minimum: int = MINIMUM, margin: float = MARGIN) -> CandidateVerdict:
    """Promote what costs no more than stable and its margin, refuse what costs more, and wait while that is not known."""
    span = f"{found.low:+.4g} to {found.high:+.4g} an item with {found.confidence:.0%} confidence"
    if unseen := unseen_by(found, minimum=minimum):
        return CandidateVerdict("wait", unseen)
    if found.high <= margin * found.stable:
        return CandidateVerdict("promote", f"it costs {span}, and stable {found.stable:.4g}")
    if found.low > 0:
        return CandidateVerdict("refuse", f"it is dearer: {span}, and stable costs {found.stable:.4g}")
    told = (
        f"whether it is dearer is not known yet: {span}, where {margin:.0%} of stable's {found.stable:.4g} are allowed"
    )
    labelled = f"of {found.differ} items that they differ on {found.labelled} have a label"
    again = found.doubted - found.looked_again
    doubted = f"{again} labels on which most hangs are of one person" if again else ""
    return CandidateVerdict("wait", "; ".join(filter(None, (told, labelled, *found.wanting, doubted))))


def unseen_by(found: CostComparison, *, minimum: int = MINIMUM) -> str:
    """Why it has not decided on enough of what stable has; empty where it has."""
    if found.items < minimum:
        return f"{found.items} of {minimum} items were decided by both"
    whole = found.items + found.left_out
    return f"of {whole} items {found.left_out} were decided by stable alone" if found.left_out > _MISSED * whole else ""


def _wanting(stable: Sequence[DecisionRecord], pairs: Sequence[_Pair], *, items: int) -> Iterator[str]:
    """Which labels are missing where those that are there do not stand for the rest, and how they come."""
    accepted = [each for each in pairs if each.ended == "accept"]
    audited = sum(bool(each.labels) for each in accepted)
    if audited < len(accepted) and not _stand("accept", accepted):
        text = f"of {len(accepted)} that stable accepted {audited} were audited, and {_FEW} stand for the rest"
        share = stable[-1].decision.explore
        if share:
            more = math.ceil((_FEW - audited) * items / (len(accepted) * share))
            text += f": {share:.1%} are drawn, so some {more:,} more items{_pace(stable, more)}"
        yield text
    asked = [each for each in pairs if each.ended == "person"]
    answered = sum(bool(each.labels) for each in asked)
    if not _stand("person", asked):
        yield f"of {len(asked)} that people were asked about {answered} have an answer that is final, and {_WHOLE:.0%} stand for the rest"
    if others := len(pairs) - len(accepted) - len(asked):
        yield f"nobody labels the {others} that stable refused or rejected"


def _pace(stable: Sequence[DecisionRecord], items: int) -> str:
    """How long so many more take, by those that are there."""
    times = [each.at for each in stable]
    if len(times) < 2 or max(times) == min(times):
        return ""
    days = items * (max(times) - min(times)) / (len(times) - 1) / 86_400
    return f" or {days:.3g} days as they come now"


def _known_or_expected(record: DecisionRecord, labels: Sequence[bool], either: tuple[float, float]) -> float:
    """What stable's verdict has cost, or is expected to where nobody knows.   either: what it costs by the truth."""
    if not labels:
        return record.verdict.spent + (record.verdict.expected or 0.0)
    wrong = record.decision.mistaken
    return by_label(*either, label=labels[0], mistaken=(wrong, wrong))


def _stand(ended: str, pairs: Sequence[_Pair]) -> bool:
    """Do the labels of these, which stable all ended so, stand for those that have none?"""
    labelled = sum(bool(each.labels) for each in pairs)
    return {"accept": labelled >= _FEW, "person": labelled >= _WHOLE * len(pairs)}.get(ended, False)


def _bounds(more: np.ndarray, pairs: Sequence[_Pair], *, twice: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """What the candidate costs more, item by item, at the least and at the most; and of how many items both were taken for want of a label."""
    low, high, unknown = more.copy(), more.copy(), 0
    for ended in sorted({each.ended for each in pairs}):
        mine = [each for each in pairs if each.ended == ended]
        labelled, enough = [each for each in mine if each.labels], _stand(ended, mine)
        times = len(mine) / len(labelled) if enough else 1.0
        for each in labelled:
            low[each.at] = high[each.at] = times * each.known(twice=twice)
        if enough:
            continue
        for each in mine:
            if not each.labels:
                unknown += 1
                low[each.at] = min(each.authentic, each.counterfeit)
                high[each.at] = max(each.authentic, each.counterfeit)
    return low, high, unknown
