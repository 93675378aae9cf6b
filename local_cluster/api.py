"""The Kubernetes API of the local cluster, as a Starlette app on the store.

    app(store, pods=backend, token=access.token.get_secret_value())

It runs on one event loop and calls the store there: every call is short. What is served is in `resources`, what a path
means in `paths`, what each request does in `writes` and `watching`, the form of answers in `forms`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hallmark.declaration.traffic import LOCAL, TrafficAdapter
from hallmark.errors import DeclarationError, HallmarkError
from local_cluster import chunks, documents, paths, problems, protobuf, proxy, resources, watching, writes
from local_cluster.body import LIMIT, RequestBody, parse
from local_cluster.chunks import number
from local_cluster.forms import Form
from local_cluster.guard import OPEN, Guard
from local_cluster.paths import ApiPath
from local_cluster.problems import ApiProblem, bad_request, not_allowed
from local_cluster.proxy import PodBackend
from local_cluster.resources import PODS, Object
from local_cluster.selectors import Selection
from local_cluster.store import ObjectStore

if TYPE_CHECKING:
    import httpx

__all__ = ["PodBackend", "app"]

_LOG = logging.getLogger(__name__)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MEDIA = (
    "application/json",
    "application/yaml",
    protobuf.MEDIA,
    writes.JSON,
    writes.MERGE,
    writes.STRATEGIC,
    writes.APPLY,
)


def app(store: ObjectStore, *, pods: PodBackend, token: str, adapter: TrafficAdapter = LOCAL) -> Starlette:
    """The API on `store`, for who has `token`; `pods` runs what is in it, and `adapter` carries its traffic."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        import httpx

        limits = httpx.Limits(max_connections=64, max_keepalive_connections=8)
        timeout = httpx.Timeout(60.0, connect=5.0)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            server.client = client
            yield

    server = _Server(store, pods, adapter)
    made = Starlette(routes=[Route("/{path:path}", server.answer, methods=_METHODS)], lifespan=lifespan)
    made.add_middleware(Guard, token=token)
    return made


