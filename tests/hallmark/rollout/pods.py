"""Pods of a rollout's two variants, each with the ring of a real drift monitor, and a watch that asks them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hallmark.declaration.rollout import PredictionCosts, Shadow
from hallmark.rollout.aggregates import CostSums, EvidenceRequest, PodEvidence
from hallmark.rollout.responses import CapturedResponses
from hallmark.tasks import BaseTask, Binary
from inference_services.drift_monitor import evidence
from inference_services.drift_monitor.responses import CapturedResponses as Ring
from inference_services.drift_monitor.responses import SentLabel

Row = dict[str, Any]


def objects(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


class Pod:
    """One pod's answers; rows of one exchange in one call are the records of one request."""

    def __init__(self, ring: Ring | None = None) -> None:
        self.ring = Ring() if ring is None else ring
        self.ring.variant = "v"
        self._calls = itertools.count(1)

    def answer(self, rows: Iterable[Row]) -> None:
        requests: dict[object, list[Row]] = {}
        for number, row in enumerate(rows):
            requests.setdefault(row["exchange"] or number, []).append(row)
        labels = {}
        for records in requests.values():
            first = records[0]
            names = {kind: sorted({name for each in records for name in each[kind]}) for kind in ("columns", "outputs")}
            columns, outputs = (
                {name: objects([each[kind].get(name) for each in records]) for name in names[kind]} for kind in names
            )
            self.ring.add(
                "v",
                columns=columns,
                outputs=outputs or {"none": objects([None] * len(records))},
                records=len(records),
                at=first["at"],
                exchange=first["exchange"],
                request=hashlib.sha256(first["exchange"].encode()).hexdigest()[:32],
            )
            labels |= {(first["exchange"], at): each["label"] for at, each in enumerate(records)}
        self.label({place: label for place, label in labels.items() if label is not None})

    def label(self, labels: dict[tuple[str, int], Any]) -> None:
        at = float(next(self._calls))
        self.ring.label([SentLabel(exchange, label, at=at, row=row) for (exchange, row), label in labels.items()])

    def tell(self, asked: EvidenceRequest, task: BaseTask) -> bytes:
        return evidence.gather(self.ring, asked, task, variant="v").encoded()


def told(rows: list[Row], path: str) -> bytes:
    """What a pod with these rows tells to the question at `path`; the cursor counts the rows."""
    asked = EvidenceRequest.read(path.partition("ask=")[2])
    pod = Pod()
    pod.answer(rows[int(asked.cursor or 0) :])
    found = evidence.gather(pod.ring, asked.model_copy(update={"cursor": ""}), Binary(), variant="v")
    return replace(found, cursor=str(len(rows))).encoded()


class Watched(CapturedResponses):
    """What a watch makes of the answers of pods that it asks again and again: `look` after anything came."""

    def __init__(
        self,
        *,
        shadow: Shadow | None,
        task: BaseTask,
        costs: PredictionCosts | None = None,
        since: float = 0.0,
        until: float = 1e12,
    ) -> None:
        super().__init__(shadow=shadow, task=task)
        self.asked = EvidenceRequest(
            since=since, until=until, paired=True, shadow=shadow, costs=costs or PredictionCosts()
        )
        self.task = task
        self.pods: dict[str, list[Pod]] = {"stable": [Pod()], "canary": [Pod()]}
        self.cursors: dict[int, str] = {}

    def answer(self, variant: str, rows: Iterable[Row]) -> None:
        self.pods[variant][0].answer(rows)
        self.look()

    def sums(self, variant: str) -> CostSums:
        return self._sides[variant].costs

    def look(self) -> None:
        for variant, pods in self.pods.items():
            for pod in pods:
                asked = self.asked.model_copy(update={"cursor": self.cursors.get(id(pod), "")})
                found = PodEvidence.read(pod.tell(EvidenceRequest.read(asked.path().partition("ask=")[2]), self.task))
                self.take(variant, found)
                self.cursors[id(pod)] = found.cursor
