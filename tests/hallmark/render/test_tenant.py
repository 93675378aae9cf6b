"""A tenant's objects: what they say, strictly by their schemas, and that they agree with the programs that they are for."""

from __future__ import annotations

import ast
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from hallmark import names
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.render import mesh, network, tenant
from hallmark.render.manifest import MARK
from hallmark.section import Name, amount
from hallmark.settings import Settings
from tests import strict

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
DECLARED = [domains.load(name, SETTINGS) for name in domains.names(SETTINGS)]
BY_NAME = {domain.name: domain for domain in DECLARED}
KUBERNETES = "1.32"
CORE = {"v1", "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1"}

Object = dict[str, Any]
every_domain = pytest.mark.parametrize("domain", DECLARED, ids=lambda domain: domain.name)


def rendered(domain: Domain) -> list[Object]:
    return tenant.objects(domain, DECLARED)


def one(domain: Domain, kind: str, name: str) -> Object:
    found = [each for each in rendered(domain) if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def check(each: Object) -> None:
    if each["apiVersion"] in CORE:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    else:
        group, _, version = each["apiVersion"].partition("/")
        strict.validator(group, each["kind"], version).validate(each)


@every_domain
def test_every_object_keeps_its_strict_schema(domain: Domain) -> None:
    for each in rendered(domain):
        check(each)


@pytest.mark.parametrize(
    "kind", ["NetworkPolicy", "LimitRange", "Profile", "AuthorizationPolicy", "LocalQueue", "Role"]
)
def test_a_field_that_does_not_exist_is_refused(kind: str) -> None:
    found = json.loads(json.dumps(next(each for each in rendered(BY_NAME["authentication"]) if each["kind"] == kind)))
    check(found)
    (found if kind == "Role" else found["spec"])["nonsense"] = 1
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check(found)


@every_domain
def test_every_object_is_the_domains_own_and_nothing_is_of_the_cluster(domain: Domain) -> None:
    seen = set()
    for each in rendered(domain):
        where = each["metadata"].get("namespace", each["metadata"]["name"])
        assert where == domain.namespace
        assert names.labels(domain.name).items() <= each["metadata"]["labels"].items()
        assert each["kind"] not in ("ClusterRole", "ClusterRoleBinding")
        key = (each["apiVersion"], each["kind"], each["metadata"]["name"])
        assert key not in seen
        seen.add(key)
        if each["kind"] in ("NetworkPolicy", "AuthorizationPolicy", "PeerAuthentication"):
            assert each["metadata"]["annotations"][network.REASON].endswith(".")


def test_there_is_one_file_a_domain_which_names_its_source() -> None:
    found = tenant.files(SETTINGS, DECLARED)
    assert {path.name for path in found} == {f"{name}.yaml" for name in BY_NAME}
    for path, text in found.items():
        assert text.startswith(f"{MARK}domains/{path.stem}/domain.yaml")
        assert [each["kind"] for each in yaml.safe_load_all(text)][:2] == ["Namespace", "Profile"]


@every_domain
def test_pods_are_held_to_restricted_whichever_of_namespace_and_profile_comes_first(domain: Domain) -> None:
    metadata = one(domain, "Namespace", domain.name)["metadata"]
    for mode in ("enforce", "audit", "warn"):
        assert metadata["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert metadata["labels"][f"pod-security.kubernetes.io/{mode}-version"] == f"v{KUBERNETES}"
    assert metadata["labels"]["istio-injection"] == "enabled"
    assert metadata["labels"]["pipelines.kubeflow.org/enabled"] == "false"
    assert metadata["annotations"]["owner"] == one(domain, "Profile", domain.name)["spec"]["owner"]["name"]


@every_domain
def test_the_quota_is_the_declarations_and_defaults_are_there_for_what_says_nothing(domain: Domain) -> None:
    hard = one(domain, "Profile", domain.name)["spec"]["resourceQuotaSpec"]["hard"]
    assert hard["requests.cpu"] == domain.quota.cpu
    assert hard["requests.memory"] == domain.quota.memory
    assert hard["requests.nvidia.com/gpu"] == str(domain.quota.gpu)
    assert hard["pods"] == str(domain.quota.pods)
    assert hard["requests.storage"] == domain.quota.storage
    assert amount(hard["limits.memory"]) == tenant.BURST * amount(domain.quota.memory)
    container, claim = one(domain, "LimitRange", "defaults")["spec"]["limits"]
    for resource in ("cpu", "memory"):
        assert amount(container["defaultRequest"][resource]) <= amount(container["default"][resource])
        assert amount(container["default"][resource]) <= amount(container["max"][resource])
    assert claim["max"] == {"storage": domain.quota.storage}


SIDECARS = {  # drift monitor, Istio's proxy, queue-proxy: what they ask for, and at most take (manifests/platform)
    "requests": {"cpu": 0.1 + 0.1 + 0.025, "memory": (256 + 128 + 50) * 2**20},
    "limits": {"cpu": 0.5 + 0.5 + 0.5, "memory": (512 + 256 + 200) * 2**20},
}


@every_domain
@pytest.mark.parametrize("resource", ["cpu", "memory"])
@pytest.mark.parametrize("kind", ["requests", "limits"])
def test_the_quota_holds_the_largest_serving_a_canary_and_one_training(
    domain: Domain, resource: str, kind: str
) -> None:
    pods = domain.serving.replicas.maximum + max(1, domain.serving.replicas.minimum)
    needed = pods * (amount(getattr(domain.serving, resource)) + SIDECARS[kind][resource])
    needed += domain.training.nodes * amount(getattr(domain.training, resource))
    if domain.reviewer:
        needed += domain.reviewer.replicas.maximum * amount(getattr(domain.reviewer, resource))
    hard = one(domain, "Profile", domain.name)["spec"]["resourceQuotaSpec"]["hard"]
    assert needed <= amount(hard[f"{kind}.{resource}"])


@every_domain
def test_a_queue_is_there_where_training_waits_for_shared_nodes(domain: Domain) -> None:
    found = [each for each in rendered(domain) if each["kind"] == "LocalQueue"]
    assert [each["metadata"]["name"] for each in found] == (["training"] if domain.name == "authentication" else [])


@every_domain
def test_accounts_know_no_cloud_and_the_predictor_no_api(domain: Domain) -> None:
    accounts = {each["metadata"]["name"]: each for each in rendered(domain) if each["kind"] == "ServiceAccount"}
    assert {name: each["automountServiceAccountToken"] for name, each in accounts.items()} == {
        "default": False,  # what a pod gets that names none: no token
        "pipeline": True,
        "predictor": False,
        **({"parity": False} if domain.features else {}),
        **({"reviews": False} if domain.decision else {}),
    }
    text = json.dumps(rendered(domain))
    assert "arn:" not in text
    assert "eks.amazonaws.com" not in text


@every_domain
def test_a_token_is_read_as_the_gateway_reads_it_and_ends_at_the_pod(domain: Domain) -> None:
    (rule,) = one(domain, "RequestAuthentication", "tokens")["spec"]["jwtRules"]
    assert not rule.get("forwardOriginalToken"), "what the model server captures would hold it"
    path = ROOT / "manifests" / "platform" / "gateway" / "authentication.yaml"
    gateway = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["jwtRules"][0]
    assert {key: rule[key] for key in ("issuer", "jwksUri", "audiences")} == {
        key: gateway[key] for key in ("issuer", "jwksUri", "audiences")
    }
    assert gateway["forwardOriginalToken"] is True


@every_domain
def test_artifacts_and_logs_go_to_the_domains_own_part_without_keys(domain: Domain) -> None:
    launcher = one(domain, "ConfigMap", "kfp-launcher")["data"]
    assert launcher["defaultPipelineRoot"] == f"s3://{names.BUCKET}/{domain.name}/pipelines"
    assert yaml.safe_load(launcher["providers"])["s3"]["default"]["credentials"] == {"fromEnv": True}
    archive = one(domain, "ConfigMap", "artifact-repositories")
    chosen = archive["metadata"]["annotations"]["workflows.argoproj.io/default-artifact-repository"]
    text = archive["data"][chosen]
    assert text.split('"')[5] == names.BUCKET, "a cluster replaces the fifth part between quotation marks"
    repository = json.loads(text)["s3"]
    assert repository["keyFormat"].startswith(names.prefix(domain.name))
    assert repository["useSDKCreds"] is True
    assert not {"accessKeySecret", "secretKeySecret"} & repository.keys()


def test_a_caller_that_is_not_declared_is_refused() -> None:
    fraud = BY_NAME["fraud"]
    strange = fraud.model_copy(update={"serving": fraud.serving.model_copy(update={"callers": ("serch",)})})
    with pytest.raises(DeclarationError, match="serch"):
        tenant.objects(strange, DECLARED)


def test_ports_and_paths_of_the_monitor_are_those_of_the_program() -> None:
    runtime = yaml.safe_load((ROOT / "inference_services/runtime/servingruntime.yaml").read_text(encoding="utf-8"))
    arguments = {each["name"]: each["args"] for each in runtime["spec"]["containers"]}
    assert f"--port={network.MONITOR}" in arguments["drift-monitor"]
    assert f"--http-port={network.HTTP}" in arguments["kserve-container"]
    tree = ast.parse((ROOT / "inference_services/drift_monitor/app.py").read_text(encoding="utf-8"))
    routes = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "Route"
        and isinstance(call.args[0], ast.Constant)
    }
    inside = {"/", "/events"}  # where the model server hands in what it captured: over localhost, past the mesh
    policy = one(BY_NAME["fraud"], "AuthorizationPolicy", "drift-monitor")
    opened = [to["operation"]["paths"] for rule in policy["spec"]["rules"] for to in rule["to"]]
    assert opened == [opened[0]] * 2 and routes - inside == set(opened[0])


@every_domain
def test_prometheus_reaches_exactly_what_it_is_told_to_scrape(domain: Domain) -> None:
    told = {
        int(relabeling["replacement"].partition(":")[2])
        for endpoint in one(domain, "PodMonitor", "predictor")["spec"]["podMetricsEndpoints"]
        for relabeling in endpoint["relabelings"]
        if relabeling.get("targetLabel") == "__address__"
    }
    opened = {port["port"] for port in one(domain, "NetworkPolicy", "metrics")["spec"]["ingress"][0]["ports"]}
    plaintext = {int(port) for port in one(domain, "PeerAuthentication", "metrics")["spec"]["portLevelMtls"]}
    assert told == opened == plaintext == set(mesh.METRICS)


def test_the_watch_may_do_what_its_code_calls_and_nothing_beside() -> None:
    """Every call of the real writer and lease, recorded, against the Role; and every rule of the Role against the calls."""
    asked = set(_calls_of_the_watch())
    rules = one(BY_NAME["fraud"], "Role", "watch")["rules"]
    granted = [rule for rule in rules if rule["apiGroups"] != ["pipelines.kubeflow.org"]]
    used = set()
    for verb, group, resource, name in asked:
        fitting = [
            place
            for place, rule in enumerate(granted)
            if rule["apiGroups"] == [group]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
        ]
        assert fitting, f"the watch calls {verb} {resource} {name}, which its Role does not grant"
        used |= {(place, verb) for place in fitting}
    assert used == {(place, verb) for place, rule in enumerate(granted) for verb in rule["verbs"]}


def _calls_of_the_watch() -> Iterator[tuple[str, str, str, str]]:
    from kubernetes.client import ApiClient
    from kubernetes.client.exceptions import ApiException

    from hallmark import object_labels
    from hallmark.rollout import parity
    from hallmark.rollout.capacity import Floors
    from hallmark.rollout.lease import Lease
    from hallmark.rollout.memory import NAME
    from hallmark.rollout.watch import LEASE
    from hallmark.rollout.writer import InferenceServiceWriter

    seen: list[tuple[str, str]] = []
    live = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "fraud", "namespace": "fraud", "resourceVersion": "1"},
        "spec": {"predictor": {"canaryTrafficPercent": 10, "model": {}}},
        "status": {
            "components": {
                "predictor": {
                    "latestCreatedRevision": "two",
                    "latestRolledoutRevision": "one",
                    "traffic": [{"revisionName": "one", "percent": 90}, {"revisionName": "two", "percent": 10}],
                }
            }
        },
    }
    pod = {
        "metadata": {"name": "p", "namespace": "fraud", "labels": {"serving.knative.dev/revision": "two"}},
        "spec": {"containers": []},
    }
    lease = {"metadata": {"name": LEASE}, "spec": {"leaseTransitions": 3, "holderIdentity": ""}}
    notes = {object_labels.MODE: "Standard", object_labels.SHADOW: "50"}
    shadowed = {
        **live,
        "metadata": {**live["metadata"], "uid": "1", "annotations": notes},
        "spec": {"predictor": {"model": {}}, "canary": [{"trafficPercent": 0, "predictor": {"name": "v2"}}]},
        "status": {"url": "https://host"},
    }
    route = {
        "spec": {"hostnames": ["host"], "parentRefs": [], "rules": [{"backendRefs": [{"name": "fraud-predictor"}]}]}
    }
    answers = {
        "leases": lease,
        "pods": {"items": [pod]},
        "configmaps": {"metadata": {"resourceVersion": "1"}},
        "httproutes": route,
    }
    absent: set[str] = set()

    class Recorder(ApiClient):  # type: ignore[misc]
        """The real client, up to the wire."""

        def request(self, method: str, url: str, *_: Any, **__: Any) -> Any:
            path = urlsplit(url).path
            seen.append((method, path))
            if path.rpartition("/")[2] in absent:
                raise ApiException(status=404)
            kind = next((kind for kind in answers if kind in path.split("/")), "")
            return SimpleNamespace(data=json.dumps(answers.get(kind, live)).encode(), status=200)

    writer = InferenceServiceWriter(Recorder())
    writer.live("fraud")
    writer.shift(live, percent=20)
    writer.note(live, {"hallmark.dev/fence": "1"})
    writer.mark(live)
    writer.hold(live, Floors(candidate=2, stable=2))
    writer.mirror(shadowed)  # there, and not as it should be
    absent.add("fraud-rollout")
    writer.mirror(shadowed)
    absent.clear()
    writer.mirror({**shadowed, "spec": {"predictor": {"model": {}}}})
    writer.sidecar(pod, "verdict")
    writer.sidecar(pod, "labels", body=[])
    writer.config_map("fraud", NAME)
    writer.config_map("fraud", parity.NAME)
    for create in (True, False):
        writer.write_config_map({"metadata": {"name": NAME, "namespace": "fraud"}}, create=create)
    writer.call("POST", "/apis/coordination.k8s.io/v1/namespaces/fraud/leases", {})
    held = Lease(writer, "fraud", LEASE)
    fence = held.acquire("me", 15)
    assert fence is not None
    held.renew(fence)
    for method, path in seen:
        yield _as_asked(method, path)


