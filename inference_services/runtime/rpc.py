"""The gRPC adapter: the protocol's protobufs in HTTP/1.1 bodies, decoded straight to arrays and answered the way the request was asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from inference_services.protocol import pb, unary, v2
from inference_services.protocol.errors import (
    OF_HTTP,
    Forbidden,
    Grpc,
    ServeError,
    UnknownMethod,
    WrongMedia,
    WrongMethod,
)
from inference_services.protocol.schema import Outputs
from inference_services.runtime.rest import EXTENSIONS, HttpAsk, Reply
from inference_services.runtime.service import Service
from inference_services.transport.http1 import HttpRequest, HttpResponse, refusal

_INFER = unary.PREFIX + b"ModelInfer"


class Rpc:
    """inference.GRPCInferenceService for one served model; `limit` is the largest message, in bytes."""

    def __init__(self, service: Service, *, version: str, limit: int) -> None:
        self.service = service
        self.schema = service.model.schema
        self.codec = pb.ProtobufCodec(self.schema)
        self.pb = pb.protobufs()
        self.limit = limit
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
            unary.PREFIX + name.encode(): self._taking(getattr(self.pb, f"{name}Request"), call)
            for name, call in calls.items()
        }

    def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer any call, now or later; nothing is raised."""
        ask = _Infer(self, request, reply)
        if request.path == _INFER and request.method == b"POST":
            self.service.serve(ask)
            return
        begun = time.perf_counter()
        try:
            found = self._calls.get(request.path)
            if request.method != b"POST" and (found is not None or request.path == _INFER):
                raise WrongMethod("POST")
            if found is None:
                raise UnknownMethod("no such method")
            body, lines = unary.framed(found(ask.message()), request.headers)
        except Exception as error:  # noqa: BLE001  a mistake of ours is a counted INTERNAL, and the server lives on
            self.service.refused(ask, error, begun)
            return
        reply(HttpResponse(200, body, unary.MEDIA, lines))
        self.service.metrics.answered("grpc", 200, time.perf_counter() - begun)

    def unread(self, path: bytes, headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
        """A call of a method that nobody serves: its client may leave its side open, and is told at once."""
        known = not unary.is_call(headers) or path == _INFER or path in self._calls
        return None if known else (501, "no such method")

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


class _Infer(HttpAsk):
    """A call of ModelInfer, or of no method that there is."""

    __slots__ = ("_rpc",)
    protocol = "grpc"

    def __init__(self, rpc: Rpc, request: HttpRequest, reply: Reply) -> None:
        super().__init__(request, reply)
        self._rpc = rpc

    @property
    def timeout(self) -> float | None:
        gateways, clients = super().timeout, unary.seconds(self._request.headers.get(b"grpc-timeout", b""))
        return min((each for each in (gateways, clients) if each is not None), default=None)

    def message(self) -> bytes | memoryview:
        """The message that came; refuses what is no gRPC call."""
        if not unary.is_call(self._request.headers):
            raise WrongMedia("Content-Type: expected application/grpc")
        return unary.message(self._request.body, self._request.headers, limit=self._rpc.limit)

    def decode(self) -> v2.InferenceRequest:
        return self._rpc.codec.decode(self.message())

    def answer(self, request: v2.InferenceRequest, outputs: Outputs) -> int:
        message = self._rpc.codec.encode(request, outputs)
        body, lines = unary.framed(message, self._request.headers)
        self._reply(HttpResponse(200, body, unary.MEDIA, lines + request.notes))
        return len(message)

    def refuse(self, error: ServeError) -> None:
        self._reply(refused(self._request.headers, error.status, error.message, error.headers, code=error.grpc))


def refused(
    asked: Mapping[bytes, bytes], status: int, message: str, headers: bytes, *, code: Grpc | None = None
) -> HttpResponse:
    """The answer to a request that is refused, in the form in which it was asked: gRPC's, or HTTP's."""
    if not unary.is_call(asked):
        return refusal(status, message, headers)
    if headers.startswith(b"accept-encoding:"):
        headers = b"grpc-" + headers
    number = OF_HTTP.get(status, Grpc.INVALID_ARGUMENT) if code is None else code
    return HttpResponse(200, b"", unary.MEDIA, headers + unary.status(number, message))
