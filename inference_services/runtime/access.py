"""A sample of the answers as JSON lines: who, what, how long; never a payload, and never in the way of an answer."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO

import msgspec

from inference_services.capture.exchanges import TRACEPARENT
from inference_services.protocol.ask import Ask
from inference_services.runtime.metrics import Metrics

_WAITING = 1000
_encode = msgspec.json.Encoder().encode


class AccessLog:
    """Lines written by a thread of their own, since whoever reads them may be slow; what does not fit is counted."""

    def __init__(self, stream: IO[bytes], *, share: float, origin: Mapping[str, str], metrics: Metrics) -> None:
        self._stream = stream
        self._share = share
        self._origin = dict(origin)
        self._metrics = metrics
        self._lines: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._write, name="access log", daemon=True)
        self._thread.start()

    def note(self, ask: Ask, status: int, seconds: float, *, rows: int, answered: int) -> None:
        """Write one answer where the sample takes it; a failure of the server itself always."""
        if status != 500 and random.random() >= self._share:  # noqa: S311  a sample, not a secret
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **self._origin,
            "protocol": ask.protocol,
            "status": status,
            "ms": round(1000 * seconds, 3),
            "rows": rows,
            "bytes_in": ask.size,
            "bytes_out": answered,
        }
        trace = ask.headers.get(TRACEPARENT, b"").decode("latin-1")
        if len(parts := trace.split("-")) == 4 and len(trace) == 55 and trace.isascii():
            line["trace_id"], line["span_id"] = parts[1], parts[2]
        try:
            self._lines.put_nowait(_encode(line) + b"\n")
        except queue.Full:
            self._metrics.add("access_dropped")

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits."""
        try:
            self._lines.put(None, timeout=timeout)
            self._thread.join(timeout)
        except queue.Full:
            return

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            except OSError:
                self._metrics.add("access_dropped")
