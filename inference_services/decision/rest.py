"""A decision over REST: one item a request, in the Open Inference Protocol."""

from __future__ import annotations

import logging
from typing import Any

from inference_services.decision import messages
from inference_services.decision.canary import Canary
from inference_services.decision.service import DecisionService
from inference_services.decision.shadow import Shadow
from inference_services.protocol.errors import ModelFault
from inference_services.transport.http1 import HttpRequest, HttpResponse
from inference_services.transport.one_model import OneModelRest

_AT_ONCE = 512
_PASSED_ON = (b"x-request-id", b"traceparent", b"tracestate")
_log = logging.getLogger(__name__)


class DecisionRest(OneModelRest):
    """Routes of one decision.   canary: gives items to a candidate.   shadow: decides on stable's items by it."""

    def __init__(
        self,
        service: DecisionService,
        *,
        name: str,
        limit: int,
        shadow: Shadow | None = None,
        canary: Canary | None = None,
    ) -> None:
        super().__init__(name=name, server="hallmark-decision", limit=limit, at_once=_AT_ONCE, metrics=service.metrics)
        self.service, self._shadow, self._canary = service, shadow, canary

    async def answer(
        self, body: bytes, json_length: int | None, request: HttpRequest, *, within: float
    ) -> HttpResponse:
        """The verdict, once it is on record; a header names the unit that it is of."""
        item = messages.read(self.service.unit.decision, body, json_length)
        headers = [
            (name.decode(), request.headers[name].decode("latin-1")) for name in _PASSED_ON if name in request.headers
        ]
        try:
            record, case = await (self._canary or self.service).decide(item, within=within, headers=headers)
        except OSError as error:
            _log.exception("no record could be written")
            raise ModelFault("the decision could not be recorded, so there is none") from error
        if self._shadow is not None and self._canary is None:  # which tells it itself
            self._shadow.saw(item, record, headers)
        unit = f"x-hallmark-unit: {record.unit}\r\n".encode("ascii", "replace")
        return HttpResponse(200, messages.answer(self.name, item, record, case), headers=unit)

    def metadata(self, version: str) -> dict[str, Any]:
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
            "name": self.name,
            "versions": [],
            "platform": "hallmark_decision",
            "inputs": inputs,
            "passed_on": readers,
            "outputs": [
                {"name": name, "datatype": messages.DATATYPES[name], "shape": [-1]} for name in messages.OUTPUTS
            ],
        }
