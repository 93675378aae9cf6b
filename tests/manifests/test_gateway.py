"""The shared gateway, asked through a real Envoy: who comes in, how often, with how much, and how long one may take."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark import names
from local_cluster import listener
from tests.manifests.builds import FIRST_QUICK, Object, platform
from tests.manifests.gateway import Issuer, configuration, echo, envoy, valid

HOST = "ml.dev.marketplace.example"
BODY = 16 << 20
SLOW = 5.0


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer(f"https://login.{HOST}")


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with echo() as port:
        yield port


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, upstream: int) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    with envoy(folder, configuration(platform("dev"), port=port, upstream=upstream, issuer=issuer), port) as address:
        yield address


@pytest.fixture
def small(tmp_path: Path, issuer: Issuer, upstream: int) -> Iterator[str]:
    """The same gateway with buckets of 6 requests a domain and 4 a caller, filled once a minute."""
    port = free_port()

    def lower(manager: Object) -> None:
        (rate,) = [each for each in manager["http_filters"] if each["name"] == "hallmark.rate"]
        sizes = iter((6, 4))
        for descriptor in rate["typed_config"]["descriptors"]:
            size = next(sizes)
            descriptor["token_bucket"] = {"max_tokens": size, "tokens_per_fill": size, "fill_interval": "60s"}

    made = configuration(platform("dev"), port=port, upstream=upstream, issuer=issuer, change=lower)
    with envoy(tmp_path, made, port) as address:
        yield address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(gateway: str, path: str, token: str | None = None, host: str = HOST, **options: Any) -> httpx.Response:
    headers = {"host": host, **({"authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
    method = options.pop("method", "POST" if "content" in options else "GET")
    return httpx.request(method, gateway + path, headers=headers, trust_env=False, timeout=20, **options)


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_envoy_takes_every_clusters_configuration_and_no_unknown_field(tmp_path: Path, cluster: str) -> None:
    (tokens,) = [
        each
        for each in platform(cluster)
        if each["kind"] == "RequestAuthentication" and each["metadata"]["namespace"] == names.INGRESS
    ]
    issuer = Issuer(tokens["spec"]["jwtRules"][0]["issuer"])
    made = configuration(platform(cluster), port=free_port(), upstream=1, issuer=issuer)
    assert valid(tmp_path, made) == ""
    manager = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (body,) = [each for each in manager["http_filters"] if each["name"] == "hallmark.body"]
    body["typed_config"]["extension_config"]["typed_config"]["max_request_byte"] = 1
    assert "max_request_byte" in valid(tmp_path, made)


def test_the_limits_are_those_of_the_gateway_of_one() -> None:
    made = configuration(platform("dev"), port=1, upstream=1, issuer=Issuer(f"https://login.{HOST}"))
    ours = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    local = listener.bootstrap(1, Path("/nowhere"))["static_resources"]["listeners"][0]
    theirs = local["filter_chains"][0]["filters"][0]["typed_config"]
    for key in (
        "max_request_headers_kb",
        "request_headers_timeout",
        "request_timeout",
        "stream_idle_timeout",
        "path_with_escaped_slashes_action",
        "common_http_protocol_options",
    ):
        assert ours[key] == theirs[key], key
    shared = {
        each["name"]: each for each in theirs["http_filters"] if each["name"] in ("hallmark.grpc", "hallmark.body")
    }
    assert {each["name"]: each for each in ours["http_filters"] if each["name"] in shared} == shared
    (body,) = [each for each in shared.values() if each["name"] == "hallmark.body"]
    buffer = body["typed_config"]["extension_config"]["typed_config"]
    assert buffer["max_request_bytes"] == listener.MAX_BODY_BYTES == BODY
    assert len(shared) == 2


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_the_world_reaches_one_port_and_every_host_of_it_has_tls(cluster: str) -> None:
    built = {(each["kind"], each["metadata"]["name"]): each for each in platform(cluster)}
    service = built["Application", "istio-ingress"]["spec"]["source"]["helm"]["valuesObject"]["service"]
    assert {each["port"] for each in service["ports"]} == {443, 15021}
    fronts = [each["spec"] for each in platform(cluster) if each["kind"] == "Gateway"]
    (istio,), (other,) = (
        [each for each in fronts if "servers" in each],
        [each for each in fronts if "listeners" in each],
    )
    (server,) = istio["servers"]
    assert (server["port"]["number"], server["tls"]["minProtocolVersion"]) == (443, "TLSV1_2")
    for each in other["listeners"]:
        assert (each["port"], each["protocol"]) == (443, "HTTPS")
        assert each["tls"]["options"]["gateway.istio.io/tls-min-protocol-version"] == "TLSV1_2"
    hosts = [*server["hosts"], *(each["hostname"] for each in other["listeners"])]
    assert len(hosts) == len(set(hosts)), "of two TLS servers with one host Istio drops the younger"
    knative = built.get(("KnativeServing", "knative-serving"))
    probed = {f"*.{server['hosts'][0]}"} if knative else set()  # by net-istio, which looks at no certificate
    assert set(hosts) - probed == set(built["Certificate", "hallmark-tls"]["spec"]["dnsNames"])
    assert probed <= set(hosts), "Knative's routes would never be ready"
    if knative is not None:
        selector = knative["spec"]["ingress"]["istio"]["knative-ingress-gateway"]["selector"]
        assert selector != istio["selector"], "Knative's own gateway takes every host on port 80"


def test_nothing_comes_in_without_a_token_but_a_look_at_health(gateway: str) -> None:
    assert ask(gateway, "/healthz").status_code == 200
    for path in ("/", "/serving/fraud/fraud/v2/models/fraud", "/pipeline/", "/mlflow/", "/grafana/", "/healthz/x"):
        assert ask(gateway, path).status_code == 403, path
    assert ask(gateway, "/healthz", content=b"x").status_code == 403


def test_only_a_valid_token_of_the_issuer_counts(gateway: str, issuer: Issuer) -> None:
    path = "/serving/fraud/fraud/v2/models/fraud"
    assert ask(gateway, path, issuer.token("fraud")).status_code == 200
    stranger = Issuer(issuer.url)
    refused = {
        "another's key": stranger.token("fraud"),
        "expired": issuer.token("fraud", exp=int(time.time()) - 120),
        "another's audience": issuer.token("fraud", aud="somebody-else"),
        "another issuer": issuer.token("fraud", iss="https://login.elsewhere.example"),
        "no signature": issuer.token("fraud", algorithm="none"),
        "no token": "x.y.z",
    }
    answers = {name: ask(gateway, path, token).status_code for name, token in refused.items()}
    assert set(answers.values()) <= {401, 403}, answers
    assert ask(gateway, "/healthz", stranger.token()).status_code == 401, "a bad token is refused everywhere"


def test_a_token_reaches_the_domains_of_its_claim_and_no_other(gateway: str, issuer: Issuer) -> None:
    mine = issuer.token("fraud", "search")
    for domain, status in (("fraud", 200), ("search", 200), ("pricing", 403)):
        places: list[tuple[str, str, dict[str, str]]] = [
            (f"/serving/{domain}/{domain}/v2/models/{domain}", HOST, {}),
            (f"/{domain}/reviewer/v1/chat/completions", f"models.{HOST}", {}),
            (f"/v2/models/{domain}", f"{domain}-{domain}.models.{HOST}", {}),
            ("/mlflow/ajax-api/2.0/mlflow/runs/search", HOST, {"x-mlflow-workspace": domain}),
            ("/mlflow/graphql", HOST, {"x-mlflow-workspace": domain}),
        ]
        for path, host, headers in places:
            assert ask(gateway, path, mine, host, headers=headers).status_code == status, (path, host)
    claims: list[Any] = [[], "fraudulent", None, {"fraud": True}, 7]
    for claim in claims:
        odd: dict[str, Any] = {"hallmark/domains": claim}
        token = issuer.token("fraud", **odd)
        assert ask(gateway, "/serving/fraud/fraud/v2/models/fraud", token).status_code == 403, claim
    single: dict[str, Any] = {"hallmark/domains": "fraud"}
    assert ask(gateway, "/serving/fraud/x", issuer.token(**single)).status_code == 200
    assert ask(gateway, "/mlflow/ajax-api/2.0/mlflow/runs/search", mine).status_code == 403, "no workspace is nobody's"
    assert ask(gateway, "/mlflow/static-files/main.js", mine).status_code == 200


def test_the_page_is_told_the_domains_of_the_token_and_nothing_that_a_client_says(gateway: str, issuer: Issuer) -> None:
    forged = {"x-hallmark-domains": "pricing", "cookie": "_oauth2_proxy=secret"}
    for path in ("/ui", "/ui/", "/ui/domain/pricing", "/ui/events?domain=fraud"):
        told = ask(gateway, path, issuer.token("fraud", "search"), headers=forged)
        assert told.status_code == 200
        sent = told.json()["headers"]
        assert sent["x-hallmark-domains"] == "fraud,search", path
        assert not {"authorization", "cookie", "x-hallmark-domain"} & set(sent)
        assert ask(gateway, path, headers=forged).status_code == 403
    claims: list[tuple[Any, str | None]] = [
        ("fraud", "fraud"),
        (["fraud", 7, "a,pricing", "x\ny"], "fraud"),
        ([], None),
        (7, None),
        (None, None),
    ]
    for claim, members in claims:
        odd: dict[str, Any] = {"hallmark/domains": claim}
        answer = ask(gateway, "/ui/", issuer.token(**odd), headers=forged)
        assert answer.status_code == (403 if members is None else 200), claim
        assert members is None or answer.json()["headers"]["x-hallmark-domains"] == members
    elsewhere = ask(gateway, "/uix", issuer.token("fraud"), headers=forged)
    assert "x-hallmark-domains" not in elsewhere.text
    encoded = ask(gateway, "/%75i/", issuer.token("fraud"), headers=forged)
    assert encoded.json()["headers"]["x-hallmark-domains"] == "fraud"


def test_a_page_of_reviews_is_told_who_asks_and_one_domain_that_they_have(gateway: str, issuer: Issuer) -> None:
    forged = {
        "x-hallmark-domains": "pricing",
        "x-hallmark-domain": "pricing",
        "kubeflow-userid": "boss@marketplace.example",
        "cookie": "_oauth2_proxy=secret",
    }
    mine = issuer.token("fraud", "search", subject="ana")
    for path in ("/reviews/fraud", "/reviews/fraud/", "/reviews/fraud/photo/k/photo/0?domain=pricing"):
        sent = ask(gateway, path, mine, headers=forged).json()["headers"]
        assert (sent["x-hallmark-domains"], sent["x-hallmark-domain"]) == ("fraud", "fraud"), (
            "of two, the one asked for"
        )
        assert sent["kubeflow-userid"] == "ana@marketplace.example"
        assert not {"authorization", "cookie"} & set(sent)
        assert ask(gateway, path, headers=forged).status_code == 403, "nobody"
    posted = ask(gateway, "/reviews/search/verdict", mine, headers=forged, content=b"{}").json()["headers"]
    assert posted["x-hallmark-domains"] == "search"
    others = (
        "/reviews/pricing/",
        "/reviews/pricing/verdict",
        "/reviews/",
        "/reviews",
        "/reviews//pricing/",
        "/reviewsfraud",
    )
    for path in (*others, "/reviews/frau%64x/", "/reviews/fraud,pricing/", "/reviews/fraud%2f../pricing/"):
        assert ask(gateway, path, mine, headers=forged).status_code in (400, 403), path
    assert raw(gateway, "/reviews/fraud/../pricing/", mine)[0] == 403, "by the path that the route is chosen by"


@pytest.mark.parametrize(
    ("method", "path", "workspace", "status"),
    [
        ("GET", "/mlflow/", None, 200),
        ("GET", "/mlflow/get-artifact?run_id=1&path=x", "fraud", 200),
        ("GET", "/mlflow/get-artifact?run_id=1&path=x", "search", 403),
        ("GET", "/mlflow/get-artifact?run_id=1&path=x", None, 403),
        ("GET", "/mlflow/model-versions/get-artifact?name=search&version=1&path=model.onnx", "search", 403),
        ("POST", "/mlflow/v1/traces", "search", 403),
        ("POST", "/mlflow/v1/traces", "fraud", 403),
        ("POST", "/mlflow/gateway/x", "fraud", 403),
        ("POST", "/mlflow/graphql", "fraud", 200),
        ("GET", "/mlflow/ajax-api/3.0/mlflow/workspaces", "fraud", 200),
        ("PATCH", "/mlflow/ajax-api/3.0/mlflow/workspaces/search", "fraud", 403),
        ("DELETE", "/mlflow/ajax-api/3.0/mlflow/workspaces/search?mode=CASCADE", "fraud", 403),
        ("POST", "/mlflow/ajax-api/3.0/mlflow/workspaces", "fraud", 403),
        ("POST", "/mlflow/ajax-api/2.0/mlflow/model-versions/create", "fraud", 403),
        ("POST", "/mlflow/api/2.0/mlflow/runs/create", "fraud", 403),
        ("PUT", "/mlflow/api/2.0/mlflow-artifacts/artifacts/x", "fraud", 403),
        ("POST", "/mlflow/api/2.0/mlflow/runs/search", "fraud", 200),
        ("POST", "/mlflow/ajax-api/2.0/mlflow/runs/search", "search", 403),
        ("POST", "/mlflow/api/2.0/mlflow/registered-models/alias", "fraud", 200),
        ("DELETE", "/mlflow/api/2.0/mlflow/registered-models/alias?name=fraud&alias=x", "fraud", 200),
        ("DELETE", "/mlflow/api/2.0/mlflow/registered-models/delete", "fraud", 403),
        ("POST", "/mlflow/api/2.0/mlflow/model-versions/create/search", "fraud", 403),
    ],
)
def test_of_mlflow_people_see_their_own_workspaces_and_write_nothing_but_aliases_and_tags(
    gateway: str, issuer: Issuer, method: str, path: str, workspace: str | None, status: int
) -> None:
    headers = {"x-mlflow-workspace": workspace} if workspace else {}
    assert ask(gateway, path, issuer.token("fraud"), headers=headers, method=method).status_code == status


def test_no_spelling_of_a_path_leads_to_another_domain(gateway: str, issuer: Issuer) -> None:
    token = issuer.token("fraud")
    spellings = (
        "/serving/fraud/../pricing/pricing/v2",
        "/serving/fraud/%2e%2e/pricing/pricing/v2",
        "/serving/fraud/..%2fpricing/pricing/v2",
        "/serving/fraud%2f../pricing/pricing/v2",
        "/x/../serving/pricing/pricing/v2",
        "//serving//pricing/pricing/v2",
        "/serving//pricing/pricing/v2",
        "/%73erving/pricing/pricing/v2",
        "/serving/pricin%67/pricing/v2",
        "/serving\\pricing/pricing/v2",
        "/serving?x=/serving/fraud/",
        "/serving",
        "/servingpricing/pricing/v2",
        "/./serving/pricing/pricing/v2",
        "/mlflow/../serving/pricing/pricing/v2",
        "/mlflow/%61jax-api/2.0/mlflow/runs/search",
    )
    for spelling in spellings:
        status, text = raw(gateway, spelling, token)
        assert status in (400, 403) or ("pricing" not in text and "ajax-api" not in text), (
            spelling,
            status,
            text[:200],
        )


def raw(gateway: str, path: str, token: str) -> tuple[int, str]:
    """One request whose path nothing on the way has tidied up: the status, and what the server says that it was asked."""
    connection = http.client.HTTPConnection(gateway.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"host": HOST, "authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_domain_over_its_rate_gets_429_and_another_goes_through(small: str, issuer: Issuer) -> None:
    def statuses(domain: str, subject: str, count: int) -> list[int]:
        token = issuer.token("fraud", "search", subject=subject)
        return [ask(small, f"/serving/{domain}/{domain}/v2", token).status_code for _ in range(count)]

    assert statuses("fraud", "one", 5) == [200] * 4 + [429], "the fifth of one caller"
    assert statuses("search", "one", 1) == [200], "the same caller, another domain"
    assert statuses("fraud", "two", 4)[:1] == [200], "another caller of the same domain"
    assert statuses("fraud", "three", 3) == [429] * 3, "the domain's own six are spent"
    assert statuses("search", "three", 4) == [200] * 4


def test_a_refusal_for_the_domain_costs_the_domain_nothing(small: str, issuer: Issuer) -> None:
    stranger, member = issuer.token("search"), issuer.token("fraud")
    assert {ask(small, "/serving/fraud/fraud/v2", stranger).status_code for _ in range(12)} == {403}
    assert ask(small, "/serving/fraud/fraud/v2", member).status_code == 200


def test_a_large_body_is_413_and_large_headers_are_431(gateway: str, issuer: Issuer) -> None:
    token, path = issuer.token("fraud"), "/serving/fraud/fraud/v2/models/fraud/infer"
    assert ask(gateway, path, token, content=b"x" * (1 << 20)).status_code == 200
    assert ask(gateway, path, token, content=b"x" * BODY).status_code == 200
    assert posted(gateway, path, token, BODY + 1) == 413
    assert ask(gateway, path, token, headers={"x-large": "x" * (33 << 10)}).status_code == 431
    many = {f"x-{index}": "1" for index in range(101)}
    assert ask(gateway, path, token, headers=many).status_code == 431


def test_a_tunnel_is_refused_at_once_with_a_token_too(gateway: str, issuer: Issuer) -> None:
    host, port = gateway.removeprefix("http://").split(":")
    for token in ("", f"authorization: Bearer {issuer.token('fraud')}\r\n"):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}\r\n{token}\r\n".encode())
            assert int(connection.recv(4096).split()[1]) in (401, 403, 404)


def posted(gateway: str, path: str, token: str, size: int) -> int:
    """The status of one request with a body of `size` bytes, also where the answer comes before all of it is sent."""
    host, port = gateway.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\ncontent-length: {size}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head.encode() + b"x" * size)
        return int(connection.recv(4096).split()[1])


def test_slow_headers_are_closed(gateway: str) -> None:
    host, port = gateway.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port)), timeout=SLOW + 5) for _ in range(20)]
    began = time.monotonic()
    for connection in slow:
        connection.sendall(f"GET / HTTP/1.1\r\nhost: {HOST}\r\nx-slow: ".encode())
    for connection in slow:
        answer = b"".join(iter(lambda each=connection: each.recv(4096), b""))  # type: ignore[misc]
        assert not answer or b" 408 " in answer.split(b"\r\n")[0]
        connection.close()
    assert SLOW - 0.5 < time.monotonic() - began < SLOW + 3


def test_only_the_platform_says_who_asks_and_which_exchange_it_is(gateway: str, issuer: Issuer) -> None:
    forged = {
        "kubeflow-userid": "admin@marketplace.example",
        "kubeflow-groups": "hallmark:platform",
        "x-hallmark-request-id": "mine",
        "x-hallmark-shadow": "1",
        "x-envoy-retry-on": "5xx",
    }
    token = issuer.token("fraud", subject="ada")
    answers = [ask(gateway, "/serving/fraud/fraud/v2", token, headers=forged).json()["headers"] for _ in range(2)]
    for seen in answers:
        assert seen["kubeflow-userid"] == "ada@marketplace.example"
        assert not {"kubeflow-groups", "x-hallmark-shadow", "x-envoy-retry-on"} & seen.keys()
        assert seen["authorization"] == f"Bearer {token}", "Knative's port asks for it again: test_routes.py"
    first, second = (seen["x-hallmark-request-id"] for seen in answers)
    assert first != second
    assert "mine" not in (first, second)
    open_to_all = ask(gateway, "/healthz", headers=forged).json()["headers"]
    assert not (forged.keys() - {"x-hallmark-request-id"}) & open_to_all.keys()
