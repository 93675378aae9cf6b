"""What decides in a domain, on a cluster: sealed bytes that arrive whole, fixed digests, restricted pods, and nothing before a unit is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.artifacts import release
from hallmark.artifacts.release import Release, Target
from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision import unit
from hallmark.decision.record import Part
from hallmark.declaration import domain as domains
from hallmark.errors import ModelRefused
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.render import decision
from hallmark.render.manifest import manifest
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
DOMAIN = "authentication"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A checkout whose releases are this test's own."""
    for name in ("domains", "prompts"):
        (tmp_path / name).symlink_to(ROOT / name)
    return Settings.load({"HALLMARK_ROOT": str(tmp_path), "HALLMARK_RELEASES": str(tmp_path / "releases")})


def written(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The objects as the file gives them back, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(manifest(objects, source="a test"))}


def data(config: dict[str, Any], folder: Path) -> Path:
    """A ConfigMap's files, as a pod has them."""
    folder.mkdir()
    for name, text in config["data"].items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


def flags(workload: dict[str, Any]) -> dict[str, str]:
    return dict(each.removeprefix("--").partition("=")[::2] for each in container(workload)["args"])


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


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_pods_are_restricted(settings: Settings, kind: str) -> None:
    sealed_unit(settings)
    domain = domains.load(DOMAIN, settings)
    objects = [*decision.reviewer_service(domain, settings), *decision.decision_service(domain, settings)]
    (workload,) = [each for each in objects if each["kind"] == kind]
    spec = workload["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False and spec["serviceAccountName"] == "predictor"
    for each in (*spec["containers"], *spec.get("initContainers", [])):
        context = each["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]} and each["resources"]["limits"]
    assert (
        workload["spec"]["selector"]["matchLabels"].items()
        <= workload["spec"]["template"]["metadata"]["labels"].items()
    )


def sealed_unit(settings: Settings, *, name: str = DOMAIN, digest: str = "") -> str:
    """A release unit beside the domain's release."""
    declared = domains.load(DOMAIN, settings).decision
    assert declared is not None
    risk = declared.risk.false_authentic
    return unit.seal(
        unit.place(DOMAIN, settings),
        domain=name,
        decision=declared,
        thresholds=Thresholds(score=risk.score, at_most=0.01, confidence=0.95, fields=risk.slices),
        parts={
            each: Part(service=node.service or "", version="1", digest=digest if node.service == DOMAIN else "")
            for each, node in declared.nodes.items()
            if node.kind != "person"
        },
    )


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
        "reviewer=http://authentication-reviewer.authentication.svc.cluster.local:8080",
    ]
    reviewer = written(decision.reviewer_service(domain, settings))["Service"]
    assert reviewer["metadata"]["name"] == "authentication-reviewer"
    assert found["StatefulSet"]["spec"]["replicas"] == 1, "it counts the experts' minutes"
    assert {path.name for path in decision.files(settings, [domain])} == {"decision.yaml", "review.yaml"}


def test_the_reviewer_is_shown_the_references_of_the_version_that_is_asked_for_them(settings: Settings) -> None:
    domain = domains.load(DOMAIN, settings)

    def shown() -> tuple[str, str | None]:
        workload = written(decision.reviewer_service(domain, settings))["Deployment"]
        (fetched,) = workload["spec"]["template"]["spec"]["initContainers"]
        env = {each["name"]: each["value"] for each in container(workload)["env"]}
        return fetched["args"][0], env.get("HALLMARK_REFERENCES_DIGEST")

    assert shown() == ("s3://hallmark-artifacts/authentication/references", None), "crops.json, until one is released"
    one, two = (
        Target(version=each, storageUri=f"s3://hallmark-artifacts/authentication/m-{each}", digest=f"sha256:{each:064}")
        for each in (1, 2)
    )
    release.write(DOMAIN, Release(stable=two, previous=one), settings)
    assert shown() == (two.storage_uri, two.digest)
    sealed_unit(settings, digest=one.digest)
    assert shown() == (one.storage_uri, one.digest), "by the unit: another version's answers count as none"
    here = one.model_copy(update={"storage_uri": "pvc://models/m-1"})
    release.write(DOMAIN, Release(stable=here), settings)
    assert shown()[1] is None, "only KServe fetches from the local cluster's volume"


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
