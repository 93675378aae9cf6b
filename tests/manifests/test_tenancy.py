"""Tenants: every one against every other, for every kind of access; and that each way of looking would find a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hallmark import __version__, names
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.declaration.features import Features
from hallmark.render import mesh as meshes
from hallmark.render import network, tenant
from hallmark.settings import Settings
from tests.manifests import builds, kubeflow, mesh, rbac, tenancy
from tests.manifests.flows import Pod
from tests.manifests.rbac import Ask, Subject
from tests.manifests.tenancy import Object, World, pods

ROOT = Path(__file__).parents[2]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
FEATURES = Features(views=("buyer_orders@1",))
KINDS = ("permissions", "flows", "calls", "storage", "secrets", "series")


def declared(*only: str) -> list[Domain]:
    """The declared domains, fraud with features, and one whose name begins like another's."""
    found = [domains.load(name, SETTINGS) for name in domains.names(SETTINGS)]
    found = [each.model_copy(update={"features": FEATURES}) if each.name == "fraud" else each for each in found]
    search = next(each for each in found if each.name == "search")
    owner = search.owner.model_copy(update={"contact": "search-2-oncall@hallmark.example"})
    found.append(search.model_copy(update={"name": "search-2", "owner": owner}))
    return [each for each in found if not only or each.name in only]


@pytest.fixture(scope="module")
def world() -> World:
    return World.of(declared())


