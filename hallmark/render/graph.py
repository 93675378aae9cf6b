"""A decision as KServe's InferenceGraph, as far as that can say it, and what is lost.

KServe's router asks steps one after the other, or several at once, and goes on where a path of gjson finds something in the last answer; else
it gives that answer to the caller. It hands on the whole request or the whole answer. So it can carry the chain of steps that a decision
asks, and where each stops; it knows no verdict, and its answer is that of the last node that was asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from hallmark import names
from hallmark.declaration import condition, timeouts
from hallmark.declaration.condition import Compared, Condition, Literally, Named
from hallmark.declaration.decision import Decision
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.render import decision as services

Json = dict[str, Any]
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_ALWAYS_LOST = (
    "verdicts: the answer is the last asked node's, and no accept, reject or refuse",
    "the guarantee: thresholds by slice, NO_THRESHOLD, expiry and the audits that watch it",
    "persons: cases, minutes and their price; an item that would go to one ends with the last answer",
    "the deadline, timeouts, retries and breakers of each node, and fallbacks: a node that is down is an error of the whole",
    "the record: nothing replays, and no answer names its path, its evidence or the digests of its parts",
    "binary tensors: the router reads JSON alone",
)


class Graph(NamedTuple):
    """The object, and what of the decision is not in it."""

    object: Json
    lost: tuple[str, ...]


def of(domain: Domain) -> Graph:
    """The InferenceGraph of a domain's decision; `DeclarationError` where it decides nothing."""
    decision = domain.decision
    if decision is None:
        raise DeclarationError(
            f"{domain.name} decides nothing",
            expected="decision: in its domain.yaml",
            got="none",
            fix="name another domain",
        )
    addresses = {name: services.address(domain, node.service) for name, node in decision.nodes.items() if node.service}
    nodes: Json = {}
    steps: list[Json] = []
    lost: list[str] = []
    for at, (name, going) in enumerate(_chain(decision, lost)):
        asked = decision.steps[name].ask
        step: Json = {"name": name, "dependency": "Hard"}
        if len(asked) == 1:
            step["serviceUrl"] = _url(decision, addresses, asked[0])
        else:
            nodes[name] = {
                "routerType": "Ensemble",
                "steps": [
                    {"name": each, "serviceUrl": _url(decision, addresses, each), "dependency": "Hard"}
                    for each in asked
                ],
            }
            step["nodeName"] = name
        if at:
            step["data"] = "$request"
            if going:
                step["condition"] = going
        for each in asked:
            given = [read for read in decision.nodes[each].reads if "." in read]
            if given:
                lost.append(
                    f"nodes.{each}.reads: {', '.join(given)}, since a step gets the request or an answer, and never both"
                )
        steps.append(step)
    found = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {
            "name": f"{domain.name}-decision",
            "namespace": domain.namespace,
            "labels": names.labels(domain.name),
        },
        "spec": {
            "nodes": {"root": {"routerType": "Sequence", "steps": steps}, **nodes},
            "timeout": timeouts.of(decision.deadline).attempt,
        },
    }
    return Graph(found, (*lost, *_ALWAYS_LOST))


def _url(decision: Decision, addresses: dict[str, str], node: str) -> str:
    return f"{addresses[node]}/v2/models/{decision.nodes[node].service}/infer"


def _chain(decision: Decision, lost: list[str]) -> Iterator[tuple[str, str]]:
    """Steps in the order in which they can be asked, each with the condition on the last answer under which it is."""
    at, going, seen = decision.start, "", set[str]()
    while at not in seen:
        yield at, going
        seen.add(at)
        routes = decision.steps[at].routes
        onward = [place for place, route in enumerate(routes) if route.to in decision.steps]
        others = sorted({decision.fallback_of(node) for node in decision.steps[at].ask} & decision.steps.keys())
        if others:
            lost.append(f"steps.{at}: the way to {', '.join(others)} when a node fails")
        if not onward:
            return
        place = onward[0]
        for more in onward[1:]:
            if routes[more].to != routes[place].to:
                lost.append(f"steps.{at}.routes.{more}: the way to {routes[more].to}; a sequence has one way on")
        found = _going(decision, at, place)
        if found is None:
            lost.append(
                f"steps.{at}.routes: when it goes on to {routes[place].to}; it always does, unless a node fails"
            )
        at, going = routes[place].to, found or ""


def _going(decision: Decision, step: str, place: int) -> str | None:
    """The path of gjson that finds something where the route at `place` is taken; empty where it always is, None where none can say so."""
    routes = decision.steps[step].routes
    earlier = [route for route in routes[:place] if route.when is not None]
    taken = routes[place]
    if len(earlier) < place or (earlier and taken.when is not None) or len(earlier) > 1:
        return None
    if taken.when is None and not earlier:
        return ""
    said = condition.parsed(taken.when or str(earlier[0].when))
    return _path(decision, step, said, opposite=taken.when is None)


def _path(decision: Decision, step: str, said: Condition, *, opposite: bool) -> str | None:
    if not isinstance(said, Compared) or said.sign not in _OPPOSITE:
        return None
    left, right, sign = said.left, said.right, said.sign
    if isinstance(left, Literally):
        left, right, sign = right, left, _TURNED[sign]
    asked = decision.steps[step].ask
    if not isinstance(left, Named) or left.owner not in asked or not isinstance(right, Literally):
        return None
    value = right.value
    if isinstance(value, bool | tuple):
        return None
    told = f'"{value}"' if isinstance(value, str) else f"{value:g}"
    if isinstance(value, str) and not value.replace(" ", "").replace("-", "").replace("_", "").isalnum():
        return None  # gjson has no way to quote it
    sign = _OPPOSITE[sign] if opposite else sign
    before = "" if len(asked) == 1 else f"{left.owner}."
    return f'{before}outputs.#(name=="{left.name}").data.#({sign}{told})'
