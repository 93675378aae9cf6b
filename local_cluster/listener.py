"""The gateway's static part: its listener, what it takes and refuses, and what it counts.

Every request that a client sent is counted once, when its answer has ended, by the revision that it was meant for and by who
really answered; mirrored copies are not counted here (their own clusters count them: `routes.shadow_cluster`). As Prometheus text:

    envoy_hallmark_requests{service="fraud/fraud",revision="fraud-predictor-00002",answered="stable",code="200",grpc=""} 12
    envoy_hallmark_milliseconds_bucket{service="fraud/fraud",revision="fraud-predictor-00002",le="50"} 11   (_sum, _count)

service, revision: empty where the request found none (404 here; a body or headers that are refused before).
answered: the variant of the pod that answered, `gateway` for Envoy's own words, empty where the client left before any answer.
code: the HTTP status, 0 where the client left.  grpc: the status's number in a gRPC answer, empty in REST.
A gRPC call goes to a pod as HTTP/1.1, in the same bytes, and its answer gets trailers here (docs/decisions/0022).
The times run from the request's first byte to the answer's last one, tries included, and lag by a second at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hallmark import names
from hallmark.metrics import GATEWAY_MILLISECONDS
from local_cluster.routes import GATEWAY, OWN, REQUEST_HEADER, ROUTES, VARIANT_HEADER
from local_cluster.xds import TYPE, header, socket, watched

Json = dict[str, Any]

MAX_BODY_BYTES = 16 << 20
MAX_HEADERS_KIB = 32
MAX_CONNECTIONS = 4096
MILLISECONDS_LE = GATEWAY_MILLISECONDS.buckets
"""Edges of the buckets of times: every declared objective is among them."""


def bootstrap(port: int, folder: Path) -> Json:
    """The static part: the listener on loopback `port`, the admin on any free one, and the watched `folder`."""
    return {
        "node": {"id": "hallmark", "cluster": "hallmark"},
        "admin": {"address": socket("127.0.0.1", 0)},
        "static_resources": {"listeners": [_listener(port, folder)]},
        "dynamic_resources": {"cds_config": watched(folder, "cds.json")},
        # Times are merged over the threads this often: what decides on them wants them fresh.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"prefix": prefix}, "buckets": list(MILLISECONDS_LE)} for prefix in ("cluster", OWN)
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": TYPE
                        + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


def _listener(port: int, folder: Path) -> Json:
    manager: Json = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES, "config_source": watched(folder, "rds.json")},
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
        # Old health checkers and `ab` speak HTTP/1.0, and may name no host; an offer to change the protocol is ignored, as the
        # model server does: Envoy's own answer to a WebSocket is 403, which reads as a matter of rights.
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": ".*"}}],
        },
        "http2_protocol_options": {"max_concurrent_streams": 100, "initial_stream_window_size": 1 << 20},
        "http_filters": _filters(),
        "local_reply_config": _local_reply(),
        "access_log": [_failures_log(), _counts()],
    }
    return {
        "name": "gateway",
        "address": socket("127.0.0.1", port),
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
    # Our own id, whatever the client sent: copies and tries carry the same one.
    named = {"append": header(REQUEST_HEADER, "%UNIQUE_ID%")}
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": TYPE + mutation + "HeaderMutation",
                "mutations": {"request_mutations": [*stripped, named]},
            },
        },
        *grpc_filters(),
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": True,
            },
        },
    ]


def grpc_filters() -> list[Json]:
    """The bridge for gRPC calls, and the limit of bodies for all else.

    The limit is the server's own for calls: here it would be UNKNOWN, which is for failures, and so a candidate's fault.
    """
    bridge = {
        "@type": TYPE + "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
        # gRPC's own content type, so that Envoy still knows the request for a call: statuses, retries, counts, its own answers.
        "content_type": "application/grpc",
        "withhold_grpc_frames": False,
    }
    body = {"@type": TYPE + "envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": MAX_BODY_BYTES}
    return [_filter("hallmark.grpc", bridge, calls=True), _filter("hallmark.body", body, calls=False)]


def _filter(name: str, config: Json, *, calls: bool) -> Json:
    """A filter for gRPC calls alone, or for all but them and CONNECT, which has no body whose end could be waited for."""
    call = _is("path", {"prefix": names.GRPC_PATH})
    other = {"or_matcher": {"predicate": [call, _is("method", {"exact": "CONNECT"})]}}
    skip = {"@type": TYPE + "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"}
    matcher = {
        "predicate": {"not_matcher": call} if calls else other,
        "on_match": {"action": {"name": "skip", "typed_config": skip}},
    }
    return {
        "name": name,
        "typed_config": {
            "@type": TYPE + "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {"name": name, "typed_config": config},
            "xds_matcher": {"matcher_list": {"matchers": [matcher]}},
        },
    }


def _is(name: str, match: Json) -> Json:
    """Does a part of the request's first line match?"""
    found = {"@type": TYPE + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": f":{name}"}
    return {"single_predicate": {"input": {"name": name, "typed_config": found}, "value_match": match}}


def _local_reply() -> Json:
    """Answers of the gateway itself: JSON, and for 503 a Retry-After; some have no text, and all have Envoy's word for the reason."""
    words = {"error": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%", "reason": "%RESPONSE_CODE_DETAILS%"}
    error: Json = {"json_format": words}
    gateway = header(VARIANT_HEADER, GATEWAY)
    return {
        "mappers": [
            {
                "filter": _status_filter("EQ", 503),
                "headers_to_add": [gateway, header("retry-after", "1")],
            },
            {"filter": _status_filter("GE", 400), "headers_to_add": [gateway]},
        ],
        "body_format": error,
    }


def _failures_log() -> Json:
    line = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ:ORIG_OR_PATH)%",
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
            "@type": TYPE + "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": line},
        },
    }


def _counts() -> Json:
    """Counts each request when its answer has ended. The tags name what exists: clients cannot make new ones."""
    meant = {"service": f"%METADATA(ROUTE:{OWN}:service)%", "revision": f"%METADATA(CLUSTER:{OWN}:revision)%"}
    got = {"answered": f"%RESP({VARIANT_HEADER})%", "code": "%RESPONSE_CODE%", "grpc": "%GRPC_STATUS_NUMBER%"}
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.stats.v3.Config",
            "stat_prefix": OWN,
            "counters": [{"stat": _stat("requests", meant | got), "value_fixed": 1}],
            "histograms": [
                {"stat": _stat("milliseconds", meant), "unit": "Milliseconds", "value_format": "%DURATION%"}
            ],
        },
    }


def _stat(name: str, tags: dict[str, str]) -> Json:
    return {"name": name, "tags": [{"name": key, "value_format": value} for key, value in tags.items()]}


def _status_filter(operator: str, status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"hallmark.status_{operator.lower()}_{status}"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}
