"""Ways through the graph of a decision: what would have no end, is never reached, could accept after a failure, or comes too late."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from hallmark.declaration import accepted_scores
from hallmark.declaration.decision import Decision, available
from hallmark.section import spelled

Fault = Literal["endless", "unreachable", "unsafe", "unproven", "unwatched", "late", "uncounted", "idle"]
MARGIN = timedelta(milliseconds=100)
"""Part of a deadline that is left for what the service itself does: reading, routing, writing the record."""


class PathFault(NamedTuple):
    """What is wrong with a graph, and at which key of `decision`."""

    fault: Fault
    path: tuple[str | int, ...]
    text: str


def faults(decision: Decision, *, served: bool = False) -> list[PathFault]:
    """All of them; no graph with one is sealed into a release unit. served: those alone with which a unit is not served either."""
    endless = list(_endless(decision))
    found = [*endless, *_unreachable(decision), *_unsafe(decision), *_uncounted(decision)]
    if not endless:
        found += _late(decision)
    if not served:
        found += [*_unwatched(decision), *_idle(decision), *(() if endless else _unproven(decision))]
    return found


def longest(decision: Decision, at: str) -> timedelta:
    """The longest time from a step or a person on, by timeouts; nothing of an end."""
    if at in decision.steps:
        own = max(decision.nodes[node].timeout for node in decision.steps[at].ask)
        return own + max(longest(decision, to) for to in _following(decision, at))
    if at in decision.nodes:
        return decision.nodes[at].timeout + longest(decision, decision.fallback_of(at))
    return timedelta()


def _following(decision: Decision, step: str) -> list[str]:
    found = decision.steps[step]
    return [*(route.to for route in found.routes), *(decision.fallback_of(node) for node in found.ask)]


def _reached(decision: Decision, *starts: str) -> set[str]:
    """Steps, persons and ends that can be reached, with those of `starts`."""
    seen: set[str] = set()
    waiting = [*starts]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            if name in decision.steps:
                waiting += _following(decision, name)
            elif name in decision.nodes:
                waiting.append(decision.fallback_of(name))
    return seen


def _cycle(decision: Decision) -> str | None:
    """A step that can come again, if there is one."""
    return next((name for name in decision.steps if name in _reached(decision, *_following(decision, name))), None)


def _endless(decision: Decision) -> Iterator[PathFault]:
    cyclic = _cycle(decision)
    if cyclic is not None:
        yield PathFault("endless", ("steps", cyclic), f"steps.{cyclic} can come after itself, again and again")
    for name, step in decision.steps.items():
        at = len(step.routes) - 1
        last = step.routes[at]
        place = ("steps", name, "routes", at)
        if last.when is not None:
            yield PathFault("endless", place, f"where no condition of steps.{name} holds, nothing follows")
        elif last.to == "accept":
            said = f"what steps.{name} may not accept, for want of a threshold, has no other way"
            yield PathFault("endless", place, said)
    for name in decision.persons:
        chain, to = {name}, decision.fallback_of(name)
        while to in decision.persons and to not in chain:
            chain.add(to)
            to = decision.fallback_of(to)
        if to in decision.persons:
            yield PathFault("endless", ("nodes", name, "fallback"), f"the fallbacks of {name} lead back to {to}")


def _unreachable(decision: Decision) -> Iterator[PathFault]:
    reached = _reached(decision, decision.start, decision.fallback.to)
    asked = {node for name in decision.steps if name in reached for node in decision.steps[name].ask}
    for name, step in decision.steps.items():
        if name not in reached:
            yield PathFault("unreachable", ("steps", name), f"nothing leads to steps.{name}")
        for at, route in enumerate(step.routes[:-1]):
            if route.when is None and route.to != "accept":
                place = ("steps", name, "routes", at + 1)
                yield PathFault("unreachable", place, f"the route before it, to {route.to}, takes all")
                break
    for name in decision.nodes:
        if name not in asked and name not in reached:
            yield PathFault("unreachable", ("nodes", name), f"nobody asks nodes.{name}")


def _unsafe(decision: Decision) -> Iterator[PathFault]:
    for name in decision.nodes:
        to = decision.fallback_of(name)
        if to not in ("accept", *decision.steps) or "accept" not in _reached(decision, to):
            continue
        key = ("nodes", name, "fallback") if decision.nodes[name].fallback else ("fallback", "to")
        yield PathFault("unsafe", key, f"without {name}, {to} still leads to accept")
    scorer = decision.risk.false_authentic.score.partition(".")[0]
    given = available(decision)
    for name, step in decision.steps.items():
        for at, route in enumerate(step.routes):
            if route.to == "accept" and name in given and scorer not in given[name] | set(step.ask):
                said = f"{scorer} was not asked by then, whose score the threshold is of"
                yield PathFault("unsafe", ("steps", name, "routes", at, "to"), said)


def _unproven(decision: Decision) -> Iterator[PathFault]:
    score = decision.risk.false_authentic.score
    for each in accepted_scores.gaps(decision):
        said = f"it takes a {score} of {each.taken:.4g} and not one of {each.left:.4g}, and the threshold is shown for all up to it"
        yield PathFault("unproven", ("steps", each.step, "routes", each.route), said)


def _unwatched(decision: Decision) -> Iterator[PathFault]:
    ends = {route.to for step in decision.steps.values() for route in step.routes}
    if not ends & {"accept", *decision.persons}:  # what is not worth the person whom it is offered to may be accepted
        return
    if not decision.persons:
        said = "no node is a person: what has no threshold that holds would be looked at by nobody"
        yield PathFault("unwatched", ("nodes",), said)
    if not decision.explore:
        said = "explore is 0: no accepted item is ever looked at, and nothing would say that the risk is no longer kept"
        yield PathFault("unwatched", ("explore",), said)


def _late(decision: Decision) -> Iterator[PathFault]:
    most = longest(decision, decision.start) + MARGIN
    if most > decision.deadline:
        said = f"the longest way takes {spelled(most)} with {spelled(MARGIN)} for the service, and deadline is {spelled(decision.deadline)}"
        yield PathFault("late", ("deadline",), said)


def _uncounted(decision: Decision) -> Iterator[PathFault]:
    for name in decision.persons:
        if decision.nodes[name].capacity is None:
            said = f"nodes.{name} has no capacity: nobody knows how many minutes there are in a day"
            yield PathFault("uncounted", ("nodes", name), said)


def _idle(decision: Decision) -> Iterator[PathFault]:
    for name in decision.persons:
        person = decision.nodes[name]
        if person.capacity == 0:
            said = f"capacity of {name} is 0, so that no item is ever given to a person who is not the last resort"
            yield PathFault("idle", ("nodes", name, "capacity"), said)
        if person.sla <= timedelta():
            said = f"sla of {name} is 0s, so that every verdict comes too late"
            yield PathFault("idle", ("nodes", name, "sla"), said)
