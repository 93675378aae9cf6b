"""The REST face: Open Inference Protocol (V2), KServe's V1, health, metadata, repository and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from inference_services.runtime import v2
from inference_services.runtime.errors import (
    BadRequest,
    Forbidden,
    ModelFault,
    NotReady,
    Overloaded,
    ServeError,
    UnknownPath,
    WrongMedia,
    WrongMethod,
)
from inference_services.runtime.http import Request, Response, refusal
from inference_services.runtime.model import Outputs
from inference_services.runtime.service import Service
from inference_services.runtime.v1 import Codec

EXTENSIONS = ["model_repository_extension", "binary_tensor_data"]
_JSON_LENGTH = b"inference-header-content-length"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_log = logging.getLogger(__name__)

Encoder = Callable[[v2.Request, Outputs], Response]


class Rest:
    """Routes of one served model."""

    def __init__(self, service: Service, *, version: str) -> None:
        self._service = service
        self._model = service.model
        self._metrics = service.metrics
        self._version = version
        self._v1 = Codec(service.model)
        self._hot = b"/v2/models/" + service.model.name.encode() + b"/infer"

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """An answer to any request; nothing is raised."""
        start = time.perf_counter()
        try:
            if request.path == self._hot and request.method == b"POST":
                answer = self._infer(request, start)
            else:
                answer = self._route(request, start)
        except ServeError as error:
            answer = self._refused(error)
        except Exception:  # noqa: BLE001  a mistake of ours is a counted 500, and the server lives on
            _log.exception("an unforeseen failure in the REST routes")
            answer = self._refused(ServeError("the server failed"))
        if isinstance(answer, Response):
            self._metrics.answered("rest", answer.status, time.perf_counter() - start)
        return answer

    def _route(self, request: Request, start: float) -> Response | Awaitable[Response]:
        try:
            parts = [str(unquote_to_bytes(part), "utf-8") for part in request.path.split(b"/")[1:]]
        except UnicodeDecodeError:
            raise UnknownPath("no such path") from None
        match parts:
            case ["v2", "models", name, "infer"]:
                self._service.check_name(name)
                return self._post(request, lambda: self._infer(request, start))
            case ["v2", "models", name, "versions", version, "infer"]:
                self._service.check_name(name, version)
                return self._post(request, lambda: self._infer(request, start))
            case ["v1", "models", call] if call.endswith(":predict"):
                self._service.check_name(call.removesuffix(":predict"))
                return self._post(request, lambda: self._predict(request, start))
            case ["v2", "repository", *rest]:
                return self._post(request, lambda: self._repository(rest))
        if request.method not in (b"GET", b"HEAD"):
            raise WrongMethod("expected GET")
        return self._look(parts)

    def _look(self, parts: list[str]) -> Response:
        match parts:
            case ["metrics"]:
                return Response(200, self._metrics.render(), _TEXT)
            case [""]:
                return _json({"status": "alive"})
            case ["v2"] | ["v2", ""]:
                return _json({"name": "hallmark-runtime", "version": self._version, "extensions": EXTENSIONS})
            case ["v2", "health", "live"]:
                return _json({"live": True})
            case ["v2", "health", "ready"]:
                return _json({"ready": self._ready()})
            case ["v2", "models"] | ["v1", "models"]:
                return _json({"models": [self._model.name]})
            case ["v2", "models", name]:
                self._service.check_name(name)
                return _json(self._model.metadata())
            case ["v2", "models", name, "versions", version]:
                self._service.check_name(name, version)
                return _json(self._model.metadata())
            case ["v2", "models", name, "ready"] | ["v1", "models", name]:
                self._service.check_name(name)
                return _json({"name": name, "ready": self._ready()})
            case ["v2", "models", name, "versions", version, "ready"]:
                self._service.check_name(name, version)
                return _json({"name": name, "ready": self._ready()})
        raise UnknownPath("no such path")

    def _ready(self) -> bool:
        if not self._service.ready:
            raise NotReady("the server is about to stop")
        return True

    def _post(
        self, request: Request, do: Callable[[], Response | Awaitable[Response]]
    ) -> Response | Awaitable[Response]:
        if request.method != b"POST":
            raise WrongMethod("expected POST")
        return do()

    def _repository(self, parts: list[str]) -> Response:
        """The repository extension over a repository of one, which only a new revision changes."""
        match parts:
            case ["index"]:
                state = "READY" if self._service.ready else "UNAVAILABLE"
                index = {"name": self._model.name, "version": self._model.version, "state": state, "reason": ""}
                return _json([index])
            case ["models", name, "load"]:
                self._service.check_name(name)
                return _json({"name": name, "load": self._ready()})
            case ["models", name, "unload"]:
                self._service.check_name(name)
                raise Forbidden("the model is fixed by its InferenceService; delete or change that")
        raise UnknownPath("no such path")

    def _infer(self, request: Request, start: float) -> Response | Awaitable[Response]:
        json_length = _json_length(request)
        decoded = v2.decode(self._model, request.body, json_length)
        return self._run(request, decoded, self._encode_v2, start)

    def _predict(self, request: Request, start: float) -> Response | Awaitable[Response]:
        if _json_length(request) is not None:
            raise BadRequest("Inference-Header-Content-Length: V1 has no binary tensors")
        return self._run(request, self._v1.decode(request.body), self._encode_v1, start)

    def _run(
        self, request: Request, decoded: v2.Request, encode: Encoder, start: float
    ) -> Response | Awaitable[Response]:
        self._metrics.observe("stage_seconds", "decode", time.perf_counter() - start)
        outputs = self._service.infer(decoded.columns, decoded.rows)
        if isinstance(outputs, asyncio.Future):
            return self._later(request, decoded, encode, outputs, start)
        return self._finish(request, decoded, encode, outputs)

    async def _later(
        self, request: Request, decoded: v2.Request, encode: Encoder, outputs: asyncio.Future[Outputs], start: float
    ) -> Response:
        try:
            answer = self._finish(request, decoded, encode, await outputs)
        except ServeError as error:
            answer = self._refused(error)
        except Exception:  # noqa: BLE001  as above: a mistake of ours is a counted 500
            _log.exception("an unforeseen failure in the REST routes")
            answer = self._refused(ServeError("the server failed"))
        self._metrics.answered("rest", answer.status, time.perf_counter() - start)
        return answer

    def _finish(self, request: Request, decoded: v2.Request, encode: Encoder, outputs: Outputs) -> Response:
        begun = time.perf_counter()
        answer = encode(decoded, outputs)
        self._metrics.observe("stage_seconds", "encode", time.perf_counter() - begun)
        if self._service.capture is not None:
            self._service.captured(
                decoded.columns,
                decoded.rows,
                outputs,
                size=len(request.body) + len(answer.body) + 512,
                client_id=decoded.id,
                trace=request.headers.get(b"traceparent", b"")[:55].decode("latin-1"),
            )
        return answer

    def _encode_v2(self, request: v2.Request, outputs: Outputs) -> Response:
        body, json_length = v2.encode(self._model, request, outputs)
        if json_length is None:
            return Response(200, body)
        return Response(
            200, body, b"application/octet-stream", b"inference-header-content-length: %d\r\n" % json_length
        )

    def _encode_v1(self, request: v2.Request, outputs: Outputs) -> Response:
        return Response(200, self._v1.encode(outputs))

    def _refused(self, error: ServeError) -> Response:
        self._metrics.add("refused", error.reason)
        if isinstance(error, ModelFault):
            _log.error("%s", error.message, exc_info=error.__cause__)
        headers = b"retry-after: %d\r\n" % error.retry_after if isinstance(error, Overloaded) else b""
        return refusal(error.status, error.message, headers)


def _json_length(request: Request) -> int | None:
    """The length of the JSON part where tensors follow it; refuses bodies that are not read here."""
    headers = request.headers
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise WrongMedia("Content-Encoding: expected none")
    media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media not in (b"", b"application/json", b"application/octet-stream"):
        raise WrongMedia("Content-Type: expected application/json or application/octet-stream")
    given = headers.get(_JSON_LENGTH)
    if given is None:
        return None
    if not given.isdigit() or len(given) > 12:
        raise BadRequest("Inference-Header-Content-Length: expected a length in bytes")
    return int(given)


def _json(value: Any) -> Response:
    return Response(200, msgspec.json.encode(value))
