"""A share of items for a candidate of the whole: who decides, stable that stands in, one day's minutes for both, and three ends by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hallmark.decision import candidate, record, unit
from hallmark.decision import share as shares
from hallmark.decision.record import DecisionRecord
from hallmark.decision.share import CandidateShare, Stop
from hallmark.declaration.decision import Decision
from hallmark.reviews.audits import Labels
from hallmark.reviews.case import Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from inference_services.decision import server
from inference_services.decision.rest import DecisionRest
from inference_services.transport.http1 import Http1Connection, HttpResponse
from tests.hallmark.reviews.cases import case
from tests.inference_services.decision.deciding import GRAPH, LIMITS, SECRET, Deciding, ToyNode, answer, outputs
from tests.inference_services.decision.test_guarantee import judged

ITEMS = [f"i{at}" for at in range(300)]


class Sharing(Deciding):
    """The service with a candidate whose view model is version 4, which gives it half of the items once that is said."""

    def __init__(self, folder: Path, *, changed: dict[str, Any] | None = None, graph: dict[str, Any] = GRAPH) -> None:
        self.folder, self.file = folder, folder / "share.yaml"
        self.view4 = ToyNode({"risk": [0.03]})
        self.view4.behave = lambda _: HttpResponse(200, answer(self.view4.outputs, version="4"))
        self.made: server.Served | None = None
        self.all: list[server.Served] = []
        super().__init__(folder, graph=graph)
        parts = {**self.unit.parts, "view": self.unit.parts["view"].model_copy(update={"version": "4"})}
        decision = Decision.model_validate({**graph, **(changed or {})})
        digest = unit.seal(folder / "candidate", domain="bags", decision=decision, thresholds=LIMITS, parts=parts)
        self.candidate = unit.read(folder / "candidate", expected=digest)
        self.serve()

    def serve(self) -> None:
        """Start it, or start it again."""
        self.made = server.served(
            server.DecisionOptions(
                name="bags",
                nodes={name: [f"http://{node.address}"] for name, node in self.nodes.items()},
                also={"view": [f"http://{self.view4.address}"]},
                records=self.records,
                cases=f"sqlite:///{self.folder / 'reviews.db'}",
                share=self.file,
            ),
            self.unit,
            self.candidate,
        )
        self.all.append(self.made)
        assert self.made.beside is not None and self.made.beside.guarantee is not None
        self.made.beside.guarantee.look()
        self.share.look()

    @property
    def share(self) -> Any:
        """Who follows the file."""
        assert self.made is not None and self.made.beside is not None
        return self.made.beside.share

    def give(self, percent: float, **more: Any) -> CandidateShare:
        """Say how many items the candidate decides, and have it followed."""
        told = CandidateShare(candidate=self.candidate.digest, percent=percent, since=datetime.now(UTC), **more)
        shares.write(self.file, told)
        self.share.look()
        return told

    def protocol(self) -> Any:
        """The protocol object of one client."""
        assert self.made is not None
        made = self.made
        rest = DecisionRest(made.service, name="bags", limit=self.limits.body, shadow=made.shadow, canary=made.canary)
        return Http1Connection(self.endpoint, rest)

    def told(self) -> list[DecisionRecord]:
        """Decisions that hold, as they lie on the disk: no shadow's."""
        return self.written()

    def shadowed(self, items: int) -> list[DecisionRecord]:
        """The shadow's records, once there are so many."""
        return until(lambda: list(record.read(self.records / record.CANDIDATE)), lambda found: len(found) >= items)

    def queue(self) -> ReviewQueue:
        """The queue of reviews, where each verdict is final at once."""
        return ReviewQueue(connect(f"sqlite:///{self.folder / 'reviews.db'}"), second=0.0, undo=0.0)

    def stop(self) -> None:
        """End it and its nodes."""
        for made in self.all:
            asyncio.run_coroutine_threadsafe(made.ended(), self.loop).result(20)
        super().stop()
        self.view4.stop()


