"""MLServer: one process without its pool of workers, which costs more than the model."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from mlserver import MLModel, MLServer, ModelSettings, Settings  # type: ignore[import-not-found,unused-ignore]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found,unused-ignore]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found,unused-ignore]

from benchmarks.serving.contenders import Place, session


class Score(MLModel):  # type: ignore[misc,unused-ignore]
    """The bare session; `BENCH_FOLDER` names the model folder."""

    async def load(self) -> bool:
        """Open it."""
        self.run = session(Path(os.environ["BENCH_FOLDER"])).run
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One request."""
        (score,) = self.run(["score"], {"input": NumpyCodec.decode_input(payload.inputs[0]).astype("float32")})
        output = NumpyCodec.encode_output("score", score)
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=[output])


def serve(place: Place) -> None:
    """Serve until a signal."""
    os.environ["BENCH_FOLDER"] = str(place.folder)
    ports = {"http_port": place.http, "grpc_port": place.grpc, "metrics_endpoint": None}
    settings = Settings(host="127.0.0.1", parallel_workers=0, debug=False, **ports)
    model = ModelSettings(name="bench", implementation=Score)
    asyncio.run(MLServer(settings).start([model]))
