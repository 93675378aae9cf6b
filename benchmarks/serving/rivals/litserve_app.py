"""LitServe: one worker process behind one API process, over its faster queue, without batching."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found,unused-ignore]

from benchmarks.serving.contenders import ROUTE, Place, scorer


class Score(litserve.LitAPI):  # type: ignore[misc,unused-ignore]
    """V2 JSON in, V2 JSON out."""

    def __init__(self, folder: Path) -> None:
        super().__init__(api_path=ROUTE)
        self.folder = folder

    def setup(self, device: str) -> None:
        """In the worker."""
        self.score = scorer(self.folder)

    def predict(self, x: Any) -> Any:
        """One request."""
        return self.score(x)


def serve(place: Place) -> None:
    """Serve until a signal."""
    server = litserve.LitServer(
        Score(place.folder), accelerator="cpu", workers_per_device=place.workers, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=place.http,
        num_api_servers=1,
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )
