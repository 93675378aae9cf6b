"""The decision itself: a pure function of what was given, so that an answer can be asked for again from its record.

What is given are the item, the answers that came or did not, the thresholds of its slice, and the state of the guarantee and of the experts'
minutes. Out comes who is to be asked next, or a verdict. `accept` takes a score up to the slice's threshold, a guarantee that holds, and no
failure on the way; whatever is missing, the verdict is another one.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator

from hallmark.artifacts.thresholds import Finite, Thresholds
from hallmark.decision import economics
from hallmark.declaration import condition
from hallmark.declaration.condition import ITEM, Kind, Value
from hallmark.declaration.decision import ENDS, Decision, End
from hallmark.policy import lot
from hallmark.section import Frozen

ENGINE = 1
"""Raised with every change after which a record could replay to another verdict; the code of a number stays in the image that wrote it."""
Fate = Literal["answered", "down", "late", "invalid", "other_version", "open"]
"""answered, or why there is no answer. open: its circuit breaker was, so that it was not asked. other_version: than the unit's."""
Action = Literal["accept", "reject", "refuse", "person"]
Reason = Literal[
    "route", "node_failed", "no_threshold", "expired", "worth_a_person", "not_worth_a_person", "queue_down", "no_route"
]
LARGEST = 1e300
"""Numbers beyond it, either way, are none."""
Text = Annotated[str, Field(max_length=512)]
ItemValue = bool | Finite | Text


class Answer(Frozen):
    """What came of asking one node.

    seconds: until it was settled.   cost: money, of every try.   version: of the model that answered, as it says.
    """

    fate: Fate
    outputs: dict[str, bool | Finite | str | tuple[str, ...]] = Field(default={})
    seconds: float = 0.0
    tries: int = 1
    cost: float = 0.0
    version: str = ""


class Given(Frozen):
    """All that a verdict depends on, besides the graph and the thresholds.

    item:      fields of the item, by name.
    answers:   of the nodes that were asked, by name.
    unheard:   persons whose queue did not take the case.
    minute_price: money that a minute of an expert is worth beyond the wage; infinite where none is left, written as None.
    minute_prices: the same of each person, where there are several.
    expired:   the guarantee no longer holds.
    lot:       drawn of the item, 0 to 1: below `explore` a person looks at it though it is accepted. None in records of before, whose id gave it.
    """

    id: Text
    domain: str
    item: dict[str, ItemValue]
    answers: dict[str, Answer] = Field(default={})
    unheard: tuple[str, ...] = ()
    minute_price: Finite | None = 0.0
    minute_prices: dict[str, Finite | None] = Field(default={})
    expired: bool = False
    lot: float | None = Field(default=None, ge=0, lt=1)

    @field_validator("minute_price", mode="before")
    @classmethod
    def _finite(cls, value: object) -> object:
        return None if value == math.inf else value

    @field_validator("minute_prices", mode="before")
    @classmethod
    def _all_finite(cls, value: object) -> object:
        return {name: cls._finite(each) for name, each in value.items()} if isinstance(value, dict) else value


class Ask(NamedTuple):
    """A step whose nodes have not all answered, and those that have not."""

    step: str
    nodes: tuple[str, ...]


class Verdict(Frozen):
    """What becomes of the item.

    path:      steps, persons and the end, in their order; `!node` stands for a node that failed.
    score, threshold, chance: of the slice and the item; None where there is none.
    expected:  money that this is expected to cost, minutes and mistakes, without `spent`.
    saved:     money that a person is expected to save, against the best that may be done without one.
    spent:     money that asking has cost.
    audit:     accepted, and drawn by lot to be looked at by a person all the same.
    """

    action: Action
    person: str | None = None
    reason: Reason
    path: tuple[str, ...]
    score: float | None = None
    threshold: float | None = None
    chance: float | None = None
    expected: float | None = None
    saved: float | None = None
    spent: float = 0.0
    audit: bool = False


def decide(decision: Decision, thresholds: Thresholds, given: Given) -> Ask | Verdict:
    """Who is asked next, or the verdict."""
    return _Walk(decision, thresholds, given).result()


def problem(value: object, kind: Kind) -> str | None:
    """What a value of a field or an output is not, if it is not of its kind; numbers are finite."""
    fits = {
        "number": isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST,
        "text": isinstance(value, str),
        "truth": isinstance(value, bool),
        "texts": isinstance(value, tuple | list) and all(isinstance(each, str) for each in value),
    }[kind]
    return None if fits else f"expected a {'list of texts' if kind == 'texts' else kind}"


