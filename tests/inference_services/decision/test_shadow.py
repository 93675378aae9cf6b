"""A candidate of the whole in shadow: it decides on the same items, asks what differs alone, and nobody is told or asked by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hallmark.decision import candidate, record, unit
from hallmark.decision.record import Part
from hallmark.decision.unit import Unit
from hallmark.errors import DeclarationError
from inference_services.decision import server
from inference_services.decision.__main__ import _units as units_of
from inference_services.decision.__main__ import main, parser
from inference_services.decision.nodes import AnyOf
from inference_services.decision.rest import DecisionRest
from inference_services.transport.http1 import Http1Connection, HttpResponse
from tests.inference_services.decision.deciding import GOOD, LIMITS, Deciding, ToyNode, answer, outputs


class Shadowed(Deciding):
    """The service with a candidate whose view model is version 4, at a place of its own."""

    def __init__(self, folder: Path, **parts: Part) -> None:
        self.view4 = ToyNode({"risk": [0.6]})
        self.view4.behave = lambda _: HttpResponse(200, answer(self.view4.outputs, version="4"))
        super().__init__(folder)
        self.made: server.Served | None = None
        self.candidate = sealed(folder / "candidate", self.unit, **parts)
        nodes = {name: [f"http://{node.address}"] for name, node in self.nodes.items()}
        options = server.DecisionOptions(
            name="bags",
            nodes=nodes,
            also={"view": [f"http://{self.view4.address}"]},
            records=self.records,
            cases=folder / "cases.jsonl",
        )
        self.made = server.served(options, self.unit, self.candidate)

    def protocol(self) -> asyncio.Protocol:
        """The protocol object of one client."""
        assert self.made is not None
        rest = DecisionRest(self.made.service, name="bags", limit=self.limits.body, shadow=self.made.shadow)
        return Http1Connection(self.endpoint, rest)

    def both(self, items: int) -> tuple[list[record.DecisionRecord], list[record.DecisionRecord]]:
        """Records of stable and of the candidate, once there are so many."""
        until = time.monotonic() + 10
        while True:
            found = list(record.read(self.records))
            theirs = [each for each in found if each.unit == self.candidate.digest]
            if len(theirs) >= items or time.monotonic() > until:
                return [each for each in found if each.unit == self.unit.digest], theirs
            time.sleep(0.02)

    def metrics_text(self) -> str:
        return self.http.get("/metrics").text

    def stop(self) -> None:
        """End it and its nodes."""
        assert self.made is not None
        for client in self.made.clients:
            self.loop.call_soon_threadsafe(client.close)
        super().stop()
        self.view4.stop()


def sealed(folder: Path, stable: Unit, **parts: Part) -> Unit:
    changed = parts or {"view": Part(service="bags", version="4")}
    digest = unit.seal(
        folder, domain="bags", decision=stable.decision, thresholds=LIMITS, parts={**stable.parts, **changed}
    )
    return unit.read(folder, expected=digest)


@pytest.fixture
def bags(tmp_path: Path) -> Iterator[Shadowed]:
    found = Shadowed(tmp_path)
    yield found
    found.stop()


def test_stable_answers_and_the_candidate_decides_on_the_same_item_by_its_own_version(bags: Shadowed) -> None:
    told = outputs(bags.ask(item="i1"))
    assert (told["action"], told["record"]) == ("accept", bags.both(1)[0][0].digest)
    (mine,), (theirs,) = bags.both(1)
    assert (mine.verdict.action, mine.given.answers["view"].version) == ("accept", "3")
    assert theirs.given.answers["view"].outputs == {"risk": 0.6} and theirs.verdict.action != "accept"
    assert theirs.given.answers["near"] == mine.given.answers["near"], "what both ask is asked once"
    assert len(bags.nodes["near"].asked) == 1
    assert record.replayed(theirs) == theirs.verdict
    assert "hallmark_decision_candidate_total{candidate=" in bags.metrics_text()
    assert not (bags.records.parent / "cases.jsonl").exists(), "nobody is asked by a shadow"


def test_a_candidate_that_nobody_serves_decides_without_it_and_stable_does_not_notice(bags: Shadowed) -> None:
    bags.view4.behave = lambda _: HttpResponse(503)
    assert outputs(bags.ask(item="i1"))["action"] == "accept"
    _, (theirs,) = bags.both(1)
    assert theirs.given.answers["view"].fate == "other_version", "stable's place has another version"
    assert theirs.verdict.person == "expert"


def test_a_node_at_two_places_is_asked_where_its_version_is(bags: Shadowed) -> None:
    assert bags.made is not None and bags.made.shadow is not None
    found = bags.made.shadow._service._nodes["view"]
    assert isinstance(found, AnyOf)
    before = len(bags.nodes["view"].asked)
    for at in range(3):
        assert outputs(bags.ask(item=f"i{at}"))["action"] == "accept"
        bags.both(at + 1)
    assert len(bags.nodes["view"].asked) - before == 4, "thrice by stable, and once by the candidate: it remembers"
    assert len(bags.view4.asked) == 3


def test_the_records_of_both_are_compared_item_by_item(
    bags: Shadowed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in range(4):
        bags.ask(item=f"i{at}")
    bags.both(4)
    mine, verdicts = candidate.paired(record.read(bags.records), stable=bags.unit.digest, unit=bags.candidate)
    assert len(mine) == len(verdicts) == 4
    found = candidate.compare(mine, verdicts, labels={f"i{at}": (False,) for at in range(4)})
    assert (found.items, found.left_out, found.differ, found.labelled) == (4, 0, 4, 4)
    assert found.difference > 0, "it asks people about what stable accepts, and all are authentic"
    flags = [f"--unit={tmp_path / 'unit'}", f"--candidate={tmp_path / 'candidate'}", f"--records={bags.records}"]
    assert main(["--compare", *flags], {}) == 4
    assert "wait: 4 of 300 items were decided by both" in capsys.readouterr().out
    assert main(["--compare", *flags[:1], *flags[2:]], {}) == 2


def test_the_same_unit_is_no_candidate_and_a_lone_place_is_refused(bags: Shadowed, tmp_path: Path) -> None:
    place = str(tmp_path / "unit")
    flags = parser().parse_args(["--unit", place, "--candidate", place, "--records", str(tmp_path)])
    with pytest.raises(DeclarationError, match="--candidate"):
        units_of(flags, {})
    assert main([f"--unit={place}", f"--records={tmp_path}", "--node=view=http://127.0.0.1:1"], {}) == 2
    assert GOOD.keys() == bags.unit.parts.keys()
