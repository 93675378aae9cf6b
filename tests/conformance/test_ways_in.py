"""Every way in that the routes on a real API server open, with every kind of token, through an Envoy that real istiod configures.

In Knative mode the routes are KServe's own, and in the place of net-istio's those of tests/cases/knative-routes.yaml; in Standard mode all
are KServe's own but the reviewers'. Whatever is behind the gateway says what it was asked. The tables are kept, to be read:
.hallmark/ways-in-knative.txt and .hallmark/ways-in-standard.txt.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hallmark import names
from hallmark.errors import HallmarkError
from hallmark.render import mesh as meshes
from tests.conformance import build, deciding, front, installed, knative, needs, standard
from tests.conformance.control_plane import stack
from tests.conformance.front import ADDRESS, Front
from tests.conformance.mesh import Mesh
from tests.conformance.platform import CLUSTER, install
from tests.conformance.services import STANDARD
from tests.conformance.stack import Stack
from tests.manifests.builds import DOMAINS, everything
from tests.manifests.gateway import LOCAL, PORT

Object = dict[str, Any]
DOMAIN, OTHER = "fraud", "listing"
CONSOLES = "istio-ingress/"
"""Owner of the routes behind which is no domain's."""
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Ways:
    """A cluster's gateway, in one of the two modes, and hosts of fraud's by which a client comes in."""

    mode: str
    gateway: Front
    host: str

    @property
    def model(self) -> tuple[int, str, str]:
        """A way to fraud's model."""
        path = "/v2/models/fraud/infer"
        if self.mode == "knative":
            return PORT, self.host, f"/serving/{DOMAIN}/{DOMAIN}{path}"
        return PORT, f"{DOMAIN}-{DOMAIN}.models.{self.host}", path


@pytest.fixture(scope="module", params=["knative", "standard"])
def ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    mode: str = request.param
    with contextlib.ExitStack() as running:
        if mode == "knative":
            made: Stack = request.getfixturevalue("cluster")
        else:
            if error := needs.missing(built=True):
                raise error
            made = running.enter_context(stack(tmp_path_factory.mktemp("standard")))
            install(made, STANDARD)
        cluster = CLUSTER if mode == "knative" else STANDARD
        mesh = Mesh(made, everything(cluster))
        gateway = Front(mesh, watch=installed.watch_token(made))
        mesh.begin(running)
        gateway.begin(running)

        def answer(address: str, port: int) -> None:
            gateway.answer(running, address, port)

        if mode == "knative":
            running.enter_context(knative.served(made, answer))
        else:
            standard.serve(made, answer)
            standard.review(made, answer)
        running.enter_context(deciding.routed(made, cluster, answer))
        found = Ways(mode, gateway, mesh.issuer.url.removeprefix("https://login."))
        _settled(found)
        yield found


def _settled(ways: Ways) -> None:
    """Wait until the last route that was made has reached Envoy."""
    tokens = {domain: ways.gateway.tokens(domain)["own"] for domain in DOMAINS}
    for port, place in ways.gateway.places():
        domain = place.owner.partition("/")[0]
        if domain in DOMAINS and place.host.endswith(ways.host) == (port == PORT):
            _until(functools.partial(_passes, ways.gateway, port, place.host, place.path, tokens[domain]), place)


def _passes(gateway: Front, port: int, host: str, path: str, token: str | None) -> bool:
    return gateway.answers(port, host, path, token) == 200


def _until(ready: Callable[[], bool], what: object, *, seconds: float = 30) -> None:
    installed.until(ready, what=str(what), seconds=seconds)


def test_of_every_way_in_only_the_domains_own_token_passes_and_it_ends_at_the_gateway(ways: Ways) -> None:
    gateway = ways.gateway
    table = gateway.table(gateway.places(), thorough=DOMAIN)
    front.keep(table, ways.mode)
    assert front.holes(table) == []
    models = [row for row in table if row.domain]
    assert {row.domain for row in models} == set(DOMAINS)
    # Names of the inside have no route at 443, and the cluster's host none at 8081.
    assert {row.answers["own"] for row in models} <= {200, 404, front.HUNG_UP, 400, 403}
    hosts = {(row.domain, row.place.host) for row in models}
    opened = {(row.domain, row.place.host) for row in models if row.answers["own"] == 200}
    assert opened == hosts, "each has a port at which its own token passes"
    assert len(models) > (100 if ways.mode == "knative" else 40)
    asked = {f"{row.place.host}:{row.port}{row.path}" for row in models}
    assert not asked & set(gateway.leaked), "a console gets the token, a model never"
    gateway.leaked.clear()


