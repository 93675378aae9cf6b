"""Generated files: fresh, stale, missing, orphaned; and what KServe's own schema says of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.serving_config import ServingConfig
from hallmark.errors import DeclarationError
from hallmark.render import files, inferenceservice, kustomization
from hallmark.render.manifest import manifest
from hallmark.settings import Settings
from tests import strict

ROOT = Path(__file__).parents[3]
STABLE = Target(version=1, storageUri="pvc://models/fraud/one", digest="sha256:" + "1" * 64)
CONFIG = serving_config.of(domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)}))).reference
CANDIDATE = Target(version=2, storageUri="s3://bucket/fraud/two", digest="sha256:" + "2" * 64)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(ROOT / "domains", tmp_path / "domains", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "inference_services").mkdir()
    shutil.copytree(
        ROOT / "inference_services" / "runtime",
        tmp_path / "inference_services" / "runtime",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return Settings.load({"HALLMARK_ROOT": str(tmp_path)})


def test_the_generated_files_of_this_checkout_are_fresh() -> None:
    findings = files.check(
        Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_RELEASES": str(ROOT / "inference_services")})
    )
    assert not findings, "run `hallmark render` and commit what it writes"


def test_nothing_released_renders_nothing(settings: Settings) -> None:
    files.write(settings)
    assert not list(settings.releases.glob("*/inferenceservice.yaml"))
    assert files.check(settings) == []


@pytest.mark.slow
def test_a_changed_release_is_stale_until_rendered(settings: Settings) -> None:
    files.write(settings)
    releases.write("fraud", Release(stable=STABLE), settings)
    found = {Path(finding.path).name: finding.state for finding in files.check(settings)}
    assert found == {inferenceservice.FILE: "missing", f"{CONFIG.name}.yaml": "missing", kustomization.FILE: "stale"}
    files.write(settings)
    assert files.check(settings) == []
    releases.write("fraud", Release(stable=STABLE, candidate=CANDIDATE, percent=10), settings)
    assert [finding.state for finding in files.check(settings)] == ["stale"]
    path = settings.releases / "fraud" / inferenceservice.FILE
    path.write_text(path.read_text(encoding="utf-8") + "# by hand\n", encoding="utf-8")
    assert [finding.state for finding in files.check(settings)] == ["stale"]


@pytest.mark.slow
def test_the_config_of_a_released_unit_stays_beside_the_one_that_is_declared_now(settings: Settings) -> None:
    unit = STABLE.model_copy(update={"config": CONFIG})
    releases.write("fraud", Release(stable=unit), settings)
    files.write(settings)
    declaration = settings.domains / "fraud" / "domain.yaml"
    declaration.write_text(
        declaration.read_text(encoding="utf-8").replace("timeout: 2s", "timeout: 4s"), encoding="utf-8"
    )
    files.write(settings)
    folder = settings.releases / "fraud"
    after = serving_config.of(domains.load("fraud", settings)).reference
    assert {each.stem for each in folder.glob("serving-*.yaml")} == {CONFIG.name, after.name}
    service = yaml.safe_load((folder / inferenceservice.FILE).read_text(encoding="utf-8"))
    assert inferenceservice.target_of(service["spec"]["predictor"]) == unit, "what is stable changes by a release only"
    releases.write("fraud", Release(stable=STABLE.model_copy(update={"config": after})), settings)
    files.write(settings)
    assert [each.stem for each in folder.glob("serving-*.yaml")] == [after.name], "nobody is served by the other"


@pytest.mark.slow
def test_a_removed_domain_leaves_an_orphan_that_render_removes(settings: Settings) -> None:
    releases.write("fraud", Release(stable=STABLE), settings)
    files.write(settings)
    shutil.rmtree(settings.domains / "fraud")
    orphans = {Path(found.path).name for found in files.check(settings) if found.state == "orphaned"}
    assert {inferenceservice.FILE, inferenceservice.BUDGET_FILE, kustomization.FILE} <= orphans
    files.write(settings)
    assert not list((settings.releases / "fraud").glob("[!r]*.yaml")), "release.yaml is no generated file"
    for found in (files.check(settings), files.write(settings)):
        assert [(Path(each.path).parts[-2:], each.state) for each in found] == [(("fraud", "release.yaml"), files.LEFT)]
    assert releases.path("fraud", settings).is_file()


def test_a_file_written_by_hand_is_never_removed(settings: Settings) -> None:
    mine = settings.releases / "mine" / inferenceservice.FILE
    mine.parent.mkdir()
    mine.write_text("kind: InferenceService\n", encoding="utf-8")
    files.write(settings)
    assert mine.exists()


def test_the_candidate_is_served_with_its_share_and_its_digest() -> None:
    domain = domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    predictor = inferenceservice.inferenceservice(domain, Release(stable=STABLE, candidate=CANDIDATE, percent=10))[
        "spec"
    ]["predictor"]
    assert predictor["canaryTrafficPercent"] == 10
    assert predictor["model"]["storageUri"] == CANDIDATE.storage_uri
    assert inferenceservice.target_of(predictor) == CANDIDATE.model_copy(update={"config": CONFIG})
    rest = inferenceservice.inferenceservice(domain, Release(stable=STABLE))["spec"]["predictor"]
    assert "canaryTrafficPercent" not in rest and inferenceservice.target_of(rest) == STABLE.model_copy(
        update={"config": CONFIG}
    )


def test_the_runtime_is_told_what_the_domain_owes() -> None:
    domain = domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    asked = domain.model_copy(update={"serving": domain.serving.model_copy(update={"cache": "64Mi", "gpu": 1})})
    plain, more = (
        ServingConfig.model_validate_json(inferenceservice.config_map(one)["data"]["serving.json"])
        for one in (domain, asked)
    )
    assert (plain.timeouts.deadline, plain.objective, plain.cache, plain.provider) == (2, 0.05, 0, "cpu")
    assert (more.cache, more.provider) == (64 * 2**20, "cuda")
    assert more.model_copy(update={"cache": 0, "provider": "cpu"}) == plain and plain.drift == domain.drift


@pytest.mark.parametrize("name", ["fraud", "listing"])
@pytest.mark.parametrize("release", [Release(stable=STABLE), Release(stable=STABLE, candidate=CANDIDATE, percent=0)])
def test_rendered_objects_keep_kserves_strict_schema(name: str, release: Release) -> None:
    domain = domains.load(name, Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    config, service = yaml.safe_load_all(manifest(inferenceservice.objects(domain, release), source="a test"))
    assert config["kind"] == "ConfigMap" and config["immutable"]
    strict.validator("serving.kserve.io", "InferenceService", "v1beta1").validate(service)


def test_the_runtime_keeps_kserves_strict_schema(settings: Settings) -> None:
    (runtime,) = files.runtime(settings)
    strict.validator("serving.kserve.io", "ClusterServingRuntime", "v1alpha1").validate(runtime)
    assert runtime["metadata"]["name"] == inferenceservice.RUNTIME
    with_ports = [container["name"] for container in runtime["spec"]["containers"] if "ports" in container]
    assert with_ports == ["kserve-container"], "in Knative mode exactly one container declares ports"


@pytest.mark.parametrize(
    "text",
    [
        "stable: {version: 0, storageUri: 'pvc://m/x', digest: 'sha256:00'}",
        "stable: null\ncandidate: {version: 1, storageUri: 'pvc://m/x', digest: 'sha256:"
        + "0" * 64
        + "'}\npercent: 10",
        "percent: 10",
        "stabel: null",
        f"stable: {{version: 1, storageUri: 's3://hallmark-artifacts/search/1/', digest: 'sha256:{'0' * 64}'}}",
        f"stable: {{version: 1, storageUri: 's3://hallmark-artifacts/fraud/%2e%2e/search/1/', digest: 'sha256:{'0' * 64}'}}",
        "stable: [",
    ],
)
def test_a_wrong_release_is_refused_with_its_file(settings: Settings, text: str) -> None:
    path = releases.path("fraud", settings)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"fraud/release\.yaml"):
        releases.read("fraud", settings)


def test_a_release_is_written_whole_and_read_back(settings: Settings) -> None:
    release = Release(stable=STABLE, candidate=CANDIDATE, percent=25)
    releases.write("fraud", release, settings)
    assert releases.read("fraud", settings) == release
    assert [path.name for path in releases.path("fraud", settings).parent.iterdir()] == ["release.yaml"]
