"""Requests that the API server makes to pods: for their logs, and those that it passes on to a port of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from hallmark.errors import HallmarkError
from local_cluster.problems import ApiProblem, bad_request
from local_cluster.resources import Object, dicts

if TYPE_CHECKING:
    import httpx
    from starlette.requests import Request
    from starlette.responses import Response

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_DROPPED = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
    }
)
_FOLLOW_SECONDS = 0.5


class PodBackend(Protocol):
    """The runner of the pods."""

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        """Local address of a port of a pod."""

    def log(self, namespace: str, pod: str, container: str, tail_lines: int | None = None) -> bytes:
        """Log of a container; its last lines where a number is given. `NotFound` where there is none."""


def container(pod: Object, wanted: str) -> str:
    """The container whose log is meant: the one named, else the first; 400 where it is not in the pod."""
    names = [str(item.get("name")) for item in dicts((pod.get("spec") or {}).get("containers"))]
    chosen = wanted or (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if chosen and chosen in names:
        return str(chosen)
    name = pod["metadata"]["name"]
    if wanted:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    if not names:
        raise bad_request(f"pod {name} has no containers")
    return names[0]


async def log(backend: PodBackend, pod: Object, wanted: str, *, tail: int | None, follow: bool) -> Response:
    """The log of a container as text; with `follow`, until the pod is gone or the reader goes."""
    from starlette.responses import Response, StreamingResponse

    meta = pod["metadata"]
    chosen = container(pod, wanted)
    try:
        text = await asyncio.to_thread(backend.log, meta["namespace"], meta["name"], chosen, tail)
    except HallmarkError as error:
        raise bad_request(f'container "{chosen}" in pod "{meta["name"]}" has no log: {error.message}') from error
    if not follow:
        return Response(text, media_type="text/plain")
    return StreamingResponse(_follow(backend, meta["namespace"], meta["name"], chosen, text), media_type="text/plain")


async def _follow(backend: PodBackend, namespace: str, name: str, chosen: str, text: bytes) -> AsyncIterator[bytes]:
    yield text
    try:
        seen = len(await asyncio.to_thread(backend.log, namespace, name, chosen, None))
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            whole = await asyncio.to_thread(backend.log, namespace, name, chosen, None)
            if len(whole) != seen:
                # A shorter log was turned over: what is in it now is new.
                yield whole[seen:] if len(whole) > seen else whole
                seen = len(whole)
    except HallmarkError:
        return


def target(pod_and_port: str) -> tuple[str, int | None]:
    """Pod and port in `pod`, `pod:port` or `http:pod:port`; 400 for anything else."""
    name, _, port = pod_and_port.removeprefix("http:").partition(":")
    if not name or (port and not (port.isascii() and port.isdigit() and len(port) <= 5)):
        raise bad_request(f"invalid proxy target {pod_and_port!r}: expected <pod> or <pod>:<port number>")
    return name, int(port) if port else None


def address(backend: PodBackend, pod: Object, port: int | None) -> tuple[str, int]:
    """Local address of a port of a pod, its first one where none is named; 503 where nothing listens."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    number = port or _first_port(pod)
    found = backend.address(namespace, name, number)
    if found is None:
        raise ApiProblem("ServiceUnavailable", f"pod {namespace}/{name} does not serve on port {number}")
    return found


async def forward(
    client: httpx.AsyncClient, request: Request, body: bytes, where: tuple[str, int], path: str
) -> Response:
    """Pass a request on and stream the answer back; the caller's token stays here."""
    import httpx
    from starlette.background import BackgroundTask
    from starlette.responses import StreamingResponse

    host, port = where
    query = request.url.query
    url = httpx.URL(
        f"http://{host}:{port}", raw_path=(path + (f"?{query}" if query else "")).encode("ascii", "replace")
    )
    headers = [(key, value) for key, value in request.headers.raw if key.decode("latin-1").lower() not in _DROPPED]
    # As the real one does, and so that a pod can distinguish callers on its own host.
    headers.append((b"x-forwarded-for", (request.client.host if request.client else "unknown").encode("ascii")))
    try:
        answer = await client.send(
            client.build_request(request.method, url, headers=headers, content=body),
            stream=True,
            follow_redirects=False,
        )
    except httpx.TimeoutException as error:
        raise ApiProblem("Timeout", f"the pod did not answer in time ({type(error).__name__})") from error
    except httpx.HTTPError as error:
        raise ApiProblem("ServiceUnavailable", f"error trying to reach service: {type(error).__name__}") from error
    kept = {key: value for key, value in answer.headers.items() if key.lower() not in _DROPPED}
    return StreamingResponse(
        _stream(answer), status_code=answer.status_code, headers=kept, background=BackgroundTask(answer.aclose)
    )


async def _stream(answer: httpx.Response) -> AsyncIterator[bytes]:
    import httpx

    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.HTTPError:
        # The head has been sent: a pod that dies in the middle can only cut its answer short.
        return
    finally:
        await answer.aclose()


def _first_port(pod: Object) -> int:
    for item in dicts((pod.get("spec") or {}).get("containers")):
        for port in dicts(item.get("ports")):
            if isinstance(port.get("containerPort"), int):
                return int(port["containerPort"])
    raise bad_request("the pod names no port: use <pod>:<port>")
