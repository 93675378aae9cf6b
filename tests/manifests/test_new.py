"""A new domain's generated files, untouched: strict schemas, lint of files and of the build, and nothing changed by a second call."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hallmark.cli.app import app
from hallmark.render import files
from hallmark.settings import Settings
from tests.manifests.builds import problems

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["fraud", "authentication"])
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout with the domain `returns`, made after a plain one, and after one with GPUs and a reviewer."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("contracts", "domains", "features", "inference_services", "manifests", "prompts"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    run(root, "new", "returns", "--like", request.param)
    return root


def run(root: Path, *arguments: str, given: str | None = None) -> str:
    result = CliRunner(env={"HALLMARK_ROOT": str(root), "HALLMARK_RELEASES": ""}).invoke(app, arguments, input=given)
    assert result.exit_code == 0 and result.exception is None, (result.output, result.exception)
    return result.output


def test_every_generated_object_keeps_its_schema(checkout: Path) -> None:
    made = [
        checkout / "manifests" / "tenants" / "returns.yaml",
        checkout / "manifests" / "observability" / "returns.yaml",
        *(checkout / "inference_services" / "returns").glob("*.yaml"),
    ]
    found = [each for path in made for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    kinds = {each["kind"] for each in found}
    assert {"Profile", "NetworkPolicy", "AuthorizationPolicy", "Role", "ExternalSecret", "PrometheusRule"} <= kinds
    for each in found:
        if each["kind"] not in ("Kustomization", "Component"):
            assert not problems(each), (each["kind"], each["metadata"]["name"])


def test_lint_has_nothing_against_the_files_or_their_build(checkout: Path) -> None:
    run(checkout, "lint")
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    service = checkout / "inference_services" / "returns"
    command = ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(service)]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    run(checkout, "lint", "-", given=built)


def test_a_second_call_changes_nothing(checkout: Path) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*.*") if path.is_file()}
    run(checkout, "new", "returns", "--like", "fraud")
    assert {path: path.read_bytes() for path in checkout.rglob("*.*") if path.is_file()} == before
    assert not files.check(Settings.load({"HALLMARK_ROOT": str(checkout)}))
