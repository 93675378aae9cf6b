"""mosec: one worker process behind its Rust front, JSON by msgspec, dynamic batches of up to 16 in one session call.

That was the best of none, 8, 16, 32 and 64 in short trials: several times what it does one request at a time. Its front
and its worker are two processes, so "one worker" of it takes up to two cores: see the column of cores.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mosec import Runtime, Server, Worker  # type: ignore[import-not-found,unused-ignore]

from benchmarks.serving.contenders import ROUTE, Place, encoded, session

_BATCH = 16
_WAIT = 1
"""Milliseconds."""


class Score(Worker):  # type: ignore[misc,unused-ignore]
    """V2 JSON in, V2 JSON out; `BENCH_FOLDER` names the model folder."""

    def __init__(self) -> None:
        super().__init__()
        self.run = session(Path(os.environ["BENCH_FOLDER"])).run

    def deserialize(self, data: bytes) -> Any:
        """Decode a request."""
        return msgspec.json.decode(data)

    def serialize(self, data: Any) -> bytes:
        """Encode an answer."""
        return msgspec.json.encode(data)

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Several requests, one call."""
        tensors = [body["inputs"][0] for body in data]
        parts = [np.array(tensor["data"], np.float32).reshape(tensor["shape"]) for tensor in tensors]
        (scores,) = self.run(["score"], {"input": np.concatenate(parts)})
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [encoded(body, score) for body, score in zip(data, np.split(scores, ends), strict=True)]


def serve(place: Place) -> None:
    """Serve until a signal."""
    os.environ["BENCH_FOLDER"] = str(place.folder)
    os.environ |= {"MOSEC_PORT": str(place.http), "MOSEC_ADDRESS": "127.0.0.1", "MOSEC_LOG_LEVEL": "error"}
    sys.argv = ["mosec"]
    server = Server()
    worker = Runtime(Score, num=place.workers, max_batch_size=_BATCH, max_wait_time=_WAIT)
    server.register_runtime({ROUTE: [worker]})
    server.run()
