"""Our own files break no rule: what this checkout would apply, what is rendered of every domain, and what it compiles."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.lint import checkout, judge
from hallmark.lint.objects import ClusterOptions
from hallmark.lint.rules import LintFinding
from hallmark.render import files, inferenceservice
from hallmark.settings import Settings
from tests.graphs import compile_to

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
NAMES = domains.names(SETTINGS)
STABLE, CANDIDATE = (
    Target(version=version, storageUri=f"s3://hallmark-artifacts/models/{version}/", digest=f"sha256:{'0' * 64}")
    for version in (1, 2)
)


def shown(findings: list[LintFinding] | tuple[LintFinding, ...]) -> list[str]:
    return [f"{each.file}:{each.line}: {each.code} {each.message}" for each in findings]


@lru_cache(maxsize=1)
def platform() -> list[dict[str, Any]]:
    """What the cluster is made of, so far as our own files say: Knative's features and limits among it."""
    paths = [*(ROOT / "manifests" / "platform").rglob("*.yaml"), *(ROOT / "manifests" / "tenants").glob("*.yaml")]
    found = []
    for path in sorted(paths):
        found += [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(each, dict)]
    return found


def test_what_this_checkout_would_apply_breaks_no_rule() -> None:
    report = judge.lint(checkout.usual(ROOT), root=ROOT)
    assert report.unreadable == ()
    assert report.files > len(NAMES)
    assert report.findings == ()


BUILDS = [
    *sorted((ROOT / "manifests" / "clusters").glob("*/settings/..")),
    *sorted(path.parent for path in (ROOT / "inference_services").glob("*/kustomization.yaml")),
]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds what a cluster is given")
@pytest.mark.parametrize("folder", BUILDS, ids=lambda folder: folder.resolve().name)
def test_what_a_cluster_is_given_breaks_no_rule(folder: Path) -> None:
    build = ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(folder.resolve())]
    built = subprocess.run(build, capture_output=True, text=True, check=True).stdout
    report = judge.lint([], root=ROOT, stdin=built)
    assert report.unreadable == () and len(built) > 1000
    assert shown(report.findings) == []


@pytest.mark.parametrize("mode", ["Knative", "Standard"])
@pytest.mark.parametrize("percent", [None, 0, 25], ids=["at rest", "shadow", "canary"])
def test_every_domain_as_it_is_rendered_breaks_no_rule(mode: str, percent: int | None) -> None:
    # Where a cluster runs Standard mode, its patch of KServe's configuration switches the Gateway API on.
    options = ClusterOptions(gateway_api=mode == "Standard")
    rolled = Release(stable=STABLE, candidate=CANDIDATE if percent is not None else None, percent=percent)
    services = [
        inferenceservice.inferenceservice(domains.load(name, SETTINGS), rolled, mode)  # type: ignore[arg-type]
        for name in NAMES
    ]
    found = judge.of_objects(
        [*services, *files.runtime(SETTINGS)], source=mode, background=platform(), domains=NAMES, options=options
    )
    assert shown(found) == []


@pytest.mark.parametrize("name", ["fraud", "authentication"])
def test_a_compiled_pipeline_breaks_no_rule(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    compile_to(path, name, settings=SETTINGS)
    report = judge.lint([path], root=None)
    assert report.unreadable == () and shown(report.findings) == []