def few(**callers: tuple[str, ...]) -> World:
    """Three tenants, the third's name beginning like the second's; and who may call whom."""
    return World.of(
        [
            each.model_copy(
                update={
                    "serving": each.serving.model_copy(update={"callers": callers.get(each.name.replace("-", "_"), ())})
                }
            )
            for each in declared("fraud", "search", "search-2")
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_tenant_reaches_another(world: World, kind: str) -> None:
    assert len(world.objects) >= 8
    assert getattr(tenancy, kind)(world) == []


@pytest.mark.parametrize("cluster", builds.FIRST_QUICK)
def test_a_clusters_own_values_change_nothing_else(cluster: str) -> None:
    """So that what holds for the tenants as they are rendered holds for what Argo CD applies there."""
    path = ROOT / "manifests" / "clusters" / cluster / "settings" / "values.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    found = [domains.load(name, SETTINGS) for name in builds.DOMAINS]
    for domain in found:
        text = json.dumps(tenant.objects(domain, found))
        for ours, theirs in (
            (meshes.KEYS, values["keys"]),
            (meshes.ISSUER, values["issuer"]),
            (network.CONTROL_PLANE, values["controlPlane"]),
            *([(network.STORES, values["stores"])] if domain.features or domain.decision else []),
            *([(names.image("platform"), _platform(cluster, values["registry"]))] if domain.features else []),
            (names.BUCKET, values["bucket"]),
        ):
            assert ours in text
            text = text.replace(ours, theirs)
        wanted = {builds.identity(each): each for each in json.loads(text)}
        built = {builds.identity(each): each for each in builds.tenant(cluster, domain.name)}
        if domain.features:
            for name in (names.FEATURE_STORE, f"{names.FEATURE_STORE}-{names.PARITY}"):  # test_programs.py
                store = ("", "ConfigMap", domain.name, name)
                wanted[store]["data"] = built[store]["data"]
        assert {key: built[key] for key in wanted} == wanted


def _platform(cluster: str, registry: str) -> str:
    """The image as that cluster's settings name it: from its registry, and by its digest where they have one."""
    path = ROOT / "manifests" / "clusters" / cluster / "settings" / "kustomization.yaml"
    images = yaml.safe_load(path.read_text(encoding="utf-8"))["images"]
    (mine,) = [each for each in images if each["name"] == "hallmark/platform"]
    assert mine["newName"] == f"{registry}platform"
    return f"{mine['newName']}@{mine['digest']}" if "digest" in mine else f"{mine['newName']}:{__version__}"


def test_the_platforms_own_grants_open_no_tenant_either() -> None:
    built = World({name: builds.tenant("production", name) for name in builds.DOMAINS}, builds.platform("production"))
    assert tenancy.permissions(built) == []
    assert tenancy.storage(built) == []
    assert tenancy.secrets(built) == []
    mlflow, page = (Pod("hallmark-system", {"app.kubernetes.io/name": name}) for name in ("mlflow", "ui"))
    assert built.network.passes(page, mlflow, 5000)
    assert built.network.passes(Pod(names.INGRESS, {"istio": "ingress"}), page, 8421)
    for name in builds.DOMAINS:
        for kind, pod in pods(name).items():
            assert not built.network.passes(pod, page, 8421), (name, kind)
            assert not built.network.passes(page, pod, network.MONITOR), (name, kind)
        assert built.network.passes(pods(name)["step"], mlflow, 5000)
        assert not built.network.passes(pods(name)["predictor"], mlflow, 5000)
        assert built.network.passes(Pod.outside("10.48.208.7"), pods(name)["predictor"], network.MONITOR)
        assert not built.network.passes(Pod.outside("10.0.208.7"), pods(name)["predictor"], network.MONITOR)
        own = {"principal": meshes.GATEWAY, "issuer": built.issuer, "claims": {meshes.CLAIM: [name]}}
        assert _ask(built, name, **own)
        assert not _ask(built, name, **(own | {"issuer": meshes.ISSUER}))


def _binding(namespace: str, subject: Object, *, role: str = "member", kind: str = "RoleBinding") -> Object:
    metadata = {"name": "planted"} if kind == "ClusterRoleBinding" else {"name": "planted", "namespace": namespace}
    reference = {"kind": "ClusterRole" if kind == "ClusterRoleBinding" else "Role", "name": role}
    return {"kind": kind, "metadata": metadata, "roleRef": reference, "subjects": [subject]}


def _policy(spec: Object) -> Object:
    return {"kind": "NetworkPolicy", "metadata": {"name": "planted", "namespace": "fraud"}, "spec": spec}


def _rule(world: World, name: str, place: int) -> Object:
    found: Object = world.one("fraud", "AuthorizationPolicy", name)["spec"]["rules"][place]
    return found


def _both_open(world: World, rule: Object) -> None:
    """A hole in fraud's ingress is found only where the others may send."""
    world.objects["fraud"].append(_policy({"podSelector": {}, "ingress": [rule]}))
    world.objects["search"] = [each for each in world.objects["search"] if each["kind"] != "NetworkPolicy"]


_GROUP = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io"}
PLANTED: dict[str, tuple[str, Callable[[World], object]]] = {
    "another domain's group": (
        "permissions",
        lambda w: w.objects["fraud"].append(_binding("fraud", _GROUP | {"name": "hallmark:search"})),
    ),
    "everybody with a token": (
        "permissions",
        lambda w: w.objects["fraud"].append(_binding("fraud", _GROUP | {"name": "system:authenticated"})),
    ),
    "every service account": (
        "permissions",
        lambda w: w.objects["fraud"].append(_binding("fraud", _GROUP | {"name": "system:serviceaccounts"})),
    ),
    "another's pipeline": (
        "permissions",
        lambda w: w.objects["fraud"].append(
            _binding("fraud", {"kind": "ServiceAccount", "name": "pipeline", "namespace": "search"}, role="pipeline")
        ),
    ),
    "a role for the whole cluster": (
        "permissions",
        lambda w: w.objects["fraud"].append(
            _binding("", _GROUP | {"name": "hallmark:fraud"}, role="kubeflow-view", kind="ClusterRoleBinding")
        ),
    ),
    "an owner of two": (
        "permissions",
        lambda w: w.one("fraud", "RoleBinding", "namespaceAdmin").update(
            subjects=[{"kind": "User", "name": "search-oncall@hallmark.example"}]
        ),
    ),
    "ingress from every namespace": ("flows", lambda w: _both_open(w, {"from": [{"namespaceSelector": {}}]})),
    "ingress from anywhere": ("flows", lambda w: _both_open(w, {})),
    "ingress from the pods' own addresses": (
        "flows",
        lambda w: _both_open(w, {"from": [{"ipBlock": {"cidr": "10.0.0.0/16"}}]}),
    ),
    "no policies on either side": (
        "flows",
        lambda w: [
            w.objects.update({name: [each for each in w.objects[name] if each["kind"] != "NetworkPolicy"]})
            for name in ("fraud", "search")
        ],
    ),
    "an ALLOW that asks nothing": ("calls", lambda w: _open_mesh(w, {"action": "ALLOW", "rules": [{}]})),
    "no policy of ours": (
        "calls",
        lambda w: w.objects.update(
            fraud=[
                each for each in w.objects["fraud"] if each["metadata"]["name"] in ("fraud", "ns-owner-access-istio")
            ]
        ),
    ),
    "the Profile's policy without our DENY": (
        "calls",
        lambda w: w.objects["fraud"].remove(w.one("fraud", "AuthorizationPolicy", "outsiders")),
    ),
    "tokens of every domain": (
        "calls",
        lambda w: (
            _rule(w, "clients", 1).pop("when"),
            _rule(w, "outsiders", 3).update(when=[{"key": f"request.auth.claims[{meshes.CLAIM}]", "notValues": ["*"]}]),
        ),
    ),
    "whatever domain the gateway proved": (
        "calls",
        lambda w: (
            _rule(w, "clients", 0)["when"][0].update(values=["*"]),
            _rule(w, "outsiders", 3)["when"][0].update(notValues=["*"]),
        ),
    ),
    "a proof that anybody may bring": (
        "calls",
        lambda w: (
            _rule(w, "clients", 0).pop("from"),
            _rule(w, "outsiders", 0).update(
                when=[{"key": f"request.headers[{meshes.PROVEN}]", "notValues": ["fraud"]}]
            ),
            _rule(w, "outsiders", 1).update(
                when=[{"key": f"request.headers[{meshes.PROVEN}]", "notValues": ["fraud"]}]
            ),
        ),
    ),
    "a claim that only begins so": (
        "calls",
        lambda w: [
            each["spec"]["rules"][place]["when"][-1].update({key: ["search*"]})
            for each, place, key in (
                (w.one("search", "AuthorizationPolicy", "clients"), 1, "values"),
                (w.one("search", "AuthorizationPolicy", "outsiders"), 3, "notValues"),
            )
        ],
    ),
    "a wider principal": (
        "calls",
        lambda w: (
            _rule(w, "clients", 2)["from"][0]["source"].update(principals=["cluster.local/*"]),
            _rule(w, "outsiders", 0)["from"][0]["source"].update(notPrincipals=["cluster.local/*"]),
        ),
    ),
    "an address one level up": (
        "storage",
        lambda w: w.one("fraud", "ConfigMap", "kfp-launcher")["data"].update(
            defaultPipelineRoot=names.storage("fraud") + "/../search/pipelines"
        ),
    ),
    "logs in another's part": (
        "storage",
        lambda w: w.one("fraud", "ConfigMap", "artifact-repositories")["data"].update(
            hallmark='{"s3": {"keyFormat": "search/logs/x"}}'
        ),
    ),
    "another's secret": (
        "secrets",
        lambda w: w.one("fraud", "ExternalSecret", "mlflow")["spec"]["data"][0]["remoteRef"].update(
            key="hallmark/search/mlflow"
        ),
    ),
    "a secret one level up": (
        "secrets",
        lambda w: w.one("fraud", "ExternalSecret", "mlflow")["spec"]["data"][0]["remoteRef"].update(
            key="hallmark/fraud/../search/mlflow"
        ),
    ),
    "a model that counts for itself": (
        "series",
        lambda w: w.one("fraud", "PodMonitor", "predictor")["spec"]["podMetricsEndpoints"][0].pop("metricRelabelings"),
    ),
    "counts of every call of a proxy": (
        "series",
        lambda w: w.one("fraud", "PodMonitor", "predictor")["spec"]["podMetricsEndpoints"].append(
            {
                "path": "/stats/prometheus",
                "metricRelabelings": [{"action": "keep", "sourceLabels": ["__name__"], "regex": "istio_.*"}],
            }
        ),
    ),
    "the secret of a longer name": (
        "secrets",
        lambda w: w.one("search", "ExternalSecret", "mlflow")["spec"]["data"][0]["remoteRef"].update(
            key="hallmark/search-2/mlflow"
        ),
    ),
}


def _open_mesh(world: World, spec: Object) -> None:
    world.objects["fraud"].remove(world.one("fraud", "AuthorizationPolicy", "outsiders"))
    world.objects["fraud"].append(
        {"kind": "AuthorizationPolicy", "metadata": {"name": "planted", "namespace": "fraud"}, "spec": spec}
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    kind, plant = PLANTED[fault]
    spoilt = few()
    assert getattr(tenancy, kind)(spoilt) == []
    spoilt = few()
    plant(spoilt)
    assert getattr(tenancy, kind)(spoilt)


def test_a_prefix_without_its_slash_reads_a_longer_name_too() -> None:
    found = tenancy.storage(few(), {"fraud": "fraud/", "search": "search", "search-2": "search-2/"})
    assert found
    assert all("search's accounts read search-2/" in each for each in found)


def test_members_do_what_a_rollout_needs_in_their_own_namespace_and_touch_no_secret(world: World) -> None:
    for domain in world.objects:
        here = [*kubeflow.ROLES, *world.objects[domain]]
        member = tenancy.people(domain)["member"]
        may = {(ask.verb, ask.group, ask.resource) for ask in tenancy.asks(domain) if rbac.allowed(here, member, ask)}
        for verb in ("get", "list", "watch", "patch", "update"):
            assert (verb, "serving.kserve.io", "inferenceservices") in may
        for resource in ("pods", "pods/log", "events", "configmaps"):
            assert ("get", "", resource) in may
        for group, resource in (
            ("serving.knative.dev", "revisions"),
            ("trainer.kubeflow.org", "trainjobs"),
            ("kueue.x-k8s.io", "workloads"),
            ("serving.kserve.io", "llminferenceservices"),
        ):
            assert ("get", group, resource) in may
        for resource in ("experiments", "runs", "jobs"):
            assert ("create", "pipelines.kubeflow.org", resource) in may
        written = {
            (group, resource)
            for verb, group, resource in may
            if verb in ("create", "update", "patch", "delete", "deletecollection")
        }
        assert {group for group, _ in written} == {"serving.kserve.io", "serving.knative.dev", "pipelines.kubeflow.org"}
        assert {resource for group, resource in written if group == "serving.knative.dev"} == {"revisions"}
        assert ("serving.kserve.io", "inferenceservices") in written
        assert not {verb for verb, group, _ in may if group == "serving.kserve.io"} & {"create", "delete"}
        touched = {resource for _, _, resource in may}
        assert not touched & {
            "secrets",
            "pods/exec",
            "pods/proxy",
            "serviceaccounts/token",
            "rolebindings",
            "externalsecrets",
        }


def test_the_page_reads_what_it_shows_of_each_domain_and_changes_nothing(world: World) -> None:
    """What it asks: hallmark/ui/gather.py. A service is asked for by name; the watch's ConfigMap alone of its kind."""
    page = Subject.account(names.SYSTEM, "ui")
    for domain in world.objects:
        here = [*kubeflow.ROLES, *world.objects[domain]]
        may = {(ask.verb, ask.group, ask.resource) for ask in tenancy.asks(domain) if rbac.allowed(here, page, ask)}
        assert may == {
            ("get", "serving.kserve.io", "inferenceservices"),
            ("list", "", "pods"),
            ("get", "", "pods/proxy"),
            ("get", "", "configmaps"),
        }
        assert not rbac.allowed(here, page, Ask("get", "", "configmaps", domain, "drift-monitor"))


def test_the_predictor_may_ask_the_kubernetes_api_nothing_at_all(world: World) -> None:
    for domain in world.objects:
        here = [*kubeflow.ROLES, *world.objects[domain]]
        predictor = Subject.account(domain, names.PREDICTOR)
        assert not [ask for ask in tenancy.asks(domain) if rbac.allowed(here, predictor, ask)]
        assert world.one(domain, "ServiceAccount", names.PREDICTOR)["automountServiceAccountToken"] is False


def test_the_pipeline_reads_its_launchers_config_and_no_other(world: World) -> None:
    here = world.objects["authentication"]
    pipeline = Subject.account("authentication", names.PIPELINE)
    ask = Ask("get", "", "configmaps", "authentication", "kfp-launcher")
    assert rbac.allowed(here, pipeline, ask)
    assert not rbac.allowed(here, pipeline, Ask("get", "", "configmaps", "authentication", "drift-monitor"))
    assert not rbac.allowed(here, pipeline, Ask("list", "", "configmaps", "authentication"))
    assert not rbac.allowed(here, pipeline, Ask("get", "", "secrets", "authentication", "mlflow"))
    assert rbac.allowed(here, pipeline, Ask("create", "trainer.kubeflow.org", "trainjobs", "authentication"))
    assert not rbac.allowed(
        world.objects["fraud"],
        Subject.account("fraud", names.PIPELINE),
        Ask("create", "trainer.kubeflow.org", "trainjobs", "fraud"),
    )


def test_a_person_of_one_domain_sees_and_starts_runs_of_that_domain_only() -> None:
    """Kubeflow Pipelines asks for the user and never for groups, so who works in its UI is bound by name."""
    world = few()
    anna = Subject("anna@hallmark.example")
    world.objects["search"].append(
        _binding("search", {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": anna.user})
    )
    for resource, verb in (
        ("experiments", "get"),
        ("experiments", "list"),
        ("runs", "create"),
        ("runs", "readArtifact"),
    ):
        ask = Ask(verb, "pipelines.kubeflow.org", resource, "search")
        assert rbac.allowed(world.objects["search"], anna, ask)
        for other in ("fraud", "search-2"):
            ask = Ask(verb, "pipelines.kubeflow.org", resource, other)
            assert not rbac.allowed(world.objects[other], anna, ask)
    nobody = Subject("ben@hallmark.example", frozenset())
    assert not rbac.allowed(world.objects["search"], nobody, Ask("get", "pipelines.kubeflow.org", "runs", "search"))


GATEWAY = Pod("istio-ingress", {"gateway.networking.k8s.io/gateway-name": "hallmark"})
PROMETHEUS = Pod("monitoring", {"app.kubernetes.io/name": "prometheus"})
WATCH = Pod("hallmark-system", {"app.kubernetes.io/name": "watch"})
ACTIVATOR = Pod("knative-serving", {"app": "activator"})


@pytest.mark.parametrize(
    ("source", "target", "port", "passes"),
    [
        (GATEWAY, "predictor", network.HTTP, True),
        (GATEWAY, "predictor", network.QUEUE, True),
        (GATEWAY, "predictor", network.MONITOR, False),
        (GATEWAY, "step", network.HTTP, False),
        (ACTIVATOR, "predictor", network.QUEUE, True),
        (ACTIVATOR, "predictor", network.MONITOR + 1000, False),
        (Pod("knative-serving", {"app": "webhook"}), "predictor", network.QUEUE, False),
        (Pod("knative-serving", {"app": "autoscaler"}), "predictor", network.QUEUE_SCALING, True),
        (PROMETHEUS, "predictor", network.HTTP, True),
        (PROMETHEUS, "predictor", network.MONITOR, True),
        (Pod("monitoring", {"app.kubernetes.io/name": "grafana"}), "predictor", network.MONITOR, False),
        (WATCH, "predictor", network.MONITOR, True),
        (WATCH, "predictor", network.HTTP, False),
        (Pod("hallmark-system", {"app.kubernetes.io/name": "mlflow"}), "predictor", network.MONITOR, False),
        (Pod.outside("10.0.208.7"), "predictor", network.MONITOR, True),
        (Pod.outside("10.0.208.7"), "predictor", network.HTTP, False),
        (Pod.outside("10.0.64.200"), "predictor", network.MONITOR, False),
    ],
)
def test_what_enters_a_tenant(world: World, source: Pod, target: str, port: int, passes: bool) -> None:
    assert world.network.passes(source, pods("fraud")[target], port) is passes


@pytest.mark.parametrize(
    ("source", "target", "port", "passes"),
    [
        ("step", Pod("kubeflow", {"app": "ml-pipeline"}), 8887, True),
        ("step", Pod("kubeflow", {"app": "mysql"}), 3306, False),
        ("step", Pod("hallmark-system", {"app.kubernetes.io/name": "mlflow"}), 5000, True),
        ("predictor", Pod("hallmark-system", {"app.kubernetes.io/name": "mlflow"}), 5000, False),
        ("step", Pod.outside("172.20.0.1"), 443, True),
        ("step", Pod.outside("10.0.208.7"), 443, True),
        ("predictor", Pod.outside("172.20.0.1"), 443, False),
        ("step", Pod("kube-system", {"k8s-app": "kube-dns"}), 53, True),
        ("predictor", Pod("kube-system", {"k8s-app": "kube-dns"}), 53, True),
        ("predictor", Pod.outside("169.254.170.23"), 80, True),
        ("predictor", Pod.outside("169.254.169.254"), 80, False),
        ("step", Pod.outside("169.254.169.254"), 443, False),
        ("predictor", Pod.outside("52.218.1.1"), 443, True),
        ("predictor", Pod.outside("52.218.1.1"), 80, False),
        ("predictor", Pod.outside("10.0.192.9"), 6379, True),
        ("step", Pod.outside("10.0.192.9"), 6379, False),
        ("predictor", Pod.outside("10.0.192.9"), 443, False),
        ("predictor", Pod("features", {"app.kubernetes.io/name": "stream"}), 9100, False),
        ("predictor", Pod("istio-system", {"app": "istiod"}), 15012, True),
        ("step", Pod("knative-serving", {"app": "activator"}), 8012, False),
        ("predictor", Pod("knative-serving", {"app": "activator"}), 8012, False),
        ("other", Pod("kubeflow", {"app": "ml-pipeline"}), 8888, False),
        ("parity", Pod.outside("172.20.0.1"), 443, True),
        ("parity", Pod.outside("10.0.208.7"), 443, True),
        ("parity", Pod.outside("10.0.192.9"), 6379, True),
        ("parity", Pod.outside("52.218.1.1"), 443, True),
        ("parity", Pod.outside("169.254.170.23"), 80, True),
        ("parity", Pod("kubeflow", {"app": "ml-pipeline"}), 8888, False),
        ("parity", Pod("fraud", {"serving.kserve.io/inferenceservice": "fraud"}), 9191, False),
    ],
)
def test_what_leaves_a_tenant(world: World, source: str, target: Pod, port: int, passes: bool) -> None:
    assert world.network.passes(pods("fraud")[source], target, port) is passes


def test_only_models_that_read_features_reach_the_online_store(world: World) -> None:
    for domain in world.objects:
        for kind, pod in pods(domain).items():
            reaches = world.network.passes(pod, Pod.outside("10.0.192.9"), network.VALKEY)
            assert reaches == (domain == "fraud" and kind in ("parity", "predictor")), (domain, kind)
        named = {each["metadata"]["name"] for each in world.objects[domain] if each["kind"] == "ConfigMap"}
        assert (names.FEATURE_STORE in named) == (f"{names.FEATURE_STORE}-parity" in named) == (domain == "fraud")


STREAM = Pod(names.FEATURES, {"app.kubernetes.io/name": names.STREAM})


@pytest.mark.parametrize("cluster", builds.FIRST_QUICK)
def test_the_feature_stream_reaches_its_stores_and_is_asked_for_metrics_alone(cluster: str) -> None:
    built = World({name: builds.tenant(cluster, name) for name in builds.DOMAINS}, builds.platform(cluster))
    second = {"dev": 16, "staging": 32, "production": 48}[cluster]
    for target, port, passes in (
        (Pod.outside(f"10.{second}.192.9"), network.VALKEY, True),
        (Pod.outside(f"10.{second}.192.9"), 443, True),
        (Pod.outside(f"10.{second}.192.9"), 5432, False),
        (Pod.outside("169.254.170.23"), 80, True),
        (Pod.outside("169.254.169.254"), 80, False),
        (Pod.outside("52.218.1.1"), 443, True),
        (Pod.outside(f"10.{second}.64.9"), 443, False),
        (Pod("kube-system", {"k8s-app": "kube-dns"}), 53, True),
        (Pod("hallmark-system", {"app.kubernetes.io/name": "mlflow"}), 5000, False),
        (pods("fraud")["predictor"], network.HTTP, False),
    ):
        assert built.network.passes(STREAM, target, port) is passes, (target, port)
    for source in (
        PROMETHEUS,
        WATCH,
        GATEWAY,
        pods("fraud")["predictor"],
        pods("fraud")["step"],
        Pod.outside(f"10.{second}.64.9"),
    ):
        asked = built.network.passes(source, STREAM, network.STREAM_METRICS)
        assert asked == (source is PROMETHEUS)
    assert not built.network.passes(Pod(names.FEATURES, {}), Pod.outside(f"10.{second}.192.9"), network.VALKEY)


def test_only_the_nodes_of_a_distributed_training_speak_to_each_other(world: World) -> None:
    own = pods("authentication")
    assert world.network.passes(own["trainer"], own["trainer"], 29500)
    assert not world.network.passes(own["trainer"], own["predictor"], network.HTTP)
    assert not world.network.passes(pods("fraud")["trainer"], pods("fraud")["trainer"], 29500)


def test_the_reviewer_is_asked_by_the_service_of_its_prompt_only(world: World) -> None:
    own = pods("authentication")
    askers = {kind for kind, pod in own.items() if world.network.passes(pod, own["reviewer"], network.REVIEWER)}
    assert askers == {"review"}
    assert not world.network.passes(GATEWAY, own["reviewer"], network.REVIEWER)
    sidecar = mesh.Sidecar(world.objects["authentication"], own["reviewer"])
    asked = mesh.Request(port=network.REVIEWER, path="", principal="cluster.local/ns/authentication/sa/predictor")
    assert sidecar.admits(asked)


def test_a_decision_asks_its_own_nodes_and_is_asked_by_the_gateway(world: World) -> None:
    own = pods("authentication")
    reached = {kind for kind, pod in own.items() if world.network.passes(own["decision"], pod, network.HTTP)}
    assert reached == {"predictor", "review"}
    askers = {kind for kind, pod in own.items() if world.network.passes(pod, own["decision"], network.HTTP)}
    assert not askers and world.network.passes(GATEWAY, own["decision"], network.HTTP)
    assert not world.network.passes(GATEWAY, own["review"], network.HTTP)
    assert world.network.passes(own["decision"], Pod.outside("10.0.192.9"), network.POSTGRES)
    assert not world.network.passes(own["review"], Pod.outside("10.0.192.9"), network.POSTGRES)
    for each in ("decision", "review"):
        assert world.network.passes(PROMETHEUS, own[each], network.HTTP)
        assert not world.network.passes(pods("fraud")["predictor"], own[each], network.HTTP)
    sidecar = mesh.Sidecar(world.objects["authentication"], own["decision"])
    path = "/v2/models/authentication/infer"
    for principal, admitted in (("authentication", True), ("fraud", False)):
        asked = mesh.Request(port=network.HTTP, path=path, principal=f"cluster.local/ns/{principal}/sa/predictor")
        assert sidecar.admits(asked) is admitted


def test_the_page_of_reviews_is_reached_by_the_gateway_for_people_of_its_domain_alone(world: World) -> None:
    own = pods("authentication")
    askers = {kind for kind, pod in own.items() if world.network.passes(pod, own["decision"], network.REVIEWS)}
    assert not askers and world.network.passes(GATEWAY, own["decision"], network.REVIEWS)
    for source in (PROMETHEUS, WATCH, *pods("fraud").values(), Pod.outside("10.0.64.9")):
        assert not world.network.passes(source, own["decision"], network.REVIEWS)
    sidecar = mesh.Sidecar(world.objects["authentication"], own["decision"])
    assert sidecar.mode(network.REVIEWS) == "STRICT"
    mine: Object = {
        "port": network.REVIEWS,
        "path": "/reviews/authentication/verdict",
        "principal": meshes.GATEWAY,
        "headers": {meshes.PROVEN: "authentication"},
    }
    assert sidecar.admits(mesh.Request(**mine))
    token: Object = {"issuer": meshes.ISSUER, "claims": {meshes.CLAIM: ["authentication"]}}
    others: tuple[Object, ...] = (
        {"headers": {meshes.PROVEN: "fraud"}},
        {"headers": {}},
        {"headers": {}, **token},  # the gateway says who asks; what came by no gateway is nobody
        {"principal": meshes.ACTIVATOR},
        {"principal": meshes.WATCH},
        {"principal": "cluster.local/ns/fraud/sa/predictor"},
        {"principal": "cluster.local/ns/authentication/sa/predictor"},
        {"principal": ""},
        {"path": "/reviews/fraud/verdict"},
        {"method": "DELETE"},
    )
    for other in others:
        assert not sidecar.admits(mesh.Request(**(mine | other))), other


def test_what_deletes_photos_reaches_the_queue_and_nothing_else(world: World) -> None:
    sweep = pods("authentication")["sweep"]
    assert world.network.passes(sweep, Pod.outside("10.0.192.9"), network.POSTGRES)
    assert not world.network.passes(sweep, Pod.outside("10.0.192.9"), network.VALKEY)
    assert not world.network.passes(pods("fraud")["sweep"], Pod.outside("10.0.192.9"), network.POSTGRES)
    for domain in world.objects:
        for kind, pod in pods(domain).items():
            assert not world.network.passes(pod, sweep, network.REVIEWS), (domain, kind)
            assert not world.network.passes(sweep, pod, network.HTTP), (domain, kind)


def _ask(world: World, domain: str, **request: object) -> bool:
    wanted: Object = {"port": network.QUEUE, "path": f"/v2/models/{domain}/infer"} | request
    return mesh.Sidecar(world.objects[domain], pods(domain)["predictor"]).admits(mesh.Request(**wanted))


@pytest.mark.parametrize("hand", [meshes.GATEWAY, meshes.ACTIVATOR])
@pytest.mark.parametrize("proof", ["by the gateway", "by a token"])
def test_a_proof_of_the_domain_opens_its_model_by_whichever_hand_it_comes(world: World, hand: str, proof: str) -> None:
    for domain in world.objects:
        own: Object = {"principal": hand, "headers": {meshes.PROVEN: domain}}
        if proof == "by a token":
            own = {"principal": hand, "issuer": meshes.ISSUER, "claims": {meshes.CLAIM: [domain, "another"]}}
            assert not _ask(world, domain, **(own | {"issuer": "https://elsewhere.example"}))
        for port in network.DOORS:
            for path in ("/v2/models/m/infer", "/v1/models/m:predict", "/v2/health/ready", "/v2", "/openapi.json"):
                assert _ask(world, domain, port=port, path=path, **own)
        assert not _ask(world, domain, port=network.MONITOR, path="/labels", **own)
        assert not _ask(world, domain, path="/admin", **own)
        assert not _ask(world, domain, method="DELETE", **own)
        assert not _ask(world, domain, principal=hand)
        assert not _ask(world, domain, **(own | {"principal": ""})), "a proof without mutual TLS"


@pytest.mark.parametrize("cluster", sorted(set(builds.CLUSTERS) - builds.STANDARD))
def test_the_activator_takes_what_was_proven_from_the_gateway_alone(cluster: str) -> None:
    """Tenants believe it of the activator, which hands on whatever header it is given."""
    sidecar = mesh.Sidecar(builds.platform(cluster), Pod("knative-serving", {"app": "activator"}))
    proven = {meshes.PROVEN: "fraud"}
    for principal in ("", meshes.ACTIVATOR, meshes.AUTOSCALER, meshes.WATCH, "cluster.local/ns/search/sa/predictor"):
        assert not sidecar.admits(mesh.Request(port=8012, path="/v2", principal=principal, headers=proven)), principal
        assert sidecar.admits(mesh.Request(port=8012, path="/v2", principal=principal)), principal
    assert sidecar.admits(mesh.Request(port=8012, path="/v2", principal=meshes.GATEWAY, headers=proven))
    # Istio leaves a header out of a DENY for a port that speaks no HTTP, such as the webhook's: it would deny all.
    assert sidecar.denying
    assert all(
        rule["to"] == [{"operation": {"ports": ["8012", "8013"]}}] for each in sidecar.denying for rule in each["rules"]
    )
    assert not mesh.Sidecar(builds.platform(cluster), Pod("knative-serving", {"app": "webhook"})).denying


def test_the_gateway_and_the_pods_mean_the_same_header() -> None:
    for cluster in builds.CLUSTERS:
        (tenants,) = [
            each
            for each in builds.platform(cluster)
            if (each["kind"], each["metadata"]["name"]) == ("EnvoyFilter", "tenants")
        ]
        code = tenants["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["default_source_code"][
            "inline_string"
        ]
        for name, value in (("PROVEN", meshes.PROVEN), ("CLAIM", meshes.CLAIM)):
            assert f'local {name} = "{value}"\n' in code


def test_the_platforms_own_parts_ask_what_they_must_and_no_more(world: World) -> None:
    watch = {"principal": meshes.WATCH, "port": network.MONITOR}
    assert _ask(world, "fraud", path="/labels", **watch)
    assert _ask(world, "fraud", path="/labels", port=network.MONITOR, address="10.0.208.9")
    assert not _ask(world, "fraud", path="/labels", port=network.MONITOR, address="10.0.64.9")
    assert not _ask(world, "fraud", principal=meshes.WATCH)
    assert _ask(world, "fraud", path="/metrics", method="GET", port=network.HTTP)
    assert not _ask(world, "fraud", path="/v2/models/fraud/infer", port=network.HTTP), "plaintext past /metrics"
    assert _ask(world, "fraud", path="/healthz", method="GET", principal=meshes.ACTIVATOR)
    assert _ask(world, "fraud", path="/metrics", method="GET", principal=meshes.AUTOSCALER, port=network.QUEUE_SCALING)
    assert not _ask(world, "fraud", principal=meshes.AUTOSCALER)


def test_a_declared_caller_opens_exactly_that_path() -> None:
    closed, opened = few(), few(fraud=("search",))
    assert tenancy.flows(closed) == []
    assert set(tenancy.flows(opened)) == {
        f"search's predictor -> fraud's predictor:{port}/TCP" for port in network.DOORS
    }
    admitted = tenancy.calls(opened)
    assert admitted
    assert all("ns/search/sa/predictor" in each and each.endswith("-> fraud's predictor") for each in admitted)
    for path in ("/labels", "/answers", "/x"):
        assert not any(f"path='{path}'" in each for each in admitted)
    assert tenancy.permissions(opened) == []
    prometheus = Pod("monitoring", {"app.kubernetes.io/name": "prometheus"})
    assert opened.network.passes(prometheus, pods("search")["predictor"], network.PROXY_METRICS)
    assert not opened.network.passes(prometheus, pods("fraud")["predictor"], network.PROXY_METRICS)
    told = tenancy.series(opened)
    assert told and all(each.startswith("search's /stats/prometheus tells of fraud: istio_request") for each in told)
    caller = {"principal": "cluster.local/ns/search/sa/predictor"}
    assert _ask(opened, "fraud", **caller)
    assert not _ask(opened, "fraud", port=network.MONITOR, path="/labels", **caller)
    assert not _ask(opened, "search", principal="cluster.local/ns/fraud/sa/predictor")
    assert not _ask(opened, "fraud", principal="cluster.local/ns/search/sa/pipeline")
    assert not _ask(opened, "fraud", principal="cluster.local/ns/search-2/sa/predictor")
