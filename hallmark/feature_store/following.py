"""The streams that one process runs side by side, as others see them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from hallmark import metrics

if TYPE_CHECKING:
    from hallmark.feature_store.stream import Stream

SILENT = 300.0
"""Seconds without a new batch after which a stream hangs; one takes less than a second."""
_LEAST = metrics.STREAM["watermark_timestamp_seconds"]
"""Of several streams of one source the one that is furthest back."""


class Following:
    """What is asked of them, from any thread: whether they go on, and their metrics."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []

    def take(self, stream: Stream) -> None:
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
