"""What the benchmark compares: `python -m benchmarks.serving.contenders NAME FOLDER HTTP_PORT GRPC_PORT` serves one.

stock:   the KServe SDK's own server around the bare session, as its documentation writes one.
fastapi: a pydantic model in, a dict out.
asgi:    a bare route on uvicorn with msgspec and no check at all: what uvicorn alone costs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def session(folder: Path) -> Any:
    """The bare ONNX session, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


def stock(folder: Path, http_port: int, grpc_port: int) -> None:
    """KServe's ModelServer."""
    import kserve

    class Bare(kserve.Model):  # type: ignore[misc]
        def load(self) -> bool:
            self.session = session(folder)
            self.ready = True
            return True

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            (score,) = self.session.run(["score"], {"input": payload.inputs[0].as_numpy()})
            output = kserve.InferOutput("score", list(score.shape), "FP32")
            output.set_data_from_numpy(score, binary_data=False)
            return kserve.InferResponse(
                payload.id or "none",
                self.name,
                [output],
                requested_outputs=payload.request_outputs,
                use_binary_outputs=payload.use_binary_outputs,
            )

    model = Bare("bench")
    model.load()
    kserve.ModelServer(http_port=http_port, grpc_port=grpc_port, workers=1, enable_latency_logging=False).start([model])


def fastapi(folder: Path, http_port: int, grpc_port: int) -> None:
    """What most people write."""
    import numpy as np
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

    app, run = FastAPI(), session(folder).run

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    async def infer(body: Any) -> Any:
        (tensor,) = body.inputs
        (score,) = run(["score"], {"input": np.array(tensor.data, np.float32).reshape(tensor.shape)})
        data = score.ravel().tolist()
        return {"id": body.id, "outputs": [{"name": "score", "shape": score.shape, "datatype": "FP32", "data": data}]}

    infer.__annotations__["body"] = Body
    app.post("/v2/models/bench/infer")(infer)
    uvicorn.run(app, host="127.0.0.1", port=http_port, log_level="warning", access_log=False)


def asgi(folder: Path, http_port: int, grpc_port: int) -> None:
    """uvicorn's own cost, and the session's."""
    import msgspec
    import numpy as np
    import uvicorn

    run = session(folder).run

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive()).get("body") if scope["type"] == "http" and scope["method"] == "POST" else b""
        data: Any = {"ready": True}
        if body:
            (tensor,) = msgspec.json.decode(body)["inputs"]
            (score,) = run(["score"], {"input": np.array(tensor["data"], np.float32).reshape(tensor["shape"])})
            data = {"outputs": [{"name": "score", "shape": score.shape, "data": score.ravel().tolist()}]}
        answer = msgspec.json.encode(data)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(app, host="127.0.0.1", port=http_port, log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    name, folder, http_port, grpc_port = sys.argv[1:]
    {"stock": stock, "fastapi": fastapi, "asgi": asgi}[name](Path(folder), int(http_port), int(grpc_port))