def until(find: Callable[[], Any], enough: Callable[[Any], bool], *, seconds: float = 20) -> Any:
    """What is found, once it is enough."""
    limit = time.monotonic() + seconds
    while not enough(found := find()):
        assert time.monotonic() < limit, found
        time.sleep(0.02)
    return found


@pytest.fixture
def bags(tmp_path: Path) -> Iterator[Sharing]:
    found = Sharing(tmp_path)
    yield found
    found.stop()


def by(bags: Sharing, items: list[str]) -> dict[str, str]:
    """Which unit decided on each item, as the answers say."""
    found = {}
    for item in items:
        response = bags.ask(item=item)
        assert outputs(response)["action"] == "accept"
        found[item] = response.headers["x-hallmark-unit"]
    return found


@pytest.mark.slow
def test_the_candidate_decides_the_share_of_items_that_is_said_and_always_the_same_ones(bags: Sharing) -> None:
    assert set(by(bags, ITEMS[:20]).values()) == {bags.unit.digest}, "without a word it is in shadow"
    bags.give(20)
    first = by(bags, ITEMS)
    mine = {item for item, of in first.items() if of == bags.candidate.digest}
    assert 35 <= len(mine) <= 85
    assert by(bags, ITEMS) == first, "asked again, the same unit decides"
    bags.give(50)
    more = {item for item, of in by(bags, ITEMS).items() if of == bags.candidate.digest}
    assert mine < more and 120 <= len(more) <= 180
    shares.write(bags.file, None)
    bags.share.look()
    assert set(by(bags, ITEMS[:50]).values()) == {bags.unit.digest}
    told = [each for each in bags.told() if each.unit == bags.candidate.digest]
    assert {each.given.answers["view"].version for each in told} == {"4"}
    assert all(record.replayed(each) == each.verdict for each in told)
    metrics = bags.http.get("/metrics").text
    assert 'hallmark_decision_share_items_total{decided_by="candidate"' in metrics
    assert (
        f'hallmark_decision_verdicts_total{{action="accept",model="bags",reason="route",unit="{bags.candidate.digest[7:19]}"}}'
        in metrics
    )


@pytest.mark.parametrize(
    "written",
    [
        "candidate: nobody\npercent: 10\nsince: 2026-12-01T00:00:00Z\n",
        "percent: [",
        "",
        "candidate: sha256:{digest}\npercent: 80\nsince: 2026-12-01T00:00:00Z\n",
        "candidate: sha256:{other}\npercent: 50\nsince: 2026-12-01T00:00:00Z\n",
    ],
)
def test_a_file_that_says_something_else_leaves_all_items_to_stable(bags: Sharing, written: str) -> None:
    bags.give(50)
    assert bags.share.percent == 50
    bags.file.write_text(written.format(digest=bags.candidate.digest[7:], other="0" * 64))
    bags.share.look()
    assert bags.share.percent == 0 and set(by(bags, ITEMS[:10]).values()) == {bags.unit.digest}


@pytest.mark.slow
def test_a_candidate_whose_model_dies_under_load_loses_no_item_and_its_share_ends(bags: Sharing) -> None:
    told = bags.give(50)
    asked = threading.Event()

    def one(at: int) -> str:
        if at == 60:
            bags.view4.behave = lambda _: b""  # it closes each connection without an answer, as one that was killed
            asked.set()
        response = bags.ask(item=f"i{at}")
        assert response.status_code == 200, response.text
        assert outputs(response)["action"] == "accept", "nothing went to people for want of the candidate's model"
        return response.headers["x-hallmark-unit"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(400)))
    assert asked.is_set() and bags.candidate.digest in found[:60]
    assert set(found[-100:]) == {bags.unit.digest}
    bags.share.look()
    ended = shares.stopped(bags.records / record.CANDIDATE, told)
    assert ended is not None and "it failed on 10 of its last" in ended.why
    given = [
        each
        for each in bags.told()
        if shares.drawn(told, "bags", each.given.id, secret=SECRET) and each.unit == bags.unit.digest
    ]
    seen = {each.given.id for each in record.read(bags.records / record.CANDIDATE)}
    assert sum(each.given.id in seen for each in given) <= len(given) - 10, "whom stable stood in for is not compared"
    assert len(bags.told()) == 400 and len({each.given.id for each in bags.told()}) == 400, "each once on record"
    bags.view4.behave = lambda _: HttpResponse(200, answer(bags.view4.outputs, version="4"))
    bags.serve()
    assert bags.share.percent == 0, "a restart begins nothing anew"
    bags.give(10)
    assert bags.share.percent == 10, "a person's next word does"


