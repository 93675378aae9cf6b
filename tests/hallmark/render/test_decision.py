"""What decides in a domain, on a cluster: sealed bytes that arrive whole, fixed digests, restricted pods, and nothing before a unit is there."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from hallmark import names
from hallmark.artifacts import release
from hallmark.artifacts.release import Release, Target
from hallmark.decision import share as shares
from hallmark.decision import terms, unit
from hallmark.decision.share import CandidateShare
from hallmark.declaration import decision_pods
from hallmark.declaration import domain as domains
from hallmark.errors import ModelRefused
from hallmark.lint import checkout as checkouts
from hallmark.lint import judge
from hallmark.lint.objects import ClusterOptions
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.render import decision, network, tenant
from hallmark.render.manifest import manifest
from hallmark.settings import Settings
from tests.hallmark.render.deciding import DOMAIN, ROOT, checkout, decides, sealed_unit
from tests.strict import validator

BELOW = "authentication.svc.cluster.local"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return checkout(tmp_path)


def written(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The objects as the file gives them back, by kind, the first of each."""
    found = list(yaml.safe_load_all(manifest(objects, source="a test")))
    return {each["kind"]: each for each in reversed(found)}


def data(config: dict[str, Any], folder: Path) -> Path:
    """A ConfigMap's files, as a pod has them."""
    folder.mkdir()
    for name, text in config["data"].items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def container(workload: dict[str, Any], name: str = "") -> dict[str, Any]:
    """The one of a name, or the one that is no page beside it."""
    found = workload["spec"]["template"]["spec"]["containers"]
    (only,) = [each for each in found if (each["name"] == name if name else each["name"] != "page")]
    return dict(only)


def flags(workload: dict[str, Any], name: str = "") -> dict[str, str]:
    return dict(each.removeprefix("--").partition("=")[::2] for each in container(workload, name)["args"])


def reviewed(settings: Settings) -> dict[str, dict[str, Any]]:
    """What people work with of the decision's objects, by kind; its photos are in the StatefulSet."""
    sealed_unit(settings)
    objects = decision.decision_service(domains.load(DOMAIN, settings), settings)
    return {each["kind"]: each for each in objects}


def cronjobs_pod(job: dict[str, Any]) -> dict[str, Any]:
    return {"spec": job["spec"]["jobTemplate"]["spec"]}


