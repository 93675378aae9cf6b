"""Items that change while a drill runs: put in and deleted at the servers, and asked for through the gateway, as members ask."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark import object_labels
from hallmark.declaration import domain as domains
from hallmark.errors import HallmarkError, Unavailable
from tools.rehearsal import FIRST
from tools.stages import StageFailed
from tools.traffic import VERSION

if TYPE_CHECKING:
    import httpx

    from hallmark.artifacts.retriever import Retriever
    from hallmark.declaration.corpus import Filter
    from hallmark.declaration.domain import Domain
    from hallmark.rollout.writer import InferenceServiceWriter
    from tools.rehearsal import World

_EVERY = 0.5
_LEAST = 5
"""Items that were put in and deleted before anything is said of it."""
_KEEPS = 3
"""Of so many items one is kept, the others are deleted."""
_LOOKED = 5
"""Items that are asked for again in the end, of those that were kept and of those that were deleted."""
_PATIENCE = 15.0
_PORT = 8080


class Seen(NamedTuple):
    """What an answer said of an item: whether it holds it, by which version, and when it was asked (monotonic)."""

    there: bool
    version: str
    asked: float


def applies(domain: Domain) -> bool:
    """Can changes of the domain's items be verified? It takes them, and filters find each item alone."""
    return domain.retrieval is not None and domain.retrieval.fresh is not None and bool(domain.retrieval.filters)


