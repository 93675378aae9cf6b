"""Paths of the Kubernetes API: what one names, and what its method asks for."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from local_cluster import resources
from local_cluster.problems import bad_request, no_such_path
from local_cluster.resources import Resource

_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True)
class ApiPath:
    """The object or list that a path names; `name` is "" for all of a kind, `rest` what comes after the subresource."""

    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""
    rest: str = ""


def place(path: str) -> ApiPath:
    """Parse `path` as it came (not decoded); 404 where nothing is served."""
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
    return ApiPath(resource, namespace, name, sub, after)


def verb(method: str, place: ApiPath, *, watch: bool) -> str:
    """The verb of a request in discovery's words; "" for a method that means nothing there."""
    if method in ("GET", "HEAD"):
        if place.name:
            return "get"
        return "watch" if watch else "list"
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
