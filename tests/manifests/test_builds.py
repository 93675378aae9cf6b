"""Each cluster's build: every object against its strict schema, nothing twice, nothing of another cluster, everything pinned."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
import yaml

from hallmark import names, object_labels
from hallmark.render import inferenceservice
from tests.manifests.builds import (
    CLUSTERS,
    CORE,
    DOMAINS,
    FIRST_QUICK,
    ROOT,
    STANDARD,
    Object,
    declared,
    everything,
    identity,
    platform,
    problems,
    release,
    tenant,
    texts,
)

LEFT_OVER = re.compile(rf"(?<!@){re.escape(names.HOST)}|{re.escape(names.BUCKET)}|\b10\.0\.(?:192|208)\.")
"""What stands for a cluster's own values; a person's address in a declaration (fraud-oncall@…) is nobody's to replace."""
OWN = "https://github.com/hallmark-marketplace/hallmark"
LINES = 30
"""An overlay of more lines than these is another platform, not another cluster."""


@pytest.fixture(params=FIRST_QUICK)
def cluster(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of_kind(objects: list[Object] | tuple[Object, ...], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def test_every_object_is_valid_by_its_strict_schema(cluster: str) -> None:
    found = {identity(each): problems(each) for each in everything(cluster)}
    assert not {key: value for key, value in found.items() if value}


def test_a_wrong_field_is_found() -> None:
    pool = next(each for each in platform("dev") if each["kind"] == "NodePool")
    deployment = next(each for each in platform("dev") if each["kind"] == "Deployment")
    assert problems({**pool, "spec": {**pool["spec"], "weigth": 1}})
    assert problems({**deployment, "spec": {**deployment["spec"], "replica": 1}})


def test_no_object_comes_twice(cluster: str) -> None:
    assert not [key for key, count in Counter(map(identity, everything(cluster))).items() if count > 1]


def test_nothing_is_left_of_what_a_cluster_replaces(cluster: str) -> None:
    text = texts(cluster)
    assert not {key: LEFT_OVER.findall(value) for key, value in text.items() if LEFT_OVER.search(value)}
    others = [other for other in CLUSTERS if other != cluster]
    foreign = re.compile("|".join(rf"hallmark-{other}\b|clusters/{other}\b" for other in others))
    assert not {key: foreign.findall(value) for key, value in text.items() if foreign.search(value)}


def test_every_value_of_a_cluster_is_used(cluster: str) -> None:
    path = ROOT / "manifests" / "clusters" / cluster / "settings" / "values.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    text = "".join(texts(cluster).values())
    assert not [key for key, value in values.items() if value not in text]
    assert not [each for each in everything(cluster) if each["metadata"]["name"] == "cluster"], "values are not applied"


def test_our_images_come_from_the_clusters_own_registry_and_production_names_them_by_digest(cluster: str) -> None:
    images = set(re.findall(r'"image": "([^"]*hallmark/[^"]+)"', "".join(texts(cluster).values())))
    assert len(images) >= 3
    assert not [
        each for each in images if not re.match(r"\d{12}\.dkr\.ecr\.eu-central-1\.amazonaws\.com/hallmark/", each)
    ]
    if cluster == "production":
        assert not [each for each in images if not re.search(r"@sha256:[0-9a-f]{64}$", each)]


def test_knative_asks_our_registry_for_no_tag(cluster: str) -> None:
    """Its controller has no rights there: a revision of an image by tag would fail with "failed to resolve image to digest"."""
    (runtime,) = of_kind(platform(cluster), "ClusterServingRuntime")
    served = {container["image"] for container in runtime["spec"]["containers"]}
    passed = [each["spec"]["config"]["deployment"] for each in of_kind(platform(cluster), "KnativeServing")]
    assert len(passed) == (cluster not in STANDARD)
    for each in passed:
        assert {image.partition("/")[0] for image in served} == {each["registries-skipping-tag-resolving"]}


def values_of(cluster: str, application: str) -> Object:
    """The chart's values of a part."""
    (found,) = [each for each in of_kind(platform(cluster), "Application") if each["metadata"]["name"] == application]
    values: Object = found["spec"]["source"]["helm"]["valuesObject"]
    return values


def test_what_outlives_the_cluster_is_written_once_and_holds_every_recorded_series(cluster: str) -> None:
    spec = values_of(cluster, "prometheus")["prometheus"]["prometheusSpec"]
    # By these two labels Managed Prometheus keeps one of the replicas' copies.
    assert spec["replicas"] > 1 and spec["replicaExternalLabelName"] == "__replica__"
    assert spec["externalLabels"] == {"cluster": f"hallmark-{cluster}"}
    (target,) = spec["remoteWrite"]
    assert target["url"].startswith(f"https://aps-workspaces.{target['sigv4']['region']}.amazonaws.com/workspaces/ws-")
    (kept,) = target["writeRelabelConfigs"]
    rules = [
        rule
        for each in of_kind(everything(cluster), "PrometheusRule")
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    assert recorded and not [name for name in recorded | {"ALERTS"} if not re.fullmatch(kept["regex"], name)]
    assert not re.fullmatch(kept["regex"], "container_cpu_usage_seconds_total")


def test_the_load_balancer_controller_finds_its_cluster_and_stands_in_nobodys_way(cluster: str) -> None:
    values = values_of(cluster, "load-balancer")
    assert (values["clusterName"], values["vpcTags"]) == (f"hallmark-{cluster}", {"Name": f"hallmark-{cluster}"})
    # Its webhook for Services fails closed, and no Service of ours needs it: the gateway's names its kind by an annotation.
    assert values["enableServiceMutatorWebhook"] is False
    service = values_of(cluster, "istio-ingress")["service"]["annotations"]
    assert service["service.beta.kubernetes.io/aws-load-balancer-type"] == "external"


def test_kueues_webhooks_match_domains_alone(cluster: str) -> None:
    """They fail closed: while Kueue is down nothing that they match is made, and the gateway may not be among it."""
    config = yaml.safe_load(values_of(cluster, "kueue")["managerConfig"]["controllerManagerConfigYaml"])
    (matched,) = config["managedJobsNamespaceSelector"]["matchExpressions"]
    assert matched == {"key": names.DOMAIN_LABEL, "operator": "Exists"}
    labelled = {
        each["metadata"]["name"]
        for each in of_kind(everything(cluster), "Namespace")
        if matched["key"] in each["metadata"]["labels"]
    }
    assert labelled == set(DOMAINS)


def test_clusters_differ_by_a_few_lines(cluster: str) -> None:
    folder = ROOT / "manifests" / "clusters" / cluster
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.yaml")}
    assert max(lines.values()) <= LINES, lines
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"kustomization.yaml", "values.yaml"}


def sources(cluster: str) -> list[tuple[str, Object]]:
    found = []
    for each in of_kind(platform(cluster), "Application"):
        spec = each["spec"]
        found += [(each["metadata"]["name"], source) for source in spec.get("sources") or [spec["source"]]]
    return found


def test_every_upstream_part_is_pinned_to_one_version(cluster: str) -> None:
    exact = re.compile(r"v?\d+\.\d+\.\d+(?:-[\w.]+)?")
    upstream = [(name, source) for name, source in sources(cluster) if source["repoURL"] != OWN]
    assert len(upstream) >= 20
    loose = [
        (name, source["targetRevision"]) for name, source in upstream if not exact.fullmatch(source["targetRevision"])
    ]
    assert not loose
    for pool in of_kind(platform(cluster), "EC2NodeClass"):
        (alias,) = [term["alias"] for term in pool["spec"]["amiSelectorTerms"]]
        assert re.fullmatch(r"(al2023|bottlerocket)@v[\d.]+", alias)


def test_the_platform_comes_from_the_places_that_its_project_names_and_no_others(cluster: str) -> None:
    (project,) = [each for each in of_kind(platform(cluster), "AppProject") if each["metadata"]["name"] == "platform"]
    used = {source["repoURL"] for _, source in sources(cluster)}
    named = set(project["spec"]["sourceRepos"])
    assert used <= named
    assert len(named - used) <= (1 if cluster in STANDARD else 0), "Knative's operator is not in every cluster"


def test_only_dev_follows_a_branch(cluster: str) -> None:
    revisions = {source["targetRevision"] for _, source in sources(cluster) if source["repoURL"] == OWN}
    (tenants,) = of_kind(platform(cluster), "ApplicationSet")
    revisions |= {each["git"]["revision"] for each in tenants["spec"]["generators"]}
    revisions.add(tenants["spec"]["template"]["spec"]["source"]["targetRevision"])
    assert len(revisions) == 1, "the platform and its tenants come from one revision"
    assert revisions == {"main"} if cluster == "dev" else re.fullmatch(r"v\d+\.\d+\.\d+", revisions.pop())


def test_every_application_mends_itself_within_its_project(cluster: str) -> None:
    for each in of_kind(platform(cluster), "Application"):
        spec = each["spec"]
        assert spec["project"] == "platform", each["metadata"]["name"]
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
        assert "argocd.argoproj.io/sync-wave" in each["metadata"]["annotations"], each["metadata"]["name"]


BRINGS = {
    "cert-manager.io": "cert-manager",
    "external-secrets.io": "external-secrets",
    "gateway.networking.k8s.io": "gateway-api",
    "karpenter.k8s.aws": "karpenter",
    "karpenter.sh": "karpenter",
    "kueue.x-k8s.io": "kueue",
    "monitoring.coreos.com": "prometheus",
    "networking.istio.io": "istio-base",
    "operator.knative.dev": "knative-operator",
    "security.istio.io": "istio-base",
    "serving.kserve.io": "kserve-crd",
    "telemetry.istio.io": "istio-base",
    "trainer.kubeflow.org": "trainer",
}
"""Which Application brings the kinds of a group."""


OPEN_TO_ALL: set[str] = set()
"""NetworkPolicies of the platform that let anybody in, each with its reason beside it."""


def wave(each: Object) -> int:
    return int(each["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0"))


def test_what_others_need_comes_in_an_earlier_wave(cluster: str) -> None:
    built = platform(cluster)
    named = {each["metadata"]["name"]: wave(each) for each in of_kind(built, "Application")}
    spaces = {each["metadata"]["name"]: wave(each) for each in of_kind(built, "Namespace")}
    late: list[tuple[str, ...]] = []
    for each in built:
        group, kind, namespace, name = identity(each)
        if kind not in {"AppProject", "Application", "ApplicationSet"} and namespace:
            late += [(kind, name, namespace)] if spaces.get(namespace, -99) >= wave(each) else []
        if kind == "Application" and name != "hallmark":
            late += [(kind, name)] if spaces.get(each["spec"]["destination"]["namespace"], -99) >= wave(each) else []
        if group not in CORE and group != "argoproj.io":
            late += [(kind, name, BRINGS[group])] if named[BRINGS[group]] >= wave(each) else []
            options = each["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-options", "")
            assert "SkipDryRunOnMissingResource=true" in options or wave(each) == 0, (kind, name)
    assert not late
    assert named["cert-manager"] < named["kserve"]
    assert named["istiod"] < named["istio-ingress"]
    assert wave(of_kind(built, "ApplicationSet")[0]) > max(named.values())


def test_the_platform_puts_nothing_into_a_tenant_and_opens_no_door_by_itself(cluster: str) -> None:
    """A tenant's permissions are in its own file, which the matrix tries; a hole from the platform's side would be in none."""
    entries, grants, inside = [], [], []
    for each in platform(cluster):
        kind, name, spec = each["kind"], each["metadata"]["name"], each.get("spec") or {}
        if each["metadata"].get("namespace") in DOMAINS:
            inside.append((kind, name))
        if kind in ("RoleBinding", "ClusterRoleBinding"):
            grants += [(name, who["name"]) for who in each.get("subjects") or [] if who["kind"] in ("Group", "User")]
        if kind == "NetworkPolicy":
            entries += [(kind, name) for rule in spec.get("ingress") or [] if not rule.get("from")]
        if kind == "AuthorizationPolicy" and spec.get("action", "ALLOW") == "ALLOW":
            entries += [(kind, name) for rule in spec.get("rules") or [] if not rule]
        if kind == "Service" and spec.get("type") in ("LoadBalancer", "NodePort"):
            entries.append((kind, name))
    assert not inside and not grants
    assert set(entries) <= {("NetworkPolicy", name) for name in OPEN_TO_ALL}, entries


def test_every_namespace_that_is_used_is_made(cluster: str) -> None:
    made = {each["metadata"]["name"] for each in everything(cluster) if each["kind"] == "Namespace"} | {"kube-system"}
    used = {each["metadata"].get("namespace") for each in everything(cluster)} - {None}
    used |= {each["spec"]["destination"]["namespace"] for each in of_kind(platform(cluster), "Application")}
    for _, source in sources(cluster):
        used |= set(re.findall(r'"namespaceOverride": "([^"]+)"', json.dumps(source)))
    assert used <= made


def test_no_domain_can_have_a_name_of_the_platforms_namespaces(cluster: str) -> None:
    made = {each["metadata"]["name"] for each in of_kind(platform(cluster), "Namespace")}
    assert made and not [name for name in made if not names.taken(name)]


def test_every_namespace_has_its_level_of_pod_security(cluster: str) -> None:
    levels = {
        each["metadata"]["name"]: each["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        for each in everything(cluster)
        if each["kind"] == "Namespace"
    }
    loose = {name: level for name, level in levels.items() if level != "restricted"}
    assert loose == {"istio-system": "privileged", "nodes": "privileged", "kubeflow": "baseline"}
    assert {names.SYSTEM, names.INGRESS, names.MONITORING, *DOMAINS} <= levels.keys()


def test_tenants_cannot_reach_the_platforms_namespaces(cluster: str) -> None:
    (project,) = [each for each in of_kind(platform(cluster), "AppProject") if each["metadata"]["name"] == "tenants"]
    refused = [each["namespace"][1:] for each in project["spec"]["destinations"] if each["namespace"].startswith("!")]
    ours = {each["metadata"]["name"] for each in of_kind(platform(cluster), "Namespace")} | {"kube-system", "default"}
    assert not [name for name in ours if not any(re.fullmatch(deny.replace("*", ".*"), name) for deny in refused)]
    allowed = {(each["group"], each["kind"]) for each in project["spec"]["clusterResourceWhitelist"]}
    wide = {
        (group, kind)
        for domain in DOMAINS
        for group, kind, namespace, _ in map(identity, tenant(cluster, domain))
        if not namespace
    }
    assert wide <= allowed


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_tenant_stays_in_its_namespace(cluster: str, domain: str) -> None:
    assert {each["metadata"].get("namespace", domain) for each in tenant(cluster, domain)} == {domain}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_service_at_rest_is_what_the_renderer_makes_for_the_clusters_mode(cluster: str, domain: str) -> None:
    (live,) = of_kind(tenant(cluster, domain), "InferenceService")
    mode = "Standard" if cluster in STANDARD else "Knative"
    wanted = inferenceservice.inferenceservice(declared(domain), release(domain), mode)  # type: ignore[arg-type]
    bucket = live["spec"]["predictor"]["model"]["storageUri"].split("/")[2]
    assert bucket == f"hallmark-{cluster}-artifacts"
    assert json.loads(json.dumps(wanted).replace(names.BUCKET, bucket)) == live


def test_a_rollouts_state_is_not_gits(cluster: str) -> None:
    (tenants,) = of_kind(platform(cluster), "ApplicationSet")
    spec = tenants["spec"]["template"]["spec"]
    (ignored,) = spec["ignoreDifferences"]
    notes = {
        f"/metadata/annotations/{note.replace('/', '~1')}"
        for note in (object_labels.SHADOW, object_labels.ROLLOUT, object_labels.FENCE)
    }
    predictor = {
        f"/spec/predictor/{part}"
        for part in ("canaryTrafficPercent", "model/storageUri", "model/env", *inferenceservice.OWNED)
    }
    assert set(ignored["jsonPointers"]) == notes | predictor | {"/spec/canary"}
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"], "a sync would put them back"


def test_no_note_of_a_rollout_makes_a_revision(cluster: str) -> None:
    (config,) = [each for each in platform(cluster) if each["metadata"]["name"] == "inferenceservice-config"]
    parts = {key: json.loads(value) for key, value in config["data"].items()}
    assert set(parts["inferenceService"]["serviceAnnotationDisallowedList"]) == {
        object_labels.SHADOW,
        object_labels.ROLLOUT,
        object_labels.FENCE,
    }
    standard = cluster in STANDARD
    assert parts["deploy"]["defaultDeploymentMode"] == ("Standard" if standard else "Knative")
    assert parts["ingress"]["enableGatewayApi"] is standard
    assert parts["ingress"]["kserveIngressGateway"] == f"{names.INGRESS}/{names.GATEWAY}"


def test_knative_keeps_every_field_that_a_predictor_sets(cluster: str) -> None:
    if cluster in STANDARD:
        assert not of_kind(platform(cluster), "KnativeServing")
        return
    (serving,) = of_kind(platform(cluster), "KnativeServing")
    config = serving["spec"]["config"]
    flags = {
        "nodeSelector": "nodeselector",
        "tolerations": "tolerations",
        "topologySpreadConstraints": "topologyspreadconstraints",
        "securityContext": "securitycontext",
    }
    for domain in DOMAINS:
        (live,) = of_kind(tenant(cluster, domain), "InferenceService")
        predictor = live["spec"]["predictor"]
        for field in flags.keys() & predictor.keys():
            assert config["features"][f"kubernetes.podspec-{flags[field]}"] == "enabled"
        assert predictor["timeout"] <= int(config["defaults"]["max-revision-timeout-seconds"])
