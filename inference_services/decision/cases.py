"""Cases of decisions in the queue of reviews, where people find them with `hallmark reviews`."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime

from hallmark.decision.case import Case
from hallmark.errors import Conflict
from hallmark.files import digest_text
from hallmark.reviews import case as reviews
from hallmark.reviews.queue import ReviewQueue

_ID = re.compile(r"[\w.:/@-]{1,120}")


class ReviewCases:
    """Opens cases in a queue of reviews; each id once, however often it is submitted.

    explore: share of what is accepted that is drawn for an audit, so that a label of one counts as many.
    """

    def __init__(self, queue: ReviewQueue, *, explore: float) -> None:
        self._queue, self._explore = queue, explore

    def submit(self, case: Case) -> str:
        """Open the case; its id there. `Conflict` where the id is of one that says something else, `Unavailable` where nobody took it."""
        opened = datetime.now(UTC)
        asked = reviews.Case(
            id=f"{case.domain}/{case.node}/{_named(case.id)}",
            domain=case.domain,
            item=_named(case.id),
            price=case.price,
            saved=max(0.0, case.saved or 0.0),
            minutes=case.minutes,
            opened=opened,
            due=datetime.fromtimestamp(case.deadline, UTC),
            request=case.id[:500],
            source="audit" if case.audit else "decision",
            inclusion=self._explore if case.audit else 1.0,
            evidence=_evidence(case),
        )
        try:
            self._queue.open(asked)
        except Conflict:
            known = self._queue.case(asked.id)
            if _asked(known) == _asked(asked):
                return asked.id
            if not case.audit:
                raise
            # Whoever uses an id again for another item has that one looked at all the same.
            asked = asked.model_copy(update={"id": f"{asked.id}/{digest_text(repr(_asked(asked)))[7:19]}"})
            with contextlib.suppress(Conflict):
                self._queue.open(asked)
        return asked.id


def _asked(case: reviews.Case) -> tuple[object, ...]:
    """What makes a case the same one: the item and its photos. What is said of it may be another unit's by now, and it came at another time."""
    return (case.domain, case.item, case.request, case.price, case.evidence.photos)


def _named(request: str) -> str:
    """A client's id where the queue can name a case by it, else its digest."""
    return request if _ID.fullmatch(request) else digest_text(request)


def _evidence(case: Case) -> reviews.Evidence:
    return reviews.Evidence(
        photos=tuple(reviews.Photo(digest=each) for each in case.photos),
        references=tuple(
            reviews.Reference(id=_named(name), photo=reviews.Photo(digest=each))
            for name, each in case.references.items()
        ),
        seen=_seen(case),
    )


def _seen(case: Case) -> reviews.Seen:
    return reviews.Seen(
        scores={
            f"{node}.{name}": float(value)
            for node, outputs in case.evidence.items()
            for name, value in outputs.items()
            if isinstance(value, int | float)
        },
        said=tuple(_said(case, name) for name in case.reviewers),
        path=case.path,
        digests={"unit": case.unit} if case.unit else {},
    )


def _said(case: Case, node: str) -> reviews.Said:
    """A reviewer's answer in words; whatever it cites by the names that references have in the queue."""
    outputs = case.evidence.get(node)
    if outputs is None:
        return reviews.Said(node=node, missing=case.unanswered.get(node, "not asked"))
    words = {name: value[: reviews.SAID] for name, value in outputs.items() if isinstance(value, str)}
    cites = [each for value in outputs.values() if isinstance(value, tuple) for each in value]
    return reviews.Said(
        node=node,
        by=case.versions.get(node, "")[:200],
        words=words,
        cites=tuple(_named(each) for each in cites if each),
    )
