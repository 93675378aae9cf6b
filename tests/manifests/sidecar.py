"""A pod's sidecar as an Envoy of its own, with the filters that Istio makes of our policies (pilot/pkg/security/authz/model).

What it answers is compared with what the evaluator of the matrix (mesh.py) says: mutual TLS with names in real certificates,
tokens that are really signed, and Envoy's own word on each rule.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from local_cluster.xds import TYPE, socket
from tests.manifests.flows import Pod
from tests.manifests.gateway import HCM, JWT, ROUTER, Issuer
from tests.manifests.mesh import Sidecar

Object = dict[str, Any]
RBAC = TYPE + "envoy.extensions.filters.http.rbac.v3.RBAC"
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority of the mesh: names workloads as Istio does, by a SPIFFE address."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def _own(self) -> Any:
        from cryptography import x509

        return self._signed(self._key.public_key(), "mesh", [(x509.BasicConstraints(ca=True, path_length=0), True)])

    @cached_property
    def trusted(self) -> str:
        """Its own certificate."""
        return _pem(self._own)

    def context(self, principal: str) -> ssl.SSLContext:
        """TLS context of a client of that name."""
        certificate, key = self.issued(principal)
        path = self._folder / f"{principal.replace('/', '_')}.pem"
        path.write_text(certificate + key, encoding="utf-8")
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.check_hostname = False
        found.load_verify_locations(cadata=self.trusted)
        found.load_cert_chain(path)
        return found

    def issued(self, principal: str) -> tuple[str, str]:
        """Certificate and key of a workload."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{principal}")])
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(self._signed(key.public_key(), "", [(name, True)])), text.decode()

    def _signed(self, public: Any, name: str, extensions: list[tuple[Any, bool]]) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import NameOID

        def called(text: str) -> Any:
            return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)] if text else [])

        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(called(name)).issuer_name(called("mesh")).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - DAY).not_valid_after(now + DAY)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def configuration(
    objects: list[Object], pod: Pod, *, ports: Mapping[int, int], authority: Authority, issuer: Issuer, program: int = 0
) -> Object:
    """The bootstrap of an Envoy that does for `pod` what its policies ask. ports: where each of its ports is on this machine.

    program: the port of what it stands in front of; without one it answers 200 itself.
    """
    found = Sidecar(objects, pod)
    filters = [
        _tokens(found.tokens, issuer),
        *(_rules(each, action, ports) for each, action in ((found.denying, "DENY"), (found.allowing, "ALLOW"))),
        {"name": ROUTER, "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}},
    ]
    answer: Object = {"match": {"prefix": "/"}}
    answer |= {"route": {"cluster": "program"}} if program else {"direct_response": {"status": 200}}
    manager = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound",
        "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": filters,
    }
    certificate, key = authority.issued(f"cluster.local/ns/{pod.namespace}/sa/predictor")
    tls = {
        "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [
                {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": key}}
            ],
            "validation_context": {"trusted_ca": {"inline_string": authority.trusted}},
        },
    }
    chain = {"filters": [{"name": HCM, "typed_config": manager}]}
    named = {
        **chain,
        "filter_chain_match": {"transport_protocol": "tls"},
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    nameless = {**chain, "filter_chain_match": {"transport_protocol": "raw_buffer"}}
    inspector = TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    listeners = [
        {
            "name": str(port),
            "address": socket("127.0.0.1", here),
            "enable_reuse_port": False,
            "listener_filters": [{"name": "tls_inspector", "typed_config": {"@type": inspector}}],
            "filter_chains": [named] if found.mode(port) == "STRICT" else [named, nameless],
        }
        for port, here in ports.items()
    ]
    cluster = {
        "name": "program",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "program",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket("127.0.0.1", program)}}]}],
        },
    }
    static = {"listeners": listeners, "clusters": [cluster] if program else []}
    return {"admin": {"address": socket("127.0.0.1", 0)}, "static_resources": static}


def _tokens(rules: list[Object], issuer: Issuer) -> Object:
    (rule,) = rules
    provider = {
        "issuer": rule["issuer"],
        "audiences": rule["audiences"],
        "payload_in_metadata": "payload",
        "forward": rule.get("forwardOriginalToken", False),
        "local_jwks": {"inline_string": issuer.keys},
    }
    either = {"requires_any": {"requirements": [{"provider_name": "one"}, {"allow_missing": {}}]}}
    return {
        "name": JWT,
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"one": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": either}],
        },
    }


