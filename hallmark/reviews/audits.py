"""Final labels of audited accepts, unit by unit, as they come: what the watch of a guarantee is told."""

from __future__ import annotations

from collections.abc import Iterator

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
