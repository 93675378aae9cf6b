"""How a domain's reviews go: what waits, what was said and how long it took, how well two people agree, and what audits found."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict

from hallmark.reviews.agreement import Kappa, Share, kappa, share
from hallmark.reviews.case import Given, Word
from hallmark.reviews.queue import ReviewQueue
from hallmark.section import Frozen

_LISTED = 20


class Reviewer(Frozen):
    """One person: verdicts, the median of their seconds, and in how many of their pairs the other agreed."""

    who: str
    verdicts: int
    seconds: float
    pairs: int
    agreed: int


class Report(Frozen):
    """The reviews of a domain, or of all.

    late: open past their time.   words: first verdicts by word.   agreement: of pairs of final verdicts, None where there are none.
    disputed: newest cases of which two people said different things, 20 at most.
    audits: automatic accepts that a person could judge, and the share of counterfeits among them: what the guarantee is about.
    opened: verdicts before which a person had unfolded what a reviewer of the decision said, of those where that is known.
    unsent: labels that no drift monitor has yet.
    """

    domain: str
    open: int
    claimed: int
    judged: int
    late: int
    words: dict[str, int]
    seconds: float | None
    agreement: Kappa | None
    disputed: tuple[str, ...]
    audits: Share
    opened: Share
    reviewers: tuple[Reviewer, ...]
    unsent: int


def report(queue: ReviewQueue, *, domain: str = "") -> Report:
    """Of what stands now."""
    given = list(queue.verdicts(domain=domain))
    firsts = [each for each in given if each.round == 1]
    pairs = [(each.first, each.verdict.word) for each in given if each.drawn and each.first and each.final]
    disputed = [each.case.id for each in given if each.first not in (None, each.verdict.word)]
    knows = [each.verdict.opened for each in given if each.verdict.opened is not None]
    told = [
        each for each in firsts if each.case.source == "audit" and each.final and each.verdict.word.label is not None
    ]
    return Report(
        domain=domain,
        **queue.counts(domain=domain),
        words={str(word): count for word, count in Counter(each.verdict.word for each in firsts).items()},
        seconds=statistics.median(each.verdict.seconds for each in given) if given else None,
        agreement=kappa(pairs),
        disputed=tuple(reversed(disputed[-_LISTED:])),
        audits=share(sum(each.verdict.word is Word.counterfeit for each in told), len(told)),
        opened=share(sum(knows), len(knows)),
        reviewers=_reviewers(given),
        unsent=sum(each.final and not each.sent and each.label is not None for each in given),
    )


def _reviewers(given: list[Given]) -> tuple[Reviewer, ...]:
    seconds: dict[str, list[float]] = defaultdict(list)
    pairs: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    first = {each.case.id: each.who for each in given if each.round == 1}
    for each in given:
        seconds[each.who].append(each.verdict.seconds)
        if each.drawn and each.first is not None and each.final:
            both = (each.who, first[each.case.id])
            pairs.update(both)
            agreed.update(both if each.first == each.verdict.word else ())
    return tuple(
        Reviewer(who=who, verdicts=len(all_), seconds=statistics.median(all_), pairs=pairs[who], agreed=agreed[who])
        for who, all_ in sorted(seconds.items())
    )
