"""A changed part is a candidate of the whole, judged on what the final decisions cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision import candidate, unit
from hallmark.decision.engine import Answer, Given, Verdict
from hallmark.decision.record import DecisionRecord, Part
from hallmark.decision.unit import Unit
from hallmark.declaration.decision import Decision
from tests.hallmark.decision.graphs import BAGS, RAW, THRESHOLDS, settled

PARTS = {"view": Part(service="fraud", version="3"), "reviewer": Part(service="bags-reviewer", version="1")}


def sealed(folder: Path, *, thresholds: Thresholds = THRESHOLDS, graph: Decision = BAGS, **parts: Part) -> Unit:
    digest = unit.seal(folder, domain="bags", decision=graph, thresholds=thresholds, parts={**PARTS, **parts})
    return unit.read(folder, expected=digest)


def moved(threshold: float) -> Thresholds:
    first = THRESHOLDS.slices[0].model_copy(update={"threshold": threshold})
    return THRESHOLDS.model_copy(update={"slices": (first,)})


def history(stable: Unit, items: int = 3000) -> tuple[list[DecisionRecord], dict[str, bool]]:
    """Records of a unit over items of Alma, and their truth, by the chance that the thresholds tell."""
    rng = np.random.default_rng(9)
    records, truth = [], {}
    for at in range(items):
        score = float(rng.random() ** 2)
        answers = {
            "view": Answer(fate="answered", outputs={"counterfeit": score}, cost=0.002, version="3"),
            "reviewer": Answer(fate="answered", outputs={"verdict": "unsure"}, cost=0.03, version="1"),
        }
        start = Given(
            id=f"i{at}", domain="bags", item={"price": float(rng.integers(20, 90)), "brand": "Alma"}, minute_price=2.0
        )
        given, verdict = settled(stable.decision, stable.thresholds, start, answers.__getitem__)
        records.append(
            DecisionRecord(
                unit=stable.digest,
                parts=stable.parts,
                decision=stable.decision,
                thresholds=stable.thresholds.only(given.item),
                given=given,
                verdict=verdict,
                at=0.0,
            )
        )
        truth[f"i{at}"] = bool(rng.random() < (THRESHOLDS.chance(score) or 0.0))
    return records, truth


def verdicts(records: list[DecisionRecord], other: Unit) -> dict[str, Verdict]:
    found = {each.given.id: candidate.redecided(each, other) for each in records}
    return {item: verdict for item, verdict in found.items() if verdict is not None}


def test_the_same_unit_decides_the_same_and_costs_the_same(tmp_path: Path) -> None:
    stable = sealed(tmp_path / "stable")
    records, truth = history(stable, 300)
    again = verdicts(records, stable)
    assert [again[each.given.id] for each in records] == [each.verdict for each in records]
    found = candidate.compare(records, again, labels={item: (each,) for item, each in truth.items()})
    assert (found.items, found.left_out, found.difference, found.low, found.high) == (300, 0, 0.0, 0.0, 0.0)


def test_a_lower_threshold_is_told_to_be_dearer_from_records_alone(tmp_path: Path) -> None:
    stable = sealed(tmp_path / "stable")
    records, truth = history(stable)
    # What it no longer accepts asks the reviewer, who is on no record: those items are left out, and shown as that.
    asks_more = sealed(tmp_path / "lower", thresholds=moved(0.001))
    found = candidate.compare(
        records, verdicts(records, asks_more), labels={item: (each,) for item, each in truth.items()}
    )
    assert found.left_out > 300
    # One that refuses them without asking anybody can be judged on every item.
    raw = {**RAW, "steps": {**RAW["steps"], "look": {"ask": ["view"], "routes": [{"to": "accept"}, {"to": "refuse"}]}}}
    raw = {
        **raw,
        "steps": {"look": raw["steps"]["look"]},
        "nodes": {k: v for k, v in RAW["nodes"].items() if k != "reviewer"},
    }
    shy = Decision.model_validate(raw)
    place = tmp_path / "shy"
    digest = unit.seal(place, domain="bags", decision=shy, thresholds=moved(0.001), parts={"view": PARTS["view"]})
    found = candidate.compare(
        records,
        verdicts(records, unit.read(place, expected=digest)),
        labels={item: (each,) for item, each in truth.items()},
    )
    assert found.left_out == 0 and found.low > 0 and found.difference == pytest.approx(found.candidate - found.stable)
    assert candidate.verdict_on(found).outcome == "refuse"


def test_a_candidate_whose_person_is_another_is_judged(tmp_path: Path) -> None:
    stable = sealed(tmp_path / "stable", thresholds=THRESHOLDS.model_copy(update={"slices": ()}))
    records, _ = history(stable, 300)
    assert {each.verdict.person for each in records} == {"expert"}, "nobody has a threshold"
    for minutes, dearer in ((6, 0.0), (16, 10 * BAGS.costs.minute)):
        raw = json.loads(json.dumps(RAW).replace("expert", "senior"))
        raw["nodes"]["senior"]["minutes"] = minutes
        senior = sealed(
            tmp_path / f"senior-{minutes}",
            thresholds=THRESHOLDS.model_copy(update={"slices": ()}),
            graph=Decision.model_validate(raw),
        )
        found = candidate.compare(records, verdicts(records, senior), labels={}, persons=senior.decision.nodes)
        assert (found.items, found.left_out, found.differ, found.difference) == (300, 0, 0, pytest.approx(dearer))
        outcome = "promote" if minutes == 6 else "refuse"
        assert candidate.verdict_on(found).outcome == outcome


@pytest.mark.parametrize(
    ("changed", "outcome", "why"),
    [
        ({}, "promote", "it costs"),
        ({"high": 0.02}, "promote", "it costs"),
        ({"high": 0.021}, "wait", "of 40 items that they differ on 12 have a label"),
        ({"low": 0.001, "high": 0.2}, "refuse", "it is dearer"),
        ({"items": 299}, "wait", "299 of 300 items"),
        ({"items": 900, "left_out": 100}, "promote", "it costs"),
        ({"items": 899, "left_out": 101}, "wait", "of 1000 items 101 were decided by stable alone"),
        ({"items": 299, "low": 0.1, "high": 0.2}, "wait", "299 of 300 items"),
    ],
)
def test_a_candidate_is_promoted_where_it_surely_costs_little_more(
    changed: dict[str, float], outcome: str, why: str
) -> None:
    found = {"items": 300, "left_out": 0, "differ": 40, "labelled": 12, "unknown": 28, "stable": 1.0, "candidate": 0.99}
    compared = candidate.CostComparison.model_validate(
        {**found, "low": -0.03, "high": 0.01, "confidence": 0.95, **changed}
    )
    verdict = candidate.verdict_on(compared)
    assert verdict.outcome == outcome and why in verdict.why


def test_answers_of_another_version_are_not_the_candidates(tmp_path: Path) -> None:
    stable = sealed(tmp_path / "stable")
    records, truth = history(stable, 20)
    other = sealed(tmp_path / "other", view=Part(service="fraud", version="4"))
    assert verdicts(records, other) == {}
    found = candidate.compare(records, {}, labels={item: (each,) for item, each in truth.items()})
    assert (found.items, found.left_out, found.low, found.high) == (0, 20, -math.inf, math.inf)


def test_a_verdict_costs_what_was_asked_and_what_was_wrong() -> None:
    wrong = Verdict(action="accept", reason="route", path=("look", "accept"), spent=0.5)
    assert candidate.cost(BAGS, wrong, counterfeit=True, price=100) == pytest.approx(100.5)
    assert candidate.cost(BAGS, wrong, counterfeit=False, price=100) == pytest.approx(0.5)
    seen = Verdict(action="person", person="expert", reason="route", path=("look", "expert"))
    assert candidate.cost(BAGS, seen, counterfeit=True, price=100) == pytest.approx(6 * 0.5)


@pytest.mark.parametrize("mistaken", [(0.0, 0.0), (0.02, 0.02), (0.0004, 0.0396)])
def test_a_label_that_is_mistaken_at_times_stands_for_the_truth_on_the_average(mistaken: tuple[float, float]) -> None:
    by = [candidate.by_label(-4.5, 900.0, label=label, mistaken=mistaken) for label in (False, True)]
    assert (1 - mistaken[0]) * by[0] + mistaken[0] * by[1] == pytest.approx(-4.5)
    assert mistaken[1] * by[0] + (1 - mistaken[1]) * by[1] == pytest.approx(900.0)


def labelled(truth: dict[str, bool], *, wrong: float, seed: int) -> dict[str, tuple[bool, ...]]:
    """What two persons say who err that often, of every item."""
    rng = np.random.default_rng(seed)
    return {item: tuple(bool(fake ^ (rng.random() < wrong)) for _ in range(2)) for item, fake in truth.items()}


def test_mistakes_of_those_who_label_are_not_the_candidates_and_a_second_look_settles_them(tmp_path: Path) -> None:
    """Stable gives each item to an expert who errs in 2 of 100, the candidate accepts two thirds, of which one in a thousand is a counterfeit."""
    nodes = {name: each for name, each in RAW["nodes"].items() if name != "reviewer"}
    nodes["expert"] = {**nodes["expert"], "wrong": 0.02}
    routes = [{"when": "view.counterfeit < 0", "to": "accept"}, {"to": "expert"}]
    asks = Decision.model_validate({**RAW, "nodes": nodes, "steps": {"look": {"ask": ["view"], "routes": routes}}})
    stable = sealed(tmp_path / "stable")
    rng = np.random.default_rng(3)
    records, verdicts, truth = [], {}, {}
    for at, each in enumerate(history(stable, 3000)[0]):
        given = each.given.model_copy(update={"item": {**each.given.item, "price": 800.0}})
        person = Verdict(action="person", person="expert", reason="route", path=("look", "expert"))
        records.append(each.model_copy(update={"given": given, "verdict": person, "decision": asks}))
        accepts = at % 3 > 0
        verdicts[given.id] = Verdict(action="accept", reason="route", path=("look", "accept")) if accepts else person
        truth[given.id] = bool(rng.random() < (0.001 if accepts else 0.3))
    exact = candidate.compare(records, verdicts, labels={item: (each,) for item, each in truth.items()})
    assert exact.difference is not None and exact.difference < 0
    both = labelled(truth, wrong=0.02, seed=4)
    once = candidate.compare(records, verdicts, labels={item: each[:1] for item, each in both.items()})
    assert once.low < 0 < once.high and candidate.verdict_on(once).outcome == "wait"
    assert "are of one person" in candidate.verdict_on(once).why
    doubted = candidate.doubts(records, verdicts, labels={item: each[:1] for item, each in both.items()})
    assert len(doubted) == once.doubted < 100
    some = {item: each if item in doubted else each[:1] for item, each in both.items()}
    twice = candidate.compare(records, verdicts, labels=some)
    assert (twice.doubted, twice.looked_again) == (len(doubted), len(doubted))
    assert candidate.doubts(records, verdicts, labels=some) == []
    assert twice.high - twice.low < (once.high - once.low) / 2 and twice.high < 0
    assert candidate.verdict_on(twice).outcome == "promote"


def test_what_is_missing_is_told_and_no_cost_is_made_up_for_it(tmp_path: Path) -> None:
    stable = sealed(tmp_path / "stable")
    records, truth = history(stable, 600)
    records = [each.model_copy(update={"at": 60.0 * at}) for at, each in enumerate(records)]
    refuses = Verdict(action="refuse", reason="route", path=("look", "refuse"))
    accepted = [each.given.id for each in records if each.verdict.action == "accept"]
    found = candidate.compare(
        records, {each.given.id: refuses for each in records}, labels={item: (truth[item],) for item in accepted[:3]}
    )
    assert found.unknown > 0 and found.candidate is None and found.difference is None
    (first, *_) = found.wanting
    assert f"of {len(accepted)} that stable accepted 3 were audited, and 20 stand for the rest" in first
    assert "more items" in first and "days as they come now" in first
    assert all(each in candidate.verdict_on(found).why for each in found.wanting)
