"""Every way in that routes open, with every kind of token, through a real Envoy: only the domain's own passes, and it ends at the gateway.

The routes are those that KServe and net-istio made of our service (tests/cases/knative-routes.yaml) and those that KServe makes in Standard
mode (standard-routes.yaml), beside the platform's own; what Istio makes of them for Envoy is ours (routes.py).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from hallmark import names, object_labels
from hallmark.artifacts.release import Release, Target
from hallmark.render import mesh
from hallmark.render.inferenceservice import inferenceservice
from hallmark.rollout import mirror
from local_cluster.containers import free_ports
from tests.hallmark.render.deciding import decides
from tests.manifests import gateway, routes
from tests.manifests.builds import Object, declared, platform
from tests.manifests.gateway import LOCAL, PORT, Issuer, echo, envoy
from tests.manifests.routes import Place

CASES = Path(__file__).parents[1] / "cases"
HOST, STANDARD = "ml.dev.marketplace.example", "ml.staging.marketplace.example"
DOMAIN, OTHER = "fraud", "listing"
CONSOLES = ("istio-ingress/login", "istio-ingress/grafana")
"""VirtualServices behind which is no domain's: the health route, the login's own pages and Grafana."""


@dataclass(frozen=True)
class Running:
    """A gateway in front of a server that says what it was asked: its addresses, by the ports that they are on a cluster."""

    addresses: dict[int, str]
    issuer: Issuer
    client: httpx.Client

    def tokens(self) -> dict[str, str | None]:
        """A token of each kind; all but the last must be refused."""
        return {
            "none": None,
            "expired": self.issuer.token(DOMAIN, exp=int(time.time()) - 120),
            "of another key": Issuer(self.issuer.url).token(DOMAIN),
            "another domain's": self.issuer.token(OTHER),
            "a longer name's": self.issuer.token(f"{DOMAIN}-2", DOMAIN[:-1]),
            "own": self.issuer.token(OTHER, DOMAIN),
        }

    def ask(self, port: int, host: str, path: str, token: str | None = None, **headers: str) -> httpx.Response:
        given = {"host": host, **({"authorization": f"Bearer {token}"} if token else {}), **headers}
        return self.client.get(self.addresses[port] + path, headers=given)


def shadowed(theirs: Object) -> Object:
    """The route that the watch makes of KServe's while version 2 gets copies of all requests."""
    first, second = (Target(version=n, storageUri=f"s3://models/{n}", digest=f"sha256:{n:064x}") for n in (1, 2))
    live = inferenceservice(declared(DOMAIN), Release(stable=first, candidate=second, percent=0), "Standard")
    live["metadata"] |= {"uid": "1", "annotations": {**live["metadata"]["annotations"], object_labels.SHADOW: "100"}}
    told = [{"name": "v2", "ready": True, "trafficPercent": 0}]
    return mirror.route(
        theirs, live | {"status": {"url": f"https://{theirs['spec']['hostnames'][0]}", "canaryStatuses": told}}
    )


def decided(host: str) -> list[Object]:
    """The routes that are rendered for a decision and its page of reviews, as they would be for this domain on a cluster of this host."""
    with tempfile.TemporaryDirectory() as folder:
        found = [each for each in decides(Path(folder)) if each["kind"] in ("HTTPRoute", "VirtualService")]
    assert len(found) == 2
    text = json.dumps(found).replace("authentication", DOMAIN).replace(names.HOST, host)
    return list(json.loads(text))


@cache
def made(mode: str) -> tuple[Object, ...]:
    """The routes of one service and of a decision in a mode; in Knative mode also those by the tag that a canary's traffic has."""
    text = (CASES / f"{mode}-routes.yaml").read_text(encoding="utf-8")
    found = [each for each in yaml.safe_load_all(text) if each]
    found += decided(STANDARD if mode == "standard" else HOST)
    if mode == "standard":
        found.append(shadowed(found[0]))
    if mode == "knative":
        tagged = text.replace("- fraud-predictor.fraud", "- prev-fraud-predictor.fraud")
        tagged = tagged.replace("prefix: fraud-predictor.fraud", "prefix: prev-fraud-predictor.fraud")
        found += [
            each | {"metadata": each["metadata"] | {"name": f"prev-{each['metadata']['name']}"}}
            for each in yaml.safe_load_all(tagged)
            if each["metadata"]["name"] == "fraud-predictor-ingress"
        ]
    return tuple(found)


