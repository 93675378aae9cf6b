"""Final labels of a decision's items: those of audited accepts as they come, for the watch of a guarantee, and all of them by request."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hallmark.reviews import database
from hallmark.reviews.queue import ReviewQueue


class AuditLabels:
    """Reads on from where it was: each label once, in the order of the verdicts, each once it can no longer be taken back."""

    def __init__(self, queue: ReviewQueue, *, domain: str) -> None:
        self._queue, self._domain = queue, domain
        self._after = 0

    def news(self) -> Iterator[tuple[str, bool]]:
        """Of each label since the last call: the digest of the unit that accepted the item, and whether it is a counterfeit."""
        for each in self._queue.verdicts(domain=self._domain, after=self._after):
            if not each.final:
                return  # and what comes after it waits too, so that the order is the same for everybody
            self._after = each.number
            if each.case.source == "audit" and each.label is not None:
                yield each.case.evidence.seen.digests.get("unit", ""), bool(each.label)


class Labels:
    """Final labels by the request that asked; reads on from where it was."""

    def __init__(self, queue: ReviewQueue, *, domain: str) -> None:
        self._queue, self._domain = queue, domain
        self._after = 0
        self._found: dict[str, tuple[bool, ...]] = {}

    def by_request(self) -> dict[str, tuple[bool, ...]]:
        """Whether an item is a counterfeit, as each person said who could tell and whose verdict is final, the first of them first."""
        later: dict[str, tuple[bool, ...]] = {}
        waits = False
        for each in self._queue.verdicts(domain=self._domain, after=self._after):
            waits = waits or not each.final
            into = later if waits else self._found  # what comes after a verdict that may be taken back is read again
            if each.final and (label := each.verdict.word.label) is not None:
                known = later.get(each.case.asked) or self._found.get(each.case.asked, ())
                into[each.case.asked] = (*known, bool(label))
            if not waits:
                self._after = each.number
        return {**self._found, **later}


def final(address: str, *, domain: str) -> dict[str, tuple[bool, ...]]:
    """Those labels of a whole queue."""
    queue = ReviewQueue(database.connect(address))
    try:
        return Labels(queue, domain=domain).by_request()
    finally:
        queue.close()


def look_again(address: str, items: Collection[str], *, domain: str) -> int:
    """Have a second person look at the cases of these items, by the request that asked; how many were not looked at twice already."""
    queue = ReviewQueue(database.connect(address))
    try:
        cases = [each.case.id for each in queue.verdicts(domain=domain) if each.round == 1 and each.case.asked in items]
        return sum(queue.again(each) for each in cases)
    finally:
        queue.close()
