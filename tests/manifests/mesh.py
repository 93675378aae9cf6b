"""Requests that Istio's sidecar of a pod lets in: mutual TLS first, then DENY policies, then ALLOW ones, of which one must fit where there are any.

Of `from`, `to` and `when` each that is there must fit; one entry of a list is enough, and within an entry every field must fit.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.manifests.flows import Pod, matches

Object = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request as it reaches a pod. principal: of the peer's certificate, "" without one. token: its claims, by issuer."""

    port: int
    path: str
    method: str = "POST"
    principal: str = ""
    address: str = "10.0.64.2"
    headers: Mapping[str, str] = field(default_factory=dict)
    issuer: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.principal.split("/")[2] if self.principal else ""


class Sidecar:
    """The sidecar of one pod, with the policies that select it."""

    def __init__(self, objects: Iterable[Object], pod: Pod) -> None:
        mine = [each for each in objects if each["metadata"].get("namespace") == pod.namespace and _selects(each, pod)]
        policies = [each["spec"] for each in mine if each["kind"] == "AuthorizationPolicy"]
        self.denying = [spec for spec in policies if spec.get("action") == "DENY"]
        self.allowing = [spec for spec in policies if spec.get("action", "ALLOW") == "ALLOW"]
        if len(self.denying) + len(self.allowing) != len(policies):
            raise ValueError("only ALLOW and DENY are known here")
        self._peers = [each["spec"] for each in mine if each["kind"] == "PeerAuthentication"]
        self.tokens = [
            rule for each in mine if each["kind"] == "RequestAuthentication" for rule in each["spec"]["jwtRules"]
        ]

    def mode(self, port: int) -> str:
        """STRICT where a caller without a certificate is turned away."""
        return _tls(self._peers, port)

    def admits(self, request: Request) -> bool:
        """Does it hand the request on?"""
        if not request.principal and self.mode(request.port) == "STRICT":
            return False
        claims = request.claims if request.issuer in [rule["issuer"] for rule in self.tokens] else {}
        if any(_fits(rule, request, claims) for spec in self.denying for rule in spec.get("rules") or []):
            return False
        return not self.allowing or any(
            _fits(rule, request, claims) for spec in self.allowing for rule in spec.get("rules") or []
        )


def _selects(each: Object, pod: Pod) -> bool:
    spec = each.get("spec")
    return isinstance(spec, dict) and matches(spec.get("selector") or {}, pod.labels)


def _tls(found: list[Object], port: int) -> str:
    """The mode of a port: its own, else that of the policy with a selector, else the namespace's; PERMISSIVE without any."""
    mode = "PERMISSIVE"
    for spec in sorted(found, key=lambda each: "selector" in each):
        mode = (spec.get("mtls") or {}).get("mode", mode)
        if "selector" in spec:
            mode = (spec.get("portLevelMtls") or {}).get(str(port), {}).get("mode", mode)
    return str(mode)


def _fits(rule: Object, request: Request, claims: Mapping[str, Any]) -> bool:
    sources, operations = rule.get("from"), rule.get("to")
    return (
        (not sources or any(_source(each["source"], request) for each in sources))
        and (not operations or any(_operation(each["operation"], request) for each in operations))
        and all(_condition(each, request, claims) for each in rule.get("when") or [])
    )


def _source(source: Object, request: Request) -> bool:
    return _fields(
        source,
        {
            "principals": lambda listed: _strings(listed, request.principal),
            "namespaces": lambda listed: _strings(listed, request.namespace),
            "ipBlocks": lambda listed: _addresses(listed, request.address),
        },
    )


def _operation(operation: Object, request: Request) -> bool:
    return _fields(
        operation,
        {
            "methods": lambda listed: _strings(listed, request.method),
            "paths": lambda listed: _strings(listed, request.path),
            "ports": lambda listed: str(request.port) in listed,
        },
    )


def _fields(named: Object, tests: dict[str, Callable[[list[str]], bool]]) -> bool:
    """Every field that is there, and its `not` form, such as notPaths."""
    left = dict(named)
    for key, test in tests.items():
        if key in left and not test(left.pop(key)):
            return False
        against = f"not{key[0].upper()}{key[1:]}"
        if against in left and test(left.pop(against)):
            return False
    if left.keys() - {other for key in tests for other in (key, f"not{key[0].upper()}{key[1:]}")}:
        raise ValueError(f"not known here: {sorted(left)}")
    return True


def _condition(condition: Object, request: Request, claims: Mapping[str, Any]) -> bool:
    key = condition["key"]
    if match := re.fullmatch(r"request\.auth\.claims\[(.+)\]", key):
        claim = claims.get(match[1], [])
        present = claim if isinstance(claim, list) else [claim]
    elif match := re.fullmatch(r"request\.headers\[(.+)\]", key):
        present = [value for name, value in request.headers.items() if name.lower() == match[1].lower()]
    elif key == "source.principal":
        present = [request.principal]
    elif key == "source.namespace":
        present = [request.namespace]
    else:
        raise ValueError(f"not known here: {key}")
    has = condition.get("values")
    lacks = condition.get("notValues")
    return (not has or any(_strings(has, each) for each in present)) and not (
        lacks and any(_strings(lacks, each) for each in present)
    )


def _strings(listed: list[str], value: str) -> bool:
    """Exact, `prefix*`, `*suffix`, or `*` for anything that is there."""
    return bool(value) and any(
        value == each
        or each == "*"
        or (each.endswith("*") and value.startswith(each[:-1]))
        or (each.startswith("*") and value.endswith(each[1:]))
        for each in listed
    )


def _addresses(listed: list[str], address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in listed)
