"""A client that keeps calling a model through the gateway, and counts who answered and what failed."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count as counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hallmark.errors import TimedOut
from tools import histories
from tools.histories import Histories

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.settings import Settings

_DAYS = 64
_LONGEST = 300
"""Characters of a refusal's words that are kept."""
VARIANT = "x-hallmark-variant"
VERSION = "x-hallmark-model-version"


@dataclass(frozen=True)
class ServedAnswer:
    """One request: when it was sent (s since start), how long it took (s), its status (0: none came) and who answered.

    variant: stable or canary, or the error's name where no answer came.  version: the model's, where the server sends it.
    reason:  why it failed, in the server's words or the client's; empty where it did not.
    """

    at: float
    seconds: float
    status: int
    variant: str
    version: str = ""
    reason: str = ""


@dataclass(frozen=True)
class FailureReason:
    """Why requests failed, and how many for it: the answer's status (0: none came) and its words."""

    status: int
    text: str
    requests: int

    def __str__(self) -> str:
        return f"{self.requests} times {self.status or 'no answer'}: {self.text or 'no words'}"


@dataclass(frozen=True)
class Tally:
    """Answers counted: `failed` are all that were not 200, `reasons` why, the commonest first; `shares` in percent of the answered."""

    requests: int
    failed: int
    shares: dict[str, float]
    p50_ms: float
    p99_ms: float
    reasons: tuple[FailureReason, ...] = ()

    @classmethod
    def of(cls, answers: Sequence[ServedAnswer]) -> Tally:
        """Count `answers`."""
        good = [each for each in answers if each.status == 200]
        variants = Counter(each.variant for each in good)
        times = np.array([each.seconds for each in good]) * 1000 if good else np.zeros(1)
        return cls(
            requests=len(answers),
            failed=len(answers) - len(good),
            shares={name: 100 * number / len(good) for name, number in sorted(variants.items())},
            p50_ms=float(np.quantile(times, 0.5)),
            p99_ms=float(np.quantile(times, 0.99)),
            reasons=tuple(
                FailureReason(*each, count)
                for each, count in Counter(
                    (each.status, each.reason) for each in answers if each.status != 200
                ).most_common()
            ),
        )


def near(live: Mapping[str, Any]) -> str:
    """Base URL of a live service from this machine; empty while it has none.

    On a local cluster in Standard mode a service has a host of its own, as on KServe, and an address that takes no resolver.
    """
    status = live.get("status") or {}
    here = str((status.get("address") or {}).get("url") or "")
    return here if here.startswith("http://127.0.0.1:") else str(status.get("url") or "")


class Requests(NamedTuple):
    """V2 request bodies, and what has to have happened before they are sent; none where the model reads no feature views."""

    bodies: list[bytes]
    histories: Histories | None = None

    def prepare(self, *, among_real: bool = False) -> int:
        """Let their histories happen, just before they are sent; how many events that is. `Refused` as `Histories.happen` says."""
        return self.histories.happen(among_real=among_real) if self.histories else 0


def synthetic(name: str, *, count: int, seed: int, shift: str | None, settings: Settings) -> Requests:
    """`count` requests of synthetic examples of domain `name`: of one record each, or of all records of a query."""
    from hallmark.declaration import domain as domains

    data = domains.module(name, "data", settings)
    start, days = datetime(2026, 10, 1, tzinfo=UTC), 1
    frame = data.draw(start=start, end=start + timedelta(days=days), seed=seed, shift=shift)
    while len(frame) < count and days < _DAYS:
        days *= 4
        frame = data.draw(start=start, end=start + timedelta(days=days), seed=seed, shift=shift)
    rows = sorted(row for mine in _chosen(name, frame, count=count, seed=seed, settings=settings) for row in mine)
    frame, past = histories.before(name, frame, rows, seed=seed, shift=shift, settings=settings)
    return Requests([body for body, _ in asked(name, frame, count=count, seed=seed, settings=settings)], past)


def own(name: str, source: Path, *, count: int, seed: int, settings: Settings) -> Requests:
    """The same of a team's own rows, as the domain's data.py reads them."""
    from hallmark.declaration import domain as domains

    frame = domains.module(name, "data", settings).read(source)
    return Requests([body for body, _ in asked(name, frame, count=count, seed=seed, settings=settings)])


def asked(
    name: str, frame: pd.DataFrame, *, count: int, seed: int, settings: Settings
) -> list[tuple[bytes, list[dict[str, Any]]]]:
    """At most `count` V2 requests of rows of `frame`, each with the labels that will come for it, as `POST /labels` takes them.

    They hold what callers send: of fields that feature views give, whose they are. Requests are drawn by `seed`, and their ids are
    r-<seed>-<number>. A ranking's holds all rows of a query; where answers are items, one record, since its rows are items of the same
    question, and what it holds is the question alone. A ranking of items that the server finds has no late labels.
    """
    from hallmark.artifacts import views
    from hallmark.declaration import domain as domains
    from hallmark.features.wire import request
    from hallmark.learners.model import columns, spec

    declared = domains.load(name, settings)
    data, task = declared.data, declared.task
    parts = spec(declared, settings).retriever if declared.retrieval is not None else None
    fields = views.sent(declared, domains.module(name, "features", settings).FIELDS, settings)
    if parts is not None:
        given = {field.name for field in domains.module(name, "features", settings).FIELDS} - {
            each.name for each in fields
        }
        fields = tuple(
            field for field in parts.fields if field.name not in given and (field.name in frame or not field.optional)
        )
    known_later = data.label in frame and (parts is None or task.kind == "retrieval")
    labels = task.late_labels(frame, data.target_columns) if known_later else [None] * len(frame)
    made = []
    for number, mine in enumerate(_chosen(name, frame, count=count, seed=seed, settings=settings)):
        body = json.loads(request(fields, columns(frame.iloc[mine].reset_index(drop=True), fields)))
        client = f"r-{seed}-{number}"
        known = [
            {"request": client, "row": place, "label": labels[row]}
            for place, row in enumerate(mine)
            if labels[row] is not None
        ]
        made.append((json.dumps({"id": client, **body}).encode(), known))
    return made


