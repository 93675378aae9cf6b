"""A changed part is a candidate of the whole, judged on what the final decisions cost."""

from __future__ import annotations

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
    found = candidate.compare(records, again, truth=truth)
    assert (found.items, found.left_out, found.difference, found.low, found.high) == (300, 0, 0.0, 0.0, 0.0)


def test_a_lower_threshold_is_told_to_be_dearer_from_records_alone(tmp_path: Path) -> None:
    stable = sealed(tmp_path / "stable")
    records, truth = history(stable)
    # What it no longer accepts asks the reviewer, who is on no record: those items are left out, and shown as that.
    asks_more = sealed(tmp_path / "lower", thresholds=moved(0.001))
    found = candidate.compare(records, verdicts(records, asks_more), truth=truth)
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
    found = candidate.compare(records, verdicts(records, unit.read(place, expected=digest)), truth=truth)
    assert found.left_out == 0 and found.low > 0 and found.difference == pytest.approx(found.candidate - found.stable)
    assert candidate.verdict_on(found).outcome == "refuse"


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
    found = candidate.compare(records, {}, truth=truth)
    assert (found.items, found.left_out, found.low, found.high) == (0, 20, -math.inf, math.inf)


def test_a_verdict_costs_what_was_asked_and_what_was_wrong() -> None:
    wrong = Verdict(action="accept", reason="route", path=("look", "accept"), spent=0.5)
    assert candidate.cost(BAGS, wrong, counterfeit=True, price=100) == pytest.approx(100.5)
    assert candidate.cost(BAGS, wrong, counterfeit=False, price=100) == pytest.approx(0.5)
    seen = Verdict(action="person", person="expert", reason="route", path=("look", "expert"))
    assert candidate.cost(BAGS, seen, counterfeit=True, price=100) == pytest.approx(6 * 0.5)