def test_what_the_candidate_cannot_read_is_stables(tmp_path: Path) -> None:
    bags = Sharing(tmp_path, changed={"item": {"price": "number", "brand": "text", "colour": "text"}})
    try:
        bags.give(50)
        assert set(by(bags, ITEMS[:60]).values()) == {bags.unit.digest}
        assert bags.share.percent == 50, "a request that lacks a field is nobody's failure"
    finally:
        bags.stop()


def test_callers_without_patience_end_no_share(bags: Sharing) -> None:
    bags.give(50)
    bags.view4.behave = lambda _: None
    hurry = {"x-envoy-expected-rq-timeout-ms": "3400"}
    mine = [item for item in ITEMS if shares.drawn(bags.share._share, "bags", item, secret=SECRET)][:12]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda item: outputs(bags.ask(item=item, headers=hurry)), mine))
    assert {each["action"] for each in found} == {"person"} and bags.share.percent == 50


def test_a_share_that_cannot_be_watched_is_none_until_it_can(bags: Sharing) -> None:
    bags.give(50)
    bags.share._cost.dearer = lambda: 1 / 0
    bags.share.look()
    assert bags.share.percent == 0
    bags.share._cost.dearer = lambda: ""
    bags.share.look()
    assert bags.share.percent == 50


def test_both_give_away_the_minutes_of_one_day(tmp_path: Path) -> None:
    nodes = {**GRAPH["nodes"], "expert": {**GRAPH["nodes"]["expert"], "capacity": 60}}
    bags = Sharing(tmp_path, graph={**GRAPH, "nodes": nodes})
    try:
        bags.give(50)
        for node, version in ((bags.nodes["view"], "3"), (bags.view4, "4")):
            node.behave = lambda _, version=version: HttpResponse(200, answer({"risk": [0.4]}, version=version))
        found = [bags.ask(item=item, price=5000) for item in ITEMS[:80]]
        asked = [each for each in found if outputs(each)["action"] == "person"]
        assert len({each.headers["x-hallmark-unit"] for each in found}) == 2
        assert len(asked) <= 10, "sixty minutes are ten cases, whoever opens them"
        assert len({each.headers["x-hallmark-unit"] for each in asked}) == 2
    finally:
        bags.stop()


def test_its_share_ends_once_labels_of_its_own_accepts_break_its_guarantee(bags: Sharing) -> None:
    told = bags.give(50)
    with closing(bags.queue()) as queue:
        for at in range(30):
            judged(queue, f"of-stable-{at}", fake=True, unit=bags.unit.digest)
        assert bags.made is not None and bags.made.beside is not None and bags.made.beside.guarantee is not None
        bags.made.beside.guarantee.look()
        bags.share.look()
        assert bags.share.percent == 50, "stable's labels are another matter"
        for at in range(8):
            judged(queue, f"of-it-{at}", fake=True, unit=bags.candidate.digest)
    bags.made.beside.guarantee.look()
    bags.share.look()
    ended = shares.stopped(bags.records / record.CANDIDATE, told)
    assert bags.share.percent == 0 and ended is not None
    assert ended.why == "its guarantee no longer holds: 8 counterfeits among 8 audited accepts"
    assert "hallmark_decision_share_stopped" in bags.http.get("/metrics").text