@contextmanager
def running(folder: Path, objects: tuple[Object, ...], mode: str, shadow: int = 0) -> Iterator[Running]:
    """The gateway of `objects` with the routes of a mode."""
    (tokens,) = [
        each
        for each in objects
        if each["kind"] == "RequestAuthentication" and each["metadata"]["namespace"] == "istio-ingress"
    ]
    issuer, ports = Issuer(tokens["spec"]["jwtRules"][0]["issuer"]), free_ports((PORT, LOCAL))
    (front,) = [each for each in objects if each["kind"] == "Gateway" and "servers" in each["spec"]]
    every = [*objects, *made(mode)]
    world = routes.virtual(every, routes.WORLD, front["spec"]["servers"][0]["hosts"])
    world["virtual_hosts"] += routes.http_routes(every)["virtual_hosts"]
    tables = {PORT: world} | ({LOCAL: routes.virtual(every, routes.LOCAL, ["*"])} if mode == "knative" else {})
    managers = {
        ports[at]: gateway.manager(objects, table, port=ports[at], issuer=issuer, at=at) for at, table in tables.items()
    }
    with echo() as upstream:
        clusters = {"upstream": upstream, "again": ports[LOCAL], "shadow": shadow or upstream}
        client = httpx.Client(trust_env=False, timeout=20)
        with envoy(folder, gateway.bootstrap(managers, clusters), ports[PORT]), client:
            yield Running({at: f"http://127.0.0.1:{ports[at]}" for at in tables}, issuer, client)


@pytest.fixture(scope="module")
def knative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("knative"), platform("dev"), "knative") as found:
        yield found


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("standard"), platform("staging"), "standard") as found:
        yield found


def ways(mode: str) -> list[tuple[int, Place]]:
    """Every way to a model and to a page of reviews, by the port that it is at."""
    every = [*platform("staging" if mode == "standard" else "dev"), *made(mode)]
    found = [(PORT, each) for each in routes.places(every, routes.WORLD) if each.owner.startswith(f"{DOMAIN}/")]
    found += [(PORT, each) for each in routes.places(every)]
    return found + [(LOCAL, each) for each in routes.places(every, routes.LOCAL) if each.owner.startswith(f"{DOMAIN}/")]


def paths(place: Place) -> list[str]:
    """Paths to try at a place: the route's own, and where it takes all of them those of the model server and of queue-proxy."""
    others = (
        f"{names.GRPC_PATH}ModelInfer",
        "/",
        "/v2",
        "/v1/models/fraud:predict",
        "/healthz",
        "/metrics",
        "/mlflow/",
        "/serving/listing/listing/v2",
    )
    return [place.path, *(others if place.path.startswith("/v2") else ())]


@pytest.mark.parametrize("mode", ["knative", "standard"])
def test_of_every_way_in_only_the_domains_own_token_passes(mode: str, request: pytest.FixtureRequest) -> None:
    found: Running = request.getfixturevalue(mode)
    told, opened = {}, set()
    for port, place in ways(mode):
        for path in paths(place):
            for name, token in found.tokens().items():
                answer = found.ask(port, place.host, path, token)
                told[port, place.host, path, name] = answer.status_code
                if answer.status_code == 200:
                    opened.add((port, place.host))
    assert {key: status for key, status in told.items() if key[3] != "own" and status not in (401, 403)} == {}
    # Names of the inside have no route at 443, and the cluster's host none at 8081.
    answered = {status for (*_, name), status in told.items() if name == "own"}
    assert answered <= {200, 404}
    hosts = {place.host for _, place in ways(mode)}
    assert {host for _, host in opened} == hosts, "each has a port at which its own token passes"
    assert len(told) > (500 if mode == "knative" else 100)


