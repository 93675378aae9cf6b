"""The Kubernetes API of the cluster of one, as a Starlette app on the store.

    app(store, pods=backend, token=access.token.get_secret_value())

It runs on one event loop and calls the store there: every call is short. What is served is in `resources`, what each
request does in `writes` and `watching`; this module finds out which it is, and in what form it answers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hallmark.errors import DeclarationError, HallmarkError
from hallmark.local import discovery, openapi, problems, protobuf, proxy, resources, watching, writes
from hallmark.local import table as tables
from hallmark.local.body import LIMIT, Body, parse
from hallmark.local.guard import OPEN, Guard
from hallmark.local.problems import Problem, bad_request, no_such_path
from hallmark.local.proxy import PodBackend
from hallmark.local.resources import NEW_EVENTS, PODS, Object, Resource
from hallmark.local.selectors import Selection
from hallmark.local.store import Store

if TYPE_CHECKING:
    import httpx

__all__ = ["PodBackend", "app"]

_LOG = logging.getLogger(__name__)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_SUBRESOURCES = ("status", "finalize")
_MEDIA = (
    "application/json",
    "application/yaml",
    protobuf.MEDIA,
    writes.JSON,
    writes.MERGE,
    writes.STRATEGIC,
    *writes.APPLY,
)


def app(store: Store, *, pods: PodBackend, token: str) -> Starlette:
    """The API on `store`, for who has `token`; `pods` runs what is in it."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        import httpx

        limits = httpx.Limits(max_connections=64, max_keepalive_connections=8)
        timeout = httpx.Timeout(60.0, connect=5.0)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            server.client = client
            yield

    server = _Server(store, pods)
    made = Starlette(routes=[Route("/{path:path}", server.answer, methods=_METHODS)], lifespan=lifespan)
    made.add_middleware(Guard, token=token)
    return made


@dataclass(frozen=True)
class _Place:
    """What a path names; `name` is "" for all of a kind, `rest` what comes after the subresource."""

    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""
    rest: str = ""


@dataclass(frozen=True)
class _Form:
    """How the answer is to look: plain, Table or PartialObjectMetadata."""

    kind: str = ""
    version: str = ""
    group: str = ""


