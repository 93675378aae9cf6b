"""A reviewer over real HTTP on loopback, between a stand-in of its language model and whoever asks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from hallmark import metrics as names
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.prompts.sealed import SealedPrompt
from inference_services.crops import Crops
from inference_services.reviewer.rest import ReviewerRest
from inference_services.reviewer.service import ReviewService
from inference_services.transport.client import Client
from inference_services.transport.http1 import Http1Connection
from inference_services.transport.one_model import ServiceMetrics
from local_cluster.chat_standin import ChatStandIn
from tests.inference_services.transport.toys import Toy

ROOT = Path(__file__).parents[3]
NAME = "authentication-review"
PHOTOS = ROOT / "prompts" / NAME / "photos"
TIME = 0.5


def crops(folder: Path) -> Path:
    """A folder of the references' pictures."""
    folder.mkdir()
    index = {}
    for name in ("ref-1", "ref-2"):
        data = (PHOTOS / f"{name}.png").read_bytes()
        (folder / f"{name}.png").write_bytes(data)
        index[name] = {"file": f"{name}.png", "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "crops.json").write_text(json.dumps(index))
    return folder


class Reviewing(Toy):
    """The reviewer of this checkout's prompt, with little time, and the stand-in that it asks."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "bags-reviewer",
        answer: Mapping[str, Any] | None = None,
        time: float = TIME,
        tries: int = 2,
    ) -> None:
        self.name = name
        whole = prompts.load(ROOT / "prompts", NAME)
        budget = whole.prompt.budget.model_copy(update={"timeout": timedelta(seconds=time), "tries": tries})
        whole = whole.model_copy(update={"prompt": whole.prompt.model_copy(update={"budget": budget})})
        self.prompt_whole = whole
        digest = sealed.seal(folder / "prompt", whole)
        self.prompt = sealed.read(folder / "prompt", expected=digest)
        self.crops = Crops(crops(folder / "crops"))
        self.llm = ChatStandIn(answer=answer)
        self.metrics = ServiceMetrics(names.REVIEWER, model=name, prompt=self.prompt.version)
        super().__init__()
        self.llm_port = asyncio.run_coroutine_threadsafe(self.llm.start(), self.loop).result(5)
        self._client = Client(f"http://127.0.0.1:{self.llm_port}", what="--llm", limit=2**20)
        self.service = ReviewService(self.prompt, client=self._client, metrics=self.metrics)
        self.others: list[ReviewService] = []
        self.http = httpx.Client(base_url=f"http://{self.address}", timeout=10, trust_env=False)

    def protocol(self) -> asyncio.Protocol:
        """The protocol object of one client."""
        rest = ReviewerRest([self.service, *self.others], self.crops, name=self.name, limit=self.limits.body)
        return Http1Connection(self.endpoint, rest)

    def also(self, folder: Path, *, old: str, new: str) -> SealedPrompt:
        """Serve a second prompt too, in whose messages words are others."""
        prompt = self.prompt_whole.prompt
        messages = tuple(each.model_copy(update={"text": each.text.replace(old, new)}) for each in prompt.messages)
        whole = self.prompt_whole.model_copy(update={"prompt": prompt.model_copy(update={"messages": messages})})
        found = sealed.read(folder, expected=sealed.seal(folder, whole))
        counts = self.metrics.of(prompt=found.version)
        self.others.append(ReviewService(found, client=self._client, metrics=counts))
        return found

    def counts(self, family: str = "reviews") -> dict[str, float]:
        """A counter, by cause."""
        found = {}
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f"hallmark_reviewer_{family}_total{{"):
                found[line.partition('cause="')[2].partition('"')[0]] = float(line.rpartition(" ")[2])
        return found

    def stop(self) -> None:
        """End it and its stand-in."""
        self.http.close()
        self.loop.call_soon_threadsafe(self.llm.close)
        self.loop.call_soon_threadsafe(self._client.close)
        super().stop()


def inputs(**changes: Any) -> list[dict[str, Any]]:
    """The inputs of one item; None takes one away."""
    photo = base64.b64encode((PHOTOS / "item-2.png").read_bytes()).decode()
    values = {
        "brand": ["Alma"],
        "category": ["tote"],
        "photos": [photo],
        "view.items": ["ref-1", "ref-2"],
        **changes,
    }
    return [
        {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data}
        for name, data in values.items()
        if data is not None
    ]
