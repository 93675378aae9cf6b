"""Economies that are drawn: prices, counterfeits, what mistakes cost, and how many experts there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.decision import calibrate, economics
from hallmark.decision.economics import Pace
from hallmark.decision.engine import Answer, Given, Verdict
from hallmark.declaration.decision import Decision
from tests.hallmark.decision.graphs import settled

DAY = 86_400.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Items:
    """n items: scores and prices, the truth, the chance of it that whoever knows the economy reads from the score, and when they come."""

    score: Floats
    price: Floats
    counterfeit: NDArray[np.bool_]
    chance: Floats
    at: Floats


class Economy:
    """One, by its seed; `days` of items come to its experts."""

    def __init__(self, seed: int, *, days: int = 2, items: int = 4000) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.days = days
        self.prevalence, self.apart = rng.uniform(0.02, 0.12), rng.uniform(1.8, 3.2)
        self.median, self.spread = rng.uniform(40, 600), rng.uniform(0.7, 1.3)
        minutes, per_day = rng.uniform(3, 10), items / days
        self.capacity = float(rng.uniform(0.05, 0.25) * per_day * minutes)
        self.decision = Decision.model_validate(
            {
                "deadline": "5s",
                "item": {"price": "number"},
                "nodes": {
                    "view": {"kind": "model", "service": "bags", "outputs": {"risk": "number"}, "fallback": "expert"},
                    "expert": {
                        "kind": "person",
                        "minutes": minutes,
                        "capacity": self.capacity,
                        "wrong": rng.uniform(0, 0.03),
                    },
                },
                "start": "look",
                "steps": {"look": {"ask": ["view"], "routes": [{"to": "accept"}, {"to": "expert"}]}},
                "risk": {"false_authentic": {"score": "view.risk", "at_most": 0.01}},
                "costs": {
                    "false_accept": rng.uniform(0.6, 1.5),
                    "false_reject": rng.uniform(0.05, 0.3),
                    "refuse": rng.uniform(0.01, 0.06),
                    "minute": rng.uniform(0.3, 1.0),
                },
                "fallback": {"to": "expert"},
            }
        )
        self.expert = self.decision.nodes["expert"]
        self.items = items
        earlier, labelled = self.drawn(4000), self.drawn(20_000)
        self.thresholds = calibrate.calibrated(
            self.decision.risk.false_authentic,
            scores=labelled.score,
            counterfeit=labelled.counterfeit,
            slices=[()] * 20_000,
            earlier=earlier.score,
            earlier_slices=[()] * 4000,
        )

    def drawn(self, n: int) -> Items:
        """Items as they come."""
        rng = self.rng
        counterfeit = rng.random(n) < self.prevalence
        latent = rng.normal(size=n) + self.apart * counterfeit
        price = np.exp(np.log(self.median) + self.spread * rng.normal(size=n))
        odds = self.prevalence / (1 - self.prevalence) * np.exp(self.apart * latent - self.apart**2 / 2)
        at = np.sort(rng.random(n)) * DAY * self.days
        return Items(1 / (1 + np.exp(-latent)), price, counterfeit, odds / (1 + odds), at)

    def ours(self, items: Items) -> list[Verdict]:
        """What the engine makes of them, at the price that a minute has when they come."""
        pace, found = Pace(self.expert), []
        for at, (score, price) in enumerate(zip(items.score.tolist(), items.price.tolist(), strict=True)):
            when = float(items.at[at])
            start = Given(id=f"i{at}", domain="bags", item={"price": price}, minute_price=pace.price(when))
            answer = Answer(fate="answered", outputs={"risk": score})
            verdict = settled(self.decision, self.thresholds, start, {"view": answer}.__getitem__)[1]
            if verdict.saved is not None:
                pace.saw(verdict.saved / self.expert.minutes, when)
            if verdict.action == "person":
                pace.took(when)
            found.append(verdict)
        return found

    def cost(self, items: Items, actions: list[str]) -> float:
        """Money that these actions cost, as whoever knows the economy expects it."""
        total, costs = 0.0, self.decision.costs
        for action, price, chance in zip(actions, items.price.tolist(), items.chance.tolist(), strict=True):
            if action == "person":
                total += economics.by_person(costs, self.expert, chance=chance, price=price)
            else:
                given: Any = action
                total += economics.automatic(costs, given, chance=chance, price=price)
        return total

    def rival(self, items: Items) -> float:
        """Cost of the best fixed thresholds, chosen with these very items at hand, and held by no risk.

        Accepted up to one threshold, rejected or refused from another one on, and between them experts, first come, first served, while
        they have time; whoever gets none is accepted, rejected or refused. All pairs of 42 thresholds, then of scores around the best.
        """
        grid = np.concatenate(([-1.0], np.quantile(items.score, np.linspace(0, 1, 41))))
        _, low, high = self._best(items, grid, grid)
        return self._best(items, _around(items.score, grid, low), _around(items.score, grid, high))[0]

    def _best(self, items: Items, lows: Floats, highs: Floats) -> tuple[float, float, float]:
        """The lowest cost of these pairs of thresholds, and where it is."""
        costs, price, bad = self.decision.costs, items.price, items.chance
        accept, reject = costs.false_accept * price * bad, costs.false_reject * price * (1 - bad)
        person = self.expert.minutes * costs.minute + self.expert.wrong * (accept + reject)
        refuse = costs.refuse * price
        best, day = (np.inf, 0.0, 0.0), (items.at // DAY).astype(int)
        room = int(self.capacity // self.expert.minutes)
        for low in lows.tolist():
            taken = items.score <= low
            for high in highs[highs >= low].tolist():
                middle, above = ~taken & (items.score <= high), items.score > high
                seen = np.zeros(len(price), dtype=np.bool_)
                for each in range(self.days):
                    seen[np.flatnonzero(middle & (day == each))[:room]] = True
                left = middle & ~seen
                rest = min(float(each[left].sum()) for each in (accept, reject, refuse))
                upper = min(float(each[above].sum()) for each in (reject, refuse))
                total = float(accept[taken].sum() + person[seen].sum()) + rest + upper
                best = min(best, (total, low, high))
        return best


def _around(scores: Floats, grid: Floats, at: float) -> Floats:
    """A threshold of the grid, and about forty scores between its neighbours."""
    place = int(np.searchsorted(grid, at))
    low, high = grid[max(0, place - 1)], grid[min(len(grid) - 1, place + 1)]
    near = np.sort(scores[(scores >= low) & (scores <= high)])
    return np.unique(np.concatenate(([at], near[:: max(1, len(near) // 40)])))