class _Walk:
    """One way through the graph."""

    def __init__(self, decision: Decision, thresholds: Thresholds, given: Given) -> None:
        self._decision, self._thresholds, self._given = decision, thresholds, given
        self._path: list[str] = []
        self._failed = False
        self._price = float(given.item[decision.costs.price])
        self._limit = thresholds.of(given.item)
        self._values: dict[str, Value] = {f"{ITEM}.{name}": value for name, value in given.item.items()}

    def result(self) -> Ask | Verdict:
        at = self._decision.start
        for turn in range(len(self._decision.steps)):
            step = self._decision.steps[at]
            waiting = tuple(name for name in step.ask if name not in self._given.answers)
            if waiting:
                return Ask(at, waiting)
            self._path.append(at)
            failed = self._read(step.ask)
            if not turn and self._given.expired:
                return self._expired()
            if not turn and self._limit is None:
                return self._to_a_person(self._anybody(), "no_threshold")
            at = self._decision.fallback_of(failed[0]) if failed else self._routed(at)
            if at in self._decision.persons:
                return self._to_a_person(at, "node_failed") if self._failed else self._offered(at)
            if at == "accept":
                return self._accepted()
            if at not in self._decision.steps:
                return self._ended(at, "node_failed" if failed else "route")
        return self._to_a_person(self._anybody(), "no_route")

    def _read(self, asked: tuple[str, ...]) -> list[str]:
        """Take the answers in; the nodes that gave none."""
        failed = []
        for name in asked:
            answer, outputs = self._given.answers[name], self._decision.nodes[name].outputs
            odd = any(problem(answer.outputs.get(key), kind) for key, kind in outputs.items())
            if answer.fate != "answered" or odd:
                failed.append(name)
                self._path.append(f"!{name}")
            else:
                self._values |= {f"{name}.{key}": answer.outputs[key] for key in outputs}
        self._failed = self._failed or bool(failed)
        return failed

    def _routed(self, name: str) -> str:
        """Where the first route that holds leads."""
        for route in self._decision.steps[name].routes:
            if route.when is not None and not condition.holds(condition.parsed(route.when), self._values):
                continue
            if route.to != "accept" or (self._acceptable() and self._cheapest()):
                return route.to
        return self._anybody()

    @property
    def _score(self) -> float | None:
        found = self._values.get(self._decision.risk.false_authentic.score)
        return float(found) if isinstance(found, int | float) else None

    @property
    def _chance(self) -> float | None:
        return None if self._score is None else self._thresholds.chance(self._score)

    def _acceptable(self) -> bool:
        """May it be accepted? The one place that says so."""
        score, limit = self._score, self._limit
        return not (self._failed or self._given.expired) and score is not None and limit is not None and score <= limit

    def _cheapest(self) -> bool:
        """Is accepting cheaper than anything else that needs no person, as far as anybody knows?"""
        return self._chance is None or self._best(self._chance)[0] == "accept"

    def _anybody(self) -> str:
        """Who is asked where nothing is declared for the case, or the end that stands for them."""
        return self._decision.anybody or self._decision.fallback.to

    def _expired(self) -> Verdict:
        fallback = self._decision.fallback
        if self._price >= fallback.above:
            return self._to_a_person(self._anybody(), "expired")
        return self._ended(fallback.below, "expired")

    def _accepted(self) -> Verdict:
        """Accept, but for an item that is worth a person's minutes even so."""
        person = self._anybody()
        if person in self._decision.persons and self._worth(person):
            return self._to_a_person(person, "worth_a_person")
        return self._ended("accept", "route")

    def _offered(self, person: str) -> Verdict:
        """A person, where that is worth the minutes; else the best that may be done without."""
        if self._chance is None or self._worth(person):
            return self._to_a_person(person, "route")
        best, _ = self._best(self._chance)
        return self._ended(best, "not_worth_a_person")

    def _best(self, chance: float) -> tuple[End, float]:
        """The cheapest action that may be taken without a person, and its cost."""
        costs = self._decision.costs
        found: list[tuple[float, End]] = [
            (economics.automatic(costs, action, chance=chance, price=self._price), action)
            for action in ENDS
            if action != "accept" or self._acceptable()
        ]
        cost, best = min(found)
        return best, cost

    def _saved(self, person: str) -> float | None:
        if self._chance is None:
            return None
        cost = economics.by_person(
            self._decision.costs, self._decision.nodes[person], chance=self._chance, price=self._price
        )
        return self._best(self._chance)[1] - cost

    def _worth(self, person: str) -> bool:
        given = self._given
        saved, dear = self._saved(person), given.minute_prices.get(person, given.minute_price)
        return saved is not None and dear is not None and saved / self._decision.nodes[person].minutes > dear

    def _to_a_person(self, name: str, reason: Reason) -> Verdict:
        """This person, or whoever stands in where the queue does not answer."""
        for _ in self._decision.persons:
            if name not in self._decision.persons:
                break
            if name not in self._given.unheard:
                return self._verdict("person", reason, person=name)
            self._path.append(f"!{name}")
            name, reason = self._decision.fallback_of(name), "queue_down"
        return self._ended("reject" if name == "reject" else "refuse", reason)

    def _ended(self, action: str, reason: Reason) -> Verdict:
        if action == "accept" and self._acceptable():
            return self._verdict("accept", reason)
        return self._verdict("reject" if action == "reject" else "refuse", reason)

    def _verdict(self, action: Action, reason: Reason, *, person: str | None = None) -> Verdict:
        chance, costs = self._chance, self._decision.costs
        expected = None
        if chance is not None:
            expected = (
                economics.by_person(costs, self._decision.nodes[person], chance=chance, price=self._price)
                if person is not None
                else economics.automatic(costs, action, chance=chance, price=self._price)  # type: ignore[arg-type]
            )
        given = self._given
        ticket = given.lot if given.lot is not None else lot.drawn([given.id], f"{given.domain}/explore")[0]
        would = person or self._decision.anybody
        return Verdict(
            action=action,
            person=person,
            reason=reason,
            path=(*self._path, person or action),
            score=self._score,
            threshold=self._limit,
            chance=chance,
            expected=expected,
            saved=self._saved(would) if would is not None else None,
            spent=math.fsum(answer.cost for answer in given.answers.values()),
            audit=bool(action == "accept" and ticket < self._decision.explore),
        )
