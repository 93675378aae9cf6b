"""A review over REST: one item a request, in the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from inference_services.crops import Crops
from inference_services.protocol import plain
from inference_services.reviewer import messages
from inference_services.reviewer.service import ReviewService
from inference_services.transport.http1 import HttpRequest
from inference_services.transport.one_model import OneModelRest

_AT_ONCE = 64
"""Items that are reviewed at once: a model on one GPU answers few of them together within their time."""


class ReviewerRest(OneModelRest):
    """Routes of one reviewer."""

    def __init__(self, service: ReviewService, crops: Crops, *, name: str, limit: int) -> None:
        super().__init__(name=name, server="hallmark-reviewer", limit=limit, at_once=_AT_ONCE, metrics=service.metrics)
        self.service, self._crops = service, crops

    async def answer(self, body: bytes, json_length: int | None, request: HttpRequest, *, within: float) -> bytes:
        """The review, whose version is the prompt's."""
        prompt = self.service.prompt
        asked = messages.read(prompt.prompt, self._crops, body, json_length)
        found = await self.service.review(asked, within=within)
        return messages.answer(self.name, prompt.version, prompt.prompt, asked, found)

    def metadata(self) -> dict[str, Any]:
        """The model's metadata."""
        prompt = self.service.prompt
        datatypes = {"number": "FP64", "truth": "BOOL"}
        inputs = [
            {
                "name": prompt.prompt.input_of(name),
                "datatype": datatypes.get(each.kind, "BYTES"),
                "shape": [-1 if each.kind in ("images", "references") else 1],
            }
            for name, each in prompt.prompt.variables.items()
        ]
        outputs = [
            {"name": name, "datatype": plain.DATATYPES[each.kind], "shape": [-1 if each.kind == "texts" else 1]}
            for name, each in prompt.prompt.outputs.items()
        ]
        return {
            "name": self.name,
            "versions": [prompt.version],
            "platform": "hallmark_reviewer",
            "inputs": inputs,
            "outputs": outputs,
        }
