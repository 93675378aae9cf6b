"""A tenant's pod in the mesh: the proxy that real istiod configures lets in whom tests/manifests' evaluator lets in, and is scraped."""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from hallmark.declaration import domain as domains
from hallmark.render import mesh as meshes
from hallmark.render import network
from hallmark.settings import Settings
from tests.conformance import build, installed
from tests.conformance.mesh import HEALTH, METRICS, STATUS, Mesh, play_pod, played
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests import mesh
from tests.manifests.builds import everything
from tests.manifests.gateway import echo
from tests.manifests.tenancy import World, pods

Object = dict[str, Any]
OWN, OTHER = "fraud", "search"
ADDRESS, NEAR, FAR = "10.30.0.1", "10.0.208.7", "10.64.0.9"
"""The pod's address; one of the API server's, as policies have it before a cluster's own values; and one of a pod."""
PORTS = (network.HTTP, network.QUEUE, network.MONITOR, network.QUEUE_METRICS)
ASKED = (
    *(("POST", "/v2/models/m/infer"), ("GET", "/v2"), ("DELETE", "/v2"), ("POST", "/v1/models/m:predict")),
    *(("GET", "/metrics"), ("POST", "/metrics"), ("GET", "/healthz"), ("POST", "/labels"), ("POST", "/x")),
    ("GET", "/openapi.json"),
)


def account(namespace: str, name: str) -> str:
    return f"cluster.local/ns/{namespace}/sa/{name}"


PEERS: dict[str, dict[str, Any]] = {
    "nobody": {},
    "own predictor": {"principal": account(OWN, "predictor")},
    "own pipeline": {"principal": account(OWN, "pipeline")},
    "caller": {"principal": account(OTHER, "predictor")},
    "stranger": {"principal": account(OTHER, "pipeline")},
    "longer name": {"principal": account(f"{OWN}-2", "predictor")},
    "watch": {"principal": meshes.WATCH},
    "autoscaler": {"principal": meshes.AUTOSCALER},
    "gateway": {"principal": meshes.GATEWAY},
    "gateway, own token": {"principal": meshes.GATEWAY, "claims": [OTHER, OWN]},
    "gateway, own token as text": {"principal": meshes.GATEWAY, "claims": OWN},
    "gateway, other token": {"principal": meshes.GATEWAY, "claims": [OTHER, f"{OWN}-2"]},
    "activator, own token": {"principal": meshes.ACTIVATOR, "claims": [OWN]},
    "activator, other token": {"principal": meshes.ACTIVATOR, "claims": [OTHER]},
    "gateway, proven": {"principal": meshes.GATEWAY, "headers": {meshes.PROVEN: OWN}},
    "gateway, another proven": {"principal": meshes.GATEWAY, "headers": {meshes.PROVEN: OTHER}},
    "gateway, own and another proven": {"principal": meshes.GATEWAY, "headers": {meshes.PROVEN: f"{OWN},{OTHER}"}},
    "activator, proven": {"principal": meshes.ACTIVATOR, "headers": {meshes.PROVEN: OWN}},
    "stranger, proven": {"principal": account(OTHER, "pipeline"), "headers": {meshes.PROVEN: OWN}},
    "nobody, proven": {"headers": {meshes.PROVEN: OWN}},
    "nobody, own token": {"claims": [OWN]},
    "gateway as the owner": {
        "principal": meshes.GATEWAY,
        "headers": {"kubeflow-userid": "fraud-oncall@hallmark.example"},
    },
}
"""Who asks a pod of OWN, whose model OTHER may call."""
KINDS = {
    "PeerAuthentication": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
}
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Pod:
    """fraud's pod with its proxy, the policies that hold there, and what its program was asked."""

    mesh: Mesh
    objects: list[Object]
    told: list[Object]

    @contextlib.contextmanager
    def client(self, principal: str, address: str, headers: dict[str, str]) -> Iterator[httpx.Client]:
        """A caller under a name of the mesh, or with none, from an address."""
        verify = _of_the_mesh(self.mesh.authority.context(principal)) if principal else True
        transport = httpx.HTTPTransport(verify=verify, local_address=address)
        base = f"{'https' if principal else 'http'}://{ADDRESS}"
        with httpx.Client(transport=transport, base_url=base, headers=headers, timeout=5) as found:
            yield found


def _of_the_mesh(context: ssl.SSLContext) -> ssl.SSLContext:
    """Says by ALPN, as Istio's proxies do, that this is the mesh's TLS: where none is asked for, other TLS goes to the program as it is."""
    context.set_alpn_protocols(["istio-http/1.1"])
    context.set_alpn_protocols = lambda _: None  # type: ignore[method-assign,assignment,misc]  # httpx would set its own
    return context


