"""The evaluator of the mesh's policies against a real Envoy: the same requests, the same answers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.declaration import domain as domains
from hallmark.render import mesh as meshes
from hallmark.render import network
from hallmark.settings import Settings
from local_cluster.containers import free_ports
from tests.manifests import mesh, sidecar
from tests.manifests.gateway import Issuer, echo, envoy
from tests.manifests.tenancy import World, pods

SETTINGS = Settings.load({"HALLMARK_ROOT": str(Path(__file__).parents[2])})
PORTS = (network.HTTP, network.QUEUE, network.MONITOR, network.QUEUE_METRICS)
ASKED = (
    *(("POST", "/v2/models/m/infer"), ("GET", "/v2"), ("DELETE", "/v2"), ("POST", "/v1/models/m:predict")),
    *(("GET", "/metrics"), ("POST", "/metrics"), ("GET", "/healthz"), ("POST", "/labels"), ("POST", "/x")),
)
OWN, OTHER = "fraud", "search"


def world() -> World:
    """fraud and search, which fraud lets call its model."""
    found = [domains.load(name, SETTINGS) for name in (OWN, OTHER)]
    found[0] = found[0].model_copy(
        update={"serving": found[0].serving.model_copy(update={"callers": (OTHER,)})},
    )
    return World.of(found)


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


@pytest.mark.parametrize("near", [False, True], ids=["from a pod", "from the API server"])
def test_envoy_says_what_the_evaluator_says(tmp_path: Path, near: bool) -> None:
    objects = world().objects[OWN]
    if near:  # this machine's address stands where the API server's stand
        objects = json.loads(json.dumps(objects).replace(network.CONTROL_PLANE, "127.0.0.0/8"))
    ports = free_ports(PORTS)
    authority, issuer = sidecar.Authority(tmp_path), Issuer(meshes.ISSUER)
    bootstrap = sidecar.configuration(objects, pods(OWN)["predictor"], ports=ports, authority=authority, issuer=issuer)
    wanted, told = {}, {}
    evaluator = mesh.Sidecar(objects, pods(OWN)["predictor"])
    with envoy(tmp_path, bootstrap, ports[network.HTTP]):
        for who, peer in PEERS.items():
            headers = dict(peer.get("headers") or {})
            if "claims" in peer:
                headers["authorization"] = f"Bearer {issuer.token(**{meshes.CLAIM: peer['claims']})}"
            principal = peer.get("principal", "")
            verify = authority.context(principal) if principal else True
            with httpx.Client(verify=verify, trust_env=False, headers=headers, timeout=5) as client:
                for port, (method, path) in itertools.product(PORTS, ASKED):
                    request = mesh.Request(
                        port=port,
                        path=path,
                        method=method,
                        principal=principal,
                        address="127.0.0.1",
                        headers=headers,
                        issuer=meshes.ISSUER if "claims" in peer else "",
                        claims={meshes.CLAIM: peer.get("claims", [])},
                    )
                    asked = (who, port, method, path)
                    wanted[asked] = evaluator.admits(request)
                    told[asked] = _answered(
                        client, method, f"{'https' if principal else 'http'}://127.0.0.1:{ports[port]}{path}"
                    )
    assert {asked: told[asked] for asked in told if told[asked] != wanted[asked]} == {}
    assert 60 < sum(told.values()) < len(told) - 60, "both answers come, and often"


def test_a_token_that_comes_to_the_pod_goes_no_further_than_its_proxy(tmp_path: Path) -> None:
    """As from a caller inside, who wakes a model that sleeps."""
    ports = free_ports(PORTS)
    authority, issuer = sidecar.Authority(tmp_path), Issuer(meshes.ISSUER)
    objects, pod = world().objects[OWN], pods(OWN)["predictor"]
    told: list[dict[str, Any]] = []
    with echo(told) as program:
        made = sidecar.configuration(objects, pod, ports=ports, authority=authority, issuer=issuer, program=program)
        token = issuer.token(**{meshes.CLAIM: [OWN]})
        with envoy(tmp_path, made, ports[network.HTTP]):
            url = f"https://127.0.0.1:{ports[network.QUEUE]}/v2/models/m/infer"
            with httpx.Client(verify=authority.context(meshes.ACTIVATOR), trust_env=False, timeout=5) as client:
                answer = client.post(url, headers={"authorization": f"Bearer {token}"}, content=b"{}")
    assert answer.status_code == 200
    (asked,) = told
    assert "authorization" not in asked["headers"]
    assert token not in json.dumps(asked)


def _answered(client: httpx.Client, method: str, url: str) -> bool:
    try:
        status = client.request(method, url).status_code
    except httpx.TransportError:
        return False
    assert status in (200, 403)
    return status == 200
