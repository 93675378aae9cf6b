"""The engine: where items end, that no failure leads to accept, and that a record replays."""

from __future__ import annotations

import copy
import hashlib
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.decision import record
from hallmark.decision.engine import ENGINE, Action, Answer, Ask, Given, Reason, Verdict, decide
from hallmark.decision.record import DecisionRecord, Part
from hallmark.declaration.decision import Decision
from hallmark.errors import Conflict
from hallmark.policy.lot import drawn
from tests.hallmark.decision.graphs import BAGS, BRANDS, FATES, RAW, THRESHOLDS, random_graph, settled


def view(score: float) -> Answer:
    return Answer(fate="answered", outputs={"counterfeit": score}, cost=0.002)


def reviewed(verdict: str) -> Answer:
    return Answer(fate="answered", outputs={"verdict": verdict}, cost=0.03)


def bag(*, price: float = 300.0, brand: str = "Alma", **more: Any) -> Given:
    return Given(id="i1", domain="bags", item={"price": price, "brand": brand}, **more)


def ended(start: Given, **answers: Answer) -> Verdict:
    _, found = settled(BAGS, THRESHOLDS, start, answers.__getitem__)
    return found


def test_it_asks_step_by_step_and_accepts_what_the_threshold_allows() -> None:
    assert decide(BAGS, THRESHOLDS, bag()) == Ask("look", ("view",))
    assert decide(BAGS, THRESHOLDS, bag(answers={"view": view(0.4)})) == Ask("ask", ("reviewer",))
    found = ended(bag(price=20), view=view(0.01))
    assert (found.action, found.reason, found.path) == ("accept", "route", ("look", "accept"))
    assert (found.score, found.threshold) == (0.01, 0.2) and found.chance == pytest.approx(0.006)
    assert found.expected == pytest.approx(0.006 * 20) and found.spent == pytest.approx(0.002)


def test_what_is_over_the_threshold_goes_on_whatever_the_route_says() -> None:
    found = ended(bag(), view=view(0.2 + 1e-12), reviewer=reviewed("authentic"))
    assert found.action == "person" and found.path == ("look", "ask", "expert")
    assert ended(bag(), view=view(0.99)).path == ("look", "reject")
    assert ended(bag(), view=view(0.5), reviewer=reviewed("counterfeit")).action == "reject"


def test_the_threshold_moves_with_the_price() -> None:
    """One score, which may be accepted: of a dear bag a person's look is worth more than it costs."""
    cheap, dear = ended(bag(price=50), view=view(0.05)), ended(bag(price=5000), view=view(0.05))
    assert cheap.action == "accept"
    assert (dear.action, dear.person, dear.reason) == ("person", "expert", "worth_a_person")
    # 0.03 of 5,000 at stake, less six minutes at 0.5
    assert dear.saved == pytest.approx(0.03 * 5000 - 3) and dear.expected == pytest.approx(3.0)


def test_what_costs_less_refused_than_accepted_is_not_accepted() -> None:
    """0.06 of the price at stake, where saying nothing costs 0.05 of it: the threshold allows it, and it goes on."""
    assert ended(bag(), view=view(0.1), reviewer=reviewed("counterfeit")).path == ("look", "ask", "reject")


def test_a_scarce_minute_goes_to_the_dear_bag_first() -> None:
    answers = {"view": view(0.5), "reviewer": reviewed("unsure")}
    belt = ended(bag(price=50, minute_price=1.0), **answers)
    purse = ended(bag(price=5000, minute_price=1.0), **answers)
    assert (belt.action, belt.reason) == ("refuse", "not_worth_a_person")
    assert purse.action == "person" and purse.saved is not None and belt.saved is not None
    assert purse.saved > 6 * 1.0 > belt.saved
    assert ended(bag(price=5000, minute_price=math.inf), **answers).reason == "not_worth_a_person"


@pytest.mark.parametrize("brand", ["Brio", "Cora"])
def test_without_a_threshold_everything_goes_to_a_person(brand: str) -> None:
    found = ended(bag(brand=brand, price=1, minute_price=math.inf), view=view(0.0))
    assert (found.action, found.reason, found.threshold) == ("person", "no_threshold", None)


def test_an_expired_guarantee_sends_dear_items_to_a_person_and_refuses_the_others() -> None:
    assert ended(bag(price=100, expired=True), view=view(0.0)).reason == "expired"
    assert ended(bag(price=100, expired=True), view=view(0.0)).action == "person"
    assert ended(bag(price=99, expired=True), view=view(0.0)).action == "refuse"