@pytest.mark.parametrize("mode", ["knative", "standard"])
def test_a_token_ends_at_the_gateway_and_what_it_proved_goes_on(mode: str, request: pytest.FixtureRequest) -> None:
    found: Running = request.getfixturevalue(mode)
    own, reached = found.issuer.token(DOMAIN), 0
    for port, place in ways(mode):
        answer = found.ask(port, place.host, place.path, own, cookie="_oauth2_proxy=secret", **{mesh.PROVEN: OTHER})
        if answer.status_code == 200:
            reached += 1
            seen = answer.json()["headers"]
            assert own not in answer.text, place
            assert not {"authorization", "cookie"} & seen.keys(), place
            assert seen[mesh.PROVEN] == DOMAIN, place
    assert reached >= (8 if mode == "knative" else 4)


@pytest.mark.parametrize(
    ("mode", "port", "host"),
    [
        ("standard", PORT, f"fraud-fraud.models.{STANDARD}"),
        ("knative", PORT, f"fraud.fraud.{HOST}"),
        ("knative", LOCAL, "fraud-predictor.fraud.svc.cluster.local"),
    ],
)
def test_a_grpc_call_arrives_at_the_one_port_and_only_with_the_domains_own_token(
    mode: str, port: int, host: str, request: pytest.FixtureRequest
) -> None:
    """By the call's authority, with a real client; in Knative mode it passes the bridge twice. Row P3: there is no other port."""
    found: Running = request.getfixturevalue(mode)
    address = found.addresses[port].removeprefix("http://")
    options = [("grpc.default_authority", host), ("grpc.enable_http_proxy", 0)]
    refusals = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
    with grpc.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(f"{names.GRPC_PATH}ModelInfer")
        for name, token in found.tokens().items():
            metadata = [(mesh.PROVEN, DOMAIN), *([("authorization", f"Bearer {token}")] if token else [])]
            if name != "own":
                with pytest.raises(grpc.RpcError) as refused:
                    call(b"hello", metadata=metadata, timeout=10)
                assert refused.value.code() in refusals, name
        large = b"x" * (3 << 20)
        for message in (b"hello", b"", large):
            answer, done = call.with_call(message, metadata=metadata, timeout=10)
            assert answer == message
            assert dict(done.initial_metadata())["x-proven"] == DOMAIN
        with pytest.raises(grpc.RpcError) as refused:
            call(b"no", metadata=metadata, timeout=10)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "a reason")


def test_a_request_comes_by_twice_and_arrives_under_the_revisions_name(knative: Running) -> None:
    own = knative.issuer.token(DOMAIN)
    for host, path in (
        (HOST, "/serving/fraud/fraud/v2/models/fraud/infer"),
        (f"fraud.fraud.{HOST}", "/v2/models/fraud/infer"),
    ):
        seen = knative.ask(PORT, host, path, own).json()
        assert seen["path"] == "/v2/models/fraud/infer"
        assert seen["headers"]["host"] == "fraud-predictor.fraud.svc.cluster.local"
        assert seen["headers"]["knative-serving-revision"] == "fraud-predictor-00001"


def test_a_shadows_copy_carries_no_token(tmp_path: Path) -> None:
    copies: list[Object] = []
    with echo(copies) as shadow, running(tmp_path, platform("staging"), "standard", shadow) as found:
        own = found.issuer.token(DOMAIN)
        answer = found.ask(PORT, f"fraud-fraud.models.{STANDARD}", "/v2/models/fraud/infer", own)
        assert answer.status_code == 200
        deadline = time.monotonic() + 10
        while not copies and time.monotonic() < deadline:
            time.sleep(0.02)
    (copy,) = copies
    assert copy["path"] == "/v2/models/fraud/infer"
    assert own not in json.dumps(copy)


