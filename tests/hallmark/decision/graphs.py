"""Graphs of decisions for tests: one of bags, and random ones, those that lint would refuse among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.decision.engine import Answer, Ask, Given, Verdict, decide
from hallmark.declaration.decision import Decision

ROOT = Path(__file__).parents[3]
RAW: dict[str, Any] = yaml.safe_load(
    (ROOT / "tests/hallmark/lint/fixtures/HM757-endless-decision/good/domain.yaml").read_text(encoding="utf-8")
)["decision"]
BAGS = Decision.model_validate(RAW)
BRANDS = ("Alma", "Brio", "Cora")
THRESHOLDS = Thresholds(
    score="view.counterfeit",
    at_most=0.01,
    confidence=0.95,
    fields=("brand",),
    slices=(
        SliceThreshold(values=("Alma",), threshold=0.2, examples=4000, accepted=1000, counterfeits=4),
        SliceThreshold(values=("Brio",), threshold=None, examples=80),
    ),
    scores=(0.0, 0.5, 1.0),
    chances=(0.0, 0.3, 1.0),
)
FATES = ("answered", "down", "late", "invalid", "other_version", "open")


def settled(
    decision: Decision, thresholds: Thresholds, given: Given, answer: Callable[[str], Answer]
) -> tuple[Given, Verdict]:
    """The verdict, with `answer` for whoever is asked, and what it was given in the end."""
    while isinstance(found := decide(decision, thresholds, given), Ask):
        given = given.model_copy(update={"answers": {**given.answers, **{name: answer(name) for name in found.nodes}}})
    return given, found


def random_graph(rng: np.random.Generator) -> Decision:
    """Any graph that can be read: steps in any order, with routes and fallbacks to anything that is allowed."""
    services = [f"n{at}" for at in range(rng.integers(1, 4))]
    persons = [f"p{at}" for at in range(rng.integers(0, 3))]
    steps = [f"s{at}" for at in range(rng.integers(1, 5))]
    ends = ["reject", "refuse", *persons]

    def one(names: list[str]) -> str:
        return str(names[int(rng.integers(len(names)))])

    nodes: dict[str, Any] = {
        name: {
            "kind": "model",
            "service": name,
            "outputs": {"risk": "number", "sure": "truth"},
            "fallback": one([*ends, *steps]),
        }
        for name in services
    }
    for name in persons:
        others = [each for each in ends if each != name]
        nodes[name] = {"kind": "person", "capacity": 100, "fallback": one(others)}
    made = {}
    for name in steps:
        ask = list(dict.fromkeys(one(services) for _ in range(2)))
        routes: list[dict[str, str]] = []
        for _ in range(rng.integers(1, 4)):
            route = {"to": one([*ends, *steps, "accept", "accept"])}
            if rng.random() < 0.6:
                route["when"] = f"{ask[0]}.risk < {rng.random():.2f}" + (
                    f" or {ask[-1]}.sure" if rng.random() < 0.3 else ""
                )
            routes.append(route)
        made[name] = {"ask": ask, "routes": routes}
    return Decision.model_validate(
        {
            "deadline": "9s",
            "item": {"price": "number", "brand": "text"},
            "nodes": nodes,
            "start": one(steps),
            "steps": made,
            "risk": {"false_authentic": {"score": f"{one(services)}.risk", "at_most": 0.01, "slices": ["brand"]}},
            "explore": 0.1,
            "fallback": {"to": one(ends), "above": float(rng.integers(0, 500))},
        }
    )
