"""API answers that need no store: discovery and OpenAPI."""

from __future__ import annotations

from hallmark.declaration.traffic import LOCAL, TrafficAdapter
from local_cluster import discovery, openapi, openapi_protobuf
from local_cluster.forms import parameters
from local_cluster.problems import ApiProblem, no_such_path
from local_cluster.resources import Object

JSON = "application/json"


def find(path: str, *, accept: str, host: str, adapter: TrafficAdapter = LOCAL) -> tuple[Object | bytes, str] | None:
    """The document at `path`, as an object or in its own encoding, and its media type; none where objects are served, 404 for an OpenAPI that is not there."""
    if path in ("/api", "/apis"):
        return _groups(accept, host, core=path == "/api")
    if path == "/version":
        return discovery.version(adapter), JSON
    if path == "/openapi/v2" and "json" not in accept and "protobuf" in accept:
        return openapi_protobuf.version_two(), openapi_protobuf.MEDIA
    if path.startswith("/openapi/"):
        return _openapi(path, accept), JSON
    parts = path.strip("/").split("/")
    for group, version in _known():
        if parts == _parts(group, version):
            return discovery.resource_list(group, version), JSON
        if group and parts == ["apis", group]:
            return discovery.group(group), JSON
    return None


def _groups(accept: str, host: str, *, core: bool) -> tuple[Object, str]:
    for version in ("v2", "v2beta1"):
        media = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        if any(parameters(each) == parameters(media) for each in accept.split(",")):
            return discovery.aggregated(core=core, version=version), media
    return (discovery.core_versions(host) if core else discovery.group_list()), JSON


def _openapi(path: str, accept: str) -> Object:
    if path == "/openapi/v3":
        return openapi.index()
    if path == "/openapi/v2":
        if accept and "json" not in accept and "*/*" not in accept:
            raise ApiProblem("NotAcceptable", f"only {JSON} and {openapi_protobuf.MEDIA} are served of OpenAPI v2")
        return openapi.version_two()
    for group, version in _known():
        if path.strip("/").split("/") == ["openapi", "v3", *_parts(group, version)]:
            return openapi.document(group, version)
    raise no_such_path()


def _known() -> list[tuple[str, str]]:
    return [("", "v1"), *discovery.groups()]


def _parts(group: str, version: str) -> list[str]:
    return ["apis", group, version] if group else ["api", version]
