"""Bags whose truth is known, as a view model scores them, with the thresholds of a training and the labels that audits of what is accepted have."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domains.authentication.synthetic import stock
from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision.calibrate import calibrated
from hallmark.decision.engine import Answer, Given, Verdict, decide
from hallmark.declaration import domain as domains
from hallmark.declaration.decision import Decision
from hallmark.settings import Settings
from synthetic import bags
from synthetic.chance import generator

READS = np.array([0.013, 0.012, 0.034, 0.022])
"""Errors with which the view model reads each trait from photos, as decision 0062 measured them."""


class Scored(NamedTuple):
    """Items as a view model scores them."""

    scores: NDArray[np.float64]
    counterfeit: NDArray[np.bool_]
    slices: list[tuple[str, ...]]
    prices: NDArray[np.float64]


def scored(count: int, seed: int, topic: str, *, wave: bool = False) -> Scored:
    """What a model knows that reads each trait that a photo shows, not quite: in the score as good as those readings allow."""
    random = generator(seed, topic)
    found = stock(count, random, wave=wave)
    read = found.bags.traits + random.normal(0, READS, found.bags.traits.shape)
    seen = bags.Bags(
        **{name: getattr(found.bags, name) for name in ("brand", "category", "price", "counterfeit", "super_fake")},
        traits=bags.DECLARED[found.bags.brand, found.bags.category]
        + (read - bags.DECLARED[found.bags.brand, found.bags.category])
        * bags.TOLERANCE
        / np.hypot(bags.TOLERANCE, READS),
    )
    names = [bags.BRANDS[brand] for brand in found.bags.brand], [bags.CATEGORIES[each] for each in found.bags.category]
    slices: list[tuple[str, ...]] = list(zip(*names, strict=True))
    return Scored(bags.chance(seen, found.seen), found.bags.counterfeit, slices, found.bags.price)


@cache
def decision() -> Decision:
    declared = domains.load("authentication", Settings.load()).decision
    assert declared is not None
    return declared


@cache
def thresholds(seed: int, labelled: int = 6000) -> Thresholds:
    """Those of a training: `labelled` items of a test part, after a quarter as many of a validation part."""
    earlier, later = scored(max(300, labelled // 4), seed, "earlier"), scored(labelled, seed, "later")
    return calibrated(
        decision().risk.false_authentic,
        scores=later.scores,
        counterfeit=later.counterfeit,
        slices=later.slices,
        earlier=earlier.scores,
        earlier_slices=earlier.slices,
    )


def accepted(found: Scored, limits: Thresholds) -> NDArray[np.bool_]:
    by_slice = {each.values: each.threshold for each in limits.slices}
    limit = np.array([-1.0 if by_slice.get(each) is None else by_slice[each] for each in found.slices])
    return np.asarray(found.scores <= limit)


def decided(found: Scored, limits: Thresholds) -> NDArray[np.bool_]:
    """Which the graph accepts, with its conditions, costs and experts, whose minutes cost their wage alone; the reviewer is never sure."""
    graph = decision()
    unsure = Answer(fate="answered", outputs={"verdict": "unsure", "reason": "", "cites": ()})

    def accepts(score: float, names: tuple[str, ...], price: float) -> bool:
        view = Answer(fate="answered", outputs={"score": score, "items": ()})
        item = dict(zip(graph.risk.false_authentic.slices, names, strict=True)) | {"price": price}
        given = Given(id="bag", domain="authentication", item=item, answers={"view": view, "reviewer": unsure})
        verdict = decide(graph, limits, given)
        assert isinstance(verdict, Verdict)
        return verdict.action == "accept"

    rows = zip(found.scores.tolist(), found.slices, found.prices.tolist(), strict=True)
    return np.array([accepts(*row) for row in rows], dtype=np.bool_)


def audits(seed: int, *, wave: bool) -> NDArray[np.bool_]:
    """Labels of accepted items, in the order in which they come; which of them are audited is drawn by lot, so any are as good."""
    found = scored(6000, seed, "audits", wave=wave)
    labels: NDArray[np.bool_] = found.counterfeit[accepted(found, thresholds(seed))]
    return labels