def _as_asked(method: str, path: str) -> tuple[str, str, str, str]:
    parts = path.strip("/").split("/")
    group = parts[1] if parts[0] == "apis" else ""
    resource, *rest = parts[parts.index("namespaces") + 2 :]
    name = rest[0] if rest else ""
    if len(rest) > 1:
        resource = f"{resource}/{rest[1]}"
    verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[
        method
    ]
    return verb, group, resource, name.partition(":")[0]


NAMES = TypeAdapter(Name)


@given(st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_no_text_that_passes_as_a_name_leads_out_of_the_domains_part(text: str) -> None:
    try:
        name = NAMES.validate_python(text)
    except ValidationError:
        return
    assert not set(name) & set("./\\%?#\0\n ")
    assert names.prefix(name) == f"{name}/"


@given(
    st.sampled_from(
        ["", ".", "..", "../x", "x/..", "x/../y", "/x", "x/", "x y", "X", "é", "x\n", "x.", "-x", "x-", "a" * 41]
    )
)
@settings(deadline=None)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        NAMES.validate_python(text)


@given(st.from_regex(r"\A[a-z]([a-z0-9-]{0,28}[a-z0-9])?\Z"), st.from_regex(r"\A[a-z]([a-z0-9-]{0,28}[a-z0-9])?\Z"))
@settings(max_examples=60, deadline=None)
def test_no_two_names_share_a_part_of_the_bucket_or_a_secret(one: str, other: str) -> None:
    assert NAMES.validate_python(one) == one
    fraud = BY_NAME["fraud"].model_copy(update={"name": one})
    kinds = ("ConfigMap", "ExternalSecret")
    text = json.dumps([each for each in tenant.objects(fraud, [fraud]) if each["kind"] in kinds])
    assert ".." not in text
    if one != other:
        assert not names.prefix(one).startswith(names.prefix(other))
        assert f"hallmark/{other}/" not in text
        assert f"/{other}/pipelines" not in text


PIECES = st.lists(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "/",
            "\\",
            "%2e%2e",
            "%2E.",
            "%2f",
            "search",
            "search-2",
            "fraud",
            "x",
            "?",
            "#",
            " ",
            "\n",
            "~",
        ]
    ),
    max_size=6,
).map("".join)


