"""The shared gateway on real istiod and Envoy: its pod, a client, and the table of every way in with every kind of token."""

from __future__ import annotations

import base64
import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from hallmark import names
from tests.conformance import build, platform
from tests.conformance.mesh import Mesh, play_pod, play_service, played, serving
from tests.manifests import routes
from tests.manifests.builds import DOMAINS
from tests.manifests.gateway import LOCAL, PORT, Issuer, echo
from tests.manifests.routes import Place

Object = dict[str, Any]
ADDRESS = "10.6.0.1"
"""The gateway's pod."""
ACCOUNT = f"{names.GATEWAY}-istio"
OUTSIDE = "10.8.0.1"
"""Stands for whatever is behind the gateway and is no model: consoles."""
CONSOLES, SIGN_IN = 8000, 4180
HUNG_UP = 0
"""In place of a status: the gateway knows no such name at that port, and takes no connection for it."""
REFUSED = frozenset({HUNG_UP, 401, 403})
TO_LOGIN = 302
"""What a browser without a token gets at a console's path, on whichever host."""


class Row(NamedTuple):
    """A way in, and the status that each kind of token got there."""

    port: int
    place: Place
    path: str
    answers: dict[str, int]

    @property
    def domain(self) -> str:
        """The domain whose route it is; empty for a console's."""
        space = self.place.owner.partition("/")[0]
        return space if space in DOMAINS else ""


class Front:
    """The gateway's pod with its proxy, and whoever asks it."""

    def __init__(self, mesh: Mesh, *, watch: str) -> None:
        """watch: a token of the watch's own account."""
        self.mesh = mesh
        self.api = mesh.api
        self.heard: list[Object] = []
        self.leaked: list[str] = []
        self._watch = watch
        self._clients: dict[tuple[int, str], httpx.Client] = {}
        self._trusted = ssl.create_default_context(cafile=str(mesh.stack.credentials.authority))
        self._trusted.check_hostname = False  # the names that Knative's routes have are in no certificate

    def begin(self, running: contextlib.ExitStack) -> None:
        """Make what the gateway's chart makes, its certificate, what it leads to besides models, and start its proxy."""
        self.answer(running, OUTSIDE, CONSOLES)
        running.enter_context(serving(_sign_in, (OUTSIDE, SIGN_IN)))
        values, space = platform.application(self.mesh.objects, "istio-ingress"), names.INGRESS
        account = {"name": ACCOUNT, "namespace": space}
        rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}]
        rbac = "rbac.authorization.k8s.io"
        wanted: list[Object] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": account, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": account,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT},
                "subjects": [{"kind": "ServiceAccount", **account}],
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "istio-ingress", "namespace": space},
                "spec": {"selector": values["labels"], "ports": values["service"]["ports"]},
            },
            self._certificate(),
            *_local_gateway(self.mesh.objects),
        ]
        for each in wanted:
            self.api.apply(each)
        self._behind()
        pod = played("istio-ingress", space, ACCOUNT, values["labels"], **values["podAnnotations"])
        running.callback(self.api.delete, pod)
        self.mesh.proxy(play_pod(self.mesh.stack, pod, ADDRESS), kind="router")
        running.callback(self._close)

    def answer(self, running: contextlib.ExitStack, address: str, port: int) -> None:
        """Have something answer there that says what it was asked; it is heard in `heard`."""
        running.enter_context(echo(self.heard, at=(address, port)))

    def ask(self, port: int, host: str, path: str, token: str | None = None, **headers: str) -> httpx.Response | None:
        """One GET by the world's or the cluster's own port; none where the gateway hangs up."""
        given = {"host": host, **({"authorization": f"Bearer {token}"} if token else {}), **headers}
        client = self._clients.setdefault((port, host), self._client(port))
        try:
            return client.get(path, headers=given, extensions={"sni_hostname": host})
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
            return None

    def answers(self, port: int, host: str, path: str, token: str | None = None) -> int:
        """The status alone. A token that gets further than here is put into `leaked`."""
        answer = self.ask(port, host, path, token, cookie="_oauth2_proxy=secret")
        if answer is None:
            return HUNG_UP
        if token and token in answer.text:
            self.leaked.append(f"{host}:{port}{path}")
        return answer.status_code

    def tokens(self, domain: str) -> dict[str, str | None]:
        """A token of each kind; for a domain's model the last alone may pass."""
        other = next(each for each in DOMAINS if each != domain)
        issuer = self.mesh.issuer
        return {
            "none": None,
            "expired": issuer.token(domain, exp=int(time.time()) - 120),
            "forged": Issuer(issuer.url).token(domain),
            "other domain": issuer.token(other),
            "longer name": issuer.token(f"{domain}-2", domain[:-1]),
            "platform": issuer.token(subject="platform"),
            "watch": self._watch,
            "own": issuer.token(other, domain),
        }

    def places(self) -> list[tuple[int, Place]]:
        """Every host and path of every VirtualService and HTTPRoute that the API server has for the gateway, by port."""
        served = "/apis/networking.istio.io/v1/virtualservices"
        virtual = [{"kind": "VirtualService", **each} for each in self.api.get(served)["items"]]
        found = [(PORT, each) for each in routes.places(virtual, routes.WORLD)]
        found += [(LOCAL, each) for each in routes.places(virtual, routes.LOCAL)]
        served = "/apis/gateway.networking.k8s.io/v1"
        of_gateway = [
            {"kind": kind, **each}
            for kind, path in (("Gateway", "gateways"), ("HTTPRoute", "httproutes"))
            for each in self.api.get(f"{served}/{path}")["items"]
        ]
        return found + [(PORT, each) for each in routes.places(of_gateway)]

    def table(self, ways: Iterable[tuple[int, Place]], *, thorough: str = "") -> list[Row]:
        """What each kind of token gets at each way. thorough: a domain whose ways are tried with more paths."""
        rows: dict[tuple[int, str, str, str], Row] = {}
        kinds = {domain: self.tokens(domain) for domain in (*DOMAINS, "")}
        for port, place in ways:
            for path in paths(place, thorough=place.owner.startswith(f"{thorough}/")):
                row = Row(port, place, path, {})
                if (port, place.host, path, place.owner) not in rows:
                    for kind, token in kinds[row.domain].items():
                        row.answers[kind] = self.answers(port, place.host, path, token)
                    rows[port, place.host, path, place.owner] = row
        return list(rows.values())

    def _close(self) -> None:
        for each in self._clients.values():
            each.close()

    def _client(self, port: int) -> httpx.Client:
        scheme = "https" if port == PORT else "http"
        return httpx.Client(base_url=f"{scheme}://{ADDRESS}:{port}", verify=self._trusted, trust_env=False, timeout=20)

    def _certificate(self) -> Object:
        """The secret that cert-manager makes of our Certificate."""
        (wanted,) = [
            each
            for each in self.mesh.objects
            if each["kind"] == "Certificate" and each["metadata"]["name"] == "hallmark-tls"
        ]
        certificate, key = self.mesh.stack.credentials.issued("gateway", *wanted["spec"]["dnsNames"])
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": wanted["spec"]["secretName"], "namespace": names.INGRESS},
            "data": {
                "tls.crt": base64.b64encode(certificate).decode(),
                "tls.key": base64.b64encode(key).decode(),
            },
        }

    def _behind(self) -> None:
        """The Services that the platform's routes and its login name, with something that answers at each."""
        wanted: dict[tuple[str, str], dict[str, int]] = {}
        for each in self.mesh.objects:
            for http in (each["spec"].get("http") or []) if each["kind"] == "VirtualService" else []:
                for route in http.get("route") or []:
                    name, space, *_ = route["destination"]["host"].split(".")
                    number = route["destination"]["port"]["number"]
                    wanted.setdefault((space, name), {})[f"http-{number}"] = number
        for (space, name), ports in wanted.items():
            at = SIGN_IN if name == "oauth2-proxy" else CONSOLES
            play_service(self.mesh.stack, space, name, ports, OUTSIDE, at)


