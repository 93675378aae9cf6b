"""Fault 45: a wave of super-fakes is noticed by labels of audited accepts, and the running process gives what it accepted to people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hallmark.cli import main
from hallmark.declaration import domain as domains
from hallmark.declaration.decision import Decision
from hallmark.reviews.audits import AuditLabels
from hallmark.reviews.case import Evidence, Reason, Seen, Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from hallmark.rollout.guarantee import DecisionGuarantee
from hallmark.settings import Settings
from inference_services.decision import server
from inference_services.decision.guarantee import GuaranteeWatch
from inference_services.decision.metrics import DecisionMetrics
from tests.hallmark.decision.scored_bags import audits
from tests.hallmark.reviews.cases import Clock, case
from tests.inference_services.decision.deciding import GRAPH, ROOT, Deciding, outputs


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[ReviewQueue]:
    with closing(ReviewQueue(connect(f"sqlite:///{tmp_path / 'reviews.db'}"), second=0.0, undo=0.0)) as made:
        yield made


def judged(
    queue: ReviewQueue, name: str, *, fake: bool, unit: str, domain: str = "bags", source: Any = "audit"
) -> None:
    """An audit of an item that this unit accepted, and what a person says of it."""
    seen = Evidence(seen=Seen(digests={"unit": unit}))
    queue.open(case(name, domain=domain, source=source, inclusion=0.02, evidence=seen))
    claim = queue.claim("ana", domains={domain})
    assert claim is not None and claim.case.id == name
    word = Word.counterfeit if fake else Word.authentic
    queue.give(claim.token, Verdict(word=word, reason=Reason.logo if fake else None), who="ana")


def test_the_process_that_serves_follows_within_300_labels_without_a_restart(
    tmp_path: Path, queue: ReviewQueue
) -> None:
    """The labels are those of accepted bags of which a fifth of the new ones are super-fakes."""
    bags = Deciding(tmp_path)
    try:
        nodes = {name: [f"http://{node.address}"] for name, node in bags.nodes.items()}
        options = server.DecisionOptions(
            name="bags", nodes=nodes, records=tmp_path / "own", cases=f"sqlite:///{tmp_path / 'reviews.db'}"
        )
        made = server.served(options, bags.unit)
        service, watch = made.service, made.watch
        assert watch is not None and not watch.expired
        bags.service._expired = service._expired  # the served process has the rest as it is
        assert outputs(bags.ask(price=30))["action"] == "accept"
        digest, wave = bags.unit.digest, audits(17, wave=True)[:300].tolist()
        for at in range(20):
            judged(queue, f"well-{at}", fake=False, unit=digest)
        for at in range(8):
            judged(queue, f"earlier-{at}", fake=True, unit="sha256:" + "0" * 64)  # another unit's are another matter
            judged(
                queue, f"asked-{at}", fake=True, unit=digest, source="decision"
            )  # what a person decided was not accepted
        watch.look()
        assert outputs(bags.ask(price=30))["action"] == "accept"
        for at, fake in enumerate(wave):
            judged(queue, f"wave-{at}", fake=fake, unit=digest)
            watch.look()
            if watch.expired:
                break
        assert watch.expired and len(wave) == 300
        cheap, dear = outputs(bags.ask(price=30, item="cheap")), outputs(bags.ask(price=500, item="dear"))
        assert (cheap["action"], cheap["reason"]) == ("refuse", "expired")
        assert (dear["action"], dear["reason"], dear["person"]) == ("person", "expired", "expert")
        again = server.served(options, bags.unit).watch
        assert again is not None and again.expired, "a restart forgets nothing"
    finally:
        bags.stop()


def test_who_cannot_see_the_labels_for_long_trusts_no_guarantee(tmp_path: Path, queue: ReviewQueue) -> None:
    bags = Deciding(tmp_path)
    bags.stop()
    clock, metrics = Clock(), DecisionMetrics(model="bags", unit="u")
    labels = AuditLabels(queue, domain="bags")
    watch = GuaranteeWatch(bags.unit, labels, metrics=metrics, blind=60, clock=clock)
    assert watch.expired, "before the first look nobody knows"
    watch.look()
    assert not watch.expired

    def broken() -> Iterator[tuple[str, bool]]:
        raise OSError("the database is gone")

    labels.news = broken  # type: ignore[method-assign]
    clock.seconds = 59
    watch.look()
    assert not watch.expired
    clock.seconds = 61
    watch.look()
    assert watch.expired


def test_labels_are_read_once_in_their_order_and_once_they_stand(tmp_path: Path) -> None:
    clock = Clock()
    with closing(ReviewQueue(connect(f"sqlite:///{tmp_path / 'r.db'}"), second=0.0, undo=60, clock=clock)) as queue:
        labels = AuditLabels(queue, domain="bags")
        judged(queue, "a", fake=True, unit="one")
        clock.seconds = 30
        judged(queue, "b", fake=False, unit="two")
        assert list(labels.news()) == [("one", True)], "a second verdict makes the first final"
        clock.seconds = 100
        assert list(labels.news()) == [("two", False)]
        assert list(labels.news()) == []


def test_it_looks_again_and_again_until_it_is_stopped(tmp_path: Path) -> None:
    looks: list[int] = []

    class Watch(GuaranteeWatch):
        def __init__(self) -> None:
            pass

        def look(self) -> None:
            looks.append(1)

    async def run() -> None:
        watch = asyncio.create_task(Watch().run(0.01))
        async with asyncio.timeout(30):
            while len(looks) < 3:
                await asyncio.sleep(0.01)
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch

    asyncio.run(run())


def test_the_command_says_it_and_its_exit_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path)})
    for key, value in {**state.environment(), "HALLMARK_REVIEWS": f"sqlite:///{tmp_path / 'reviews.db'}"}.items():
        monkeypatch.setenv(key, value)
    assert main(["reviews", "guarantee", "fraud"]) == 2
    assert main(["reviews", "guarantee", "authentication"]) == 0
    with closing(ReviewQueue(connect(f"sqlite:///{tmp_path / 'reviews.db'}"), second=0.0, undo=0.0)) as queue:
        for at in range(20):
            judged(queue, f"{at}", fake=at % 2 == 0, unit="sha256:" + "1" * 64, domain="authentication")
    capsys.readouterr()
    assert main(["reviews", "guarantee", "authentication", "-o", "json"]) == 3
    told = capsys.readouterr()
    assert '"counterfeits": 10' in told.out and "10 of 20 audited accepts" in told.err


def test_the_watch_is_told_of_the_newest_unit(queue: ReviewQueue) -> None:
    domain = domains.load("authentication", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    domain = domain.model_copy(update={"decision": Decision.model_validate(GRAPH)})
    told = DecisionGuarantee(domain, AuditLabels(queue, domain="bags"))
    assert told() is None
    for at in range(8):
        judged(queue, f"old-{at}", fake=True, unit="old")
    found = told()
    assert found is not None and (found[0], found[1].broken is not None) == ("old", True)
    judged(queue, "new", fake=False, unit="new")
    found = told()
    assert found is not None and (found[0], found[1].labels, found[1].broken) == ("new", 1, None)


def test_labels_of_a_candidates_share_are_not_the_units_that_decides(queue: ReviewQueue) -> None:
    domain = domains.load("authentication", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    domain = domain.model_copy(update={"decision": Decision.model_validate(GRAPH)})
    told = DecisionGuarantee(domain, AuditLabels(queue, domain="bags"), deciding=lambda: "stable")
    judged(queue, "a", fake=False, unit="stable")
    for at in range(8):
        judged(queue, f"b-{at}", fake=True, unit="of a share, which ended since")
    found = told()
    assert found is not None and (found[0], found[1].labels) == ("stable", 1)
