"""Cases of decisions in the queue that people work on: opened once, told as they are, their labels joined to their requests."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from hallmark.decision.case import Case
from hallmark.decision.engine import Answer
from hallmark.declaration.decision import Decision
from hallmark.errors import Conflict
from hallmark.reviews.case import Photo, Reason, Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.photos import read
from hallmark.reviews.queue import ReviewQueue
from inference_services.crops import Crops
from inference_services.decision import messages
from inference_services.decision.cases import ReviewCases
from inference_services.decision.messages import ItemRequest
from inference_services.decision.pictures import Pictures
from tests.inference_services.decision.deciding import GRAPH
from tests.inference_services.reviewer.reviewing import PHOTOS, crops

DECISION = Decision.model_validate(GRAPH)


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


def test_an_audit_of_another_item_under_an_id_that_was_used_is_a_case_of_its_own(queue: ReviewQueue) -> None:
    cases = ReviewCases(queue, explore=0.02)
    first = cases.submit(a_case(audit=True))
    other = cases.submit(a_case(audit=True, price=20.0))
    assert other.startswith(f"{first}/") and queue.case(other).price == 20.0
    assert cases.submit(a_case(audit=True, price=20.0)) == other, "the same once more"
    assert queue.case(other).request == queue.case(first).request and queue.counts()["open"] == 2


def test_what_a_reviewer_said_comes_with_the_case_or_why_it_said_nothing(queue: ReviewQueue) -> None:
    cases = ReviewCases(queue, explore=0.02)
    answer = {"verdict": "counterfeit", "reason": "x" * 5000, "cites": ("ref-1", "", "a bag of 50 %")}
    told = {"reviewers": ("reviewer", "second"), "versions": {"reviewer": "8edf6f932e32"}}
    first = cases.submit(a_case("a", evidence={"reviewer": answer}, **told))
    said, second = queue.case(first).evidence.seen.said
    assert (said.node, said.by, said.missing) == ("reviewer", "8edf6f932e32", "")
    assert said.words == {"verdict": "counterfeit", "reason": "x" * 600}
    assert said.cites[0] == "ref-1" and len(said.cites) == 2 and said.cites[1].startswith("sha256:")
    assert (second.node, second.missing, second.words) == ("second", "not asked", {})
    (late, _) = queue.case(cases.submit(a_case("b", unanswered={"reviewer": "late"}, **told))).evidence.seen.said
    assert late.missing == "late"
    assert cases.submit(a_case("a", evidence={"reviewer": {**answer, "verdict": "authentic"}}, **told)) == first, (
        "a reviewer that is asked again may say another thing: it is the same case"
    )


def test_a_case_from_before_reviewers_were_shown_is_still_the_same_case(queue: ReviewQueue) -> None:
    cases = ReviewCases(queue, explore=0.02)
    first = cases.submit(a_case())
    assert cases.submit(a_case(reviewers=("reviewer",), unanswered={"reviewer": "late"})) == first


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


def asked(**inputs: list[str]) -> ItemRequest:
    """A request of the tests' graph with these inputs beside its item."""
    facts: dict[str, tuple[str, list[Any]]] = {"price": ("FP64", [30.0]), "brand": ("BYTES", ["Alma"])}
    given = facts | {name: ("BYTES", data) for name, data in inputs.items()}
    tensors = [
        {"name": name, "shape": [len(data)], "datatype": kind, "data": data} for name, (kind, data) in given.items()
    ]
    return messages.read(DECISION, json.dumps({"inputs": tensors}).encode(), None)


def test_an_items_photos_and_the_references_that_have_a_picture_are_kept_by_digest(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "photos", Crops(crops(tmp_path / "crops")))
    photo = (PHOTOS / "item-1.png").read_bytes()
    (digest,) = pictures.photos(asked(photos=[base64.b64encode(photo).decode()]), DECISION)
    assert read(Photo(digest=digest), tmp_path / "photos").content == photo
    found = Answer(fate="answered", outputs={"distance": 0.1, "ids": ("ref-2", "", "stranger", "ref-2")})
    late = Answer(fate="late")
    kept = pictures.references({"view": late, "near": found}, DECISION)
    assert list(kept) == ["ref-2"]
    assert read(Photo(digest=kept["ref-2"]), tmp_path / "photos").content == (PHOTOS / "ref-2.png").read_bytes()
    assert pictures.references({"near": late}, DECISION) == {}


def test_what_is_no_photo_is_not_kept_and_a_full_disk_keeps_nobody_from_a_case(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Pictures(tmp_path / "photos", Crops())
    assert pictures.photos(asked(photos=["a", base64.b64encode(b"MZ, a program").decode()]), DECISION) == ()

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    photo = base64.b64encode((PHOTOS / "item-1.png").read_bytes()).decode()
    assert pictures.photos(asked(photos=[photo]), DECISION) == ()
    assert "No space left on device" in caplog.text and not list((tmp_path / "photos").iterdir())