@given(st.lists(PIECES | st.text(max_size=8), max_size=3))
@settings(max_examples=400, deadline=None)
def test_no_part_leads_an_address_out_of_the_domains_part_of_the_bucket(parts: list[str]) -> None:
    try:
        address = names.storage("search", *parts)
    except DeclarationError:
        return
    assert _lands_in(address, "search")


@given(PIECES | st.text(max_size=20))
@settings(max_examples=600, deadline=None)
def test_a_model_that_is_the_domains_to_serve_lies_in_its_part(key: str) -> None:
    if names.outside("search", f"s3://{names.BUCKET}/{key}") == "":
        assert _lands_in(f"s3://{names.BUCKET}/{key}", "search")


@pytest.mark.parametrize(
    "key", ["search-2/m", "searchx/m", "search", "search/../fraud/m", "search/%2e%2e/fraud/m", "/search/m", "fraud/m"]
)
def test_a_model_in_another_part_is_refused(key: str) -> None:
    assert names.outside("search", f"s3://{names.BUCKET}/{key}")
    assert not names.outside("search", f"s3://{names.BUCKET}/search/m")


def _lands_in(address: str, domain: str) -> bool:
    """Does it begin with the domain's prefix, letter by letter as AWS compares it, and still once somebody has tidied it up?"""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    tidied = posixpath.normpath(unquote(key).replace("\\", "/"))
    whole = key.startswith(names.prefix(domain)) or key == domain
    return bucket == names.BUCKET and whole and (tidied == domain or tidied.startswith(names.prefix(domain)))


