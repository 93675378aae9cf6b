"""VirtualServices and HTTPRoutes as the routes that Istio makes of them for the gateway's Envoy, as much as ours and KServe's use.

Hosts keep the routes of every object that names them, the longest paths before regular expressions where the Gateway API asks for it.
A destination is the gateway's other port where the route leads there, else the one upstream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.manifests.builds import Object

WORLD, LOCAL = "istio-ingress/hallmark", "knative-serving/knative-local-gateway"
"""Istio Gateways by the names that VirtualServices have for them: at port 443 and at 8081."""
AGAIN = "knative-local-gateway.istio-ingress.svc.cluster.local"
"""The Service that leads to the gateway's port 8081."""


class Place(NamedTuple):
    """A way in: a host and a path that a route takes, and the object whose it is."""

    host: str
    path: str
    owner: str


def virtual(objects: Iterable[Object], gateway: str, admitted: Iterable[str]) -> Object:
    """Routes of the VirtualServices bound to `gateway`, whose servers take the hosts `admitted`."""
    hosts: dict[str, list[Object]] = {}
    for each in _of_gateway(objects, gateway):
        for host in each["spec"]["hosts"]:
            if any(_covers(server, host) for server in admitted):
                hosts.setdefault(host, []).extend(_routes(each, gateway))
    return _table(hosts)


def http_routes(objects: Iterable[Object]) -> Object:
    """Routes of HTTPRoutes."""
    hosts: dict[str, list[Object]] = {}
    every = list(objects)
    for each in every:
        for host in _hosts(each, every):
            hosts.setdefault(host, []).extend(_rules(each))
    return _table(
        {host: sorted(routes, key=lambda each: "safe_regex" in each["match"]) for host, routes in hosts.items()}
    )


def places(objects: Iterable[Object], gateway: str = "") -> list[Place]:
    """Every host and path of the VirtualServices of `gateway`, or of the HTTPRoutes."""
    found = []
    if not gateway:
        every = list(objects)
        for each in every:
            for host in _hosts(each, every):
                for rule in each["spec"]["rules"]:
                    found += [Place(host, _asked(match["path"]["value"]), _name(each)) for match in rule["matches"]]
        return found
    for each in _of_gateway(objects, gateway):
        for host in each["spec"]["hosts"]:
            matches = [match for http in each["spec"]["http"] for match in _matches(http, gateway)]
            uris = [match.get("uri") or {} for match in matches if _about(match, host)]
            paths = {uri.get("exact") or _asked(uri.get("prefix", "/")) for uri in uris}
            found += [Place(host, path, _name(each)) for path in sorted(paths)]
    return found


def _hosts(each: Object, every: Iterable[Object]) -> list[str]:
    """Hosts of an HTTPRoute: its own, or those of the listener that it names."""
    if each["kind"] != "HTTPRoute":
        return []
    if "hostnames" in each["spec"]:
        return list(each["spec"]["hostnames"])
    (parent,) = each["spec"]["parentRefs"]
    return [
        listener["hostname"]
        for gateway in every
        if gateway["kind"] == "Gateway" and gateway["apiVersion"].startswith("gateway.networking.k8s.io/")
        for listener in gateway["spec"]["listeners"]
        if (gateway["metadata"]["name"], listener["name"]) == (parent["name"], parent["sectionName"])
    ]


def _of_gateway(objects: Iterable[Object], gateway: str) -> Iterator[Object]:
    for each in objects:
        if each["kind"] == "VirtualService":
            space = each["metadata"]["namespace"]
            if gateway in (name if "/" in name else f"{space}/{name}" for name in each["spec"]["gateways"]):
                yield each


def _matches(http: Object, gateway: str) -> list[Object]:
    return [match for match in http["match"] if gateway in match.get("gateways", [gateway])]


def _about(match: Object, host: str) -> bool:
    """Can a request to `host` fit the match?"""
    authority: dict[str, str] = match.get("authority") or {}
    if "prefix" in authority:
        return host.startswith(authority["prefix"])
    return "regex" not in authority or re.fullmatch(authority["regex"], host) is not None


def _routes(each: Object, gateway: str) -> Iterator[Object]:
    for http in each["spec"]["http"]:
        assert http.keys() <= {"headers", "match", "rewrite", "route", "retries", "timeout", "directResponse"}
        for match in _matches(http, gateway):
            yield _route(http, match)


def _route(http: Object, match: Object) -> Object:
    assert match.keys() <= {"authority", "uri", "headers", "gateways"}
    uri = match.get("uri") or {"prefix": "/"}
    ((kind, value),) = uri.items()
    made: Object = {"match": {"path" if kind == "exact" else kind: value}}
    asked = {":authority": match["authority"]} if "authority" in match else {}
    made["match"]["headers"] = [
        {"name": name.lower(), "string_match": _text(text)}
        for name, text in {**asked, **(match.get("headers") or {})}.items()
    ]
    if direct := http.get("directResponse"):
        return made | {
            "direct_response": {"status": direct["status"], "body": {"inline_string": direct["body"]["string"]}}
        }
    (route,) = http["route"]
    headers = {**_set(http), **_set(route)}
    made["route"] = {"cluster": "again" if route["destination"]["host"] == AGAIN else "upstream", "timeout": "30s"}
    if host := headers.pop("Host", None):
        made["route"]["host_rewrite_literal"] = host
    if rewrite := http.get("rewrite"):
        made["route"]["prefix_rewrite"] = rewrite["uri"]
    made["request_headers_to_add"] = [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in headers.items()
    ]
    return made


def _rules(each: Object) -> Iterator[Object]:
    for rule in each["spec"]["rules"]:
        for match in rule["matches"]:
            kind, value = match["path"]["type"], match["path"]["value"]
            path: Object = {"prefix": value} if kind == "PathPrefix" else {"safe_regex": {"regex": value}}
            made: Object = {"match": path, "route": {"cluster": "upstream", "timeout": "30s"}}
            for each_filter in rule.get("filters", []):
                if each_filter["type"] == "RequestMirror":
                    made["route"]["request_mirror_policies"] = [{"cluster": "shadow"}]
                elif each_filter["type"] == "URLRewrite":
                    made["route"]["prefix_rewrite"] = each_filter["urlRewrite"]["path"]["replacePrefixMatch"]
                else:
                    assert each_filter["type"] == "RequestHeaderModifier"
            yield made


def _set(part: Object) -> dict[str, str]:
    headers: dict[str, Any] = part.get("headers") or {}
    assert headers.keys() <= {"request"}
    assert headers.get("request", {}).keys() <= {"set"}
    return dict(headers.get("request", {}).get("set", {}))


def _text(match: Object) -> Object:
    ((kind, value),) = match.items()
    return {"safe_regex": {"regex": value}} if kind == "regex" else {kind: value}


def _table(hosts: dict[str, list[Object]]) -> Object:
    made = [{"name": host, "domains": [host], "routes": routes} for host, routes in hosts.items()]
    return {"ignore_port_in_host_matching": True, "virtual_hosts": made}


def _covers(server: str, host: str) -> bool:
    return server in ("*", host) or (server.startswith("*.") and host.endswith(server[1:]))


def _asked(path: str) -> str:
    """A path that a prefix or an expression for any path takes, and that a model answers."""
    if re.fullmatch(r"\^/\.\*\$|/", path):
        return "/v2/models/fraud/infer"
    return path.rstrip("/") + "/v2/models/fraud/infer"


def _name(each: Object) -> str:
    return f"{each['metadata']['namespace']}/{each['metadata']['name']}"
