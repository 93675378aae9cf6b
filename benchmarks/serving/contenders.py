"""The servers that are compared: `python -m benchmarks.serving.contenders NAME FOLDER HTTP_PORT GRPC_PORT WORKERS`.

fastapi:  a pydantic model in, a dict out: what most people write.
asgi:     a bare route on uvicorn with msgspec and no check at all: what uvicorn alone costs.
stock:    rivals/stock_app.py, the KServe SDK's own server around the bare session, as its documentation writes one.
mosec, litserve, bentoml, mlserver: in rivals/, each as its own documentation would have it for many small requests, in
          a virtual environment of its own; its route takes the same V2 JSON and gives the same V2 JSON.

All run the same ONNX session with one thread. Only the standard library and what its environment has is imported here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUTE = "/v2/models/bench/infer"


@dataclass(frozen=True)
class Place:
    """A server's model folder, ports and workers."""

    folder: Path
    http: int
    grpc: int
    workers: int


def session(folder: Path) -> Any:
    """The bare ONNX session, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


def encoder(folder: Path) -> Callable[[dict[str, Any]], Any]:
    """The model folder's own feature code: columns in, the session's input out."""
    names: dict[str, Any] = {"__name__": "features"}
    exec((folder / "features.py").read_text(encoding="utf-8"), names)  # noqa: S102  the benchmark wrote it
    encode: Callable[[dict[str, Any]], Any] = names["encode"]
    return encode


def scorer(folder: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A decoded V2 request as an encoded V2 answer: for the contenders that have no protocol of their own."""
    import numpy as np

    run = session(folder).run

    def infer(body: dict[str, Any]) -> dict[str, Any]:
        (tensor,) = body["inputs"]
        (score,) = run(["score"], {"input": np.array(tensor["data"], np.float32).reshape(tensor["shape"])})
        return encoded(body, score)

    return infer


def encoded(body: dict[str, Any], score: Any) -> dict[str, Any]:
    """The V2 answer to `body`."""
    output = {"name": "score", "shape": list(score.shape), "datatype": "FP32", "data": score.ravel().tolist()}
    return {"model_name": "bench", "id": body.get("id", ""), "outputs": [output]}


def fastapi(place: Place) -> None:
    """A pydantic model in, a dict out."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Tensor(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Body(BaseModel):
        id: str | None = None
        inputs: list[Tensor]

    app, score = FastAPI(), scorer(place.folder)

    async def infer(body: Any) -> Any:
        return score({"id": body.id, "inputs": [tensor.model_dump() for tensor in body.inputs]})

    infer.__annotations__["body"] = Body
    app.post(ROUTE)(infer)
    uvicorn.run(app, host="127.0.0.1", port=place.http, log_level="warning", access_log=False)


def asgi(place: Place) -> None:
    """uvicorn's own cost, and the session's."""
    import msgspec
    import uvicorn

    score = scorer(place.folder)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer = msgspec.json.encode(score(msgspec.json.decode((await receive())["body"])))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(app, host="127.0.0.1", port=place.http, log_level="warning", access_log=False, lifespan="off")


def serve(kind: str, place: Place) -> None:
    """Serve until a signal."""
    own = {"fastapi": fastapi, "asgi": asgi}
    if kind in own:
        own[kind](place)
    else:
        importlib.import_module(f"benchmarks.serving.rivals.{kind}_app").serve(place)


if __name__ == "__main__":
    kind, where, *numbers = sys.argv[1:]
    serve(kind, Place(Path(where), *map(int, numbers)))