def _rules(specs: list[Object], action: str, ports: Mapping[int, int]) -> Object:
    policies = {
        f"{place}-{index}": _policy(rule, ports)
        for place, spec in enumerate(specs)
        for index, rule in enumerate(spec.get("rules") or [])
    }
    config = {"@type": RBAC, "rules": {"action": action, "policies": policies}}
    return {"name": f"rbac.{action}", "typed_config": config}


def _policy(rule: Object, ports: Mapping[int, int]) -> Object:
    when = [
        one
        for each in rule.get("when") or []
        for one in _both(each, "values", "notValues", _condition(each["key"]), "ids")
    ]
    sources = [each["source"] for each in rule.get("from") or []] or [{}]
    operations = [each["operation"] for each in rule.get("to") or []] or [{}]
    return {
        "principals": [_and([*_source(each), *when], "ids") for each in sources],
        "permissions": [_and(list(_operation(each, ports)), "rules") for each in operations],
    }


def _source(source: Object) -> Iterator[Object]:
    assert source.keys() <= {"principals", "notPrincipals", "ipBlocks", "notIpBlocks"}
    yield from _both(source, "principals", "notPrincipals", _principal, "ids")
    yield from _both(source, "ipBlocks", "notIpBlocks", _address, "ids")


def _operation(operation: Object, ports: Mapping[int, int]) -> Iterator[Object]:
    def port(value: str) -> Object:
        return {"destination_port": ports.get(int(value), 1)}

    def method(value: str) -> Object:
        return {"header": {"name": ":method", "string_match": {"exact": value}}}

    yield from _both(operation, "methods", "notMethods", method, "rules")
    yield from _both(operation, "paths", "notPaths", lambda value: {"url_path": {"path": _text(value)}}, "rules")
    yield from _both(operation, "ports", "notPorts", port, "rules")


def _condition(key: str) -> Callable[[str], Object]:
    name = key.partition("[")[2].removesuffix("]")
    if key.startswith("request.auth.claims["):

        def claim(value: str) -> Object:
            one = {"string_match": _text(value)}
            either = {"or_match": {"value_matchers": [one, {"list_match": {"one_of": one}}]}}
            return {"metadata": {"filter": JWT, "path": [{"key": "payload"}, {"key": name}], "value": either}}

        return claim
    if key.startswith("request.headers["):
        return lambda value: {"header": {"name": name, "string_match": _text(value)}}
    if key == "source.principal":
        return _principal
    assert key == "source.namespace"
    return lambda value: _authenticated({"safe_regex": {"regex": f".*/ns/{value}/.*"}})


def _principal(value: str) -> Object:
    return _authenticated(_text(value) if value.startswith("*") else _text(f"spiffe://{value}"))


def _authenticated(text: Object) -> Object:
    return {"authenticated": {"principal_name": text}}


def _address(block: str) -> Object:
    address, _, length = block.partition("/")
    return {"direct_remote_ip": {"address_prefix": address, "prefix_len": int(length or 32)}}


def _both(fields: Object, key: str, against: str, make: Callable[[str], Object], joint: str) -> Iterator[Object]:
    """The values of a field, any of which must fit, and those of its `not` form, of which none may."""
    if values := fields.get(key):
        yield {f"or_{joint}": {joint: [make(each) for each in values]}}
    if values := fields.get(against):
        yield {"not_id" if joint == "ids" else "not_rule": {f"or_{joint}": {joint: [make(each) for each in values]}}}


def _and(parts: list[Object], joint: str) -> Object:
    return {f"and_{joint}": {joint: parts}} if parts else {"any": True}


def _text(pattern: str) -> Object:
    if pattern == "*":
        return {"safe_regex": {"regex": ".+"}}
    if pattern.endswith("*"):
        return {"prefix": pattern[:-1]}
    return {"suffix": pattern[1:]} if pattern.startswith("*") else {"exact": pattern}


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    return str(certificate.public_bytes(serialization.Encoding.PEM).decode())