def _chosen(name: str, frame: pd.DataFrame, *, count: int, seed: int, settings: Settings) -> list[list[int]]:
    """The rows of each of at most `count` requests."""
    from hallmark.declaration import domain as domains

    declared = domains.load(name, settings)
    task, rows = declared.task, dict[object, list[int]]()
    for row, unit in enumerate(task.requests(frame, declared.data.target_columns)):
        rows.setdefault(unit or row, []).append(row)
    found = list(rows.values())
    if (
        task.kind == "retrieval" and declared.data.label in frame
    ):  # rows in which nothing is relevant tell of items: nobody asks them
        wanted = (frame[declared.data.label] > 0).tolist()
        found = [mine for mine in found if any(wanted[row] for row in mine)]
    chosen = np.random.default_rng(seed).permutation(len(found))[:count].tolist()
    one = task.kind == "retrieval" or declared.retrieval is not None
    return [found[at][:1] if one else found[at] for at in chosen]


def _said(body: bytes) -> str:
    """The words of a refusal, on one line: `error` of the protocol's JSON, else the beginning of whatever came."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        text = str(found["error"]) if isinstance(found, dict) and "error" in found else text
    except ValueError:
        pass
    return " ".join(text.split())[:_LONGEST]


class Traffic:
    """Requests at a steady `rate` (a second) from `clients` connections, in a thread, until the block ends or `most` were sent."""

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        *,
        rate: float,
        most: float = math.inf,
        clients: int = 16,
        timeout: float = 10.0,
    ) -> None:
        self.url = url
        self.answers: list[ServedAnswer] = []
        self.bodies = list(bodies)
        self._headers: dict[str, str] = {}
        self._rate = rate
        self._most = most
        self._clients = clients
        self._timeout = timeout
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(self._timeout + 5)

    def use(self, bodies: Sequence[bytes], *, headers: Mapping[str, str] | None = None) -> None:
        """Send these from now on, with these headers beside the usual ones."""
        self.bodies, self._headers = list(bodies), dict(headers or {})

    def now(self) -> float:
        """The time now, to count `since`."""
        return time.monotonic() - self._started

    def since(self, start: float) -> list[ServedAnswer]:
        """The answers to requests that were sent after `start`."""
        return [each for each in list(self.answers) if each.at >= start]

    def next(self, number: int, *, seconds: float) -> Tally:
        """Wait for `number` more answers to requests sent from now on, and count them."""
        start, deadline = self.now(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            answers = self.since(start)
            if len(answers) >= number:
                return Tally.of(answers)
            time.sleep(0.05)
        raise TimedOut(f"{self.url}: {number} answers did not come in {seconds:g} s", got=str(len(self.since(start))))

    def done(self, *, seconds: float) -> Tally:
        """Wait until all of `most` requests were answered, and count them."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            got = str(len(self.answers))
            raise TimedOut(f"{self.url}: {self._most:g} answers did not come in {seconds:g} s", got=got)
        return Tally.of(self.answers)

    async def _run(self) -> None:
        import httpx

        numbers = counter()
        limits = httpx.Limits(max_connections=self._clients, max_keepalive_connections=self._clients)
        headers = {"Content-Type": "application/json"}
        async with httpx.AsyncClient(timeout=self._timeout, limits=limits, headers=headers, trust_env=False) as client:

            async def one() -> None:
                while not self._stop.is_set():
                    number = next(numbers)
                    if number >= self._most:
                        return
                    wait = self._started + number / self._rate - time.monotonic()
                    if wait > 0:
                        await asyncio.sleep(wait)
                    sent = time.monotonic()
                    status, variant, version, reason = 0, "", "", ""
                    try:
                        body = self.bodies[number % len(self.bodies)]
                        answer = await client.post(self.url, content=body, headers=self._headers)
                        status, variant = answer.status_code, answer.headers.get(VARIANT, "")
                        version = answer.headers.get(VERSION, "")
                        reason = "" if status == 200 else _said(answer.content)
                    except httpx.HTTPError as error:
                        variant = type(error).__name__
                        reason = ": ".join(filter(None, (variant, str(error))))
                    taken = time.monotonic() - sent
                    self.answers.append(ServedAnswer(sent - self._started, taken, status, variant, version, reason))

            self._started = time.monotonic()
            await asyncio.gather(*(one() for _ in range(self._clients)))
