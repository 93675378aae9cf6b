"""The matrix: every tenant against every other, for every kind of access. Each function gives what is open and should not be."""

from __future__ import annotations

import itertools
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.render import mesh as meshes
from hallmark.render import network, tenant
from tests.manifests import kubeflow, mesh, rbac
from tests.manifests.flows import Network, Pod
from tests.manifests.rbac import Ask, Subject

Object = dict[str, Any]
STRANGER = "stranger"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RUN_VERBS = ("archive", "unarchive", "retry", "terminate", "readArtifact", "reportMetrics", "enable", "disable")
RESOURCES = {
    "": (
        *(
            "pods",
            "pods/log",
            "pods/exec",
            "pods/attach",
            "pods/portforward",
            "pods/proxy",
            "services/proxy",
            "services",
        ),
        *("configmaps", "secrets", "serviceaccounts", "serviceaccounts/token", "events", "persistentvolumeclaims"),
        *("resourcequotas", "limitranges", "namespaces"),
    ),
    "apps": ("deployments", "replicasets", "statefulsets", "daemonsets"),
    "batch": ("jobs", "cronjobs"),
    "coordination.k8s.io": ("leases",),
    "rbac.authorization.k8s.io": ("roles", "rolebindings"),
    "networking.k8s.io": ("networkpolicies",),
    "security.istio.io": ("authorizationpolicies", "peerauthentications", "requestauthentications"),
    "networking.istio.io": ("virtualservices", "destinationrules", "sidecars", "envoyfilters"),
    "serving.kserve.io": ("inferenceservices", "inferenceservices/status", "llminferenceservices", "servingruntimes"),
    "serving.knative.dev": ("services", "revisions", "routes"),
    "gateway.networking.k8s.io": ("httproutes",),
    "trainer.kubeflow.org": ("trainjobs",),
    "kueue.x-k8s.io": ("localqueues", "workloads"),
    "external-secrets.io": ("externalsecrets", "secretstores"),
    "argoproj.io": ("workflows", "workflowtaskresults"),
}
RUNS = {"pipelines.kubeflow.org": ("pipelines", "pipelineversions", "experiments", "runs", "jobs", "visualizations")}
ACCOUNTS = (names.PIPELINE, names.PREDICTOR, names.PARITY, names.REVIEWS, "default", "default-editor", "default-viewer")
EVENTS = f"{names.FEATURES}/offline"
"""The one address that domains share: what below it each may read, tests/terraform/test_features.py says."""
READ = ("/metrics", "/healthz", "/verdict", "/v2", "/openapi.json")
PATHS = (
    *(
        "/v2/models/m/infer",
        "/v1/models/m:predict",
        "/v1/chat/completions",
        "/inference.GRPCInferenceService/ModelInfer",
    ),
    *("/labels", "/wait-for-drain", "/x", *READ),
)


class World:
    """A cluster of tenants: what each is made of, what Kubeflow adds to it, and the platform that they share."""

    def __init__(self, tenants: Mapping[str, Sequence[Object]], platform: Sequence[Object] = ()) -> None:
        self.platform = list(platform)
        self.objects: dict[str, list[Object]] = {}
        for name, objects in tenants.items():
            mine: list[Object] = json.loads(json.dumps(list(objects)))
            profile = next(each for each in mine if each["kind"] == "Profile")
            self.objects[name] = [*mine, *kubeflow.of(profile, gateway=meshes.GATEWAY)]

    @classmethod
    def of(cls, declared: Sequence[Domain]) -> World:
        """As declarations are rendered, before any cluster's own values."""
        return cls({domain.name: tenant.objects(domain, declared) for domain in declared})

    @property
    def issuer(self) -> str:
        """Issuers of the tokens that count."""
        found = [each for each in self.everything() if each["kind"] == "RequestAuthentication"]
        (issuer,) = {rule["issuer"] for each in found for rule in each["spec"]["jwtRules"]}
        return str(issuer)

    def one(self, namespace: str, kind: str, name: str) -> Object:
        """An object, to look at or to spoil."""
        return next(
            each for each in self.objects[namespace] if each["kind"] == kind and each["metadata"]["name"] == name
        )

    def pairs(self) -> Iterator[tuple[str, str]]:
        return itertools.permutations(self.objects, 2)

    def everything(self) -> list[Object]:
        return [*self.platform, *(each for mine in self.objects.values() for each in mine)]

    @cached_property
    def network(self) -> Network:
        labels = {
            each["metadata"]["name"]: each["metadata"].get("labels") or {}
            for each in self.everything()
            if each["kind"] == "Namespace"
        }
        return Network(self.everything(), labels)