class ItemChanges:
    """Puts items in and deletes most of them again, in a thread, until the block ends; each is asked for by a member's request.

    An item is a known one under another id, and its filters leave nothing but it and its like, so that no ranking hides it.

    url, bodies: base of the service, and V2 requests to it.   spoiled: a second writer puts back what was deleted.
    """

    def __init__(
        self, world: World, writer: InferenceServiceWriter, url: str, bodies: Sequence[bytes], *, spoiled: bool = False
    ) -> None:
        from hallmark.training import index

        self._world, self._writer, self._spoiled = world, writer, spoiled
        self._name = world.domain.name
        self._url = f"{url}/v1/models/{self._name}:predict"
        self._records = [_record(body) for body in bodies]
        self._retriever: Retriever = index.declared(world.domain, settings=world.settings)
        data = domains.module(self._name, "data", world.settings)
        drawn = data.corpus(None, at=FIRST, seed=world.domain.training.seed)
        self._items = drawn.sample(min(len(drawn), 200), random_state=7)
        retrieval = world.domain.retrieval
        self._fresh = retrieval.fresh.total_seconds() if retrieval and retrieval.fresh else 0.0
        self._kept: list[dict[str, Any]] = []
        self._gone: list[dict[str, Any]] = []
        self._slowest, self._put, self._versions = 0.0, 0, set[str]()
        self._wrong = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="item changes", daemon=True)

    def __enter__(self) -> ItemChanges:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE + 15)

    def proof(self) -> str:
        """What was verified, once there is enough of it; "" before. `StageFailed` where an answer was wrong.

        What was kept is found by then, and what was deleted is not, by whichever version answers now.
        """
        if self._wrong:
            raise StageFailed(self._wrong)
        if not self._thread.is_alive():
            raise StageFailed("the items' changes ended by themselves")
        if not self._kept or len(self._gone) < _LEAST:
            return ""
        with _client() as client:
            for item in self._kept[:_LOOKED]:
                if not (seen := self._ask(client, item)).there:
                    raise StageFailed(f"{self._id(item)} was put in at the start, and version {seen.version} lost it")
            for item in self._gone[:_LOOKED]:
                if (seen := self._ask(client, item)).there:
                    raise StageFailed(f"{self._id(item)} was deleted, and version {seen.version} found it in the end")
        return (
            f"{self._put} put in, found within {self._slowest:.2f} s of {self._fresh:g} s; {len(self._gone)} deleted,"
            f" in no answer since; by version {', '.join(sorted(self._versions))}"
        )

    def _run(self) -> None:
        with _client() as client:
            for number in count():
                if self._stop.wait(_EVERY) or self._wrong:
                    break
                try:
                    self._one(client, number)
                except StageFailed as error:
                    self._wrong = str(error)
                except HallmarkError as error:
                    self._wrong = f"{error.message}: {error.got}" if error.got else error.message
        while not self._stop.wait(_EVERY):  # alive until the block ends, so that who asks hears what was wrong
            pass

    def _one(self, client: httpx.Client, number: int) -> None:
        item = self._twin(number)
        shown, acknowledged = self._id(item), self._change(number, put=[item])
        self._put += 1
        while not (seen := self._ask(client, item)).there:
            if seen.asked - acknowledged > self._fresh:
                raise StageFailed(
                    f"{shown} was not found by version {seen.version} {seen.asked - acknowledged:.1f} s after it was put in"
                )
            time.sleep(0.02)
        self._slowest = max(self._slowest, seen.asked - acknowledged)
        if number % _KEEPS == 0:
            self._kept.append(item)
            return
        self._change(number + 1, delete=[item[self._retriever.corpus.id]])
        acknowledged = time.monotonic()
        if self._spoiled:
            self._change(number, put=[item])
        for known in (item, item, *self._gone[-2:]):
            if (seen := self._ask(client, known)).there:
                raise StageFailed(
                    f"{self._id(known)} was in an answer of version {seen.version} after its deletion was acknowledged"
                )
        self._gone.append(item)

    def _change(self, number: int, **changes: Sequence[Any]) -> float:
        """Send changes to one of the ready servers, each in its turn; when they were acknowledged."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            ready = [pod for pod in self._writer.pods(self._name) if object_labels.is_ready(pod)]
            try:
                if not ready:
                    raise Unavailable(f"no server of {self._name} is ready to take changes")
                self._writer.sidecar(
                    ready[number % len(ready)], f"v2/models/{self._name}/items", port=_PORT, body=changes
                )
                return time.monotonic()
            except HallmarkError:  # a server that ends: another takes it, and the same change once more changes nothing
                if time.monotonic() > deadline or self._stop.is_set():
                    raise
                time.sleep(0.2)

    def _ask(self, client: httpx.Client, item: Mapping[str, Any]) -> Seen:
        """Ask for all that is like an item."""
        import httpx

        record = self._records[len(self._gone) % len(self._records)]
        narrowed = {k: v for each in self._retriever.corpus.filters for k, v in narrow(each, item).items()}
        first = asked = time.monotonic()
        try:
            answer = client.post(self._url, json={"instances": [record | narrowed]})
            while answer.status_code == 503 and asked - first < _PATIENCE:  # full: no answer, asked again as clients do
                time.sleep(0.2)
                asked = time.monotonic()
                answer = client.post(self._url, json={"instances": [record | narrowed]})
        except httpx.HTTPError as error:
            raise Unavailable("a request for an item failed", got=f"{type(error).__name__}: {error}") from error
        if answer.status_code != 200:
            raise Unavailable("a request for an item failed", got=f"{answer.status_code}: {answer.text[:200]}")
        version = answer.headers.get(VERSION, "")
        self._versions.add(version)
        found = answer.json()["predictions"][0]["items"]
        return Seen(item[self._retriever.corpus.id] in found, version, asked)

    def _twin(self, number: int) -> dict[str, Any]:
        """A known item under an id of the drill's own."""
        row = self._items.iloc[number % len(self._items)]
        corpus = self._retriever.corpus
        known = {field.name: _sent(row[field.name]) for field in self._retriever.put if field.name in row.index}
        own: int | str = (1 << 40) + number if corpus.datatype == "INT64" else f"drill-{number}"
        return {name: value for name, value in known.items() if value is not None} | {corpus.id: own}

    def _id(self, item: Mapping[str, Any]) -> str:
        return f"item {item[self._retriever.corpus.id]}"


def narrow(by: Filter, item: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request that leave the items that have an item's value of this column; none where it has none."""
    from datetime import datetime

    value = item.get(by.column)
    if value is None:
        return {}
    if by.by == "range":
        at = datetime.fromisoformat(value).timestamp() if by.datatype == "TIME" else float(value)
        within = 1.0 if by.datatype == "TIME" else 1e-6 * max(1.0, abs(at))
        return {f"filter_{by.column}_min": at - within, f"filter_{by.column}_max": at + within}
    return {f"filter_{by.column}": value if by.datatype == "BOOL" else [value]}


def _record(body: bytes) -> dict[str, Any]:
    """The one record of a V2 request."""
    tensors = json.loads(body)["inputs"]
    values = {each["name"]: each["data"] if len(each["shape"]) > 1 else each["data"][0] for each in tensors}
    return {name: value for name, value in values.items() if value is not None}


def _sent(value: Any) -> Any:
    """A value of a frame as JSON has it; None where there is none."""
    import pandas as pd

    if value is None or (not isinstance(value, str | list) and pd.isna(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def _client() -> httpx.Client:
    import httpx

    return httpx.Client(timeout=10.0, trust_env=False)