def paths(place: Place, *, thorough: bool) -> list[str]:
    """Paths to try at a place: the route's own, and where it takes all of them those of the model server and of queue-proxy."""
    if not place.path.startswith("/v2"):
        return [place.path]
    grpc = f"{names.GRPC_PATH}ModelInfer"
    more = (
        "/",
        "/v2",
        "/v1/models/m:predict",
        "/healthz",
        "/metrics",
        "/mlflow/",
        "/serving/listing/listing/v2",
        "/%2e%2e/v2",
        "//v2",
    )
    return [place.path, grpc, *(more if thorough else ())]


def holes(table: Iterable[Row]) -> list[str]:
    """Ways to a domain's model that a token other than its own opens."""
    return [
        f"{row.place.host}:{row.port}{row.path} ({row.place.owner}): {status} with {kind}"
        for row in table
        if row.domain
        for kind, status in row.answers.items()
        if kind != "own" and status not in REFUSED and (kind, status) != ("none", TO_LOGIN)
    ]


def keep(table: list[Row], name: str) -> Path:
    """Write the table to a file that a person can read."""
    path = build.ROOT / ".hallmark" / f"ways-in-{name}.txt"
    kinds = list(table[0].answers)
    widths = [max(len(kind), 4) for kind in kinds]
    where = {id(row): f"{row.port:<5}{row.place.host}{row.path}" for row in table}
    wide = max(map(len, where.values()))
    head = "  ".join(kind.rjust(width) for kind, width in zip(kinds, widths, strict=True))
    lines = [
        f"Every way in behind the gateway ({name}), by the API server's routes, on real istiod and Envoy; the status with each kind of token.",
        "-: the gateway has no such name at that port, and hangs up.",
        f"{'':{wide}}  {head}  whose route",
    ]
    for row in table:
        told = "  ".join(
            (str(row.answers[kind] or "-")).rjust(width) for kind, width in zip(kinds, widths, strict=True)
        )
        lines.append(f"{where[id(row)]:{wide}}  {told}  {row.place.owner}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _local_gateway(objects: Iterable[Object]) -> Iterator[Object]:
    """The Gateway for calls inside the cluster that Knative's operator installs with net-istio, at the pods that our KnativeServing says."""
    for each in objects:
        if each["kind"] == "KnativeServing":
            yield {
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": {"name": "knative-local-gateway", "namespace": "knative-serving"},
                "spec": {
                    "selector": each["spec"]["ingress"]["istio"]["knative-local-gateway"]["selector"],
                    "servers": [{"port": {"number": LOCAL, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
                },
            }


def _sign_in(path: str) -> tuple[int, str]:
    """The login: its own pages, and for whoever has no session the way there."""
    return 200 if path.startswith("/oauth2/") else 302, "the login"