def test_a_domains_cases_are_for_its_people_and_its_decision_for_its_callers(ways: Ways) -> None:
    """The page of reviews by the host's own path, the decision by that of the models: who has no token logs in at the one, and is refused at the other."""
    gateway, domain = ways.gateway, "authentication"
    page, decision = f"{domain}/{domain}-reviews", f"{domain}/{domain}-decision"
    ways_in = [each for each in gateway.places() if each[1].owner in (page, decision)]
    table = gateway.table(ways_in)
    assert {row.place.owner for row in table} == {page, decision}
    for row in table:
        assert row.answers["own"] == 200, row
        assert row.answers["none"] == (front.TO_LOGIN if row.place.owner == page else 403), row
        assert {row.answers[kind] for kind in ("other domain", "longer name", "platform")} == {403}, row
        assert {row.answers[kind] for kind in ("expired", "forged", "watch")} == {401}, row
    token = gateway.mesh.issuer.token(OTHER, domain)
    said = {"kubeflow-userid": "boss", meshes.PROVEN: OTHER, "cookie": "_oauth2_proxy=secret"}
    for row in table:
        answer = gateway.ask(PORT, row.place.host, row.path, token, **said)
        assert answer is not None and answer.status_code == 200
        headers = answer.json()["headers"]
        assert headers[meshes.PROVEN] == domain
        assert not {"authorization", "cookie"} & headers.keys() and "boss" not in headers.values()
    assert not gateway.leaked


def test_consoles_are_open_to_whoever_has_a_token_and_mlflow_by_its_workspace(ways: Ways) -> None:
    gateway = ways.gateway
    consoles = [each for each in gateway.places() if each[1].owner.startswith(CONSOLES)]
    assert {place.owner for _, place in consoles} == {
        f"{CONSOLES}{name}" for name in ("login", "grafana", "mlflow", "ui")
    }
    for row in gateway.table(consoles):
        for kind, status in row.answers.items():
            if kind in ("expired", "forged", "watch"):
                assert status == 401, row
            elif row.path == "/healthz" or row.path.startswith("/oauth2"):
                assert status == 200, row
            elif kind == "none":
                assert status == 302, row
            else:
                nobody = row.place.owner.endswith("/ui") and kind == "platform"  # its token lists no domain
                assert status == (403 if nobody or row.place.owner.endswith("/mlflow") else 200), row


def test_what_a_token_proved_goes_on_and_what_a_client_says_of_it_does_not(ways: Ways) -> None:
    token = ways.gateway.tokens(DOMAIN)["own"]
    said = {
        meshes.PROVEN: OTHER,
        "x-hallmark-request-id": "mine",
        "kubeflow-userid": "boss",
        "cookie": "_oauth2_proxy=secret",
    }
    port, host, path = ways.model
    answer = ways.gateway.ask(port, host, path, token, **said)
    assert answer is not None and answer.status_code == 200
    seen = answer.json()
    assert seen["path"] == "/v2/models/fraud/infer"
    assert seen["headers"][meshes.PROVEN] == DOMAIN
    assert not {"authorization", "cookie"} & seen["headers"].keys()
    assert not {"mine", "boss"} & set(seen["headers"].values())
    if ways.mode == "knative":
        assert seen["reached"] == knative.address(DOMAIN)
        assert seen["headers"]["knative-serving-revision"] == f"{DOMAIN}-predictor-00001"


def test_a_host_that_nobody_declared_is_refused(ways: Ways) -> None:
    gateway, host = ways.gateway, ways.host
    below = ("x", DOMAIN, f"{DOMAIN}-{DOMAIN}", "a.b.c", "models.models", f"x-{DOMAIN}.models")
    hosts = [*(f"{name}.{host}" for name in below), f"x{host}", "elsewhere.example.com", f"{DOMAIN}.x.svc"]
    tokens = [None, gateway.mesh.issuer.token(DOMAIN, OTHER)]
    for port in (PORT, LOCAL) if ways.mode == "knative" else (PORT,):
        for name in hosts:
            for path in ("/", "/healthz", "/v2/models/fraud/infer", f"/{DOMAIN}/v2", f"/serving/{DOMAIN}/{DOMAIN}/v2"):
                for token in tokens:
                    status = gateway.answers(port, name, path, token)
                    assert status in front.REFUSED | {404}, (port, name, path, status)


def test_a_grpc_call_comes_through_the_bridge_and_only_with_the_domains_own_token(ways: Ways) -> None:
    """The client checks the certificate: in Knative mode that of the cluster's host, since no other names a service."""
    own, foreign = (ways.gateway.mesh.issuer.token(each) for each in (DOMAIN, OTHER))
    host = f"{DOMAIN}.{DOMAIN}.{ways.host}" if ways.mode == "knative" else f"{DOMAIN}-{DOMAIN}.models.{ways.host}"
    assert _call(ways, host, own, "hello") == {"answer": "hello", "proven": DOMAIN}
    assert _call(ways, host, own, "no") == {"code": "INVALID_ARGUMENT", "details": "a reason"}
    assert _call(ways, host, foreign, "hello")["code"] == "PERMISSION_DENIED"
    assert _call(ways, host, "", "hello")["code"] in ("PERMISSION_DENIED", "UNAUTHENTICATED")


