"""Routes to what decides, and to the page of its cases, on a real API server; nothing runs behind them but what says what it was asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.conformance import installed
from tests.conformance.mesh import play_service
from tests.conformance.stack import Stack
from tests.manifests.builds import DOMAINS, tenant

Object = dict[str, Any]
BEHIND, PORT = "10.23.0.1", 8080
KINDS = ("HTTPRoute", "VirtualService")


@contextlib.contextmanager
def routed(stack: Stack, cluster: str, answer: Callable[[str, int], None]) -> Iterator[list[Object]]:
    """Those of every domain that decides.   answer: has something answer at an address and port."""
    answer(BEHIND, PORT)
    argo_cd = installed.argo_cd(stack.api)
    wanted = [each for domain in DOMAINS for each in tenant(cluster, domain)]
    made = [each for each in wanted if each["kind"] in KINDS]
    led = {(each["metadata"]["namespace"], name) for each in made for name in _services(each)}
    services = [each for each in wanted if each["kind"] == "Service" and _key(each) in led]
    for each in services:
        namespace, name = _key(each)
        ports = {port["name"]: port["port"] for port in each["spec"]["ports"]}
        play_service(stack, namespace, name, ports, BEHIND, PORT)
    for each in made:
        argo_cd.apply(each)
    try:
        yield made
    finally:
        for each in (*made, *services):
            stack.api.delete(each)


def _key(each: Object) -> tuple[str, str]:
    return each["metadata"]["namespace"], each["metadata"]["name"]


def _services(route: Object) -> Iterator[str]:
    """Names of the Services that a route leads to, in its own namespace."""
    for rule in route["spec"].get("rules", []):
        yield from (each["name"] for each in rule["backendRefs"])
    for http in route["spec"].get("http", []):
        yield from (each["destination"]["host"].partition(".")[0] for each in http["route"])
