"""Who may call a tenant's models: Istio's authentication and authorization, on every hop the same.

In Knative mode a request that the gateway took may come by the activator, whose name is then the one that the pod sees. So the
pod reads the token itself, and asks for its claim whichever of the two hands the request on.

Kubeflow's Profile controller puts an ALLOW policy of its own into the namespace (`ns-owner-access-istio`), which knows neither
tokens nor callers. What is denied here is denied first, whatever any other policy allows.
"""

from __future__ import annotations

from typing import Any

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.render.network import CONTROL_PLANE as API_SERVER
from hallmark.render.network import DOORS, HTTP, MONITOR, QUEUE_METRICS, QUEUE_SCALING, REASON, REVIEWER
from hallmark.render.network import predictor as predictor_pods

CLAIM = "hallmark/domains"
"""The claim of a token that lists the domains whose models its bearer may call."""
ISSUER = f"https://login.{names.HOST}"
KEYS = f"{ISSUER}/.well-known/jwks.json"
AUDIENCE = "hallmark"

GATEWAY = f"cluster.local/ns/{names.INGRESS}/sa/{names.GATEWAY}-istio"
"""The shared gateway, as Istio names the account of a Gateway of class `istio`."""
ACTIVATOR = "cluster.local/ns/knative-serving/sa/activator"
AUTOSCALER = "cluster.local/ns/knative-serving/sa/controller"
WATCH = f"cluster.local/ns/{names.SYSTEM}/sa/watch"

MODEL_PATHS = (
    "/v2",
    "/v2/health/*",
    "/v2/models/*",
    "/v1/models",
    "/v1/models/*",
    "/inference.GRPCInferenceService/*",
)
"""The Open Inference Protocol over REST and gRPC, and V1."""
METRICS = tuple(sorted({HTTP, QUEUE_METRICS, MONITOR}))
"""Where Prometheus reads, without a name in the mesh."""
MONITOR_PATHS = ("/verdict", "/history", "/answers", "/labels", "/metrics", "/window", "/healthz")

Object = dict[str, Any]


def objects(domain: Domain) -> list[Object]:
    """The mesh's policies of one tenant."""
    claimed = {"key": f"request.auth.claims[{CLAIM}]", "values": [domain.name]}
    callers = [_account(each, names.PREDICTOR) for each in (domain.name, *domain.serving.callers)]
    model = {"methods": ["GET", "POST"], "paths": list(MODEL_PATHS), "ports": _ports(*DOORS)}
    review = {"from": _from(_account(domain.name, names.PREDICTOR)), "to": [{"operation": {"ports": _ports(REVIEWER)}}]}
    return [
        *_authentication(domain),
        _policy(domain, "default-deny", "Nobody calls anything but what another policy names.", {}),
        _policy(
            domain,
            "clients",
            "A token whose claim names this domain, by the gateway or the activator behind it; and declared callers.",
            {
                "action": "ALLOW",
                "rules": [
                    {"from": _from(GATEWAY, ACTIVATOR), "to": [{"operation": model}], "when": [claimed]},
                    {"from": _from(*callers), "to": [{"operation": model}]},
                    *([review] if domain.reviewer else []),
                ],
            },
        ),
        _policy(
            domain,
            "platform",
            "Knative asks whether a pod is ready and how busy it is; Prometheus, which has no name in the mesh, reads metrics.",
            {
                "action": "ALLOW",
                "rules": [
                    {"from": _from(GATEWAY, ACTIVATOR), "to": [_operation("GET", ["/healthz"], *DOORS)]},
                    {"from": _from(AUTOSCALER), "to": [_operation("GET", ["/metrics"], QUEUE_SCALING)]},
                    {
                        "to": [_operation("GET", ["/metrics"], *METRICS)],
                        "when": [{"key": "source.principal", "notValues": ["*"]}],
                    },
                ],
            },
        ),
        _policy(
            domain,
            "drift-monitor",
            "The watch, by its own name or by the API server's proxy, which has none: its addresses stand for it.",
            {
                "action": "ALLOW",
                "rules": [
                    {"from": [{"source": source}], "to": [{"operation": operation}]}
                    for operation in [{"paths": list(MONITOR_PATHS), "ports": _ports(MONITOR)}]
                    for source in ({"principals": [WATCH]}, {"ipBlocks": [API_SERVER]})
                ],
            },
        ),
        _policy(
            domain,
            "outsiders",
            "Denied first, whatever else allows it: strangers, and requests from outside without this domain's claim.",
            {
                "action": "DENY",
                "rules": [
                    {
                        "from": [
                            {"source": {"notPrincipals": [GATEWAY, ACTIVATOR, AUTOSCALER, WATCH, *_tenants(domain)]}}
                        ],
                        "when": [{"key": "source.principal", "values": ["*"]}],
                    },
                    {
                        "to": _but_metrics({"notPorts": _ports(MONITOR)}),
                        "when": [{"key": "source.principal", "notValues": ["*"]}],
                    },
                    {
                        "from": [{"source": {"notPrincipals": [WATCH], "notIpBlocks": [API_SERVER]}}],
                        "to": _but_metrics({"ports": _ports(MONITOR)}),
                    },
                    {
                        "from": _from(GATEWAY, ACTIVATOR),
                        "to": [{"operation": {"notPaths": ["/healthz"]}}],
                        "when": [{"key": claimed["key"], "notValues": [domain.name]}],
                    },
                ],
            },
        ),
    ]


def _authentication(domain: Domain) -> list[Object]:
    metrics = {
        "selector": predictor_pods(domain.name),
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {str(port): {"mode": "PERMISSIVE"} for port in METRICS},
    }
    token = {"issuer": ISSUER, "jwksUri": KEYS, "audiences": [AUDIENCE]}  # and goes no further: the model never sees it
    return [
        _object(
            domain,
            "PeerAuthentication",
            "default",
            "Pods speak to pods by mutual TLS only.",
            {"mtls": {"mode": "STRICT"}},
        ),
        _object(
            domain,
            "PeerAuthentication",
            "metrics",
            "Prometheus and the API server's proxy are not in the mesh; the policies say what they may ask without a name.",
            metrics,
        ),
        _object(
            domain,
            "RequestAuthentication",
            "tokens",
            "The pod reads the token again, so that it does not matter who handed the request on.",
            {"jwtRules": [token]},
        ),
    ]


def _tenants(domain: Domain) -> list[str]:
    """Whoever of the tenants may call: every account of the domain itself, and declared callers."""
    return [_account(domain.name, "*"), *(_account(each, names.PREDICTOR) for each in domain.serving.callers)]


def _account(namespace: str, name: str) -> str:
    return f"cluster.local/ns/{namespace}/sa/{name}"


def _from(*principals: str) -> list[Object]:
    return [{"source": {"principals": list(principals)}}]


def _operation(method: str, paths: list[str], *ports: int) -> Object:
    return {"operation": {"methods": [method], "paths": paths, "ports": _ports(*ports)}}


def _but_metrics(where: Object) -> list[Object]:
    """Everything there except GET /metrics."""
    return [{"operation": {"notPaths": ["/metrics"], **where}}, {"operation": {"notMethods": ["GET"], **where}}]


def _ports(*ports: int) -> list[str]:
    return [str(port) for port in ports]


def _policy(domain: Domain, name: str, reason: str, spec: Object) -> Object:
    return _object(domain, "AuthorizationPolicy", name, reason, spec)


def _object(domain: Domain, kind: str, name: str, reason: str, spec: Object) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": domain.namespace,
            "labels": names.labels(domain.name),
            "annotations": {REASON: reason},
        },
        "spec": spec,
    }