def test_the_prompt_arrives_as_it_was_sealed_and_a_change_of_it_leaves_the_gpu_alone(
    settings: Settings, tmp_path: Path
) -> None:
    domain = domains.load(DOMAIN, settings)
    found = written(decision.reviewer_service(domain, settings))
    digest = sealed.seal(tmp_path / "seal", prompts.load(settings.prompts, "authentication-review"))
    place = data(found["ConfigMap"], tmp_path / "mounted")
    assert sealed.read(place, expected=digest, served=True).version in found["ConfigMap"]["metadata"]["name"]
    env = {each["name"]: each["value"] for each in container(found["Deployment"])["env"]}
    assert env == {"HALLMARK_PROMPT_DIGEST": digest}
    mounts = {each.get("subPath"): each for each in container(found["Deployment"])["volumeMounts"]}
    assert found["ConfigMap"]["data"].keys() <= mounts.keys(), "file by file: links are refused in a sealed folder"
    assert (
        flags(found["Deployment"])["llm"] == "http://reviewer-kserve-workload-svc.authentication.svc.cluster.local:8000"
    )
    assert len(found["ConfigMap"]["data"]["prompt.json"]) < 100_000

    from hallmark.render import reviewer

    before = reviewer.objects(domain)
    (tmp_path / "prompts").unlink()
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    path = tmp_path / "prompts" / "authentication-review" / "prompt.yaml"
    path.write_text(path.read_text().replace("Say what you see", "Say only what you see"))
    changed = written(decision.reviewer_service(domain, settings))
    assert changed["ConfigMap"]["metadata"]["name"] != found["ConfigMap"]["metadata"]["name"]
    assert reviewer.objects(domain) == before


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "CronJob"])
def test_pods_are_restricted(settings: Settings, kind: str) -> None:
    sealed_unit(settings)
    domain = domains.load(DOMAIN, settings)
    objects = [*decision.reviewer_service(domain, settings), *decision.decision_service(domain, settings)]
    (workload,) = [cronjobs_pod(each) if kind == "CronJob" else each for each in objects if each["kind"] == kind]
    spec = workload["spec"]["template"]["spec"]
    account = names.REVIEWS if kind == "CronJob" else names.PREDICTOR
    assert spec["automountServiceAccountToken"] is False and spec["serviceAccountName"] == account
    for each in (*spec["containers"], *spec.get("initContainers", [])):
        context = each["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]} and each["resources"]["limits"]
    selected = workload["spec"].get("selector", {}).get("matchLabels", {})
    assert selected.items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def test_nothing_decides_before_a_unit_is_there_and_then_by_its_digest(settings: Settings, tmp_path: Path) -> None:
    domain = domains.load(DOMAIN, settings)
    assert decision.decision_service(domain, settings) == []
    assert decision.DECISION_FILE not in {path.name for path in decision.files(settings, [domain])}
    digest = sealed_unit(settings)
    found = written(decision.decision_service(domain, settings))
    place = data(found["ConfigMap"], tmp_path / "mounted")
    assert unit.read(place, expected=digest).domain == DOMAIN
    env = {each["name"]: each.get("value") for each in container(found["StatefulSet"])["env"]}
    assert env["HALLMARK_UNIT_DIGEST"] == digest
    nodes = [each.partition("=")[2] for each in container(found["StatefulSet"])["args"] if each.startswith("--node=")]
    assert nodes == [
        "view=http://authentication-predictor.authentication.svc.cluster.local",
        "view=http://authentication-v1-predictor.authentication.svc.cluster.local",
        "reviewer=http://authentication-reviewer.authentication.svc.cluster.local:8080",
    ]
    reviewer = written(decision.reviewer_service(domain, settings))["Service"]
    assert reviewer["metadata"]["name"] == "authentication-reviewer"
    assert found["StatefulSet"]["spec"]["replicas"] == 1, "it counts the experts' minutes"
    assert {path.name for path in decision.files(settings, [domain])} == {"decision.yaml", "review.yaml"}


def fetched(workload: dict[str, Any]) -> list[tuple[str, str]]:
    """Where pictures of references come from and which digest they have to have, each at a folder that is one of --crops."""
    spec = workload["spec"]["template"]["spec"]
    inits = spec.get("initContainers", [])
    folders = [each.partition("=")[2] for each in container(workload)["args"] if each.startswith("--crops=")]
    assert [each["args"][1] for each in inits] == folders and len({each["name"] for each in inits}) == len(inits)
    env = {each["name"]: each.get("value") for each in container(workload)["env"]}
    digests = (env.get("HALLMARK_REFERENCES_DIGEST") or "").split(",")
    if inits:
        (mount,) = [each for each in container(workload)["volumeMounts"] if each["name"] == "references"]
        assert mount["readOnly"] and all(folder.startswith(f"{mount['mountPath']}/") for folder in folders)
        assert all(each["volumeMounts"] == [{"name": "references", "mountPath": mount["mountPath"]}] for each in inits)
        (volume,) = [each for each in spec["volumes"] if each["name"] == "references"]
        assert volume["emptyDir"]["sizeLimit"] == f"{len(inits)}Gi"
    return list(zip((each["args"][0] for each in inits), digests, strict=True)) if inits else []


def test_the_reviewer_is_shown_the_references_of_the_versions_that_are_asked_for_them(settings: Settings) -> None:
    domain = domains.load(DOMAIN, settings)

    def shown() -> list[tuple[str, str]]:
        return fetched(written(decision.reviewer_service(domain, settings))["Deployment"])

    def people() -> list[tuple[str, str]]:
        return fetched(written(decision.decision_service(domain, settings))["StatefulSet"])

    assert shown() == [("s3://hallmark-artifacts/authentication/references", "")], "crops.json, until one is released"
    one, two, three = (
        Target(version=each, storageUri=f"s3://hallmark-artifacts/authentication/m-{each}", digest=f"sha256:{each:064}")
        for each in (1, 2, 3)
    )
    release.write(DOMAIN, Release(stable=two, previous=one), settings)
    assert shown() == [(two.storage_uri, two.digest)]
    sealed_unit(settings, digest=one.digest)
    first = [(one.storage_uri, one.digest)]
    assert shown() == people() == first, "by the unit: another version's answers count as none"
    labels = written(decision.decision_service(domain, settings))["StatefulSet"]["metadata"]["labels"]
    assert labels[names.SHOWS] == "references", "by which a cluster names its bucket"
    sealed_unit(settings, folder=unit.CANDIDATE, version="2", digest=two.digest)
    both = [*first, (two.storage_uri, two.digest)]
    assert shown() == people() == both, "a candidate's model names references of its own"
    beside = decision.reviewer_service(domain, settings)
    place = settings.releases / DOMAIN
    (place / unit.FOLDER).rename(place / unit.PREVIOUS)
    (place / unit.CANDIDATE).rename(place / unit.FOLDER)
    assert decision.reviewer_service(domain, settings) == beside, "a promotion changes none of its pods"
    release.write(DOMAIN, Release(stable=three, previous=two), settings)
    assert shown() == [(two.storage_uri, two.digest)], "what is released no more cannot be fetched"
    here = two.model_copy(update={"storage_uri": "pvc://models/m-2"})
    release.write(DOMAIN, Release(stable=here), settings)
    assert shown() == [("s3://hallmark-artifacts/authentication/references", "")], "only KServe fetches from a volume"
    assert people() == []
    labels = written(decision.decision_service(domain, settings))["StatefulSet"]["metadata"]["labels"]
    assert names.SHOWS not in labels


def test_another_domains_unit_is_refused(settings: Settings) -> None:
    sealed_unit(settings, name="fraud")
    with pytest.raises(ModelRefused, match="another domain's"):
        decision.decision_service(domains.load(DOMAIN, settings), settings)


def test_the_flags_are_those_that_the_services_take(settings: Settings) -> None:
    from inference_services.decision.__main__ import parser as of_decision
    from inference_services.reviewer.__main__ import parser as of_reviewer

    sealed_unit(settings)
    domain = domains.load(DOMAIN, settings)
    for objects, parser in (
        (decision.reviewer_service(domain, settings), of_reviewer()),
        (decision.decision_service(domain, settings), of_decision()),
    ):
        (workload,) = [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
        parser.parse_args(container(workload)["args"])


def test_a_candidate_is_rendered_beside_the_unit_that_decides_and_arrives_as_it_was_sealed(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    objects = decides(tmp_path / "checkout")
    *configs, share = [each for each in objects if each["kind"] == "ConfigMap"]
    (workload,) = [each for each in objects if each["kind"] == "StatefulSet"]
    env = {each["name"]: each.get("value") for each in container(workload)["env"]}
    digests = [env["HALLMARK_UNIT_DIGEST"], env["HALLMARK_CANDIDATE_DIGEST"]]
    read = [
        unit.read(data(config, tmp_path / f"mounted-{at}"), expected=digests[at]) for at, config in enumerate(configs)
    ]
    assert [each.parts["view"].version for each in read] == ["1", "2"]
    volumes = {
        each["name"]: each["configMap"]["name"]
        for each in workload["spec"]["template"]["spec"]["volumes"]
        if "configMap" in each
    }
    assert volumes == {
        name: config["metadata"]["name"]
        for name, config in zip(("unit", "candidate", "share"), [*configs, share], strict=True)
    }
    mounts = {each["mountPath"] for each in container(workload)["volumeMounts"]}
    assert {f"/etc/hallmark/{folder}/{name}" for folder in ("unit", "candidate") for name in unit.FILES} <= mounts
    places = [
        each.partition("=")[2] for each in container(workload)["args"] if each.startswith("--candidate-node=view=")
    ]
    assert places == [f"view=http://authentication{each}-predictor.{BELOW}" for each in ("", "-v2")]
    from inference_services.decision.__main__ import parser

    assert str(parser().parse_args(container(workload)["args"]).candidate) == "/etc/hallmark/candidate"
    assert len({each["metadata"]["name"] for each in configs}) == 2


def test_a_share_of_items_is_a_file_that_changes_without_a_new_pod(settings: Settings) -> None:
    sealed_unit(settings)
    digest = sealed_unit(settings, folder=unit.CANDIDATE, version="2")

    def objects() -> dict[str, dict[str, Any]]:
        found = decision.decision_service(domains.load(DOMAIN, settings), settings)
        return {f"{each['kind']} {each['metadata']['name']}": each for each in found}

    before = objects()
    name = "ConfigMap authentication-decision-share"
    assert before[name]["data"] == {} and "immutable" not in before[name]
    told = CandidateShare(candidate=digest, percent=10, since=datetime(2026, 12, 1, tzinfo=UTC))
    shares.write(shares.path(DOMAIN, settings), told)
    after = objects()
    assert {each for each in after if after[each] != before[each]} == {name}, "and so no pod begins anew"
    place = settings.root / "mounted"
    data(written([after[name]])["ConfigMap"], place)
    from inference_services.decision.__main__ import parser

    flags = parser().parse_args(container(after["StatefulSet authentication-decision"])["args"])
    assert flags.share == Path("/etc/hallmark/share") / terms.SHARE_FILE
    (mount,) = [
        each
        for each in container(after["StatefulSet authentication-decision"])["volumeMounts"]
        if each["name"] == "share"
    ]
    assert mount["mountPath"] == str(flags.share.parent) and "subPath" not in mount, "a file by subPath never changes"
    assert shares.read(place / terms.SHARE_FILE) == told
    shares.write(shares.path(DOMAIN, settings), told.model_copy(update={"candidate": "sha256:" + "0" * 64}))
    assert objects() == before, "a share of another candidate is none"


def test_a_route_leads_from_the_shared_gateway_to_the_decision(tmp_path: Path) -> None:
    objects = decides(tmp_path)
    (route,) = [each for each in objects if each["kind"] == "HTTPRoute"]
    assert list(validator("gateway.networking.k8s.io", "HTTPRoute", "v1").iter_errors(route)) == []
    (rule,) = route["spec"]["rules"]
    assert rule["matches"][0]["path"] == {"type": "PathPrefix", "value": "/authentication/decision"}
    service = written(objects)["Service"]
    (behind,) = rule["backendRefs"]
    assert (behind["name"], behind["port"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    assert rule["timeouts"] == {"request": "31s"}, (
        "past the deadline of 30s, so that the decision says itself what was late"
    )


def test_people_reach_the_page_of_their_domains_cases_by_the_hosts_own_path(settings: Settings) -> None:
    from hallmark.cli.app import app

    found = reviewed(settings)
    given = container(found["StatefulSet"], "page")
    group: Any = typer.main.get_command(app)
    page = group.commands["reviews"].commands["page"]
    with page.make_context("page", list(given["args"])) as context:
        told = context.params
    assert given["command"] == ["python", "-m", "hallmark.cli", "reviews", "page"]
    assert (told["shared"], told["domain"], told["port"]) == (True, DOMAIN, network.REVIEWS), (
        "shared: else it shows all to everybody"
    )
    route = found["VirtualService"]
    assert list(validator("networking.istio.io", "VirtualService", "v1").iter_errors(route)) == []
    (rule,) = route["spec"]["http"]
    assert [each["uri"] for each in rule["match"]] == [{"exact": told["prefix"]}, {"prefix": f"{told['prefix']}/"}]
    service = next(
        each
        for each in decision.decision_service(domains.load(DOMAIN, settings), settings)
        if (each["kind"], each["metadata"]["name"]) == ("Service", "authentication-reviews")
    )
    (to,) = rule["route"]
    (port,) = service["spec"]["ports"]
    assert to["destination"] == {"host": f"authentication-reviews.{BELOW}", "port": {"number": port["port"]}}
    assert port["targetPort"] in {each["name"] for each in given["ports"]}
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert "readinessProbe" not in given
    decides = written(decision.decision_service(domains.load(DOMAIN, settings), settings))["Service"]
    assert decides["spec"]["publishNotReadyAddresses"] is True, "a decision waits for no page"


def test_photos_are_kept_shown_and_deleted_in_one_volume_by_one_queue(settings: Settings) -> None:
    from hallmark.cli.app import app

    found = reviewed(settings)
    job = cronjobs_pod(found["CronJob"])
    keeps, shows, deletes = container(found["StatefulSet"]), container(found["StatefulSet"], "page"), container(job)
    group: Any = typer.main.get_command(app)
    with group.commands["reviews"].commands["gc"].make_context("gc", list(deletes["args"])) as context:
        assert context.params["yes"] and not context.params["dry_run"], "nobody is there to be asked"
        assert context.params["days"] >= 30
    queues = set()
    for each, writes in ((keeps, True), (shows, False), (deletes, True)):
        (folder,) = [flag.partition("=")[2] for flag in each["args"] if flag.startswith("--photos=")]
        (mount,) = [mount for mount in each["volumeMounts"] if mount["mountPath"] == folder]
        assert (mount["name"], mount["subPath"], not mount.get("readOnly", False)) == ("photos", "photos", writes)
        secrets = {env["name"]: env["valueFrom"]["secretKeyRef"] for env in each["env"] if "valueFrom" in env}
        assert secrets.keys() == {"HALLMARK_REVIEWS", "PGPASSWORD"}
        queues.add(yaml.safe_dump(secrets))
    assert len(queues) == 1
    handed = found["ExternalSecret"]
    assert {each["secretKey"] for each in handed["spec"]["data"]} == {"address", "password"}
    assert {each["remoteRef"]["key"] for each in handed["spec"]["data"]} == {f"hallmark/{DOMAIN}/{names.REVIEWS}"}
    workload = found["StatefulSet"]
    (claim,) = [each for each in job["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in each]
    templates = {each["metadata"]["name"] for each in workload["spec"]["volumeClaimTemplates"]}
    assert templates == {"records", "photos"}, "photos cannot fill the volume of records"
    assert claim["persistentVolumeClaim"]["claimName"] == f"photos-{workload['metadata']['name']}-0"
    affinity = job["spec"]["template"]["spec"]["affinity"]["podAffinity"]
    (near,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert near["labelSelector"]["matchLabels"] == workload["spec"]["selector"]["matchLabels"]
    assert near["topologyKey"] == "kubernetes.io/hostname", "a volume of one node's"


def test_a_decision_without_people_has_no_page_and_keeps_no_photos(tmp_path: Path) -> None:
    for name in ("domains", "prompts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    path = tmp_path / "domains" / DOMAIN / "domain.yaml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"    expert: .*\n", "", text).replace("expert", "refuse").replace("to: accept", "to: refuse")
    path.write_text(text, encoding="utf-8")
    settings = Settings.load({"HALLMARK_ROOT": str(tmp_path), "HALLMARK_RELEASES": str(tmp_path / "releases")})
    sealed_unit(settings)
    domain = domains.load(DOMAIN, settings)
    objects = decision.decision_service(domain, settings)
    assert [each["kind"] for each in objects] == ["ConfigMap", "Service", "StatefulSet", "HTTPRoute"]
    (workload,) = [each for each in objects if each["kind"] == "StatefulSet"]
    assert [each["name"] for each in workload["spec"]["template"]["spec"]["containers"]] == ["decision"]
    assert [each["metadata"]["name"] for each in workload["spec"]["volumeClaimTemplates"]] == ["records"]
    assert "photos" not in flags(workload) and "HALLMARK_REVIEWS" not in json.dumps(objects)
    assert decision_pods.of(domain).keys() == {"decision", "reviewer's service"}
    tenancy = yaml.safe_dump(tenant.objects(domain, [domain]))
    assert str(network.REVIEWS) not in tenancy and "name: reviews" not in tenancy


def test_the_pods_are_as_large_as_lint_counts_them(settings: Settings) -> None:
    sealed_unit(settings)
    domain = domains.load(DOMAIN, settings)
    shapes = decision_pods.of(domain)
    for objects, shape in (
        (decision.decision_service(domain, settings), shapes["decision"]),
        (decision.reviewer_service(domain, settings), shapes["reviewer's service"]),
    ):
        (workload,) = [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
        assert container(workload)["resources"]["requests"] == {"cpu": shape.cpu, "memory": shape.memory}
        if shape is shapes["decision"]:
            requests = container(workload, "page")["resources"]["requests"]
            page = shapes["page of reviews"]
            assert requests == {"cpu": page.cpu, "memory": page.memory}
            job = cronjobs_pod(next(each for each in objects if each["kind"] == "CronJob"))
            sweep = shapes["deletion of photos"]
            assert container(job)["resources"]["requests"] == {"cpu": sweep.cpu, "memory": sweep.memory}
        surge = workload["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 0)
        assert workload["spec"]["replicas"] + surge == shape.most


def test_a_quota_without_room_for_them_is_told(tmp_path: Path) -> None:
    path, text = tmp_path / "domain.yaml", (ROOT / "domains" / DOMAIN / "domain.yaml").read_text(encoding="utf-8")

    def told(cpu: str) -> list[str]:
        path.write_text(re.sub(r'(quota: \{cpu: )"[0-9.]+"', rf'\1"{cpu}"', text), encoding="utf-8")
        found = judge.findings(
            checkouts.read(path, root=tmp_path), options=ClusterOptions(), domains=frozenset({DOMAIN})
        )
        return [each.message for each in found if each.code == "HM703"]

    (short,) = told("1")
    assert "+ decision 1 + page of reviews 0.1 + deletion of photos 0.1 + reviewer's service 1.5 = " in short
    needed = float(short.partition(" = ")[2].partition(" of ")[0])
    assert told(f"{needed:g}") == [] and told(f"{needed - 1:g}") != []