def pods(domain: str) -> Mapping[str, Pod]:
    """Pods of a tenant's namespace, by their kind; each under an address of its own."""
    serving = {"serving.kserve.io/inferenceservice": domain, "component": "predictor"}
    made = {
        "predictor": serving,
        "step": {"pipelines.kubeflow.org/v2_component": "true", "workflows.argoproj.io/workflow": "w"},
        "trainer": {names.JOB: names.TRAINING_JOB},
        "parity": {"app.kubernetes.io/name": names.PARITY},
        "reviewer": {"app.kubernetes.io/part-of": "llminferenceservice"},
        "decision": {names.DECIDES: domain, "app.kubernetes.io/name": f"{domain}-decision"},
        "sweep": {"app.kubernetes.io/name": "reviews-gc"},
        "review": {names.DECIDES: domain, "app.kubernetes.io/name": f"{domain}-reviewer"},
        "other": {},
    }
    return {kind: Pod(domain, labels, f"10.0.64.{place}") for place, (kind, labels) in enumerate(made.items(), 10)}


def people(domain: str) -> dict[str, Subject]:
    """Identities that act for a tenant: its group, its owner, and every account of its namespace."""
    return {
        "member": Subject.person(f"anna@{domain}", names.members(domain)),
        "owner": Subject.person(f"{domain}-oncall@hallmark.example"),
        **{account: Subject.account(domain, account) for account in ACCOUNTS},
    }


def asks(namespace: str) -> Iterator[Ask]:
    for group, resources in (RESOURCES | RUNS).items():
        verbs = (*VERBS, *RUN_VERBS) if group in RUNS else VERBS
        for resource, verb in itertools.product(resources, verbs):
            yield Ask(verb, group, resource, namespace, "hallmark-watch")


def permissions(world: World) -> list[str]:
    """Grants of RBAC to a tenant's people and accounts in another's namespace, or in all; runs and experiments among it."""
    found = []
    everywhere = [each for each in world.everything() if each["kind"].startswith("ClusterRole")]
    for namespace in ("", *world.objects):
        here = [*kubeflow.ROLES, *everywhere, *_access(world.objects.get(namespace, []))]
        subjects = {
            f"{domain}'s {who}": subject
            for domain in world.objects
            if domain != namespace
            for who, subject in people(domain).items()
        } | {STRANGER: Subject.person(STRANGER)}
        for ask in asks(namespace):
            found += [f"{who} may {ask}" for who, subject in subjects.items() if rbac.allowed(here, subject, ask)]
    return found


def _access(objects: list[Object]) -> list[Object]:
    return [each for each in objects if each["kind"] in ("Role", "RoleBinding")]


def flows(world: World) -> list[str]:
    """Connections that NetworkPolicies let through between two tenants' pods."""
    ports = sorted(world.network.ports())
    return [
        f"{one}'s {sender} -> {other}'s {receiver}:{port}/{protocol}"
        for one, other in world.pairs()
        for sender, source in pods(one).items()
        for receiver, target in pods(other).items()
        for protocol in ("TCP", "UDP")
        for port in ports
        if world.network.passes(source, target, port, protocol=protocol)
    ]


def calls(world: World) -> list[str]:
    """Requests that a tenant's pods let in, by the mesh's policies, from another's accounts and from bearers of another's token."""
    ports = (*network.DOORS, network.REVIEWER, network.MONITOR, network.QUEUE_METRICS, 8022)
    found = []
    for other in world.objects:
        reviewed = any(each["metadata"]["name"] == "reviewer" for each in world.objects[other])
        kinds = ("predictor", "reviewer") if reviewed else ("predictor",)
        sidecars = {kind: mesh.Sidecar(world.objects[other], pods(other)[kind]) for kind in kinds}
        for peer in _peers(world, other):
            for port, path in itertools.product(ports, PATHS):
                request = mesh.Request(port=port, path=path, method="GET" if path in READ else "POST", **peer)
                if not _harmless(request):
                    found += [f"{request} -> {other}'s {kind}" for kind in kinds if sidecars[kind].admits(request)]
    return found


