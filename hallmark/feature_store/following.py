"""Streams that run side by side, each in a thread, until they are told to stop or one of them cannot go on; and what others see of them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hallmark import metrics

if TYPE_CHECKING:
    from hallmark.feature_store.stream import Stream

SILENT = 300.0
"""Seconds without a new batch after which a stream hangs; one takes less than a second."""
_LEAST = metrics.STREAM["watermark_timestamp_seconds"]
"""Of several streams of one source the one that is furthest back."""


class Following:
    """The streams of one process, by what they are of."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams
        self._failed: list[BaseException] = []

    def run(self, stop: threading.Event) -> None:
        """Go on until told to stop. Where one stream fails, all end, and its error is raised."""
        threads = [
            threading.Thread(target=self._one, args=(each, stop), name=f"stream {name}", daemon=True)
            for name, each in self._streams.items()
        ]
        for thread in threads:
            thread.start()
        try:
            stop.wait()
        finally:  # ctrl-c too: a batch is ended, and noted, before its state is closed
            stop.set()
            for thread in threads:
                thread.join()
        if self._failed:
            raise self._failed[0]

    def _one(self, stream: Stream, stop: threading.Event) -> None:
        try:
            stream.run(stop)
        except BaseException as error:  # noqa: BLE001  told in the main thread
            self._failed.append(error)
            stop.set()

    @property
    def alive(self) -> bool:
        """Does every stream go on? One whose store does not answer does: to start it anew would help nothing."""
        return all(each.silence < SILENT for each in self._streams.values())

    def text(self) -> str:
        """Metrics of all streams in Prometheus's text format: numbers that name no view are of all together."""
        found: dict[str, dict[tuple[tuple[str, object], ...], float]] = defaultdict(dict)
        for stream in self._streams.values():
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