@pytest.fixture(scope="module")
def pod(cluster: Stack) -> Iterator[Pod]:
    """fraud lets search call its model."""
    settings = Settings.load({"HALLMARK_ROOT": str(build.ROOT)})
    declared = [domains.load(name, settings) for name in (OWN, OTHER)]
    declared[0] = declared[0].model_copy(
        update={"serving": declared[0].serving.model_copy(update={"callers": (OTHER,)})},
    )
    made, told = Mesh(cluster, everything(CLUSTER)), list[Object]()
    text = json.dumps(World.of(declared).objects[OWN]).replace(meshes.ISSUER, made.issuer.url)
    objects: list[Object] = [each for each in json.loads(text) if each["kind"] in KINDS]
    argo_cd = installed.argo_cd(cluster.api)
    before = [each for each in made.objects if each["kind"] in KINDS and each["metadata"].get("namespace") == OWN]
    with contextlib.ExitStack() as running:
        for each in objects:
            wanted = {"apiVersion": KINDS[each["kind"]], **each}
            argo_cd.apply(wanted)
            if each["metadata"]["name"] not in {one["metadata"]["name"] for one in before}:
                running.callback(argo_cd.delete, wanted)
        running.callback(lambda: [argo_cd.apply(each) for each in before])
        for port in PORTS:
            running.enter_context(echo(told, at=("127.0.0.1", port)))
        made.begin(running)
        kind = pods(OWN)["predictor"]
        wanted = played("checked", OWN, "predictor", kind.labels)
        running.callback(cluster.api.delete, wanted)
        found = play_pod(cluster, wanted, ADDRESS)
        # No rules of iptables lead to the proxy here: it listens at the pod's address, and its program at loopback.
        bare: Object = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Sidecar",
            "metadata": {"name": "checked", "namespace": OWN},
            "spec": {
                "workloadSelector": {"labels": dict(kind.labels)},
                "egress": [{"hosts": ["~/*"]}],
                "ingress": [
                    {
                        "port": {"number": port, "name": f"http-{port}", "protocol": "HTTP"},
                        "bind": ADDRESS,
                        "defaultEndpoint": f"127.0.0.1:{port}",
                    }
                    for port in PORTS
                ],
            },
        }
        cluster.api.apply(bare)
        running.callback(cluster.api.delete, bare)
        made.proxy(found, kind="sidecar", environment={"ISTIO_META_INTERCEPTION_MODE": "NONE"})
        yield Pod(made, objects, told)


@pytest.mark.parametrize("address", [FAR, NEAR], ids=["from a pod", "from the API server"])
def test_the_real_proxy_says_what_the_evaluator_says(pod: Pod, address: str) -> None:
    evaluator = mesh.Sidecar(pod.objects, pods(OWN)["predictor"])
    wanted, told = {}, {}
    for who, peer in PEERS.items():
        headers, principal = dict(peer.get("headers") or {}), peer.get("principal", "")
        if "claims" in peer:
            headers["authorization"] = f"Bearer {pod.mesh.issuer.token(**{meshes.CLAIM: peer['claims']})}"
        with pod.client(principal, address, headers) as client:
            for port, (method, path) in itertools.product(PORTS, ASKED):
                request = mesh.Request(
                    port=port,
                    path=path,
                    method=method,
                    principal=principal,
                    address=address,
                    headers=headers,
                    issuer=pod.mesh.issuer.url if "claims" in peer else "",
                    claims={meshes.CLAIM: peer.get("claims", [])},
                )
                asked = (who, port, method, path)
                wanted[asked] = evaluator.admits(request)
                told[asked] = _answered(client, method, f"{client.base_url.copy_with(port=port)}{path}")
    assert {asked: told[asked] for asked in told if told[asked] != wanted[asked]} == {}
    assert 60 < sum(told.values()) < len(told) - 60, "both answers come, and often"


def test_a_token_that_comes_to_the_pod_goes_no_further_than_its_proxy(pod: Pod) -> None:
    """As from a caller inside, who wakes a model that sleeps."""
    token = pod.mesh.issuer.token(OWN)
    pod.told.clear()
    with pod.client(meshes.ACTIVATOR, FAR, {"authorization": f"Bearer {token}"}) as client:
        answer = client.post(f"https://{ADDRESS}:{network.QUEUE}/v2/models/m/infer", content=b"{}")
    assert answer.status_code == 200
    (asked,) = pod.told
    assert "authorization" not in asked["headers"]
    assert token not in json.dumps(asked)


def test_prometheus_reads_the_proxy_without_a_name_of_the_mesh(pod: Pod) -> None:
    """Where the tenants' PodMonitor asks it. The counts themselves are Istio's own Envoy's; this one has the stock ones alone."""
    assert METRICS == network.PROXY_METRICS
    shown = httpx.get(f"http://{ADDRESS}:{METRICS}/stats/prometheus", trust_env=False, timeout=10)
    assert shown.status_code == 200
    assert "istio_agent" not in shown.text
    assert "\n# TYPE envoy_" in shown.text
    merged = httpx.get(f"http://{ADDRESS}:{STATUS}/stats/prometheus", trust_env=False, timeout=10)
    assert merged.status_code == 200
    assert "istio_agent" in merged.text
    assert httpx.get(f"http://{ADDRESS}:{HEALTH}/healthz/ready", trust_env=False, timeout=10).status_code == 200


def _answered(client: httpx.Client, method: str, url: str) -> bool:
    try:
        status = client.request(method, url).status_code
    except httpx.TransportError:
        return False
    assert status in (200, 403), (method, url, status)
    return status == 200