class _Server:
    def __init__(self, store: ObjectStore, pods: PodBackend, adapter: TrafficAdapter) -> None:
        self.adapter = adapter
        self.store = store
        self.pods = pods
        self.client: httpx.AsyncClient | None = None

    async def answer(self, request: Request) -> Response:
        """The answer to any request; every refusal is a Status."""
        place: ApiPath | None = None
        try:
            path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0] or request.url.path
            found = _document(request, path.rstrip("/"), self.adapter)
            if found is not None:
                return found
            place = paths.place(path)
            return await self._about(request, place)
        except ApiProblem as problem:
            return _json(problem.status(), problem.code)
        except HallmarkError as error:
            resource = place.resource if place else resources.NAMESPACES
            refusal = problems.of(error, resource, place.name if place else "")
            return _json(refusal.status(), refusal.code)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - the last line: the client gets a Status, the log has the reason
            _LOG.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
            _LOG.debug("where", exc_info=True)
            return _json(ApiProblem("InternalError", "Internal error occurred").status(), 500)

    async def _about(self, request: Request, place: ApiPath) -> Response:
        if place.resource is PODS and place.subresource in ("log", "proxy"):
            return await self._pod(request, place)
        verb = paths.verb(request.method, place, watch=_true(request.query_params, "watch"))
        if verb not in place.resource.verbs:
            raise not_allowed()
        if verb == "get":
            return _json(_form(request, place).one(self._read(place)))
        if verb == "list":
            selection = _selection(request, place)
            found, version = self.store.list(place.resource.plural, namespace=place.namespace or None, labels=selection)
            shown, more = chunks.part(found, version, request.query_params)
            return _json(_form(request, place).many(shown, version, **more))
        if verb == "watch":
            return self._watch(request, place)
        return await self._write(request, place, verb)

    def _read(self, place: ApiPath) -> Object:
        return self.store.get(place.resource.plural, place.namespace, place.name)

    def _watch(self, request: Request, place: ApiPath) -> Response:
        query = request.query_params
        wanted = watching.Watch(
            kind=place.resource.plural,
            namespace=place.namespace or None,
            selection=_selection(request, place),
            since=number(query, "resourceVersion"),
            seconds=float(number(query, "timeoutSeconds") or 0) or None,
            bookmarks=_true(query, "allowWatchBookmarks"),
            initial=_true(query, "sendInitialEvents"),
        )
        stream = watching.lines(self.store, wanted, form=_form(request, place))
        return StreamingResponse(stream, media_type="application/json", headers={"cache-control": "no-cache"})

    async def _write(self, request: Request, place: ApiPath, verb: str) -> Response:
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        form = _form(request, place)
        call = writes.ApiCall(
            resource=place.resource,
            namespace=place.namespace,
            name=place.name,
            subresource=place.subresource,
            query=request.query_params,
            agent=request.headers.get("user-agent", ""),
            body=await _body(request, media, needed=verb not in ("delete", "deletecollection")),
            mode=self.adapter.mode,
        )
        code = 200
        try:
            if verb == "create":
                obj, code = writes.create(self.store, call), 201
            elif verb == "update":
                obj = writes.replace(self.store, call)
            elif verb == "patch":
                obj, made = writes.patch(self.store, call, media)
                code = 201 if made else 200
            elif verb == "delete":
                obj = writes.delete(self.store, call)
            else:
                gone = writes.delete_all(self.store, call, _selection(request, place))
                return _json(form.many(gone, self.store.version))
        except HallmarkError as error:
            raise writes.refused(error, call) from error
        answer = _json(obj if obj.get("kind") == "Status" else form.one(obj), code)
        for words in call.warnings[:20]:
            answer.headers.append("warning", f"299 - {json.dumps(words[:400])}")
        return answer

    async def _pod(self, request: Request, place: ApiPath) -> Response:
        query = request.query_params
        if place.subresource == "log":
            if request.method != "GET":
                raise not_allowed()
            lines = number(query, "tailLines")
            return await proxy.log(
                self.pods,
                self._read(place),
                query.get("container", ""),
                tail=int(lines) if lines else None,
                follow=_true(query, "follow"),
            )
        name, port = proxy.target(place.name)
        where = proxy.address(self.pods, self.store.get("pods", place.namespace, name), port)
        body = await _bytes(request)
        if self.client is None:
            raise ApiProblem("ServiceUnavailable", "the server is starting or stopping")
        return await proxy.forward(self.client, request, body, where, place.rest or "/")


def _document(request: Request, path: str, adapter: TrafficAdapter) -> Response | None:
    if path in OPEN:
        return PlainTextResponse("ok")
    headers = request.headers
    found = documents.find(path, accept=headers.get("accept", ""), host=headers.get("host", ""), adapter=adapter)
    if found is None:
        return None
    if request.method not in ("GET", "HEAD"):
        raise not_allowed()
    content, media = found
    if isinstance(content, bytes):
        return Response(content, media_type=media)
    return _json(content, media=media)


def _form(request: Request, place: ApiPath) -> Form:
    include = request.query_params.get("includeObject", "")
    return Form.asked(request.headers.get("accept", ""), place.resource, include=include)


def _selection(request: Request, place: ApiPath) -> Selection:
    query = request.query_params
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    try:
        return Selection.parse(labels, fields, kind=place.resource.plural)
    except DeclarationError as error:
        raise bad_request(error.message) from error


def _true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "") in ("true", "1", "True")


async def _bytes(request: Request) -> bytes:
    stated = request.headers.get("content-length", "")
    too_large = ApiProblem("RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")
    if stated.isdigit() and int(stated) > LIMIT:
        raise too_large
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LIMIT:
            raise too_large
    return bytes(raw)


async def _body(request: Request, media: str, *, needed: bool) -> RequestBody:
    raw = await _bytes(request)
    if not raw.strip():
        if needed:
            raise bad_request("the request has no body")
        return RequestBody(None)
    if media not in _MEDIA:
        raise ApiProblem(
            "UnsupportedMediaType",
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(_MEDIA)}",
        )
    return parse(raw, media=media)


def _json(content: Any, code: int = 200, *, media: str = "application/json") -> Response:
    return Response(json.dumps(content, separators=(",", ":")), status_code=code, media_type=media)
