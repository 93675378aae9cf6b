"""What the gateway is told: the Envoy resources for a set of services, as plain data.

A revision is a cluster. Traffic is split by weighted clusters; a canary's cluster holds the stable endpoint at priority 1, so that
a request that the canary cannot take is retried on stable, and its answer says so (`x-hallmark-variant` is the endpoint's own).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]
Variant = Literal["stable", "canary"]

ROUTES = "hallmark"
VARIANT_HEADER = "x-hallmark-variant"
MAX_BODY_BYTES = 16 << 20
MAX_HEADERS_KIB = 32
MAX_CONNECTIONS = 4096
GATEWAY_FAILURES = "connect-failure,refused-stream,reset,gateway-error"

_TYPE = "type.googleapis.com/"
_ROUTE_CONFIG = _TYPE + "envoy.config.route.v3.RouteConfiguration"
_CLUSTER = _TYPE + "envoy.config.cluster.v3.Cluster"
_ENDPOINTS = _TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER = "envoy.filters.http.buffer"


_LIMITS: Json = {"priority": "DEFAULT", "max_connections": 1024, "max_pending_requests": 1024, "max_requests": 2048}
# Only what says that the server is gone ejects a canary: an answer of 500 or 4xx is an answer (faults.md). Every request
# that it drops may be tried again, since the tries go to stable.
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
# Nothing stands behind stable: ejecting it would refuse what it can still answer, and unbounded tries would bury one
# that says 503 because it is full.
_STABLE_ONLY: Json = {
    "circuit_breakers": {
        "thresholds": [{**_LIMITS, "retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 5}}]
    },
}


class Address(BaseModel):
    """Where a ready pod listens: HTTP, and gRPC where it has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int
    grpc_port: int | None = None


class Backend(BaseModel):
    """A revision with its share of the traffic; no address while its pod is not ready. `health` is its readiness path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str
    variant: Variant
    weight: int
    address: Address | None = None
    grpc: bool = False
    health: str = "/v2/health/ready"


class Service(BaseModel):
    """One InferenceService as the gateway sees it; without backends it answers 503."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    name: str
    timeout: float = 60.0
    backends: tuple[Backend, ...] = ()

    @property
    def fallback(self) -> Address | None:
        """The stable endpoint, which takes what a canary cannot."""
        return next((b.address for b in self.backends if b.variant == "stable" and b.weight and b.address), None)

    @property
    def prefix(self) -> str:
        """The path it is served under: KServe's own path template."""
        return f"/serving/{self.namespace}/{self.name}"

    @property
    def hostname(self) -> str:
        """The name it is also served under, for gRPC and for clients that send a Host header as on KServe."""
        return f"{self.name}.{self.namespace}.localhost"


def cluster_name(service: Service, backend: Backend) -> str:
    """The cluster of a revision, which is its name in Envoy's statistics too."""
    return f"{service.namespace}/{backend.revision}"


def routes(services: tuple[Service, ...]) -> Json:
    """The RouteConfiguration: by path and by host name for each service, and a clear 404 for everything else."""
    paths = [route for service in services for route in _path_routes(service)]
    paths.append(_direct({"prefix": "/"}, 404, "there is no such service here; `hallmark status` lists them"))
    hosts = [_virtual_host(s.hostname, [s.hostname], [_grpc_route(s), _host_route(s)]) for s in services]
    return {
        "@type": _ROUTE_CONFIG,
        "name": ROUTES,
        "validate_clusters": True,
        "virtual_hosts": [_virtual_host("paths", ["*"], paths), *hosts],
        "response_headers_to_add": [_header(VARIANT_HEADER, "%UPSTREAM_METADATA(envoy.lb:variant)%")],
        "most_specific_header_mutations_wins": True,
    }


def clusters(services: tuple[Service, ...], endpoints: Path) -> list[Json]:
    """A cluster for each revision, and one for its gRPC port; their endpoints come from files in folder `endpoints`."""
    found: list[Json] = []
    for service in services:
        for backend in service.backends:
            name = cluster_name(service, backend)
            found.append(_cluster(name, backend, endpoints, h2=False))
            if backend.grpc:
                found.append(_cluster(f"{name}/grpc", backend, endpoints, h2=True))
    return found


