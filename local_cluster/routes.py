"""The gateway's configuration: the Envoy resources for a set of services, as plain data.

A revision is a cluster. Traffic is split by weighted clusters; a canary's cluster holds the stable endpoint at priority 1, so that
a request that the canary cannot take, or answers with a failure of its own, is tried again on stable, and its answer carries a header
(`x-hallmark-variant` is the endpoint's own). A candidate in shadow has a second cluster, without stable, for mirrored copies.
What the gateway counts is declared in `listener`, under the names here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hallmark.declaration import timeouts
from hallmark.metrics import GATEWAY_MILLISECONDS, GATEWAY_REQUESTS
from local_cluster.xds import TYPE, header, seconds, socket, watched

Json = dict[str, Any]
Variant = Literal["stable", "canary"]

ROUTES = "hallmark"
VARIANT_HEADER = "x-hallmark-variant"
REQUEST_HEADER = "x-hallmark-request-id"
SHADOW_HEADER = "x-hallmark-shadow"
REQUESTS = GATEWAY_REQUESTS.name
"""Counter {service, revision, answered, code, grpc}."""
MILLISECONDS = GATEWAY_MILLISECONDS.name
"""Histogram {service, revision}: _bucket with le, _sum, _count."""
MIRRORED = "envoy_cluster_upstream_rq_xx"
"""Counter {envoy_cluster_name, envoy_response_code_class}: for `shadow_cluster` what a candidate answered to mirrored copies."""
GATEWAY = "gateway"
"""Who answered, where it was the gateway itself."""
OWN = "hallmark"
"""The metadata of routes (service) and clusters (revision), by which requests are counted."""
MAX_MIRRORED = 192
"""Copies under way to one candidate; what is more is left out."""
GATEWAY_FAILURES = "connect-failure,refused-stream,reset,gateway-error"
SERVER_FAILURES = f"{GATEWAY_FAILURES},5xx,internal,unavailable,resource-exhausted,deadline-exceeded"

_ROUTE_CONFIG = TYPE + "envoy.config.route.v3.RouteConfiguration"
_CLUSTER = TYPE + "envoy.config.cluster.v3.Cluster"
_ENDPOINTS = TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


_LIMITS: Json = {"priority": "DEFAULT", "max_connections": 1024, "max_pending_requests": 1024, "max_requests": 2048}
# Only what shows that the server is gone ejects a canary: an answer of 500 or 4xx is an answer (faults.md). Every request
# that it drops or fails may be tried again, since the tries go to stable.
_CANARY_ONLY: Json = {
    "outlier_detection": {
        "interval": "1s",
        "base_ejection_time": "1s",
        "max_ejection_time": "5s",
        "max_ejection_percent": 100,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "consecutive_gateway_failure": 10,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
    },
    "circuit_breakers": {"thresholds": [{**_LIMITS, "max_retries": 1024}]},
}
# One more try is stable's; a second would go to the canary again, and wait for it again.
_CANARY_TRIES = 1
# Nothing stands behind stable: ejecting it would refuse what it can still answer, and unbounded tries would bury one
# that answers 503 because it is full.
_STABLE_ONLY: Json = {
    "circuit_breakers": {
        "thresholds": [{**_LIMITS, "retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 5}}]
    },
}
# Copies are nobody's answers: no tries, and few at a time, so that a candidate that hangs holds little.
_SHADOW_ONLY: Json = {
    "circuit_breakers": {
        "thresholds": [
            {
                "priority": "DEFAULT",
                "max_connections": 128,
                "max_pending_requests": 64,
                "max_requests": MAX_MIRRORED,
                "max_retries": 0,
            }
        ]
    },
}


class PodAddress(BaseModel):
    """The port of a ready pod, for REST and gRPC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int


