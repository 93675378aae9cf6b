"""The gRPC adapter: the protocol's protobufs, decoded straight to arrays and answered the way the request was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from inference_services.protocol import pb, v2
from inference_services.protocol.errors import Forbidden, ServeError, UnknownPath, WrongMethod
from inference_services.protocol.schema import Outputs
from inference_services.runtime.rest import EXCHANGE, EXTENSIONS, SHADOW
from inference_services.runtime.service import Service
from inference_services.transport.http2 import GrpcCall, GrpcReply

_SERVICE = "inference.GRPCInferenceService"
_INFER = f"/{_SERVICE}/ModelInfer".encode()
Answer = Callable[[GrpcReply], None]


class Rpc:
    """inference.GRPCInferenceService and grpc.health.v1.Health for one served model."""

    def __init__(self, service: Service, *, version: str) -> None:
        self.service = service
        self.schema = service.model.schema
        self.codec = pb.ProtobufCodec(self.schema)
        self.pb = pb.protobufs()
        self._version = version
        calls = {
            "ServerLive": lambda _: self.pb.ServerLiveResponse(live=True),
            "ServerReady": lambda _: self.pb.ServerReadyResponse(ready=service.ready),
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        self._calls: dict[bytes, Callable[[Any], bytes]] = {
            f"/{_SERVICE}/{name}".encode(): self._taking(getattr(self.pb, f"{name}Request"), call)
            for name, call in calls.items()
        }
        self._calls[b"/grpc.health.v1.Health/Check"] = self._health

    def __call__(self, call: GrpcCall, reply: Answer) -> None:
        """Answer any call, now or later; nothing is raised."""
        ask = _Infer(self, call, reply)
        if call.path == _INFER:
            self.service.serve(ask)
            return
        begun = time.perf_counter()
        try:
            found = self._calls.get(call.path)
            if found is None:
                raise WrongMethod("no such method")
            message = found(call.message)
        except Exception as error:  # noqa: BLE001  a mistake of ours is a counted INTERNAL, and the server lives on
            self.service.refused(ask, error, begun)
            return
        reply(GrpcReply(message))
        self.service.metrics.answered("grpc", 200, time.perf_counter() - begun)

    def _taking(self, kind: Any, call: Callable[[Any], Any]) -> Callable[[Any], bytes]:
        return lambda message: call(pb.parsed(kind, message)).SerializeToString()  # type: ignore[no-any-return]

    def _server_metadata(self, _request: Any) -> Any:
        return self.pb.ServerMetadataResponse(name="hallmark-runtime", version=self._version, extensions=EXTENSIONS)

    def _model_ready(self, request: Any) -> Any:
        self.schema.check_name(request.name, request.version)
        return self.pb.ModelReadyResponse(ready=self.service.ready)

    def _model_metadata(self, request: Any) -> Any:
        self.schema.check_name(request.name, request.version)
        return self.pb.ModelMetadataResponse(**self.schema.metadata())

    def _load(self, request: Any) -> Any:
        self.schema.check_name(request.model_name)
        loaded = self.service.check_ready()
        return self.pb.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=loaded)

    def _unload(self, request: Any) -> Any:
        self.schema.check_name(request.model_name)
        raise Forbidden("the model is fixed by its InferenceService; delete or change that")

    def _health(self, message: bytes | memoryview) -> bytes:
        """HealthCheckResponse to a HealthCheckRequest: one string, the service, in; 1 for serving or 2 for not out."""
        asked = bytes(message)
        if asked not in (b"", b"\x0a\0", b"\x0a" + bytes((len(_SERVICE),)) + _SERVICE.encode()):
            raise UnknownPath(f"no such service; this server has {_SERVICE}")
        return b"\x08\x01" if self.service.ready else b"\x08\x02"


class _Infer:
    """A call of ModelInfer, or of no method that there is."""

    __slots__ = ("_call", "_reply", "_rpc")
    protocol = "grpc"

    def __init__(self, rpc: Rpc, call: GrpcCall, reply: Answer) -> None:
        self._rpc = rpc
        self._call = call
        self._reply = reply

    @property
    def size(self) -> int:
        return len(self._call.message)

    @property
    def timeout(self) -> float | None:
        return self._call.timeout

    @property
    def context(self) -> tuple[str, str]:
        headers = self._call.headers
        return headers.get(b"traceparent", b"").decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1")

    @property
    def exchange(self) -> tuple[str, str]:
        headers = self._call.headers
        return headers.get(EXCHANGE, b"").decode("latin-1"), headers.get(SHADOW, b"").decode("latin-1")

    def decode(self) -> v2.InferenceRequest:
        return self._rpc.codec.decode(self._call.message)

    def answer(self, request: v2.InferenceRequest, outputs: Outputs) -> int:
        message = self._rpc.codec.encode(request, outputs)
        self._reply(GrpcReply(message))
        return len(message)

    def refuse(self, error: ServeError) -> None:
        self._reply(GrpcReply(status=error.grpc, text=error.message))
