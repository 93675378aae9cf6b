"""The streams that one process runs side by side, as others see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from hallmark import metrics
from hallmark.metrics import Family

SILENT = 300.0
"""Seconds without a new batch after which a stream hangs; one takes less than a second."""
_LEAST = metrics.STREAM["watermark_timestamp_seconds"]
"""Of several streams of one source the one that is furthest back."""


class Followed(Protocol):
    """A stream of events, or of Flink's tiles; asked from any thread."""

    @property
    def silence(self) -> float:
        """Seconds since it last began a batch or a write."""

    def samples(self) -> Sequence[tuple[Family, Iterable[tuple[Mapping[str, object], float]]]]:
        """Its metrics by family."""


class Following:
    """What is asked of them, from any thread: whether they go on, and their metrics."""

    def __init__(self) -> None:
        self._streams: list[Followed] = []

    def take(self, stream: Followed) -> None:
        """One more that runs."""
        self._streams.append(stream)

    @property
    def alive(self) -> bool:
        """Does every stream go on? One whose store does not answer does: to start it anew would help nothing."""
        return all(each.silence < SILENT for each in self._streams)

    def text(self) -> str:
        """Metrics of all streams in Prometheus's text format: numbers that name no view are of all together."""
        found: dict[str, dict[tuple[tuple[str, object], ...], float]] = defaultdict(dict)
        for stream in list(self._streams):
            for family, samples in stream.samples():
                known = found[family.name]
                for labels, value in samples:
                    key = tuple(labels.items())
                    had = known.get(key)
                    known[key] = value if had is None else min(had, value) if family is _LEAST else had + value
        return "".join(
            metrics.exposed(family, [(dict(key), value) for key, value in found[family.name].items()])
            for family in metrics.STREAM.values()
        )