def test_servers_find_their_log_of_item_changes_below_the_domains_own_prefix() -> None:
    fresh = domains.overridden(BY_NAME["search"], ["retrieval.corpus=orders@1", "retrieval.fresh=1s"])
    where = one(fresh, "ConfigMap", names.ITEM_CHANGES)["data"]["address"]
    assert _lands_in(where.partition("?")[0], "search") and where.endswith(f"/search/changes?region={names.REGION}")
    runtime = yaml.safe_load((ROOT / "inference_services" / "runtime" / "servingruntime.yaml").read_text())
    env = {each["name"]: each for each in runtime["spec"]["containers"][0]["env"]}
    read = env["HALLMARK_CHANGES"]["valueFrom"]["configMapKeyRef"]
    assert read == {"name": names.ITEM_CHANGES, "key": "address", "optional": True}
    still = domains.overridden(BY_NAME["search"], ["retrieval.corpus=orders@1", "retrieval.fresh=null"])
    assert not [each for each in rendered(still) if each["metadata"]["name"] == names.ITEM_CHANGES]


@pytest.mark.parametrize(("backend", "ports"), [("folder", ()), ("opensearch", (443, 9200)), ("qdrant", (443, 6333))])
def test_a_model_reaches_the_collection_that_its_domain_declares(backend: str, ports: tuple[int, ...]) -> None:
    changes = ["retrieval.corpus=orders@1", "retrieval.fresh=null", f"retrieval.backend={backend}"]
    made = rendered(domains.overridden(BY_NAME["search"], changes))
    found = [
        each["spec"] for each in made if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "collection"
    ]
    assert len(found) == (1 if ports else 0)
    for spec in found:
        assert spec["podSelector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": "search"}
        (door,) = spec["egress"]
        assert tuple(each["port"] for each in door["ports"]) == ports
        assert [each["ipBlock"]["cidr"] for each in door["to"]] == [network.STORES]