@pytest.mark.slow
def test_its_share_ends_once_its_decisions_are_dearer_by_labels_of_stables_items(bags: Sharing) -> None:
    """It gives to people what stable accepts, and all of it is authentic."""
    bags.view4.outputs = {"risk": [0.6]}
    told = bags.give(5)
    for at in range(340):
        bags.ask(item=f"m{at}")
    stables = [each.given.id for each in bags.told() if each.unit == bags.unit.digest]
    bags.shadowed(len(stables))
    bags.share.look()
    assert bags.share.percent == 5, f"{len(stables)} items without a label say nothing"
    with closing(bags.queue()) as queue:
        for item in stables:
            queue.open(case(f"c-{item}", domain="bags", source="audit", request=item))
            claim = queue.claim("ana", domains={"bags"})
            assert claim is not None
            queue.give(claim.token, Verdict(word=Word.authentic), who="ana")
        assert set(Labels(queue, domain="bags").by_request()) == set(stables)
    bags.share.look()
    assert bags.share.percent == 5, "labels are compared once a minute"
    bags.share._cost._next = 0.0
    bags.share.look()
    ended = shares.stopped(bags.records / record.CANDIDATE, told)
    assert bags.share.percent == 0 and ended is not None and ended.why.startswith("it is dearer: +")


def test_an_item_that_comes_again_is_compared_once(bags: Sharing) -> None:
    for _ in range(6):
        bags.ask(item="again")
    bags.shadowed(6)
    bags.ask(item="other")
    bags.shadowed(7)
    assert until(lambda: set(bags.share._cost._pairs), lambda found: len(found) == 2) == {"again", "other"}


def test_an_end_that_could_not_be_written_down_holds_all_the_same(bags: Sharing) -> None:
    bags.give(50)
    (bags.records / record.CANDIDATE / "stopped.json").mkdir()
    bags.share._end("so")
    text = bags.file.read_text()
    bags.file.write_text("percent: [")
    bags.share.look()
    bags.file.write_text(text)
    bags.share.look()
    assert bags.share.percent == 0


def test_stables_items_alone_are_compared_while_there_is_a_share(bags: Sharing) -> None:
    bags.give(50)
    found = by(bags, ITEMS[:100])
    stables = sum(of == bags.unit.digest for of in found.values())
    bags.shadowed(stables)
    mine, verdicts = candidate.paired(record.read(bags.records), stable=bags.unit.digest, unit=bags.candidate)
    compared = candidate.compare(mine, verdicts, labels={})
    assert (compared.items, compared.left_out) == (stables, 0)


def test_an_item_that_is_asked_again_after_another_unit_decides_is_the_same_case(bags: Sharing) -> None:
    item = next(each for each in ITEMS if shares.drawn(bags.give(50), "bags", each, secret=SECRET))
    shares.write(bags.file, None)
    bags.share.look()
    first = outputs(bags.ask(item=item, brand="Brio"))
    assert (first["action"], bags.told()[-1].unit) == ("person", bags.unit.digest)
    bags.give(50)
    again = outputs(bags.ask(item=item, brand="Brio"))
    assert (again["action"], again["case"]) == ("person", first["case"])
    assert bags.told()[-1].unit == bags.candidate.digest
    other = outputs(bags.ask(item=item, brand="Brio", price=31))
    assert other["action"] == "refuse", "at another price it is another item under the same name"


def test_an_end_holds_for_the_word_that_it_ended_alone(tmp_path: Path) -> None:
    told = CandidateShare(candidate="sha256:" + "a" * 64, percent=5, since=datetime(2026, 12, 1, tzinfo=UTC))
    assert shares.stopped(tmp_path, told) is None
    shares.stop(tmp_path, Stop(share=told, at=datetime(2026, 12, 2, tzinfo=UTC), why="so"))
    assert shares.stopped(tmp_path, told) is not None
    assert shares.stopped(tmp_path, told.model_copy(update={"percent": 6.0})) is None
    shares.write(tmp_path / "share.yaml", told)
    assert shares.read(tmp_path / "share.yaml") == told
    (tmp_path / "stopped.json").write_text("{")
    assert shares.stopped(tmp_path, told) is None
