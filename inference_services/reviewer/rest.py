"""A review over REST: one item a request, in the Open Inference Protocol, by the prompt whose digest the path names as its version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_services.crops import Crops
from inference_services.protocol import plain
from inference_services.protocol.errors import BadRequest
from inference_services.reviewer import messages
from inference_services.reviewer.service import ReviewService
from inference_services.transport.http1 import HttpRequest, HttpResponse
from inference_services.transport.one_model import OneModelRest, ServiceMetrics

_AT_ONCE = 64
"""Items that are reviewed at once: a model on one GPU answers few of them together within their time."""


class ReviewerRest(OneModelRest):
    """Routes of one reviewer.

    services: of each prompt that it may be asked by, such as stable's and a candidate's; which one a request says, and where there is
    one alone it need not.
    """

    def __init__(self, services: Sequence[ReviewService], crops: Crops, *, name: str, limit: int) -> None:
        self.services = {each.prompt.version: each for each in services}
        super().__init__(
            name=name,
            server="hallmark-reviewer",
            limit=limit,
            at_once=_AT_ONCE,
            metrics=services[0].metrics,
            versions=self.services,
        )
        self._crops = crops

    async def answer(
        self, body: bytes, json_length: int | None, request: HttpRequest, *, within: float
    ) -> HttpResponse:
        """The review, whose version is the prompt's."""
        version = self.version_of(request)
        if not version and len(self.services) > 1:
            raise BadRequest(
                f"name the prompt in the path: /v2/models/{self.name}/versions/<version>/infer; versions are {', '.join(self.services)}"
            )
        service = self._named(version)
        prompt = service.prompt
        asked = messages.read(prompt.prompt, self._crops, body, json_length)
        found = await service.review(asked, within=within)
        return HttpResponse(200, messages.answer(self.name, prompt.version, prompt.prompt, asked, found))

    def metrics_of(self, version: str) -> ServiceMetrics:
        """Those of the prompt."""
        return self._named(version).metrics

    def metadata(self, version: str) -> dict[str, Any]:
        """The model's metadata; without a version what the first prompt takes and gives."""
        prompt = self._named(version).prompt
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
            "versions": list(self.services),
            "platform": "hallmark_reviewer",
            "inputs": inputs,
            "outputs": outputs,
        }

    def _named(self, version: str) -> ReviewService:
        return self.services[version] if version else next(iter(self.services.values()))