class RevisionBackend(BaseModel):
    """A revision with its share of the traffic; `addresses` are those of its ready pods.

    health: its readiness path.  shadow: percent of stable's requests that are mirrored to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str
    variant: Variant
    weight: int
    addresses: tuple[PodAddress, ...] = ()
    health: str = "/v2/health/ready"
    shadow: float = Field(default=0.0, ge=0, le=100)


class RoutedService(BaseModel):
    """One InferenceService as the gateway sees it; without backends it answers 503.

    fails_over: what a canary cannot answer, stable answers, and copies are marked as such; no cluster's gateway does either.
    aliases:    more host names for the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    name: str
    timeout: float = timeouts.UNSET
    fails_over: bool = True
    aliases: tuple[str, ...] = ()
    backends: tuple[RevisionBackend, ...] = ()

    @property
    def fallback(self) -> tuple[PodAddress, ...]:
        """The stable endpoints, where they take what a canary cannot."""
        stable = (b.addresses for b in self.backends if b.variant == "stable" and b.weight and b.addresses)
        return next(stable, ()) if self.fails_over else ()

    def without(self, revision: str, gone: PodAddress) -> RoutedService:
        """The same without one pod of a revision, which goes with its last one."""
        left = []
        for each in self.backends:
            addresses = tuple(one for one in each.addresses if one != gone)
            if each.revision != revision:
                left.append(each)
            elif addresses:
                left.append(each.model_copy(update={"addresses": addresses}))
        return self.model_copy(update={"backends": tuple(left)})

    @property
    def prefix(self) -> str:
        """The path it is served under: KServe's own path template."""
        return f"/serving/{self.namespace}/{self.name}"

    @property
    def hostname(self) -> str:
        """The name it is also served under, for gRPC and for clients that send a Host header as on KServe."""
        return f"{self.name}.{self.namespace}.localhost"


def cluster_name(service: RoutedService, backend: RevisionBackend) -> str:
    """The cluster of a revision, which is its name in Envoy's statistics too."""
    return f"{service.namespace}/{backend.revision}"


def shadow_cluster(service: RoutedService, backend: RevisionBackend) -> str:
    """The cluster that mirrored copies for a revision go to."""
    return f"{cluster_name(service, backend)}/shadow"


def routes(services: tuple[RoutedService, ...]) -> Json:
    """The RouteConfiguration: by path and by host name (gRPC by this alone) for each service, and a clear 404 for everything else."""
    paths = [route for service in services for route in _path_routes(service)]
    paths.append(_direct({"prefix": "/"}, 404, "there is no such service here; `hallmark status` lists them"))
    hosts = [_virtual_host(s.hostname, [s.hostname, *s.aliases], [_host_route(s)]) for s in services]
    return {
        "@type": _ROUTE_CONFIG,
        "name": ROUTES,
        "validate_clusters": True,
        "virtual_hosts": [_virtual_host("paths", ["*"], paths), *hosts],
        "response_headers_to_add": [header(VARIANT_HEADER, "%UPSTREAM_METADATA(envoy.lb:variant)%")],
        "most_specific_header_mutations_wins": True,
    }


def clusters(services: tuple[RoutedService, ...], endpoints: Path) -> list[Json]:
    """A cluster for each revision, and one for a candidate's copies; their endpoints come from files in folder `endpoints`."""
    found: list[Json] = []
    for service in services:
        for backend in service.backends:
            own = _CANARY_ONLY if backend.variant == "canary" and service.fails_over else _STABLE_ONLY
            found.append(_cluster(cluster_name(service, backend), backend, endpoints, own=own))
            if backend.shadow:
                found.append(_cluster(shadow_cluster(service, backend), backend, endpoints, own=_SHADOW_ONLY))
    return found


def assignments(services: tuple[RoutedService, ...]) -> dict[str, Json]:
    """The endpoints of each cluster, by cluster name: its own pod first, stable after it where it is a canary."""
    found: dict[str, Json] = {}
    for service in services:
        for backend in service.backends:
            own: list[tuple[tuple[PodAddress, ...], Variant]] = [(backend.addresses, backend.variant)]
            behind: list[tuple[tuple[PodAddress, ...], Variant]] = [(service.fallback, "stable")]
            name, copies = cluster_name(service, backend), shadow_cluster(service, backend)
            spare = backend.variant == "canary" and service.fallback
            found[name] = _assignment(name, own + behind if spare else own)
            if backend.shadow:
                found[copies] = _assignment(copies, own)
    return found


def endpoint_file(folder: Path, cluster: str) -> Path:
    """The file in `folder` with the endpoints of `cluster`."""
    slug = re.sub(r"[^a-z0-9-]", "_", cluster)
    return folder / f"eds-{slug}-{hashlib.sha256(cluster.encode()).hexdigest()[:6]}.json"


