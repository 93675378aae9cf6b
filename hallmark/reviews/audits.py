"""Final labels of a decision's items: those of audited accepts as they come, for the watch of a guarantee, and all of them by request."""

from __future__ import annotations

from collections.abc import Iterator

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


def final(address: str, *, domain: str) -> dict[str, bool]:
    """Whether an item is a counterfeit, by the request that asked, of every final verdict in a queue that can tell."""
    queue = ReviewQueue(database.connect(address))
    try:
        return {
            each.case.asked: bool(each.label)
            for each in queue.verdicts(domain=domain)
            if each.final and each.label is not None
        }
    finally:
        queue.close()