def _peers(world: World, other: str) -> Iterator[Object]:
    """Whoever is not of this tenant, with whatever they could bring."""
    owner = world.one(other, "Profile", other)["spec"]["owner"]["name"]
    for one in world.objects.keys() - {other}:
        for account in ACCOUNTS:
            yield {"principal": f"cluster.local/ns/{one}/sa/{account}"}
        for hand in (meshes.GATEWAY, meshes.ACTIVATOR):
            for claim in ([one], one):
                yield {
                    "principal": hand,
                    "issuer": world.issuer,
                    "claims": {meshes.CLAIM: claim},
                    "headers": {"kubeflow-userid": owner},
                }
            yield {"principal": hand, "headers": {meshes.PROVEN: one}}
        for account in ACCOUNTS:
            yield {"principal": f"cluster.local/ns/{one}/sa/{account}", "headers": {meshes.PROVEN: other}}
    yield {"principal": "", "headers": {meshes.PROVEN: other}}
    for hand in (meshes.GATEWAY, meshes.ACTIVATOR):
        yield {"principal": hand, "headers": {"kubeflow-userid": owner}}
        yield {"principal": hand, "issuer": "https://elsewhere.example", "claims": {meshes.CLAIM: [other]}}
    yield {"principal": "cluster.local/ns/kubeflow/sa/ml-pipeline-ui", "headers": {"kubeflow-userid": owner}}
    yield {"principal": "", "headers": {"kubeflow-userid": owner}}


def _harmless(request: mesh.Request) -> bool:
    """Requests of the platform's own parts to every tenant: is it ready, and its metrics where a caller without a name is let in."""
    ready = request.principal in (meshes.GATEWAY, meshes.ACTIVATOR) and request.path == "/healthz"
    return ready or (not request.principal and (request.method, request.path) == ("GET", "/metrics"))


def storage(world: World, prefixes: Mapping[str, str] | None = None) -> list[str]:
    """Addresses of a tenant outside its own part of the bucket, and parts of the bucket that overlap.

    prefixes: by domain, what its accounts may read: every key that begins so, as AWS compares it; letter by letter.
    """
    prefixes = prefixes or {domain: names.prefix(domain) for domain in world.objects}
    found = [
        f"{one}'s accounts read {key}"
        for one, other in world.pairs()
        for key in (names.storage(other, "pipelines", "x").split("/", 3)[3], f"{other}/", f"{other}/../{other}/x")
        if key.startswith(prefixes[one])
    ]
    for domain in world.objects:
        for key in keys(world.objects[domain]):
            if key == EVENTS:
                continue
            if not key.startswith(prefixes[domain]) or posixpath.normpath(key) != key.rstrip("/"):
                found.append(f"{domain} is handed {key}")
    return found


def keys(objects: list[Object]) -> Iterator[str]:
    """Every key of the bucket that objects name."""
    for text in texts(objects):
        if text.startswith("s3://"):
            yield text.split("/", 3)[3].partition("?")[0]
        if text.startswith("{") and "keyFormat" in text:
            yield json.loads(text)["s3"]["keyFormat"]


def texts(value: Any) -> Iterator[str]:
    """Every string in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def secrets(world: World) -> list[str]:
    """Remote secrets that a tenant is handed and are not its own."""
    return [
        f"{domain} is handed {key}"
        for domain in world.objects
        for each in world.objects[domain]
        if each["kind"] == "ExternalSecret"
        for item in each["spec"]["data"]
        for key in [item["remoteRef"]["key"]]
        if not key.startswith(f"hallmark/{domain}/") or posixpath.normpath(key) != key
    ]


COUNTS = ("istio_requests_total", "istio_request_duration_milliseconds_bucket", "envoy_hallmark_requests")
"""Counts of requests, by whose labels a domain's rollouts and alerts know that they are its own."""


def series(world: World) -> list[str]:
    """Counts of another's requests that Prometheus would take from a tenant's pods."""
    return [
        f"{one}'s {endpoint['path']} tells of {other}: {name}"
        for one, other in world.pairs()
        for endpoint in world.one(one, "PodMonitor", "predictor")["spec"]["podMetricsEndpoints"]
        for name in COUNTS
        if _taken(endpoint, {"__name__": name, "reporter": "source", "destination_service_namespace": other})
    ]


def _taken(endpoint: Object, labels: Mapping[str, str]) -> bool:
    """Does a sample pass the endpoint's relabelings?"""
    for each in endpoint.get("metricRelabelings") or []:
        value = ";".join(labels.get(name, "") for name in each["sourceLabels"])
        if (re.fullmatch(each["regex"], value) is None) == (each["action"] == "keep"):
            return False
    return True
