"""Decision of a domain: what is asked of an item in which order, what follows from it, at which risk, cost and deadline; `decision:`.

A decision is made in steps. A step asks nodes, all at once, and the first of its routes whose condition holds says where it goes on: to another
step, to a person, or to an end. `accept` is an offer: it is taken only where the threshold of the item's slice keeps the declared risk, and no
node on the way failed. What cannot end well in each case is told by `hallmark lint` (decision_paths.py), and is never sealed into a release unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hallmark.declaration import condition
from hallmark.declaration.condition import ITEM, Kind
from hallmark.section import Duration, Name, Section, Share, contradicting

End = Literal["accept", "reject", "refuse"]
ENDS: tuple[End, ...] = ("accept", "reject", "refuse")
"""Ends of a decision beside a person. reject: it is a counterfeit. refuse: nothing is said of it, such as for want of better photos."""
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Service = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
_OF_PERSONS = ("minutes", "capacity", "sla", "wrong")
_OF_SERVICES = ("service", "outputs", "reads")


class Node(Section):
    """One who is asked: a service that answers in the Open Inference Protocol, or a person."""

    kind: Literal["model", "retrieve", "reviewer", "person"] = Field(
        description="model, retrieve and reviewer are services of that sort; person is the queue of the domain's experts."
    )
    service: Service | None = Field(default=None, description="Name of the model that is asked, as its paths have it.")
    reads: tuple[str, ...] = Field(
        default=(), description="Inputs of the request that it gets, and outputs of nodes asked before it: node.output."
    )
    outputs: dict[Word, Kind] = Field(
        default={}, description="Outputs of its answer that are used; an answer without one of them is none."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=1), description="Its answer comes within this, with every try; later is none."
    )
    retries: int = Field(
        default=1, ge=0, le=5, description="Further tries within its timeout, where it failed at once."
    )
    cost: float = Field(default=0.0, ge=0, description="Money that asking it once costs.")
    fallback: Word | None = Field(
        default=None,
        description="Where the decision goes without its answer; decision.fallback.to where nothing is said.",
    )
    prompt: Name | None = Field(
        default=None, description="Of a reviewer: the folder of prompts/ that its model is asked by."
    )
    minutes: float = Field(default=5.0, gt=0, description="Of a person: minutes that one item takes.")
    capacity: float | None = Field(default=None, ge=0, description="Of a person: minutes of all experts in a day.")
    sla: Duration = Field(default=timedelta(days=1), description="Of a person: the verdict is promised within this.")
    wrong: Share = Field(default=0.0, lt=0.5, description="Of a person: share of verdicts that are mistaken.")

    @model_validator(mode="after")
    def _of_its_kind(self) -> Node:
        person = self.kind == "person"
        for key in _OF_SERVICES if person else _OF_PERSONS:
            if getattr(self, key) != type(self).model_fields[key].get_default():
                raise ValueError(f"{key} is no key of a node of kind {self.kind}: take it away")
        if self.prompt is not None and self.kind != "reviewer":
            raise ValueError(f"prompt is no key of a node of kind {self.kind}: take it away")
        if not person and self.service is None:
            raise ValueError("service is missing, and nobody knows whom to ask: name it")
        if not person and not self.outputs:
            raise ValueError("outputs are missing, and no condition could read its answer: name them with their kinds")
        if self.fallback == "accept":
            raise ValueError(
                "fallback is accept, and who does not answer vouches for nothing: write a person, reject or refuse"
            )
        if self.timeout <= timedelta(0):
            raise ValueError("timeout is 0s, so that no answer comes in time: write more")
        return self


class Route(Section):
    """Where a step goes on."""

    when: str | None = Field(
        default=None, description="Condition on item fields and outputs; none: whatever the earlier routes left."
    )
    to: Word = Field(description="A step, a node of kind person, accept, reject or refuse.")


class Step(Section):
    """Nodes that are asked at once, and what follows from their answers."""

    ask: tuple[Word, ...] = Field(min_length=1, description="Nodes, in any order; none of kind person.")
    routes: tuple[Route, ...] = Field(min_length=1, description="The first one that holds is taken.")


class Risk(Section):
    """A bound on the share of an error among what is decided without a person, for each slice that has the data to show it."""

    score: str = Field(description="node.output that grows with the risk, and that the thresholds cut.")
    at_most: float = Field(gt=0, lt=0.5, description="Share of counterfeits among what is accepted.")
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="Of the draw of the labels that it was shown on.")
    slices: tuple[Word, ...] = Field(default=(), description="Item fields; each combination of values is a slice.")


class Risks(Section):
    """Risks that the decision keeps."""

    false_authentic: Risk


class DecisionCosts(Section):
    """Costs of what is decided, as multiples of the item's price, and of an expert's minute, in money."""

    price: Word = Field(default="price", description="Item field with the price.")
    false_accept: float = Field(default=1.0, ge=0, description="A counterfeit accepted.")
    false_reject: float = Field(default=0.15, ge=0, description="An authentic item rejected.")
    refuse: float = Field(default=0.05, ge=0, description="Nothing said of an item.")
    minute: float = Field(default=0.5, ge=0, description="Money that a minute of an expert costs.")


class Fallback(Section):
    """Where the decision goes when it cannot be made as declared."""

    to: Word = Field(description="A node of kind person, reject or refuse.")
    above: float = Field(
        default=0.0, ge=0, description="Once the guarantee has expired: price from which items go there."
    )
    below: Literal["reject", "refuse"] = Field(default="refuse", description="And what becomes of the others then.")


class Decision(Section):
    """The graph of a decision, with its risk, costs and deadline."""

    deadline: Duration = Field(description="The answer comes within this, whatever fails.")
    item: dict[Word, Literal["number", "text", "truth"]] = Field(
        description="Fields of a request that conditions and slices read."
    )
    nodes: dict[Word, Node]
    start: Word = Field(description="The first step.")
    steps: dict[Word, Step]
    risk: Risks
    costs: DecisionCosts = DecisionCosts()
    explore: Share = Field(
        default=0.02, le=0.5, description="Share of accepted items, drawn by lot, that a person looks at too."
    )
    fallback: Fallback

    @model_validator(mode="after")
    def _workable(self) -> Decision:
        if found := list(self._contradictions()):
            raise contradicting(found)
        return self

    @property
    def persons(self) -> tuple[str, ...]:
        """Nodes of kind person."""
        return tuple(name for name, node in self.nodes.items() if node.kind == "person")

    @property
    def anybody(self) -> str | None:
        """Who is asked where nothing is declared for the case: the fallback's person, or the first; None where there is nobody."""
        to = self.fallback.to
        return to if to in self.persons else next(iter(self.persons), None)

    @property
    def mistaken(self) -> float:
        """Share of final labels that are mistaken, either way: those of the persons who err most."""
        return max((self.nodes[name].wrong for name in self.persons), default=0.0)

    @property
    def targets(self) -> tuple[str, ...]:
        """All that a route may go to."""
        return (*self.steps, *self.persons, *ENDS)

    def fallback_of(self, node: str) -> str:
        """Where the decision goes without this node's answer; refuse where no person can be asked either."""
        found = self.nodes[node]
        return found.fallback or ("refuse" if found.kind == "person" else self.fallback.to)

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kind of every value that there can be, by item.field and node.output."""
        found: dict[str, Kind] = {f"{ITEM}.{name}": kind for name, kind in self.item.items()}
        for name, node in self.nodes.items():
            found |= {f"{name}.{output}": kind for output, kind in node.outputs.items()}
        return found

    def _contradictions(self) -> Iterator[str]:
        for kind, names in (("nodes", self.nodes), ("steps", self.steps)):
            for name in names:
                if name in (*ENDS, ITEM) or (kind == "steps" and name in self.nodes):
                    yield f"{kind}.{name}: that name means something else already: choose another"
        yield from self._of_the_item()
        yield from self._of_targets()
        if self.start not in self.steps:
            yield f"start is {self.start}, which is no step: name one of {', '.join(self.steps)}"
            return
        for name, step in self.steps.items():
            for asked in step.ask:
                if asked not in self.nodes or asked in self.persons:
                    services = ", ".join(each for each in self.nodes if each not in self.persons)
                    yield f"steps.{name}.ask: {asked} is no service that is declared: name some of {services}"
            if len(set(step.ask)) < len(step.ask):
                yield f"steps.{name}.ask: a node is asked twice: name each once"
        if not any(each not in self.nodes for step in self.steps.values() for each in step.ask):
            yield from self._of_values()

    def _of_the_item(self) -> Iterator[str]:
        if self.item.get(self.costs.price) != "number":
            yield f"costs.price is {self.costs.price}, which is no number of item: name one that is"
        for field in self.risk.false_authentic.slices:
            if self.item.get(field) != "text":
                yield f"risk.false_authentic.slices: {field} is no text of item: name some that are"
        score = self.risk.false_authentic.score
        if self.kinds.get(score) != "number" or score.startswith(f"{ITEM}."):
            yield f"risk.false_authentic.score is {score}, which is no number that a node gives: name node.output"

    def _of_targets(self) -> Iterator[str]:
        known = ", ".join(self.targets)
        for name, step in self.steps.items():
            for at, route in enumerate(step.routes):
                if route.to not in self.targets:
                    yield f"steps.{name}.routes.{at}.to is {route.to}, and there is no such thing: name one of {known}"
        for name, node in self.nodes.items():
            to = node.fallback
            if to is not None and (
                to not in self.targets or (to == name or (node.kind == "person" and to in self.steps))
            ):
                yield f"nodes.{name}.fallback is {to}, where nothing can go on: name another step, a person, reject or refuse"
        if self.fallback.to not in (*self.persons, "reject", "refuse"):
            yield f"fallback.to is {self.fallback.to}: name a node of kind person, reject or refuse"

    def _of_values(self) -> Iterator[str]:
        given = available(self)
        kinds = self.kinds
        fields = {key: kind for key, kind in kinds.items() if key.startswith(f"{ITEM}.")}
        for name, step in self.steps.items():
            if name not in given:
                continue  # nothing leads there, which lint tells
            asked = given[name] | frozenset(step.ask)
            seen = fields | {key: kind for key, kind in kinds.items() if key.partition(".")[0] in asked}
            for at, route in enumerate(step.routes):
                if route.when is not None:
                    try:
                        condition.checked(route.when, seen)
                    except condition.Wrong as error:
                        told = str(error).replace("; got ", ", got ")
                        yield f"steps.{name}.routes.{at}.when: {told}: mend the condition"
            for node in step.ask:
                for read in self.nodes[node].reads:
                    if "." in read and (read not in kinds or read.partition(".")[0] not in given[name]):
                        yield f"nodes.{node}.reads: nobody has answered {read} whenever step {name} comes: read what earlier steps ask for"


def available(decision: Decision) -> Mapping[str, frozenset[str]]:
    """Nodes that have answered on every way to a step, of each step that is reached."""
    found: dict[str, frozenset[str]] = {decision.start: frozenset()}
    waiting = [decision.start]
    while waiting:
        name = waiting.pop()
        step = decision.steps[name]
        ways = [(route.to, found[name] | frozenset(step.ask)) for route in step.routes]
        ways += [(decision.fallback_of(node), found[name]) for node in step.ask if node in decision.nodes]
        for to, known in ways:
            if to in decision.steps:
                now = found[to] & known if to in found else known
                if to not in found or now != found[to]:
                    found[to] = now
                    waiting.append(to)
    return found
