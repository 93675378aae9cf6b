"""One node of the graph: asked over HTTP within a budget, tried again while there is time, left alone while it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from hallmark.decision.engine import Answer, Fate
from hallmark.decision.record import Part
from hallmark.declaration.decision import Decision
from inference_services.decision import messages
from inference_services.decision.breaker import Breaker
from inference_services.decision.messages import Body, ItemRequest
from inference_services.decision.metrics import DecisionMetrics
from inference_services.transport.client import Client, ClientReply

_PAUSE = 0.02
"""Seconds before the second try; twice as many before each further one."""
_REQUEST_FAULTS = frozenset({400, 413, 415, 422})
"""Statuses by which a node says that it is the request's fault: they open no breaker, or whoever sends bad photos closes the node for all."""
_ELSEWHERE: frozenset[Fate] = frozenset({"down", "open", "other_version"})
"""What a place answers that does not serve the version, or nothing at all."""


class Asked(Protocol):
    """Whatever answers for one node."""

    async def ask(
        self, request: ItemRequest, answers: Mapping[str, Answer], *, until: float, headers: Sequence[tuple[str, str]]
    ) -> Answer:
        """The node's answer, or why there is none, by `until` of the loop's clock."""


class _Tried(NamedTuple):
    """What came of one try; the service is ill where `ill` is true."""

    answer: Answer
    again: bool = False
    ill: bool = False


class NodeClient:
    """Asks one node."""

    def __init__(
        self, name: str, *, decision: Decision, part: Part, client: Client, metrics: DecisionMetrics, breaker: Breaker
    ) -> None:
        self.name = name
        self._decision, self._node, self._part = decision, decision.nodes[name], part
        self._client, self._metrics, self._breaker = client, metrics, breaker
        self._versioned = self._node.kind == "reviewer" and bool(part.version)
        version = f"/versions/{part.version}" if self._versioned else ""
        self._path = f"/v2/models/{part.service}{version}/infer"  # one reviewer's service has several prompts, and the request says which

    async def ask(
        self, request: ItemRequest, answers: Mapping[str, Answer], *, until: float, headers: Sequence[tuple[str, str]]
    ) -> Answer:
        """The node's answer, or why there is none, by `until` of the loop's clock; `BadRequest` where the request lacks what it reads."""
        loop = asyncio.get_running_loop()
        began, clock = loop.time(), time.perf_counter()  # the loop's clock knows milliseconds only
        body, json_length = messages.question(request, self._node, answers, self._decision)
        limit = min(until, began + self._node.timeout.total_seconds())
        if limit <= began:
            found, tries = Answer(fate="late", tries=0), 0
        elif not self._breaker.allows(began):
            found, tries = Answer(fate="open", tries=0), 0
        else:
            found, tries = await self._asked(body, json_length, limit=limit, headers=headers)
        seconds = time.perf_counter() - clock
        self._metrics.add("node_answers", node=self.name, fate=found.fate)
        self._metrics.observe("node_seconds", seconds, node=self.name)
        self._metrics.set("breaker_open", float(self._breaker.open(loop.time())), node=self.name)
        return found.model_copy(update={"seconds": seconds, "tries": tries, "cost": tries * self._node.cost})

    async def _asked(
        self, body: Body, json_length: int | None, *, limit: float, headers: Sequence[tuple[str, str]]
    ) -> tuple[Answer, int]:
        loop = asyncio.get_running_loop()
        media = "application/json" if json_length is None else "application/octet-stream"
        lines = [("content-type", media), *headers]
        lines += [("inference-header-content-length", str(json_length))] if json_length is not None else []
        tried = _Tried(_failed("late"))
        for turn in range(1 + self._node.retries):
            left = limit - loop.time()
            if left <= 0:
                break
            budget = ("x-envoy-expected-rq-timeout-ms", str(max(1, int(left * 1000))))
            tried = await self._try(body, [*lines, budget], limit)
            self._breaker.went(not tried.ill, loop.time())
            pause = _PAUSE * 2**turn
            if not tried.again or loop.time() + pause >= limit or self._breaker.open(loop.time()):
                return tried.answer, turn + 1
            if turn < self._node.retries:
                await asyncio.sleep(pause)
        return tried.answer, 1 + self._node.retries

    async def _try(self, body: Body, headers: Sequence[tuple[str, str]], limit: float) -> _Tried:
        try:
            async with asyncio.timeout_at(limit):
                reply = await self._client.post(self._path, body, headers)
        except TimeoutError:
            return _Tried(_failed("late"), ill=True)
        except OSError:
            return _Tried(_failed("down"), again=True, ill=True)
        except ValueError:
            return _Tried(_failed("invalid"), again=True, ill=True)
        return self._read(reply)

    def _read(self, reply: ClientReply) -> _Tried:
        if reply.status == 404 and self._versioned:
            return _Tried(_failed("other_version"))
        if reply.status != 200:
            ours = reply.status in _REQUEST_FAULTS
            return _Tried(_failed("invalid" if ours else "down"), again=not ours, ill=not ours)
        try:
            outputs, version = messages.answered(self._node, reply.body)
        except (ValueError, TypeError):
            return _Tried(_failed("invalid"), again=True, ill=True)
        if self._part.version and version != self._part.version:
            return _Tried(Answer(fate="other_version", version=version[:100]))
        return _Tried(Answer(fate="answered", outputs=outputs, version=version))


class AnyOf:
    """One node at several addresses, such as a model's before and after it is promoted: whichever serves the version that the unit names."""

    def __init__(self, places: Sequence[NodeClient]) -> None:
        self._places = list(places)

    async def ask(
        self, request: ItemRequest, answers: Mapping[str, Answer], *, until: float, headers: Sequence[tuple[str, str]]
    ) -> Answer:
        """The answer of the place that had one last, else of the next; where none has, of the one that was asked first."""
        first, spent, tries = None, 0.0, 0
        for place in tuple(self._places):
            found = await place.ask(request, answers, until=until, headers=headers)
            spent, tries = spent + found.cost, tries + found.tries
            first = first or found
            if found.fate not in _ELSEWHERE:
                if place is not self._places[0]:
                    self._places = [place, *(each for each in self._places if each is not place)]
                first = found
                break
        assert first is not None  # noqa: S101  there is one place at the least
        return first.model_copy(update={"cost": spent, "tries": tries})


def _failed(fate: Fate) -> Answer:
    return Answer(fate=fate)
