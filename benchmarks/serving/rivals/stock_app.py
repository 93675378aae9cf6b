"""KServe's ModelServer around the bare session, as its documentation writes a custom predictor."""

from __future__ import annotations

import base64
from functools import cached_property
from pathlib import Path
from typing import Any

import kserve
import numpy as np

from benchmarks.serving.contenders import Place, encoder, session


class Score(kserve.Model):  # type: ignore[misc,unused-ignore]
    """The model folder's feature code and session; opened where it runs, since its workers are spawned."""

    def __init__(self, folder: Path) -> None:
        super().__init__("bench")
        self.folder = folder
        self.ready = True

    @cached_property
    def encode(self) -> Any:
        """Columns in, the session's input out."""
        return encoder(self.folder)

    @cached_property
    def session(self) -> Any:
        """One thread."""
        return session(self.folder)

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """One request."""
        given = self.encode({tensor.name: _column(tensor) for tensor in payload.inputs})
        (score,) = self.session.run(["score"], {"input": given})
        output = kserve.InferOutput("score", list(score.shape), "FP32")
        output.set_data_from_numpy(score, binary_data=False)
        return kserve.InferResponse(
            payload.id or "none",
            self.name,
            [output],
            requested_outputs=payload.request_outputs,
            use_binary_outputs=payload.use_binary_outputs,
        )


def _column(tensor: Any) -> Any:
    """Its values; photos from base64, categories as text."""
    array = tensor.as_numpy()
    if tensor.datatype != "BYTES":
        return array
    if tensor.name == "image":
        return np.array([base64.b64decode(value) for value in array.ravel()], dtype=object)
    return np.array([value.decode() if isinstance(value, bytes) else value for value in array.ravel()], dtype=object)


def serve(place: Place) -> None:
    """Serve until a signal."""
    model = Score(place.folder)
    if place.workers == 1:
        model.session  # noqa: B018  opened before the first request, not by it
    options = {"workers": place.workers, "enable_latency_logging": False}
    kserve.ModelServer(http_port=place.http, grpc_port=place.grpc, **options).start([model])