@pytest.mark.parametrize("fate", [each for each in FATES if each != "answered"])
def test_a_node_without_an_answer_leads_to_its_fallback(fate: Any) -> None:
    found = ended(bag(minute_price=math.inf), view=Answer(fate=fate))
    assert (found.action, found.reason, found.path) == ("person", "node_failed", ("look", "!view", "expert"))


@pytest.mark.parametrize("outputs", [{}, {"counterfeit": "0.1"}, {"counterfeit": True}, {"risk": 0.1}])
def test_an_answer_of_another_kind_is_none(outputs: dict[str, Any]) -> None:
    assert ended(bag(), view=Answer(fate="answered", outputs=outputs)).reason == "node_failed"


def test_where_no_queue_takes_the_case_nothing_is_said_of_the_item() -> None:
    found = ended(bag(unheard=("expert",)), view=Answer(fate="down"))
    assert (found.action, found.reason, found.path[-2:]) == ("refuse", "queue_down", ("!expert", "refuse"))


def test_a_share_of_what_is_accepted_is_looked_at_all_the_same() -> None:
    graph = Decision.model_validate({**RAW, "explore": 0.1})
    drawn = []
    for at in range(2000):
        start = bag(price=20).model_copy(update={"id": f"i{at}"})
        drawn.append(settled(graph, THRESHOLDS, start, lambda _: view(0.01))[1])
    assert {each.action for each in drawn} == {"accept"}
    assert 160 < sum(each.audit for each in drawn) < 240


def test_the_lot_that_was_drawn_says_who_is_looked_at_and_without_one_the_id_does_as_it_did() -> None:
    graph = Decision.model_validate({**RAW, "explore": 0.1})

    def audited(name: str, lot: float | None) -> bool:
        start = bag(price=20).model_copy(update={"id": name, "lot": lot})
        return settled(graph, THRESHOLDS, start, lambda _: view(0.01))[1].audit

    assert audited("i1", 0.0999) and not audited("i1", 0.1)
    before = [f"i{at}" for at in range(200) if audited(f"i{at}", None)]
    assert before == [f"i{at}" for at in range(200) if drawn([f"i{at}"], "bags/explore")[0] < 0.1]
    assert not any(audited(name, 0.5) for name in before)


def test_each_persons_minutes_have_a_price_of_their_own() -> None:
    raw = copy.deepcopy(RAW)
    raw["nodes"]["senior"] = {"kind": "person", "minutes": 30, "capacity": 60, "timeout": "500ms"}
    raw["steps"]["look"]["routes"].insert(1, {"when": 'item.brand == "Alma"', "to": "senior"})
    graph = Decision.model_validate(raw)

    def to(**prices: float) -> str | None:
        start = bag(price=4000).model_copy(update={"minute_price": 0.0, "minute_prices": prices})
        return settled(graph, THRESHOLDS, start, lambda _: view(0.4))[1].person

    assert to() == "senior" and to(expert=math.inf, senior=0.0) == "senior"
    assert to(expert=0.0, senior=1e6) is None, "not worth the senior's minutes, whatever the expert's cost"


def random_given(rng: np.random.Generator, graph: Decision, *, healthy: float) -> tuple[Given, dict[str, Answer]]:
    def answer() -> Answer:
        fate: Any = "answered" if rng.random() < healthy else FATES[int(rng.integers(1, len(FATES)))]
        outputs: dict[str, Any] = {"risk": float(rng.random()), "sure": bool(rng.random() < 0.5)}
        if fate == "answered" and rng.random() < 0.1:
            del outputs["risk"]
        return Answer(
            fate=fate, outputs=outputs if fate in ("answered", "other_version") else {}, cost=float(rng.random())
        )

    start = Given(
        id=f"i{rng.integers(1_000_000)}",
        domain="bags",
        item={"price": float(rng.integers(1, 5000)), "brand": BRANDS[int(rng.integers(3))]},
        unheard=tuple(name for name in graph.persons if rng.random() < 0.2),
        minute_price=[0.0, 1.0, math.inf][int(rng.integers(3))],
        expired=bool(rng.random() < 0.1),
    )
    return start, {name: answer() for name in graph.nodes if name not in graph.persons}