def assignments(services: tuple[Service, ...]) -> dict[str, Json]:
    """The endpoints of each cluster, by cluster name: its own pod first, stable after it where it is a canary."""
    found: dict[str, Json] = {}
    for service in services:
        for backend in service.backends:
            ranks: list[tuple[Address | None, Variant]] = [(backend.address, backend.variant)]
            if backend.variant == "canary" and service.fallback:
                ranks.append((service.fallback, "stable"))
            name = cluster_name(service, backend)
            found[name] = _assignment(name, ranks, h2=False)
            if backend.grpc:
                found[f"{name}/grpc"] = _assignment(f"{name}/grpc", ranks, h2=True)
    return found


def endpoint_file(folder: Path, cluster: str) -> Path:
    """The file in `folder` with the endpoints of `cluster`."""
    slug = re.sub(r"[^a-z0-9-]", "_", cluster)
    return folder / f"eds-{slug}-{hashlib.sha256(cluster.encode()).hexdigest()[:6]}.json"


def discovery(resources: list[Json]) -> tuple[str, str]:
    """A discovery response with `resources`: its version, which is its content's digest, and its text."""
    body = json.dumps(resources, sort_keys=True)
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return version, json.dumps({"version_info": version, "resources": resources}, indent=1, sort_keys=True)


def bootstrap(port: int, folder: Path) -> Json:
    """The static part: the listener on loopback `port`, the admin on any free one, and the watched `folder`."""
    return {
        "node": {"id": "hallmark", "cluster": "hallmark"},
        "admin": {"address": _socket("127.0.0.1", 0)},
        "static_resources": {"listeners": [_listener(port, folder)]},
        "dynamic_resources": {"cds_config": _watched(folder, "cds.json")},
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"prefix": "cluster"},
                    "buckets": [1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000],
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _TYPE
                        + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


def _path_routes(service: Service) -> list[Json]:
    if not _weighted(service):
        text = f"no revision of {service.namespace}/{service.name} is ready yet"
        return [
            _direct({"prefix": f"{service.prefix}/"}, 503, text),
            _direct({"path": service.prefix}, 503, text),
        ]
    return [
        {"match": {"prefix": f"{service.prefix}/"}, "route": _action(service) | {"prefix_rewrite": "/"}},
        {"match": {"path": service.prefix}, "route": _action(service) | {"prefix_rewrite": "/"}},
    ]


def _host_route(service: Service) -> Json:
    if not _weighted(service):
        return _direct({"prefix": "/"}, 503, f"no revision of {service.namespace}/{service.name} is ready yet")
    return {"match": {"prefix": "/"}, "route": _action(service)}


def _grpc_route(service: Service) -> Json:
    match = {"prefix": "/", "grpc": {}}
    if not any(b.grpc for b in _weighted(service)):
        return _direct(match, 503, f"no revision of {service.namespace}/{service.name} serves gRPC")
    return {
        "match": match,
        "route": _action(service, suffix="/grpc"),
        # A stream has no end to wait for, so it is never buffered whole.
        "typed_per_filter_config": {
            _BUFFER: {"@type": _TYPE + "envoy.extensions.filters.http.buffer.v3.BufferPerRoute", "disabled": True}
        },
    }


def _weighted(service: Service) -> tuple[Backend, ...]:
    return service.backends if sum(b.weight for b in service.backends) else ()


def _action(service: Service, *, suffix: str = "") -> Json:
    weighted = [
        {"name": cluster_name(service, b) + suffix, "weight": b.weight}
        for b in _weighted(service)
        if b.grpc or not suffix
    ]
    return {
        "weighted_clusters": {"clusters": weighted},
        # The first try has the service's timeout, and the one on stable that follows it has its own.
        "timeout": _seconds(2 * service.timeout + 0.5),
        "retry_policy": {
            "retry_on": GATEWAY_FAILURES,
            "num_retries": 2,
            "per_try_timeout": _seconds(service.timeout),
            "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.050s"},
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": {
                    "@type": _TYPE + "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                    "update_frequency": 1,
                },
            },
        },
    }