@pytest.mark.parametrize("port", [PORT, LOCAL])
def test_a_host_that_nobody_declared_is_refused(knative: Running, port: int) -> None:
    tokens = [None, knative.issuer.token(DOMAIN, OTHER)]
    for host in (
        *(
            f"{name}.{HOST}"
            for name in ("x", DOMAIN, f"{DOMAIN}-{DOMAIN}", "a.b.c", "models.models", f"x-{DOMAIN}.models")
        ),
        *(
            f"{HOST}.",
            f"x{HOST}",
            f"{DOMAIN}.{DOMAIN}.{HOST}.",
            "elsewhere.example.com",
            "127.0.0.1",
            f"{DOMAIN}.x.svc",
        ),
    ):
        for path in ("/", "/healthz", "/v2/models/fraud/infer", f"/{DOMAIN}/v2", "/serving/fraud/fraud/v2"):
            for token in tokens:
                assert knative.ask(port, host, path, token).status_code == 403, (host, path)


def test_consoles_are_open_to_whoever_has_a_token_and_mlflow_by_its_workspace(knative: Running) -> None:
    every = routes.places(platform("dev"), routes.WORLD)
    assert {each.owner for each in every} == {*CONSOLES, "istio-ingress/mlflow", "istio-ingress/ui"}
    kinds = knative.tokens()
    for each in every:
        for name, token in kinds.items():
            status = knative.ask(PORT, each.host, each.path, token).status_code
            bad = name in ("none", "expired", "of another key")
            if each.owner == "istio-ingress/mlflow":
                assert status == 403 or (status, name) == (401, "expired") or (status, name) == (401, "of another key")
            elif each.path == "/healthz" or "/oauth2" in each.path:
                assert status == (200 if name == "none" or not bad else 401), (each, name)
            else:
                assert status == ({"none": 403}.get(name, 401) if bad else 200), (each, name)


def test_knative_sees_that_its_routes_are_in_place_and_nobody_else_sees_anything(knative: Running) -> None:
    """net-istio's probe (knative.dev/networking, pkg/status): 200 with the hash from the inside; any answer but 404 and 503 will do at 443."""
    probe = {"k-network-probe": "probe", "k-network-hash": "override"}
    inside, outside = "fraud-predictor.fraud.svc.cluster.local", f"fraud-predictor.fraud.{HOST}"
    answer = knative.ask(LOCAL, inside, "/healthz", **probe)
    assert answer.status_code == 200
    assert answer.json()["headers"]["k-network-hash"].startswith("f38c09db")
    assert mesh.PROVEN not in answer.json()["headers"]
    assert knative.ask(PORT, outside, "/healthz", **probe).status_code == 403
    for path, headers in (("/healthz", {}), ("/v2", probe), ("/healthz/x", probe), ("/healthz?x", {})):
        assert knative.ask(LOCAL, inside, path, **headers).status_code == 403, path
    assert knative.ask(LOCAL, outside, "/healthz", **probe).status_code == 403
    assert (
        knative.ask(LOCAL, inside, "/healthz", **probe, **{mesh.PROVEN: DOMAIN}).json()["headers"].get(mesh.PROVEN)
        is None
    )


@pytest.mark.parametrize(
    ("host", "path"),
    [(f"fraud-predictor.fraud.{HOST}", "/v2/models/fraud/infer"), (f"fraud.fraud.{HOST}", "/v2/models/fraud/infer")],
)
def test_the_table_would_see_the_hole(tmp_path: Path, host: str, path: str) -> None:
    """A filter that knows paths alone, as ours once did, lets another domain's token through at a service's own host."""

    def spoilt(each: Object) -> Object:
        text: Any = json.dumps(each)
        return json.loads(
            text.replace("local name, domain = service_of(host)", "do return nil, nil end local name, domain")
        )

    objects = tuple(
        spoilt(each) if (each["kind"], each["metadata"]["name"]) == ("EnvoyFilter", "tenants") else each
        for each in platform("dev")
    )
    with running(tmp_path, objects, "knative") as found:
        assert found.ask(PORT, host, path, found.issuer.token(OTHER)).status_code == 200
