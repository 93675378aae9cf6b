"""Cases of decisions in the queue that people work on: opened once, told as they are, their labels joined to their requests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hallmark.decision.case import Case
from hallmark.errors import Conflict
from hallmark.reviews.case import Reason, Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from inference_services.decision.cases import ReviewCases


@pytest.fixture
def queue(tmp_path: Path) -> ReviewQueue:
    return ReviewQueue(connect(f"sqlite:///{tmp_path / 'reviews.db'}"), second=0.0)


def a_case(id: str = "order-17", **more: Any) -> Case:  # noqa: A002 - the case's own word
    given = {
        "domain": "bags",
        "node": "expert",
        "price": 900.0,
        "saved": 41.5,
        "minutes": 6.0,
        "deadline": time.time() + 3600,
        "path": ("look", "expert"),
        "evidence": {"view": {"score": 0.42, "glued": True, "brand": "arden"}},
        "unit": "sha256:" + "ab" * 32,
    }
    return Case.model_validate({"id": id, **given, **more})


def test_a_case_is_opened_once_however_often_and_whenever_it_is_submitted(queue: ReviewQueue) -> None:
    cases = ReviewCases(queue, explore=0.02)
    first = cases.submit(a_case())
    assert cases.submit(a_case(deadline=time.time() + 7200)) == first
    claim = queue.claim("ana")
    assert claim is not None and queue.claim("ben") is None
    assert (claim.case.id, claim.case.price) == (first, 900.0)
    assert claim.case.value == pytest.approx(41.5 / 6)
    seen = claim.case.evidence.seen
    assert (seen.scores, seen.path) == ({"view.score": 0.42, "view.glued": 1.0}, ("look", "expert"))
    assert seen.digests == {"unit": "sha256:" + "ab" * 32}
    with pytest.raises(Conflict, match="says something else"):
        cases.submit(a_case(price=20.0))


def test_a_verdict_joins_the_request_whatever_its_client_called_it(queue: ReviewQueue) -> None:
    odd = "a bag, 50 % off\n" * 20
    ReviewCases(queue, explore=0.02).submit(a_case(odd))
    claim = queue.claim("ana")
    assert claim is not None
    queue.give(claim.token, Verdict(word=Word.counterfeit, reason=Reason.logo), who="ana")
    (given,) = queue.verdicts()
    assert (given.case.asked, given.label) == (odd, 1)


def test_an_audit_says_how_likely_it_was_drawn_and_a_case_without_a_score_saves_nothing(queue: ReviewQueue) -> None:
    cases = ReviewCases(queue, explore=0.02)
    audit = queue.case(cases.submit(a_case("drawn", audit=True)))
    assert (audit.source, audit.inclusion) == ("audit", 0.02)
    blind = queue.case(cases.submit(a_case("blind", saved=None, evidence={})))
    assert (blind.source, blind.inclusion, blind.saved) == ("decision", 1.0, 0.0)