def random_thresholds(rng: np.random.Generator, graph: Decision) -> Thresholds:
    slices = tuple(
        SliceThreshold(values=(brand,), threshold=float(rng.random()) if rng.random() < 0.8 else None, examples=100)
        for brand in BRANDS[:2]
    )
    knots = {} if rng.random() < 0.2 else {"scores": (0.0, 1.0), "chances": (0.0, 0.08)}
    score = graph.risk.false_authentic.score
    return Thresholds(score=score, at_most=0.01, confidence=0.95, fields=("brand",), slices=slices, **knots)  # type: ignore[arg-type]


def recorded(graph: Decision, limits: Thresholds, asked: Given, found: Verdict) -> DecisionRecord:
    parts = {name: Part(service=name, version="3", digest="sha256:0") for name in graph.nodes}
    only = limits.only(asked.item)
    return DecisionRecord(
        unit="sha256:1", parts=parts, decision=graph, thresholds=only, given=asked, verdict=found, at=0.0
    )


@pytest.mark.parametrize("graphs", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_no_failure_of_any_node_leads_to_accept_and_every_record_replays(graphs: int) -> None:
    """Faults 44 and 47 over 20 items in each of many graphs, 10,000 in all; those that lint would refuse are among them."""
    rng = np.random.default_rng(17)
    accepted = failures = 0
    for _ in range(graphs):
        graph = random_graph(rng)
        limits = random_thresholds(rng, graph)
        for _ in range(20):
            start, answers = random_given(rng, graph, healthy=0.8)
            asked, found = settled(graph, limits, start, answers.__getitem__)
            failed = any(each.fate != "answered" or len(each.outputs) < 2 for each in asked.answers.values())
            failures += failed
            if found.action == "accept":
                accepted += 1
                assert not failed and not start.expired and not any(each.startswith("!") for each in found.path)
                assert found.score is not None and found.threshold is not None and found.score <= found.threshold
            kept = DecisionRecord.model_validate_json(recorded(graph, limits, asked, found).text)
            assert record.replayed(kept) == found
    assert accepted > graphs / 2 and failures > 5 * graphs


@given(st.lists(st.sampled_from(FATES), min_size=2, max_size=2), st.floats(0, 1), st.floats(1, 1e6), st.booleans())
def test_a_failure_on_the_way_is_never_accepted(fates: list[Any], score: float, price: float, deaf: bool) -> None:
    start = bag(price=price, unheard=("expert",) if deaf else ())
    found = ended(
        start,
        view=Answer(fate=fates[0], outputs={"counterfeit": score}),
        reviewer=Answer(fate=fates[1], outputs={"verdict": "authentic"}),
    )
    if found.action == "accept":
        assert fates[0] == "answered" and score <= 0.2
    if fates[0] != "answered":
        assert found.action == ("refuse" if deaf else "person")


def test_what_was_recorded_by_the_code_of_before_replays_and_has_the_digest_that_was_told() -> None:
    """kept/engine-1.jsonl: by the code of 6055e86b, of random graphs and of bags; each way to end is there."""
    lines = (Path(__file__).parent / "kept" / "engine-1.jsonl").read_text(encoding="utf-8").splitlines()
    found = [DecisionRecord.model_validate_json(line) for line in lines]
    for line, each in zip(lines, found, strict=True):
        assert record.replayed(each) == each.verdict
        assert each.digest == f"sha256:{hashlib.sha256(line.encode()).hexdigest()}"
    assert {each.verdict.action for each in found} == set(get_args(Action))
    assert {each.verdict.reason for each in found} == set(get_args(Reason))
    assert any(each.verdict.audit for each in found)


def test_a_record_that_was_changed_is_told() -> None:
    asked, found = settled(BAGS, THRESHOLDS, bag(price=20), lambda _: view(0.01))
    kept = recorded(BAGS, THRESHOLDS, asked, found)
    assert record.replayed(kept) == found
    forged = kept.model_copy(update={"verdict": found.model_copy(update={"action": "reject"})})
    with pytest.raises(Conflict, match="does not lead to its verdict"):
        record.replayed(forged)
    with pytest.raises(Conflict, match="another engine"):
        record.replayed(kept.model_copy(update={"engine": ENGINE + 1}))
    cut = kept.model_copy(update={"given": asked.model_copy(update={"answers": {}})})
    with pytest.raises(Conflict, match="look asks view"):
        record.replayed(cut)
    assert kept.digest == DecisionRecord.model_validate_json(kept.text).digest
