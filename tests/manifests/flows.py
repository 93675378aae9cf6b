"""Flows that NetworkPolicies let through: one passes where the sender's egress and the receiver's ingress both let it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod, or an address that is none (`namespace` empty: outside, and under no policy)."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.0.64.1"
    ports: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def outside(cls, address: str) -> Pod:
        return cls("", address=address)


class Network:
    """The policies of a cluster, and the labels of its namespaces (`kubernetes.io/metadata.name` is on each by itself)."""

    def __init__(self, policies: Iterable[Object], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self._policies = [each for each in policies if each["kind"] == "NetworkPolicy"]
        self._by_namespace: dict[str, list[Object]] = {}
        for each in self._policies:
            self._by_namespace.setdefault(each["metadata"]["namespace"], []).append(each["spec"])
        self._namespaces = namespaces
        self._known: dict[tuple[Any, ...], list[list[Object] | None]] = {}

    def passes(self, source: Pod, target: Pod, port: int, *, protocol: str = "TCP") -> bool:
        """May `source` open a connection to this port of `target`?"""
        return self._side("Egress", source, target, target, port, protocol) and self._side(
            "Ingress", target, source, target, port, protocol
        )

    def ports(self) -> set[int]:
        """Every number that a policy names, with its neighbours: between two of them nothing changes."""
        named = {1, 65535}
        for policy in self._policies:
            for rule in [*(policy["spec"].get("ingress") or []), *(policy["spec"].get("egress") or [])]:
                for port in rule.get("ports") or []:
                    named |= {number for number in (port.get("port"), port.get("endPort")) if isinstance(number, int)}
        return {near for number in named for near in (number - 1, number, number + 1) if 0 < near < 65536}

    def _side(self, way: str, held: Pod, peer: Pod, receiver: Pod, port: int, protocol: str) -> bool:
        """Do the policies of pod `held` in this direction let it?"""
        key = (way, *_key(held), *_key(peer))
        if key not in self._known:
            self._known[key] = self._open(way, held, peer)
        return any(_port(ports, receiver, port, protocol) for ports in self._known[key])

    def _open(self, way: str, held: Pod, peer: Pod) -> list[list[Object] | None]:
        """The ports of each rule of `held` that lets `peer`; of a pod that no policy selects, all."""
        mine = [
            spec
            for spec in self._by_namespace.get(held.namespace, [])
            if matches(spec["podSelector"], held.labels) and way in _types(spec)
        ]
        if not mine:
            return [None]
        peers = "from" if way == "Ingress" else "to"
        return [
            rule.get("ports")
            for spec in mine
            for rule in spec.get(way.lower()) or []
            if self._peer(rule.get(peers), held, peer)
        ]

    def _peer(self, listed: list[Object] | None, held: Pod, peer: Pod) -> bool:
        return not listed or any(self._is(each, held, peer) for each in listed)

    def _is(self, named: Object, held: Pod, peer: Pod) -> bool:
        if block := named.get("ipBlock"):
            address = ipaddress.ip_address(peer.address)
            return address in ipaddress.ip_network(block["cidr"]) and not any(
                address in ipaddress.ip_network(out) for out in block.get("except") or []
            )
        if not peer.namespace:
            return False
        if "namespaceSelector" in named:
            labels = {**self._namespaces.get(peer.namespace, {}), "kubernetes.io/metadata.name": peer.namespace}
            if not matches(named["namespaceSelector"], labels):
                return False
        elif peer.namespace != held.namespace:
            return False
        return "podSelector" not in named or matches(named["podSelector"], peer.labels)


def _key(pod: Pod) -> tuple[Any, ...]:
    return pod.namespace, tuple(sorted(pod.labels.items())), pod.address


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """A label selector; the empty one matches everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or []:
        key, values = each["key"], each.get("values") or []
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not fits[each["operator"]]:
            return False
    return True


def _types(spec: Object) -> list[str]:
    """The directions that a policy holds in; unsaid, it is ingress, and egress where there are such rules."""
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _port(listed: list[Object] | None, receiver: Pod, port: int, protocol: str) -> bool:
    if not listed:
        return True
    for each in listed:
        if each.get("protocol", "TCP") != protocol:
            continue
        named = each.get("port")
        if isinstance(named, str):
            named = receiver.ports.get(named)
            if named is None:
                continue
        if named is None or named <= port <= each.get("endPort", named):
            return True
    return False
