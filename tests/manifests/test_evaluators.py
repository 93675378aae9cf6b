"""The evaluators of the tenancy matrix against hand-made cases of what Kubernetes and Istio document."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.manifests import rbac
from tests.manifests.flows import Network, Pod
from tests.manifests.mesh import Request, Sidecar
from tests.manifests.rbac import Ask, Subject

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"


def role(*rules: Object, kind: str = "Role", namespace: str = "a") -> Object:
    return {"kind": kind, "metadata": {"name": "r", "namespace": namespace}, "rules": list(rules)}


def bound(subject: Object, *, kind: str = "RoleBinding", to: str = "Role", namespace: str = "a") -> Object:
    return {
        "kind": kind,
        "metadata": {"name": "b", "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": to, "name": "r"},
        "subjects": [subject],
    }


def rule(resources: str, verbs: str, group: str = "", **more: Any) -> Object:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


GROUP: Object = {"kind": "Group", "apiGroup": RBAC, "name": "g"}
ANNA = Subject.person("anna", "g")


@pytest.mark.parametrize(
    ("objects", "subject", "ask", "expected"),
    [
        ([role(rule("pods", "get")), bound(GROUP)], ANNA, Ask("get", "", "pods", "a"), True),
        ([role(rule("pods", "get")), bound(GROUP)], ANNA, Ask("get", "", "pods", "b"), False),
        ([role(rule("pods", "get")), bound(GROUP)], ANNA, Ask("list", "", "pods", "a"), False),
        ([role(rule("pods", "get")), bound(GROUP)], ANNA, Ask("get", "", "pods/log", "a"), False),
        ([role(rule("pods", "get")), bound(GROUP)], ANNA, Ask("get", "apps", "pods", "a"), False),
        ([role(rule("pods", "get")), bound(GROUP)], Subject.person("anna"), Ask("get", "", "pods", "a"), False),
        ([role(rule("pods", "get")), bound(GROUP | {"kind": "User"})], ANNA, Ask("get", "", "pods", "a"), False),
        ([role(rule("pods", "get"), namespace="b"), bound(GROUP)], ANNA, Ask("get", "", "pods", "a"), False),
        ([role(rule("*", "*", "*")), bound(GROUP)], ANNA, Ask("get", "x", "y/z", "a"), True),
        ([role(rule("*/scale", "get")), bound(GROUP)], ANNA, Ask("get", "", "things/scale", "a"), True),
        ([role(rule("*/scale", "get")), bound(GROUP)], ANNA, Ask("get", "", "scale", "a"), False),
        ([role(rule("pods", "get", resourceNames=["p"])), bound(GROUP)], ANNA, Ask("get", "", "pods", "a", "p"), True),
        ([role(rule("pods", "get", resourceNames=["p"])), bound(GROUP)], ANNA, Ask("get", "", "pods", "a", "q"), False),
        ([role(rule("pods", "list", resourceNames=["p"])), bound(GROUP)], ANNA, Ask("list", "", "pods", "a"), False),
        (
            [role(rule("pods", "get"), kind="ClusterRole"), bound(GROUP, to="ClusterRole")],
            ANNA,
            Ask("get", "", "pods", "b"),
            False,
        ),
        (
            [
                role(rule("pods", "get"), kind="ClusterRole"),
                bound(GROUP, kind="ClusterRoleBinding", to="ClusterRole"),
            ],
            ANNA,
            Ask("get", "", "pods", "b"),
            True,
        ),
        (
            [role(rule("pods", "get")), bound({"kind": "ServiceAccount", "name": "s"})],
            Subject.account("a", "s"),
            Ask("get", "", "pods", "a"),
            True,
        ),
        (
            [role(rule("pods", "get")), bound({"kind": "ServiceAccount", "name": "s", "namespace": "b"})],
            Subject.account("a", "s"),
            Ask("get", "", "pods", "a"),
            False,
        ),
        (
            [role(rule("pods", "get")), bound(GROUP | {"name": "system:serviceaccounts:b"})],
            Subject.account("b", "s"),
            Ask("get", "", "pods", "a"),
            True,
        ),
    ],
)
def test_rbac(objects: list[Object], subject: Subject, ask: Ask, expected: bool) -> None:
    assert rbac.allowed(objects, subject, ask) is expected


def policy(spec: Object, namespace: str = "b") -> Object:
    return {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}


A = Pod("a", {"app": "x"}, "10.1.0.1")
B = Pod("b", {"app": "y"}, "10.2.0.1", ports={"http": 8080})
DENY: Object = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
TEAM = {"namespaceSelector": {"matchLabels": {"team": "one"}}}


def entering(*peers: Object, ports: list[Object] | None = None, **selector: Any) -> Object:
    found: Object = {"from": list(peers)} if peers else {}
    return policy({"podSelector": selector, "ingress": [found | ({"ports": ports} if ports else {})]})


@pytest.mark.parametrize(
    ("policies", "port", "expected"),
    [
        ([], 80, True),
        ([policy(DENY)], 80, False),
        ([policy(DENY, "a")], 80, False),
        ([policy({"podSelector": {}})], 80, False),
        ([policy({"podSelector": {"matchLabels": {"app": "z"}}})], 80, True),
        ([policy({"podSelector": {}, "policyTypes": ["Egress"]})], 80, True),
        ([entering()], 80, True),
        ([entering({"podSelector": {}})], 80, False),
        ([entering({"namespaceSelector": {}})], 80, True),
        ([entering(TEAM)], 80, True),
        ([entering(TEAM | {"podSelector": {"matchLabels": {"app": "other"}}})], 80, False),
        ([entering(TEAM, {"podSelector": {"matchLabels": {"app": "other"}}})], 80, True),
        ([entering(TEAM, ports=[{"port": 443}])], 80, False),
        ([entering(TEAM, ports=[{"port": 443}]), entering(TEAM, ports=[{"port": 80}])], 80, True),
        ([entering(TEAM, ports=[{"port": 80, "protocol": "UDP"}])], 80, False),
        ([entering(TEAM, ports=[{"port": 8000, "endPort": 8090}])], 8080, True),
        ([entering(TEAM, ports=[{"port": "http"}])], 8080, True),
        ([entering(TEAM, ports=[{"port": "http"}])], 80, False),
        ([entering(TEAM, ports=[{"protocol": "TCP"}])], 1234, True),
        ([entering({"ipBlock": {"cidr": "10.0.0.0/8"}})], 80, True),
        ([entering({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}})], 80, False),
        ([entering({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}})], 80, True),
        (
            [
                entering(
                    {
                        "namespaceSelector": {
                            "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["one"]}]
                        }
                    }
                )
            ],
            80,
            False,
        ),
        ([policy({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]}, "a")], 80, False),
    ],
)
def test_network_policies(policies: list[Object], port: int, expected: bool) -> None:
    assert Network(policies, {"a": {"team": "one"}, "b": {}}).passes(A, B, port) is expected


def test_what_is_no_pod_is_under_no_policy_and_matched_by_address_only() -> None:
    network = Network([entering(TEAM), policy(DENY, "a")], {"a": {"team": "one"}})
    assert not network.passes(Pod.outside("10.1.0.1"), B, 80)
    assert network.passes(Pod.outside("10.1.0.1"), Pod("c"), 80)
    assert not network.passes(A, Pod.outside("8.8.8.8"), 443)


def mesh(kind: str, spec: Object, namespace: str = "b") -> Object:
    return {"kind": kind, "metadata": {"name": "m", "namespace": namespace}, "spec": spec}


def authorize(*rules: Object, action: str = "ALLOW") -> Object:
    return mesh("AuthorizationPolicy", {"action": action, "rules": list(rules)})


STRICT = mesh("PeerAuthentication", {"mtls": {"mode": "STRICT"}})
TOKENS = mesh("RequestAuthentication", {"jwtRules": [{"issuer": "i"}]})
OURS = Request(8080, "/v1/x", principal="cluster.local/ns/a/sa/s", issuer="i", claims={"d": ["one", "two"]})
NAMELESS = Request(8080, "/v1/x")
ANY: Object = {}
PROVEN: Object = {"when": [{"key": "request.headers[x-proven]", "values": ["one"]}]}


def source(**fields: Any) -> Object:
    return {"from": [{"source": fields}]}


def operation(**fields: Any) -> Object:
    return {"to": [{"operation": fields}]}


def when(key: str, **fields: Any) -> Object:
    return {"when": [{"key": key, **fields}]}


@pytest.mark.parametrize(
    ("objects", "request_", "expected"),
    [
        ([], NAMELESS, True),
        ([STRICT], NAMELESS, False),
        ([STRICT], OURS, True),
        ([mesh("AuthorizationPolicy", {})], OURS, False),
        ([mesh("AuthorizationPolicy", {}, "elsewhere")], OURS, True),
        ([authorize(ANY)], OURS, True),
        ([authorize(ANY, action="DENY")], OURS, False),
        ([authorize(ANY), authorize(operation(paths=["/v1/*"]), action="DENY")], OURS, False),
        ([authorize(ANY), authorize(operation(paths=["/v2/*"]), action="DENY")], OURS, True),
        ([authorize(operation(paths=["/v2/*"]), action="DENY")], OURS, True),
        ([mesh("AuthorizationPolicy", {}), authorize(source(principals=["cluster.local/ns/a/sa/s"]))], OURS, True),
        ([authorize(source(principals=["cluster.local/ns/a/*"]))], OURS, True),
        ([authorize(source(principals=["*"]))], NAMELESS, False),
        ([authorize(source(principals=["*/sa/s"]))], OURS, True),
        ([authorize(source(notPrincipals=["cluster.local/ns/a/*"]))], OURS, False),
        ([authorize(source(notPrincipals=["cluster.local/ns/a/*"]))], NAMELESS, True),
        ([authorize(source(namespaces=["a"]))], OURS, True),
        ([authorize(source(namespaces=["aa"]))], OURS, False),
        ([authorize(source(ipBlocks=["10.0.64.0/24"]))], OURS, True),
        ([authorize(source(principals=["*"], ipBlocks=["10.9.0.0/16"]))], OURS, False),
        ([authorize(operation(ports=["8080"], methods=["POST"], paths=["/v1/x"]))], OURS, True),
        ([authorize(operation(ports=["8080"], methods=["GET"], paths=["/v1/x"]))], OURS, False),
        ([authorize({"to": [{"operation": {"ports": ["1"]}}, {"operation": {"ports": ["8080"]}}]})], OURS, True),
        ([authorize(operation(paths=["/v1"]))], OURS, False),
        ([authorize(operation(notPaths=["/v1/x"]))], OURS, False),
        ([TOKENS, authorize(when("request.auth.claims[d]", values=["two"]))], OURS, True),
        ([TOKENS, authorize(when("request.auth.claims[d]", values=["tw"]))], OURS, False),
        ([TOKENS, authorize(when("request.auth.claims[d]", notValues=["two"]))], OURS, False),
        ([TOKENS, authorize(when("request.auth.claims[e]", notValues=["two"]))], OURS, True),
        ([authorize(when("request.auth.claims[d]", values=["two"]))], OURS, False),
        ([authorize(when("source.principal", notValues=["*"]))], NAMELESS, True),
        ([authorize(when("source.principal", notValues=["*"]))], OURS, False),
        ([authorize(source(principals=["*"]) | when("source.namespace", values=["b"]))], OURS, False),
        ([TOKENS, authorize(when("request.auth.claims[d]", values=["one"]))], replace(OURS, claims={"d": "one"}), True),
        ([TOKENS, authorize(when("request.auth.claims[d]", values=["o"]))], replace(OURS, claims={"d": "one"}), False),
        ([authorize(PROVEN)], replace(OURS, headers={"X-Proven": "one"}), True),
        ([authorize(PROVEN)], replace(OURS, headers={"x-proven": "two"}), False),
        ([authorize(PROVEN)], replace(OURS, headers={"x-proven": "one,two"}), False),
        ([authorize(PROVEN)], OURS, False),
    ],
)
def test_the_mesh(objects: list[Object], request_: Request, expected: bool) -> None:
    assert Sidecar(objects, Pod("b", {"app": "y"})).admits(request_) is expected


def test_a_ports_own_mode_holds_for_the_pods_it_selects_only() -> None:
    mine = mesh(
        "PeerAuthentication",
        {
            "selector": {"matchLabels": {"app": "y"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}},
        },
    )
    assert Sidecar([STRICT, mine], Pod("b", {"app": "y"})).admits(NAMELESS)
    assert not Sidecar([STRICT, mine], Pod("b", {"app": "y"})).admits(Request(8081, "/v1/x"))
    assert not Sidecar([STRICT, mine], Pod("b", {"app": "z"})).admits(NAMELESS)


def test_what_is_not_known_is_refused_and_not_passed_over() -> None:
    for unknown in (
        authorize(source(remoteIpBlocks=["10.0.0.0/8"])),
        authorize(when("connection.sni", values=["x"])),
        authorize(ANY, action="CUSTOM"),
    ):
        with pytest.raises(ValueError, match="known here"):
            Sidecar([unknown], Pod("b")).admits(OURS)