def _direct(match: Json, status: int, text: str) -> Json:
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _virtual_host(name: str, domains: list[str], found: list[Json]) -> Json:
    return {"name": name, "domains": domains, "routes": found}


def _cluster(name: str, backend: Backend, folder: Path, *, h2: bool) -> Json:
    protocol: Json = {"http2_protocol_options": {}} if h2 else {"http_protocol_options": {}}
    return {
        "@type": _CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _watched(folder, endpoint_file(folder, name).name)},
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
        **(_CANARY_ONLY if backend.variant == "canary" else _STABLE_ONLY),
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _TYPE + _HTTP_OPTIONS,
                "common_http_protocol_options": {"idle_timeout": "4s"},
                "explicit_http_config": protocol,
            }
        },
    }


def _assignment(name: str, ranks: list[tuple[Address | None, Variant]], *, h2: bool) -> Json:
    found = []
    for priority, (address, variant) in enumerate(ranks):
        port = (address.grpc_port if h2 else address.port) if address else None
        if address is None or port is None:
            endpoints: list[Json] = []
        else:
            endpoint: Json = {"address": _socket(address.host, port)}
            if h2:
                endpoint["health_check_config"] = {"port_value": address.port}
            endpoints = [{"endpoint": endpoint, "metadata": {"filter_metadata": {"envoy.lb": {"variant": variant}}}}]
        found.append({"priority": priority, "locality": {"zone": "local"}, "lb_endpoints": endpoints})
    return {"@type": _ENDPOINTS, "cluster_name": name, "endpoints": found}


def _listener(port: int, folder: Path) -> Json:
    manager: Json = {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES, "config_source": _watched(folder, "rds.json")},
        "use_remote_address": True,
        "strip_any_host_port": True,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "request_headers_timeout": "5s",
        "request_timeout": "60s",
        "stream_idle_timeout": "120s",
        "delayed_close_timeout": "1s",
        "common_http_protocol_options": {"idle_timeout": "300s", "max_headers_count": 100},
        "http2_protocol_options": {"max_concurrent_streams": 100, "initial_stream_window_size": 1 << 20},
        "http_filters": _filters(),
        "local_reply_config": _local_reply(),
        "access_log": [_failures_log()],
    }
    return {
        "name": "gateway",
        "address": _socket("127.0.0.1", port),
        # Two gateways may not share a port: the second one has to fail.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": MAX_BODY_BYTES,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _filters() -> list[Json]:
    mutation = "envoy.extensions.filters.http.header_mutation.v3."
    stripped = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in ("x-hallmark-", "x-envoy-")]
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": _TYPE + mutation + "HeaderMutation",
                "mutations": {"request_mutations": stripped},
            },
        },
        {
            "name": _BUFFER,
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.filters.http.buffer.v3.Buffer",
                "max_request_bytes": MAX_BODY_BYTES,
            },
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": True,
            },
        },
    ]


def _local_reply() -> Json:
    """What the gateway answers by itself: JSON, and for 503 when to come again."""
    error: Json = {"json_format": {"error": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%"}}
    gateway = _header(VARIANT_HEADER, "gateway")
    return {
        "mappers": [
            {
                "filter": _status_filter("EQ", 503),
                "headers_to_add": [gateway, _header("retry-after", "1")],
            },
            {"filter": _status_filter("GE", 400), "headers_to_add": [gateway]},
        ],
        "body_format": error,
    }


def _failures_log() -> Json:
    line = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ:ORIG)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "milliseconds": "%DURATION%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": _status_filter("GE", 500),
        "typed_config": {
            "@type": _TYPE + "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": line},
        },
    }


def _status_filter(operator: str, status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"hallmark.status_{operator.lower()}_{status}"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _watched(folder: Path, name: str) -> Json:
    return {
        "path_config_source": {"path": str(folder / name), "watched_directory": {"path": str(folder)}},
        "resource_api_version": "V3",
    }


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
