"""The report of a week of reviews, figure by figure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hallmark.reviews.case import Reason, Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.label_events import examples
from hallmark.reviews.queue import UNDO, ReviewQueue
from hallmark.reviews.report import report
from tests.hallmark.reviews.cases import Clock, case

REAL = Verdict(word=Word.authentic)
FAKE = Verdict(word=Word.counterfeit, reason=Reason.logo)
UNSURE = Verdict(word=Word.cannot_tell, reason=Reason.photos)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[ReviewQueue]:
    made = ReviewQueue(connect(f"sqlite:///{tmp_path / 'reviews.db'}"), second=1.0, clock=clock)
    with contextlib.closing(made):
        yield made


def say(queue: ReviewQueue, clock: Clock, who: str, verdict: Verdict, *, seconds: float = 10.0) -> str:
    claim = queue.claim(who)
    assert claim is not None
    clock.seconds += seconds
    queue.give(claim.token, verdict, who=who)
    return claim.case.id


def test_nothing_yet(queue: ReviewQueue) -> None:
    found = report(queue)
    assert (found.open, found.judged, found.words, found.seconds, found.agreement) == (0, 0, {}, None, None)
    assert (found.audits.value, found.audits.low, found.audits.high, found.reviewers) == (None, 0.0, 1.0, ())


def test_two_people_and_audits(queue: ReviewQueue, clock: Clock) -> None:
    for number in range(3):
        queue.open(case(f"c{number}", price=1000.0 - number))
    for audit, price in (("audit", 1.0), ("audit-2", 0.5)):
        queue.open(case(audit, price=price, source="audit", inclusion=0.02))
    firsts = (FAKE, REAL, UNSURE, FAKE, REAL)
    assert [say(queue, clock, "ana", each, seconds=20.0) for each in firsts] == ["c0", "c1", "c2", "audit", "audit-2"]
    found = report(queue)
    assert (found.judged, found.unsent, found.agreement) == (5, 3, None), "the last may yet be taken back"
    assert (found.audits.count, found.audits.of) == (1, 1)
    clock.seconds += UNDO
    assert (report(queue).audits.count, report(queue).audits.of) == (1, 2)
    assert report(queue).words == {"counterfeit": 2, "authentic": 2, "cannot tell": 1}
    seconds = (FAKE, FAKE, REAL, REAL, REAL)
    assert [say(queue, clock, "ben", each) for each in seconds] == ["c0", "c1", "c2", "audit", "audit-2"]
    clock.seconds += UNDO
    found = report(queue)
    assert found.agreement is not None and (found.agreement.pairs, found.agreement.agreed) == (5, 0.4)
    assert found.disputed == ("audit", "c2", "c1"), "the newest first"
    assert [(each.who, each.verdicts, each.seconds, each.pairs, each.agreed) for each in found.reviewers] == [
        ("ana", 5, 20.0, 5, 2),
        ("ben", 5, 10.0, 5, 2),
    ]
    assert (found.words["authentic"], found.seconds) == (2, 15.0), "words are of the first who looked"
    assert (found.audits.count, found.audits.of) == (1, 2), "a second opinion changes no audit"
    assert found.unsent == 5, "four first verdicts that tell, and the second of the case that the first could not"
    queue.sent([each.number for each in queue.verdicts()])
    assert report(queue).unsent == 0


def test_how_often_a_reviewers_words_were_read_first_of_those_where_that_is_known(
    queue: ReviewQueue, clock: Clock
) -> None:
    for number, opened in enumerate((True, False, False, None)):
        queue.open(case(f"c{number}", price=1000.0 - number))
        say(queue, clock, "ana", REAL.model_copy(update={"opened": opened}))
    found = report(queue).opened
    assert (found.count, found.of) == (1, 3)
    clock.seconds += UNDO
    assert [each.get("opened") for each in examples(queue.verdicts())] == [True, False, False, None]


def test_a_report_is_of_its_domain_and_says_what_is_late(queue: ReviewQueue, clock: Clock) -> None:
    queue.open(case("a", hours=1.0))
    queue.open(case("b", domain="listing", price=9.0))
    say(queue, clock, "ana", REAL)
    clock.seconds = 3601
    assert [
        (report(queue, domain=each).open, report(queue, domain=each).late) for each in ("authentication", "listing")
    ] == [
        (1, 0),
        (1, 0),
    ]  # the second opinion of a has its own time
    queue.open(case("c", hours=0.5))
    assert (report(queue).late, report(queue, domain="listing").late) == (1, 0)
    assert report(queue, domain="listing").words == {}