def _path_routes(service: RoutedService) -> list[Json]:
    if not _weighted(service):
        text = f"no revision of {service.namespace}/{service.name} is ready yet"
        return [
            _direct({"prefix": f"{service.prefix}/"}, 503, text) | _named(service),
            _direct({"path": service.prefix}, 503, text) | _named(service),
        ]
    action = _action(service) | {"prefix_rewrite": "/"}
    return [
        {"match": {"prefix": f"{service.prefix}/"}, "route": action, **_named(service)},
        {"match": {"path": service.prefix}, "route": action, **_named(service)},
    ]


def _host_route(service: RoutedService) -> Json:
    if not _weighted(service):
        text = f"no revision of {service.namespace}/{service.name} is ready yet"
        return _direct({"prefix": "/"}, 503, text) | _named(service)
    return {"match": {"prefix": "/"}, "route": _action(service), **_named(service)}


def _weighted(service: RoutedService) -> tuple[RevisionBackend, ...]:
    return service.backends if sum(b.weight for b in service.backends) else ()


def _action(service: RoutedService) -> Json:
    weighted = [{"name": cluster_name(service, b), "weight": b.weight} for b in _weighted(service)]
    mirrored = [_mirror(service, b) for b in service.backends if b.shadow]
    return {
        "weighted_clusters": {"clusters": weighted},
        # The first try has the service's timeout, and the one on stable that follows it has its own.
        "timeout": seconds(timeouts.gateway(service.timeout)),
        # The listener's own is for streams on which nobody waits for a model.
        "idle_timeout": seconds(timeouts.gateway(service.timeout)),
        # Stable's; a canary's cluster has its own.
        "retry_policy": {**_retries(GATEWAY_FAILURES, 2), "per_try_timeout": seconds(service.timeout)},
        **({"request_mirror_policies": mirrored} if mirrored else {}),
    }


def _retries(failures: str, tries: int) -> Json:
    return {
        "retry_on": failures,
        "num_retries": tries,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.050s"},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }


def _mirror(service: RoutedService, backend: RevisionBackend) -> Json:
    share = {"numerator": round(backend.shadow * 10_000), "denominator": "MILLION"}
    return {
        "cluster": shadow_cluster(service, backend),
        "runtime_fraction": {"default_value": share},
        "disable_shadow_host_suffix_append": True,
        **({"request_headers_mutations": [{"append": header(SHADOW_HEADER, "1")}]} if service.fails_over else {}),
    }


def _named(service: RoutedService) -> Json:
    """A route's metadata: the service that its requests are counted under."""
    return {"metadata": {"filter_metadata": {OWN: {"service": f"{service.namespace}/{service.name}"}}}}


def _direct(match: Json, status: int, text: str) -> Json:
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _virtual_host(name: str, domains: list[str], found: list[Json]) -> Json:
    return {"name": name, "domains": domains, "routes": found}


def _cluster(name: str, backend: RevisionBackend, folder: Path, *, own: Json) -> Json:
    return {
        "@type": _CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": watched(folder, endpoint_file(folder, name).name)},
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # With panic routing, a dead canary would go on getting requests although stable stands behind it.
        # Merged updates (the default) would reach the workers up to a second later than /clusters shows them.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "ignore_health_on_host_removal": True,
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 1,
                "http_health_check": {"path": backend.health, "codec_client_type": "HTTP1"},
            }
        ],
        "metadata": {"filter_metadata": {OWN: {"revision": backend.revision}}},
        **own,
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": TYPE + _HTTP_OPTIONS,
                "common_http_protocol_options": {"idle_timeout": "4s"},
                "explicit_http_config": {"http_protocol_options": {}},
                **({"retry_policy": _retries(SERVER_FAILURES, _CANARY_TRIES)} if own is _CANARY_ONLY else {}),
            }
        },
    }


def _assignment(name: str, ranks: list[tuple[tuple[PodAddress, ...], Variant]]) -> Json:
    found = []
    for priority, (addresses, variant) in enumerate(ranks):
        own = {"filter_metadata": {"envoy.lb": {"variant": variant}}}
        endpoints: list[Json] = [
            {"endpoint": {"address": socket(address.host, address.port)}, "metadata": own} for address in addresses
        ]
        found.append({"priority": priority, "locality": {"zone": "local"}, "lb_endpoints": endpoints})
    return {"@type": _ENDPOINTS, "cluster_name": name, "endpoints": found}
