"""Routes of the service: a decision in the Open Inference Protocol, health, metadata and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from hallmark import __version__
from inference_services.decision import messages
from inference_services.decision.service import DecisionService
from inference_services.protocol.coding import opened
from inference_services.protocol.errors import (
    BadRequest,
    ModelFault,
    NotReady,
    Overloaded,
    ServeError,
    UnknownPath,
    WrongMethod,
)
from inference_services.transport.http1 import HttpRequest, HttpResponse, refusal

_AT_ONCE = 512
"""Items that are decided at once; more are refused rather than kept waiting past their deadline."""
_PASSED_ON = (b"x-request-id", b"traceparent", b"tracestate")
_LENGTH = b"inference-header-content-length"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_log = logging.getLogger(__name__)
Reply = Callable[[HttpResponse], None]


class DecisionRest:
    """Routes of one decision."""

    def __init__(self, service: DecisionService, *, name: str, limit: int) -> None:
        self.service = service
        self.draining = False
        self._name, self._limit = name, limit
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer any request, now or later; nothing is raised."""
        try:
            found = self._route(request)
        except ServeError as error:
            self._refuse(error, reply)
            return
        if found is not None:
            reply(found)
            return
        task = asyncio.get_running_loop().create_task(self._decide(request, reply))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _route(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to all but a decision."""
        path = request.path.decode("utf-8", "replace").rstrip("/").split("/")[1:]
        if path == ["v2", "models", self._name, "infer"]:
            if request.method != b"POST":
                raise WrongMethod("POST")
            if len(self._running) >= _AT_ONCE:
                raise Overloaded("too many items are being decided")
            return None
        if request.method not in (b"GET", b"HEAD"):
            raise WrongMethod("GET")
        match path:
            case ["v2", "health", "live"]:
                return _json({"live": True})
            case ["v2", "health", "ready"] | ["v2", "models", self._name, "ready"]:
                if self.draining:
                    raise NotReady("the server is about to stop")
                return _json({"ready": True})
            case ["v2"]:
                return _json(
                    {"name": "hallmark-decision", "version": __version__, "extensions": ["binary_tensor_data"]}
                )
            case ["v2", "models", self._name]:
                return _json(self._metadata())
            case ["metrics"]:
                return HttpResponse(200, self.service.metrics.render(), _TEXT)
        raise UnknownPath(f"no such path; the model is {self._name}")

    async def _decide(self, request: HttpRequest, reply: Reply) -> None:
        metrics = self.service.metrics
        metrics.add("in_flight")
        try:
            reply(HttpResponse(200, await self._answer(request)))
        except ServeError as error:
            self._refuse(error, reply)
        except OSError:
            _log.exception("no record could be written")
            self._refuse(ModelFault("the decision could not be recorded, so there is none"), reply)
        except Exception:  # noqa: BLE001  a mistake of ours is a counted 500, and the server lives on
            _log.exception("an item could not be decided")
            self._refuse(ModelFault("the item could not be decided"), reply)
        finally:
            metrics.add("in_flight", -1)

    async def _answer(self, request: HttpRequest) -> bytes:
        body, coding = request.body, request.headers.get(b"content-encoding", b"identity")
        if coding != b"identity":
            body = opened(body, coding.lower(), where="Content-Encoding", limit=self._limit)
        length = request.headers.get(_LENGTH)
        if length is not None and not (length.isdigit() and len(length) <= 12):
            raise BadRequest("Inference-Header-Content-Length: expected a length in bytes")
        item = messages.read(self.service.unit.decision, body, None if length is None else int(length))
        given = request.headers.get(b"x-envoy-expected-rq-timeout-ms", b"")
        within = int(given) / 1000 if given.isdigit() and 0 < len(given) < 10 else float("inf")
        headers = [
            (name.decode(), request.headers[name].decode("latin-1")) for name in _PASSED_ON if name in request.headers
        ]
        record, case = await self.service.decide(item, within=within, headers=headers)
        return messages.answer(self._name, item, record, case)

    def _refuse(self, error: ServeError, reply: Reply) -> None:
        self.service.metrics.add("refused", reason=error.reason)
        reply(refusal(error.status, error.message, error.headers))

    def _metadata(self) -> dict[str, Any]:
        """The model's metadata. passed_on: inputs that go on to nodes as they come, whose own metadata says of which type."""
        decision = self.service.unit.decision
        datatypes = {"number": "FP64", "text": "BYTES", "truth": "BOOL"}
        inputs = [{"name": name, "datatype": datatypes[kind], "shape": [1]} for name, kind in decision.item.items()]
        readers: dict[str, list[str]] = {}
        for name, node in decision.nodes.items():
            for read in node.reads:
                if "." not in read:
                    readers.setdefault(read, []).append(name)
        return {
            "name": self._name,
            "versions": [],
            "platform": "hallmark_decision",
            "inputs": inputs,
            "passed_on": readers,
            "outputs": [
                {"name": name, "datatype": messages.DATATYPES[name], "shape": [-1]} for name in messages.OUTPUTS
            ],
        }


def _json(value: Any) -> HttpResponse:
    return HttpResponse(200, msgspec.json.encode(value))
