"""HTTPRoutes: those that KServe makes of an InferenceService in Standard mode, and what a gateway makes of all of one host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from local_cluster.resources import HTTP_ROUTES
from local_cluster.routes import RoutedService

Json = dict[str, Any]

_GATEWAY = {
    "group": "gateway.networking.k8s.io",
    "kind": "Gateway",
    "name": "kserve-ingress-gateway",
    "namespace": "kserve",
}
_EVERY_PATH = {"PathPrefix": ("/",), "RegularExpression": ("^/.*$", "/.*", ".*")}
"""Kinds of matches of every path, in the order in which they come: Istio puts a prefix before a regular expression."""
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class RouteRule(NamedTuple):
    """Division of a host's requests.

    weights: by Service.   copies: percent of the requests that a Service gets a copy of.   seconds: None where the rule has no timeout.
    """

    weights: dict[str, int]
    copies: dict[str, float]
    seconds: float | None


def hosts(namespace: str, name: str) -> dict[str, str]:
    """The host of each HTTPRoute that KServe makes, by the route's name: the service's own first, then its predictor's."""
    return {each: RoutedService(namespace=namespace, name=each).hostname for each in (name, f"{name}-predictor")}


def made(service: Json, weights: Mapping[str, int], *, seconds: float) -> list[Json]:
    """KServe's HTTPRoutes of an InferenceService, both with the same weights."""
    meta = service["metadata"]
    named = {"KServe-Isvc-Name": meta["name"], "KServe-Isvc-Namespace": meta["namespace"]}
    owner = {"apiVersion": service["apiVersion"], "kind": service["kind"], "name": meta["name"], "uid": meta["uid"]}
    rule = {
        "matches": [{"path": {"type": "RegularExpression", "value": "^/.*$"}}],
        "filters": [
            {
                "type": "RequestHeaderModifier",
                "requestHeaderModifier": {"set": [{"name": key, "value": value} for key, value in named.items()]},
            }
        ],
        "backendRefs": [
            {"group": "", "kind": "Service", "name": each, "namespace": meta["namespace"], "port": 80, "weight": weight}
            for each, weight in weights.items()
        ],
        "timeouts": {"request": f"{seconds:g}s"},
    }
    return [
        {
            "apiVersion": HTTP_ROUTES.api_version,
            "kind": HTTP_ROUTES.kind,
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "spec": {"hostnames": [host], "parentRefs": [_GATEWAY], "rules": [rule]},
        }
        for name, host in hosts(meta["namespace"], meta["name"]).items()
    ]


def rule(routes: Iterable[Json], host: str) -> RouteRule | None:
    """The rule that a host's requests go by, where `routes` are a namespace's: of two that match every path, the one that comes first.

    Rules for some of the paths only are left out: KServe makes none, and nor do we.
    """
    found = []
    for route in routes:
        if host in (route["spec"].get("hostnames") or []):
            age = (str(route["metadata"].get("creationTimestamp")), str(route["metadata"]["name"]))
            for each in route["spec"].get("rules") or []:
                ranks = [rank for match in each.get("matches") or [{}] if (rank := _rank(match)) is not None]
                found += [(min(ranks), age, each)] if ranks else []
    if not found:
        return None
    _, _, first = min(found, key=lambda each: each[:2])
    mirrors = [each["requestMirror"] for each in first.get("filters") or [] if each.get("type") == "RequestMirror"]
    timeout = _SECONDS.fullmatch(str((first.get("timeouts") or {}).get("request") or ""))
    return RouteRule(
        weights={str(each["name"]): int(each.get("weight", 1)) for each in first.get("backendRefs") or []},
        copies={str(each["backendRef"]["name"]): float(each.get("percent", 100)) for each in mirrors},
        seconds=float(timeout[1]) * _UNITS[timeout[2]] if timeout else None,
    )


def _rank(match: Json) -> int | None:
    """The place of a match of every path among such; none for one that asks for more, or for less than every path."""
    path = match.get("path") or {"type": "PathPrefix", "value": "/"}
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    whole = set(match) <= {"path"} and value in _EVERY_PATH.get(kind, ())
    return list(_EVERY_PATH).index(kind) if whole else None
