"""Labels on their way to the drift monitors that kept the answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.errors import NotFound
from hallmark.rollout.history import History

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings

_BATCH = 1000
_ON_THE_WAY = 2.0
"""Seconds that an answer may take to its monitor, where it travels with others; labels that met none are sent again after them."""


class SentLabels(NamedTuple):
    """How many labels were sent, and how many met an answer that is still kept; `refused`: what the monitors said of some."""

    labels: int
    joined: int
    refused: tuple[str, ...]

    @property
    def unknown(self) -> int:
        """Those that met none."""
        return max(0, self.labels - self.joined)


class LabelSender:
    """The labels of one domain; the same one at the same time changes nothing when it is sent again."""

    def __init__(self, writer: InferenceServiceWriter, name: str, settings: Settings) -> None:
        self._writer, self._name, self._settings = writer, name, settings

    def send(self, events: Sequence[Mapping[str, Any]], text: str, *, why: str = "") -> SentLabels:
        """Send them, each {request, label, at} and a row where that is known; the history says `text`, and how many met an answer."""
        pods = self._writer.pods(self._name)
        if not pods:
            raise NotFound(f"no pod serves {self._name} on {self._writer.host}", fix=f"`hallmark status {self._name}`")
        refused = dict[str, None]()

        def join(batch: Sequence[Mapping[str, Any]]) -> int:
            joined = 0
            for pod in pods:  # only the one that answered knows the request
                told = json.loads(self._writer.sidecar(pod, "labels", body=batch))
                joined += int(told["joined"])
                refused.update(dict.fromkeys(told.get("errors") or ()))
            return joined

        person, history = self._writer.person(), History(self._settings, self._name)
        with history.act("labels", text, who=person, why=why, cluster=str(self._writer.host)) as notes:
            began = time.monotonic()
            batches = [events[start : start + _BATCH] for start in range(0, len(events), _BATCH)]
            found = [join(batch) for batch in batches]
            behind = [number for number, batch in enumerate(batches) if found[number] < len(batch)]
            if behind:
                time.sleep(max(0.0, began + _ON_THE_WAY - time.monotonic()))
                found = [join(batch) if number in behind else found[number] for number, batch in enumerate(batches)]
            notes.text = f"{text}: {sum(found)} met an answer"
        return SentLabels(labels=len(events), joined=sum(found), refused=tuple(refused))