class _Server:
    def __init__(self, store: Store, pods: PodBackend) -> None:
        self.store = store
        self.pods = pods
        self.client: httpx.AsyncClient | None = None

    async def answer(self, request: Request) -> Response:
        """The answer to any request; every refusal is a Status."""
        place: _Place | None = None
        try:
            path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0] or request.url.path
            found = self._fixed(request, path)
            if found is not None:
                return found
            place = _place(path)
            return await self._about(request, place)
        except Problem as problem:
            return _refusal(problem)
        except HallmarkError as error:
            resource = place.resource if place else resources.NAMESPACES
            return _refusal(problems.of(error, resource, place.name if place else ""))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - the last line: the client gets a Status, the log says what it was
            _LOG.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
            _LOG.debug("where", exc_info=True)
            return _refusal(Problem("InternalError", "Internal error occurred"))

    def _fixed(self, request: Request, path: str) -> Response | None:
        """What does not depend on the store: discovery, OpenAPI, health."""
        path = path.rstrip("/") or "/"
        if path in OPEN:
            return PlainTextResponse("ok")
        answer = _document(path, request)
        if answer is None:
            return None
        if request.method not in ("GET", "HEAD"):
            raise Problem("MethodNotAllowed", "the server does not allow this method on the requested resource")
        return answer

    async def _about(self, request: Request, place: _Place) -> Response:
        if place.resource is PODS and place.subresource in ("log", "proxy"):
            return await self._pod(request, place)
        verb = _verb(request, place)
        if verb not in place.resource.verbs:
            raise Problem("MethodNotAllowed", "the server does not allow this method on the requested resource")
        if verb == "get":
            return _shape(self._read(place), place.resource, _form(request), request)
        if verb == "list":
            return self._list(request, place)
        if verb == "watch":
            return self._watch(request, place)
        return await self._write(request, place, verb)

    def _read(self, place: _Place) -> Object:
        found = self.store.get(place.resource.plural, place.namespace, place.name)
        return _told(found, place.resource)

    def _list(self, request: Request, place: _Place) -> Response:
        selection = _selection(request, place)
        found, version = self.store.list(place.resource.plural, namespace=place.namespace or None, labels=selection)
        items = [_told(obj, place.resource) for obj in found]
        return _shape_list(items, version, place.resource, _form(request), request)

    def _watch(self, request: Request, place: _Place) -> Response:
        query, form = request.query_params, _form(request)
        wanted = watching.Watch(
            kind=place.resource.plural,
            namespace=place.namespace or None,
            selection=_selection(request, place),
            since=_number(query, "resourceVersion"),
            seconds=float(_number(query, "timeoutSeconds") or 0) or None,
            bookmarks=_true(query, "allowWatchBookmarks"),
            initial=_true(query, "sendInitialEvents"),
        )
        include = query.get("includeObject", "Metadata")
        resource = place.resource

        def present(obj: Object) -> Object:
            told = _told(obj, resource)
            if form.kind == "Table":
                return tables.table([told], resource, version=told["metadata"]["resourceVersion"], include=include)
            return tables.partial(told) if form.kind == "PartialObjectMetadata" else told

        def mark(obj: Object) -> Object:
            if form.kind == "Table":
                return tables.table([], resource, version=obj["metadata"]["resourceVersion"])
            return {"kind": resource.kind, "apiVersion": resource.api_version, **obj}

        stream = watching.lines(self.store, wanted, present=present, mark=mark)
        return StreamingResponse(stream, media_type="application/json", headers={"cache-control": "no-cache"})

    async def _write(self, request: Request, place: _Place, verb: str) -> Response:
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        call = writes.Call(
            resource=place.resource,
            namespace=place.namespace,
            name=place.name,
            subresource=place.subresource,
            query=request.query_params,
            agent=request.headers.get("user-agent", ""),
            body=await _body(request, media, needed=verb not in ("delete", "deletecollection")),
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
                return _shape_list(gone, self.store.version, place.resource, _form(request), request)
        except HallmarkError as error:
            raise writes.refused(error, call) from error
        answer = (
            _shape(obj, place.resource, _form(request), request) if obj.get("kind") != "Status" else JSONResponse(obj)
        )
        answer.status_code = code
        for words in call.warnings[:20]:
            answer.headers.append("warning", f"299 - {json.dumps(words[:400])}")
        return answer

    async def _pod(self, request: Request, place: _Place) -> Response:
        query = request.query_params
        if place.subresource == "log":
            if request.method != "GET":
                raise Problem("MethodNotAllowed", "the server does not allow this method on the requested resource")
            pod = self._read(place)
            tail = int(_number(query, "tailLines") or -1)
            follow = _true(query, "follow")
            return await proxy.log(
                self.pods, pod, query.get("container", ""), tail=None if tail < 0 else tail, follow=follow
            )
        name, port = proxy.target(place.name)
        where = proxy.address(self.pods, self.store.get("pods", place.namespace, name), port)
        body = await _bytes(request)
        if self.client is None:
            raise Problem("ServiceUnavailable", "the server is starting or stopping")
        return await proxy.forward(self.client, request, body, where, place.rest or "/")


def _document(path: str, request: Request) -> Response | None:
    parts = path.strip("/").split("/")
    accepts = request.headers.get("accept", "")
    if path in ("/api", "/apis"):
        for version in ("v2", "v2beta1"):
            media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            if any(_parameters(each) == _parameters(media) for each in accepts.split(",")):
                return JSONResponse(discovery.aggregated(core=path == "/api", version=version), media_type=media)
        host = request.headers.get("host", "")
        return JSONResponse(discovery.core_versions(host) if path == "/api" else discovery.group_list())
    if path == "/version":
        return JSONResponse(discovery.VERSION)
    if path == "/openapi/v3":
        return JSONResponse(openapi.index())
    if path == "/openapi/v2":
        if "json" not in accepts and "*/*" not in accepts and accepts:
            raise Problem("NotAcceptable", "only application/json is served of OpenAPI v2; use /openapi/v3")
        return JSONResponse(openapi.version_two())
    known = [("", "v1"), *discovery.groups()]
    if parts[:2] == ["openapi", "v3"]:
        for group, version in known:
            if parts[2:] == (["apis", group, version] if group else ["api", version]):
                return JSONResponse(openapi.document(group, version))
        raise no_such_path()
    for group, version in known:
        if parts == (["apis", group, version] if group else ["api", version]):
            return JSONResponse(discovery.resource_list(group, version))
        if group and parts == ["apis", group]:
            return JSONResponse(discovery.group(group, version))
    return None


def _place(path: str) -> _Place:
    try:
        parts = [unquote(part, errors="strict") for part in path.strip("/").split("/")]
    except UnicodeDecodeError:
        raise bad_request("the path is not UTF-8") from None
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_path()
    if "" in rest[:4]:
        raise no_such_path()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in _SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    resource = resources.find(group, version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    sub = rest[2] if len(rest) > 2 else ""
    if name and resource.namespaced and not namespace:
        raise no_such_path()
    known = {each for each, _, _ in resource.subresources} | ({"status"} if resource.status else set())
    if sub and (sub not in known or (len(rest) > 3 and sub != "proxy")):
        raise no_such_path()
    # As it was written: what is passed on to a pod is not decoded here.
    after = "/" + "/".join(path.lstrip("/").split("/")[len(parts) - len(rest) + 3 :])
    return _Place(resource, namespace, name, sub, after)


def _verb(request: Request, place: _Place) -> str:
    method = request.method
    if method in ("GET", "HEAD"):
        if place.name:
            return "get"
        return "watch" if _true(request.query_params, "watch") else "list"
    verbs = (
        {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        if place.name
        else {"POST": "create", "DELETE": "deletecollection"}
    )
    if place.subresource and method == "DELETE":
        return ""
    if method == "POST" and place.resource.namespaced and not place.namespace:
        return ""
    return verbs.get(method, "")


def _selection(request: Request, place: _Place) -> Selection:
    query = request.query_params
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    try:
        return Selection.parse(labels, fields, kind=place.resource.plural)
    except DeclarationError as error:
        raise bad_request(error.message) from error


def _number(query: Mapping[str, str], name: str) -> str:
    text = query.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise bad_request(f"{name}: Invalid value: {text[:60]!r}: expected a whole number")
    return text


def _true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "") in ("true", "1", "True")


async def _bytes(request: Request) -> bytes:
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > LIMIT:
        raise Problem("RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LIMIT:
            raise Problem("RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")
    return bytes(raw)


async def _body(request: Request, media: str, *, needed: bool) -> Body:
    raw = await _bytes(request)
    if not raw.strip():
        if needed:
            raise bad_request("the request has no body")
        return Body(None)
    if media not in _MEDIA:
        raise Problem(
            "UnsupportedMediaType",
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(_MEDIA)}",
        )
    return parse(raw, media=media)


def _form(request: Request) -> _Form:
    """The first form of the Accept header that is served here."""
    header = request.headers.get("accept", "*/*")
    for written in header.split(","):
        media, parameters = _parameters(written)
        if media not in ("application/json", "application/*", "*/*", "application/yaml"):
            continue
        form = _Form(parameters.get("as", ""), parameters.get("v", ""), parameters.get("g", ""))
        if form.kind in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return _Form(form.kind.removesuffix("List"), form.version, form.group)
    raise Problem("NotAcceptable", "only the following media types are accepted: application/json")


def _parameters(written: str) -> tuple[str, dict[str, str]]:
    media, *rest = (part.strip() for part in written.split(";"))
    found = dict(part.partition("=")[::2] for part in rest if "=" in part)
    found.pop("q", None)
    return media.lower(), found


def _told(obj: Object, resource: Resource) -> Object:
    """An object of the store as the resource tells it: events have two tellings."""
    if resource is not NEW_EVENTS:
        return obj
    told: Object = {
        key: obj[key] for key in ("metadata", "reason", "type", "action", "related", "reportingInstance") if key in obj
    }
    return {
        "apiVersion": NEW_EVENTS.api_version,
        "kind": NEW_EVENTS.kind,
        **told,
        "eventTime": obj.get("eventTime"),
        "regarding": obj.get("involvedObject", {}),
        "note": obj.get("message", ""),
        "reportingController": obj.get("reportingComponent", ""),
        "deprecatedCount": obj.get("count", 1),
        "deprecatedFirstTimestamp": obj.get("firstTimestamp"),
        "deprecatedLastTimestamp": obj.get("lastTimestamp"),
        "deprecatedSource": obj.get("source", {}),
    }


def _shape(obj: Object, resource: Resource, form: _Form, request: Request) -> Response:
    if form.kind == "Table":
        include = request.query_params.get("includeObject", "Metadata")
        version = str(obj["metadata"].get("resourceVersion", ""))
        return _json(tables.table([obj], resource, version=version, include=include))
    return _json(tables.partial(obj) if form.kind else obj)


def _shape_list(items: list[Object], version: str, resource: Resource, form: _Form, request: Request) -> Response:
    if form.kind == "Table":
        include = request.query_params.get("includeObject", "Metadata")
        return _json(tables.table(items, resource, version=version, include=include))
    kind, api_version = resource.kind + "List", resource.api_version
    if form.kind:
        items = [tables.partial(obj) for obj in items]
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    return _json({"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": version}, "items": items})


def _json(content: Any) -> Response:
    return Response(json.dumps(content, separators=(",", ":")), media_type="application/json")


def _refusal(problem: Problem) -> Response:
    answer = _json(problem.status())
    answer.status_code = problem.code
    return answer
