"""Six small domains, one of each task: trained by the real steps, and asked as a server is asked whose monitor watches."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.declaration.drift import Drift, FinalLabels
from hallmark.settings import Settings
from tools.traffic import asked

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.rollout.aggregates import EvidenceRequest, PodEvidence
    from hallmark.rollout.responses import CapturedResponses

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent
KINDS = {
    "toy": "binary",
    "sizes": "multiclass",
    "sugar": "regression",
    "places": "ranking",
    "finds": "retrieval",
    "letters": "uplift",
}
"""Domains by name, each with its task."""
OPTIONS: dict[str, dict[str, Any]] = {"letters": {"rounds": 100}, "places": {"rounds": 60}, "sizes": {"rounds": 60}}
REQUESTS = 240
DRIFT = Drift(window=1000, minimum=100, labels=FinalLabels(minimum=100))
Asked = tuple[bytes, list[dict[str, Any]]]


def rows(name: str, settings: Settings, *, seed: int = 3) -> pd.DataFrame:
    """Two weeks of rows after the training."""
    start = datetime(2026, 10, 1, tzinfo=UTC)
    drawn: pd.DataFrame = domains.module(name, "data", settings).draw(
        start=start, end=start + timedelta(days=14), seed=seed
    )
    return drawn


def requests(name: str, settings: Settings, *, count: int = REQUESTS) -> list[Asked]:
    """Requests as they usually come, with the labels that come later."""
    return asked(name, rows(name, settings), count=count, seed=5, settings=settings)


def shifted(name: str, settings: Settings, *, count: int = REQUESTS) -> list[Asked]:
    """Requests of rows in the upper third of their first number."""
    drawn = rows(name, settings, seed=4)
    fields = domains.module(name, "features", settings).FIELDS
    first = next(field.name for field in fields if field.datatype.startswith(("FP", "INT")))
    high = drawn[drawn[first] > drawn[first].quantile(0.67)].reset_index(drop=True)
    return asked(name, high, count=count, seed=6, settings=settings)


@dataclass
class Watched:
    """A model folder behind the server's own model, with its monitor beside it; both without a process."""

    name: str
    folder: Path

    def __post_init__(self) -> None:
        from hallmark.artifacts import bundle
        from inference_services.drift_monitor import reference
        from inference_services.drift_monitor.monitor import Monitor
        from inference_services.runtime.model import Model

        self.model = Model(self.name, bundle.read(self.folder, expected=None))
        self.monitor = Monitor(reference.read(self.folder), DRIFT)
        self._numbers = itertools.count()

    def ask(self, given: Sequence[Asked], *, exchange: str = "e") -> None:
        """Answer each request, and let the monitor have it as the server's capture sends it."""
        from inference_services.capture import exchanges
        from inference_services.capture.records import Call
        from inference_services.drift_monitor import events
        from inference_services.protocol import v2

        for place, (body, _) in enumerate(given):
            request = v2.decode(self.model.schema, body)
            outputs = self.model.predict(request.columns, request.rows)
            call, marks = Call(request.columns, outputs, request.rows), (b"", b"", f"{exchange}-{place}".encode(), b"")
            sent = exchanges.Answered([call], [request.rows], [0], [request.id], [marks])
            head = {"specversion": "1.0", "type": exchanges.TYPE, "id": "1", "source": "/", "revision": "v"}
            head |= {"inferenceservicename": self.name, "namespace": self.name}
            body = exchanges.packed([sent], prefix="p", first=next(self._numbers))
            captured = events.columns({f"ce-{name}": value for name, value in head.items()}, body)
            assert captured is not None and self.monitor.take_columns(captured) == 1

    def label(self, given: Sequence[Asked]) -> tuple[int, int]:
        """Tell the monitor what turned out to be true; how many labels it joined, and how many not."""
        from inference_services.drift_monitor import responses

        now = datetime.now(UTC).isoformat()
        sent = json.loads(json.dumps([{**label, "at": now} for _, labels in given for label in labels]))
        known, wrong = responses.known(sent, self.monitor.reference.signature.task)
        assert wrong == []
        return self.monitor.label(known)

    def tell(self, asked: EvidenceRequest) -> PodEvidence:
        """What the monitor tells a rollout, as it goes over the wire."""
        from hallmark.rollout.aggregates import PodEvidence
        from inference_services.drift_monitor import evidence

        task = self.monitor.reference.signature.task
        return PodEvidence.read(evidence.gather(self.monitor.answers, asked, task, variant="v").encoded())


def compared(domain: Domain, stable: Watched, candidate: Watched) -> CapturedResponses:
    """Both sides' answers, as a rollout reads them."""
    from hallmark.rollout.aggregates import EvidenceRequest
    from hallmark.rollout.responses import CapturedResponses

    assert domain.rollout.shadow is not None
    asked = EvidenceRequest(since=0.0, until=1e12, paired=True, shadow=domain.rollout.shadow)
    both = CapturedResponses(shadow=domain.rollout.shadow, task=stable.monitor.reference.signature.task)
    both.take("stable", stable.tell(asked))
    both.take("canary", candidate.tell(asked))
    return both


def changed(domain: Domain, stable: Watched, candidate: Watched) -> float:
    """The share of pairs in which the candidate's answer is another, as a rollout's shadow counts it."""
    overall = compared(domain, stable, candidate).slices()[0]
    assert overall.pairs == REQUESTS
    return overall.changed / overall.pairs