def _call(ways: Ways, host: str, token: str, message: str) -> Object:
    name = ways.host if ways.mode == "knative" else host
    trusted = ways.gateway.mesh.stack.credentials.authority
    command = [
        sys.executable,
        "-m",
        "tests.conformance.grpc_call",
        f"{ADDRESS}:{PORT}",
        host,
        name,
        str(trusted),
        token,
        message,
    ]
    done = subprocess.run(command, cwd=build.ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_table_would_see_a_route_that_no_policy_knows(ways: Ways) -> None:
    """A route to fraud's model at the cluster's host, as a person might add it: whoever has a token passes there."""
    gateway, path = ways.gateway, "/quick/v2/models/fraud/infer"
    service = f"{DOMAIN}-predictor-00001" if ways.mode == "knative" else f"{DOMAIN}-predictor"
    route = {"destination": {"host": f"{service}.{DOMAIN}.svc.cluster.local", "port": {"number": 80}}}
    planted: Object = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "quick", "namespace": DOMAIN},
        "spec": {
            "gateways": [f"{names.INGRESS}/{names.GATEWAY}"],
            "hosts": [ways.host],
            "http": [{"match": [{"uri": {"prefix": "/quick/"}}], "route": [route]}],
        },
    }
    before = {place.owner for _, place in gateway.places()}
    gateway.api.create(planted)
    try:
        token = gateway.tokens(DOMAIN)["own"]
        _until(lambda: gateway.answers(PORT, ways.host, path, token) == 200, "the planted route")
        new = [each for each in gateway.places() if each[1].owner not in before]
        found = front.holes(gateway.table(new))
        assert {each.rpartition("with ")[2] for each in found} == {"other domain", "longer name", "platform"}
        assert gateway.leaked, "there the token goes on to the model"
    finally:
        gateway.api.delete(planted)
        gateway.leaked.clear()
        _until(lambda: gateway.answers(PORT, ways.host, path, token) == 404, "the planted route gone")


def test_the_table_would_see_a_gateway_without_our_filter(ways: Ways) -> None:
    gateway = ways.gateway
    meta = {"name": "tenants", "namespace": names.INGRESS}
    (ours,) = [
        each for each in gateway.mesh.objects if each["kind"] == "EnvoyFilter" and each["metadata"]["name"] == "tenants"
    ]
    gateway.api.delete({"apiVersion": ours["apiVersion"], "kind": "EnvoyFilter", "metadata": meta})
    foreign = gateway.mesh.issuer.token(OTHER)
    try:
        _until(lambda: gateway.answers(*ways.model, foreign) == 200, "another's token passes")
    finally:
        installed.argo_cd(gateway.api).apply(ours)
        gateway.leaked.clear()
        _until(lambda: gateway.answers(*ways.model, foreign) == 403, "our filter back")


def test_what_only_one_mode_has(ways: Ways) -> None:
    """In Knative mode net-istio's probes, in Standard mode a shadow."""
    {"knative": _probes, "standard": _shadow}[ways.mode](ways)


def _shadow(ways: Ways) -> None:
    """Copies carry no token."""
    gateway = ways.gateway
    running = contextlib.ExitStack()
    with running:
        gateway.answer(running, standard.SHADOW, 8080)
        made = standard.shadow(gateway.mesh.stack, DOMAIN)
        running.callback(gateway.api.delete, made)
        token = gateway.tokens(DOMAIN)["own"]

        def copied() -> bool:
            assert gateway.answers(*ways.model, token) == 200
            time.sleep(0.05)
            return any(each["reached"] == standard.SHADOW for each in gateway.heard)

        try:
            _until(copied, "a copy")
        except HallmarkError as error:
            raise AssertionError(json.dumps(gateway.api.live(made))) from error
        for copy in (each for each in gateway.heard if each["reached"] == standard.SHADOW):
            assert copy["path"] == "/v2/models/fraud/infer"
            assert str(token) not in json.dumps(copy)
        table = gateway.table(
            [each for each in gateway.places() if each[1].owner == f"{DOMAIN}/{made['metadata']['name']}"]
        )
        assert table and front.holes(table) == []


def _probes(ways: Ways) -> None:
    """Knative sees that its routes are in place (knative.dev/networking, pkg/status): 200 with the hash from the inside; any answer but
    404 and 503 will do at 443. Nobody else sees anything."""
    gateway, probe = ways.gateway, {"k-network-probe": "probe", "k-network-hash": "override"}
    inside, outside = f"{DOMAIN}-predictor.{DOMAIN}.svc.cluster.local", f"{DOMAIN}-predictor.{DOMAIN}.{ways.host}"
    answer = gateway.ask(LOCAL, inside, "/healthz", **probe)
    assert answer is not None and answer.status_code == 200
    assert answer.json()["headers"]["k-network-hash"].startswith("f38c09db")
    for port, host, path, headers in (
        (PORT, outside, "/healthz", probe),
        (LOCAL, outside, "/healthz", probe),
        (LOCAL, inside, "/healthz", {}),
        (LOCAL, inside, "/v2", probe),
    ):
        refused = gateway.ask(port, host, path, **headers)
        assert refused is not None and refused.status_code == 403, (port, host, path)
