"""Recall of live queries: a share of them is run again exactly, off the path of answers, and counted by how much their filters leave."""

from __future__ import annotations

import logging
import queue
import random
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import HallmarkError
from hallmark.retrieval.filters import Filter
from hallmark.retrieval.recall import count
from hallmark.retrieval.search import Nearest, Retriever
from inference_services.protocol.errors import ServeError
from inference_services.runtime.metrics import Metrics

DEPTH = 10
"""Places that recall is counted at."""
QUEUED = 64
"""Queries that wait at most; what comes beyond is dropped and counted."""
_EDGES = (("overall", 0.3), ("10%", 0.03), ("1%", 0.003))
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A query as the index took it: its vector (d,), and its filter."""

    vector: NDArray[np.float32]
    where: Filter | None


def bucket(matching: int, items: int) -> str:
    """The selectivity that a filter counts under, by what it leaves: the nearest of overall, 10%, 1% and 0.1%."""
    share = matching / items if items else 1.0
    return next((name for name, least in _EDGES if share >= least), "0.1%")


class RecallCheck:
    """Takes a `share` of the queries that are offered, and runs each both ways on a thread of its own.

    near: what answers them, where that is not the index itself.
    """

    def __init__(
        self, index: Retriever, *, share: float, metrics: Metrics, queued: int = QUEUED, near: Nearest | None = None
    ) -> None:
        self._index, self._near = index, near or index
        self._share = share
        self._metrics = metrics
        self._waiting: queue.Queue[Asked | None] = queue.Queue(queued)
        self._thread = threading.Thread(target=self._work, name="recall", daemon=True)
        self._thread.start()

    def offer(self, asked: Asked) -> None:
        """Take a query where the sample has it; never waits."""
        if random.random() >= self._share:  # noqa: S311  a sample, not a secret
            return
        try:
            self._waiting.put_nowait(asked)
        except queue.Full:
            self._metrics.add("recall_dropped")

    def close(self) -> None:
        """End once what waits is done."""
        self._waiting.put(None)
        self._thread.join(5.0)

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None:
            try:
                self._check(asked)
            except (HallmarkError, ServeError) as error:
                _log.warning("a query could not be run again: %s", " ".join(str(error).split()))
                self._metrics.add("recall_dropped")

    def _check(self, asked: Asked) -> None:
        truth = self._index.search(asked.vector[None], DEPTH, asked.where, exact=True).of()
        if not truth:
            return  # nothing matches, and nothing can be missed
        found = self._near.search(asked.vector[None], DEPTH, asked.where).of()
        counted = bucket(self._index.count(asked.where), self._index.count())
        self._metrics.add("recall_checked", counted)
        self._metrics.add("recall_wanted", counted, len(truth))
        self._metrics.add("recall_found", counted, count(found, truth))