def test_items_are_changed_by_the_domains_own_pods_alone() -> None:
    """Even a declared caller, and the gateway with a token of the domain, are denied the path that changes items."""
    searched = domains.overridden(BY_NAME["search"], ["retrieval.corpus=orders@1", "serving.callers=[marketing]"])
    closed = one(searched, "AuthorizationPolicy", "outsiders")["spec"]["rules"][-1]
    assert closed == {
        "from": [{"source": {"notPrincipals": ["cluster.local/ns/search/sa/*"]}}],
        "to": [{"operation": {"paths": ["*/items"]}}],
    }
    without = one(BY_NAME["fraud"], "AuthorizationPolicy", "outsiders")["spec"]["rules"]
    assert not any("*/items" in str(rule) for rule in without)


def test_those_who_are_told_are_receivers_of_alertmanager_whose_addresses_come_from_the_secret_store() -> None:
    domain = BY_NAME["fraud"]
    assert not [each for each in rendered(domain) if each["kind"] == "AlertmanagerConfig"]
    raw = {"receivers": [{"address": "FRAUD_SLACK", "format": "slack"}, {"address": "FRAUD_HOOK"}]}
    told = Domain.model_validate({**domain.model_dump(mode="json"), "notify": raw})
    found = {each["kind"]: each for each in tenant.objects(told, DECLARED) if each["metadata"]["name"] == "notify"}
    secret, config = found["ExternalSecret"]["spec"], found["AlertmanagerConfig"]["spec"]
    assert [each["remoteRef"] for each in secret["data"]] == [
        {"key": "hallmark/fraud/notify", "property": "FRAUD_SLACK"},
        {"key": "hallmark/fraud/notify", "property": "FRAUD_HOOK"},
    ]
    assert config["route"]["matchers"] == [{"name": "domain", "value": "fraud", "matchType": "="}]
    (receiver,) = config["receivers"]
    assert receiver["slackConfigs"][0]["apiURL"] == {"name": "notify", "key": "FRAUD_SLACK"}
    assert receiver["webhookConfigs"][0]["urlSecret"] == {"name": "notify", "key": "FRAUD_HOOK"}
    assert "http" not in json.dumps(config)
