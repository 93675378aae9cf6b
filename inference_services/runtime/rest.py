"""The REST adapter: Open Inference Protocol (V2), KServe's V1, health, metadata, repository, metrics and the OpenAPI document."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from inference_services.capture.exchanges import EXCHANGE
from inference_services.protocol import errors, openapi, unary, v2
from inference_services.protocol.coding import opened
from inference_services.protocol.schema import Outputs
from inference_services.protocol.v1 import V1Codec
from inference_services.runtime.service import Service
from inference_services.transport.http1 import Handler, HttpRequest, HttpResponse, refusal

EXTENSIONS = ["model_repository_extension", "binary_tensor_data"]
_JSON_LENGTH = b"inference-header-content-length"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_BINARY = b"application/octet-stream"
_READS = "GET", "HEAD"
_MEDIA = frozenset((b"", b"application/json", _BINARY, b"application/x-www-form-urlencoded"))  # the last is `curl -d`

Reply = Callable[[HttpResponse], None]


class Rest:
    """Routes of one served model. `calls` gets the requests below gRPC's path; `limit` is the largest body, in bytes."""

    def __init__(self, service: Service, *, version: str, limit: int, calls: Handler) -> None:
        self.service = service
        self.schema = service.model.schema
        self.v1 = V1Codec(self.schema)
        self.limit = limit
        self._version = version
        self._calls = calls
        self._hot = b"/v2/models/" + self.schema.name.encode() + b"/infer"
        self._items = b"/v2/models/" + self.schema.name.encode() + b"/items"

    def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer any request, now or later; nothing is raised."""
        ask = _V2(self, request, reply)
        if request.path == self._hot and request.method == b"POST":
            self.service.serve(ask)
            return
        if request.path.startswith(unary.PREFIX):
            self._calls(request, reply)
            return
        begun = time.perf_counter()
        try:
            found = self._route(request, reply)
        except Exception as error:  # noqa: BLE001  a mistake of ours is a counted 500, and the server lives on
            self.service.refused(ask, error, begun)
            return
        if isinstance(found, HttpResponse):
            reply(found)
            self.service.metrics.answered("rest", found.status, time.perf_counter() - begun)
        elif isinstance(found, _Items):
            self.service.change(found)
        else:
            self.service.serve(found)

    def _route(self, request: HttpRequest, reply: Reply) -> HttpResponse | _V2 | _Items:
        try:
            parts = [str(unquote_to_bytes(part), "utf-8") for part in request.path.split(b"/")[1:]]
        except UnicodeDecodeError:
            raise errors.UnknownPath("no such path") from None
        adapter: type[_V2] = _V2
        match parts:
            case ["v2", "models", name, "infer"]:
                self.schema.check_name(name)
            case ["v2", "models", name, "versions", version, "infer"]:
                self.schema.check_name(name)
                _expect(request, "POST")
                self.schema.check_name(name, version)
            case ["v2", "models", name, "items"]:
                self.schema.check_name(name)
                _expect(request, "POST")
                if request.path != self._items:  # written otherwise, a mesh's rule for the path would not know it
                    raise errors.UnknownPath("no such path")
                if EXCHANGE in request.headers:
                    raise errors.Forbidden("items are changed from within the domain, never through the gateway")
                return _Items(self, request, reply)
            case ["v1", "models", call] if call.endswith(":predict"):
                self.schema.check_name(call.removesuffix(":predict"))
                adapter = _V1
            case ["v2", "repository", *rest]:
                found = self._repository(rest)
                _expect(request, "POST")
                return found
            case _:
                found = self._describe(request, parts)
                _expect(request, *_READS)
                return found
        _expect(request, "POST")
        return adapter(self, request, reply)

    def _describe(self, request: HttpRequest, parts: list[str]) -> HttpResponse:
        match parts:
            case ["metrics"]:
                if self.service.capture is not None:
                    self.service.capture.gather()
                return HttpResponse(200, self.service.metrics.render(), _TEXT)
            case [""]:
                return _json({"status": "alive"})
            case ["openapi.json"]:
                return self._document
            case ["v2"] | ["v2", ""]:
                return _json({"name": "hallmark-runtime", "version": self._version, "extensions": EXTENSIONS})
            case ["v2", "health", "live"]:
                return _json({"live": True})
            case ["v2", "health", "ready"]:
                return _json({"ready": self.service.check_ready()})
            case ["v2", "models"] | ["v1", "models"]:
                return _json({"models": [self.schema.name]})
            case ["v1", "models", name]:
                return self._about(request, name, ["ready"])
            case ["v2", "models", name, *rest]:
                return self._about(request, name, rest)
        raise errors.UnknownPath("no such path")

    @cached_property
    def _document(self) -> HttpResponse:
        return _json(openapi.document(self.schema, server=self._version))

    def _about(self, request: HttpRequest, name: str, rest: list[str]) -> HttpResponse:
        self.schema.check_name(name)
        match rest:
            case [] | ["ready"]:
                pass
            case ["versions", version] | ["versions", version, "ready"]:
                _expect(request, *_READS)
                self.schema.check_name(name, version)
            case _:
                raise errors.UnknownPath("no such path")
        return _json(
            {"name": name, "ready": self.service.check_ready()} if rest[-1:] == ["ready"] else self.schema.metadata()
        )

    def _repository(self, parts: list[str]) -> HttpResponse:
        """The repository extension over a repository of one, which only a new revision changes."""
        match parts:
            case ["index"]:
                state = "READY" if self.service.ready else "UNAVAILABLE"
                index = {"name": self.schema.name, "version": self.schema.version, "state": state, "reason": ""}
                return _json([index])
            case ["models", name, "load"]:
                self.schema.check_name(name)
                return _json({"name": name, "load": self.service.check_ready()})
            case ["models", name, "unload"]:
                self.schema.check_name(name)
                raise errors.Forbidden("the model is fixed by its InferenceService; delete or change that")
        raise errors.UnknownPath("no such path")


class HttpAsk:
    """What an HTTP request carries besides its tensors."""

    __slots__ = ("_reply", "_request", "size")

    def __init__(self, request: HttpRequest, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self.size = len(request.body)

    @property
    def timeout(self) -> float | None:
        given = self._request.headers.get(b"x-envoy-expected-rq-timeout-ms")
        return int(given) / 1000 if given is not None and given.isdigit() and 0 < len(given) < 10 else None

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return self._request.headers


class _V2(HttpAsk):
    """A request to the infer route, or to no route that there is."""

    __slots__ = ("_rest",)
    protocol = "rest"

    def __init__(self, rest: Rest, request: HttpRequest, reply: Reply) -> None:
        self._rest = rest
        self._request = request
        self._reply = reply
        self.size = len(request.body)

    def decode(self) -> v2.InferenceRequest:
        json_length = _json_length(self._request)
        return v2.decode(self._rest.schema, self.body(), json_length)

    def body(self) -> bytes:
        """The body without its coding."""
        return _opened(self._request, self._rest.limit)

    def answer(self, request: v2.InferenceRequest, outputs: Outputs) -> int:
        body, json_length = v2.encode(self._rest.schema, request, outputs)
        if json_length is None:
            self._reply(HttpResponse(200, body, headers=request.notes))
        else:
            lines = b"%b: %d\r\n%b" % (_JSON_LENGTH, json_length, request.notes)
            self._reply(HttpResponse(200, body, _BINARY, lines))
        return len(body)

    def refuse(self, error: errors.ServeError) -> None:
        self._reply(refusal(error.status, error.message, error.headers))


class _Items(HttpAsk):
    """A request to the route that changes items."""

    __slots__ = ("_rest",)

    def __init__(self, rest: Rest, request: HttpRequest, reply: Reply) -> None:
        super().__init__(request, reply)
        self._rest = rest

    def body(self) -> bytes:
        """The body without its coding."""
        if _json_length(self._request) is not None:
            raise errors.BadRequest("Inference-Header-Content-Length: items have no binary tensors")
        return _opened(self._request, self._rest.limit)

    def done(self, position: int) -> None:
        """Send the acknowledgement."""
        self._reply(_json({"position": position}))

    def refuse(self, error: errors.ServeError) -> None:
        """Send why nothing was changed."""
        self._reply(refusal(error.status, error.message, error.headers))


class _V1(_V2):
    """A request to the predict route."""

    __slots__ = ()

    def decode(self) -> v2.InferenceRequest:
        if _json_length(self._request) is not None:
            raise errors.BadRequest("Inference-Header-Content-Length: V1 has no binary tensors")
        return self._rest.v1.decode(self.body())

    def answer(self, request: v2.InferenceRequest, outputs: Outputs) -> int:
        body = self._rest.v1.encode(outputs)
        self._reply(HttpResponse(200, body, headers=request.notes))
        return len(body)


def _opened(request: HttpRequest, limit: int) -> bytes:
    coding = request.headers.get(b"content-encoding")
    if coding is None or coding == b"identity":
        return request.body
    return opened(request.body, coding.lower(), where="Content-Encoding", limit=limit)


def _expect(request: HttpRequest, *methods: str) -> None:
    if request.method.decode("ascii") not in methods:
        raise errors.WrongMethod(*methods)


def _json_length(request: HttpRequest) -> int | None:
    """The length of the JSON part where tensors follow it; refuses bodies that are not read here."""
    headers = request.headers
    media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media not in _MEDIA:
        raise errors.WrongMedia("Content-Type: expected application/json or application/octet-stream")
    given = headers.get(_JSON_LENGTH)
    if given is None:
        return None
    if not given.isdigit() or len(given) > 12:
        raise errors.BadRequest("Inference-Header-Content-Length: expected a length in bytes")
    return int(given)


def _json(value: Any) -> HttpResponse:
    return HttpResponse(200, msgspec.json.encode(value))
