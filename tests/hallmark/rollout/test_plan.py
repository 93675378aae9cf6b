"""What --dry-run prints, pasted into a shell with the real kubectl, does what the command itself does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.cli import main
from hallmark.cli.serve import apply_all
from hallmark.declaration import domain as domains
from hallmark.rollout import operations
from hallmark.rollout.plan import PlannedWriter
from hallmark.rollout.writer import InferenceServiceWriter, gets
from hallmark.settings import Settings
from local_cluster import cluster

sys.path.insert(
    0, str(Path(__file__).parents[2] / "local_cluster")
)  # importmode=importlib puts no test folder on the path

from real_model import real_model

ROOT = Path(__file__).parents[3]
NAME = "fraud"
pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("plan")
    given = {"HALLMARK_ROOT": ROOT, "HALLMARK_STATE": folder / "state", "HALLMARK_RELEASES": folder / "releases"}
    return Settings.load({name: str(path) for name, path in given.items()})


@pytest.fixture(scope="module")
def writer(settings: Settings) -> Iterator[InferenceServiceWriter]:
    cluster.up(settings, port=0)
    try:
        made = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig)
        apply_all(made, settings)
        yield made
    finally:
        cluster.down(settings)


@pytest.fixture(scope="module")
def targets(settings: Settings) -> dict[int, Target]:
    found = {}
    for version in (1, 2):
        digest = real_model(settings.models / NAME / str(version))
        found[version] = Target(version=version, storageUri=f"pvc://models/{NAME}/{version}", digest=digest)
    return found


def quiet(_: str) -> None:
    return


def pasted(settings: Settings, writer: InferenceServiceWriter, step: Callable[[Any], object]) -> str:
    """Plan `step`, run what was printed in a shell, and give it."""
    lines: list[str] = []
    flags = ("--kubeconfig", str(settings.kubeconfig))
    step(PlannedWriter(writer.core.api_client, flags=flags, tell=lines.append))
    script = "\n".join(lines)
    done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return script


def settled(writer: InferenceServiceWriter, percent: int) -> dict[str, Any]:
    return writer.wait(NAME, gets(percent), generation=0, seconds=60, what="it", moved=gets(percent))


def test_a_pasted_plan_does_what_the_command_does(
    settings: Settings, writer: InferenceServiceWriter, targets: dict[int, Target]
) -> None:
    domain = domains.load(NAME, settings)
    given: dict[str, Any] = {"note": quiet}

    script = pasted(settings, writer, lambda plan: operations.release(plan, domain, targets[1], percent=100, **given))
    assert script.count("<<'EOF'") == 3, "namespace, ConfigMap and InferenceService"
    first = settled(writer, 100)

    script = pasted(settings, writer, lambda plan: operations.release(plan, domain, targets[2], percent=10, **given))
    assert script.startswith("kubectl patch inferenceservice fraud -n fraud --type merge -p '{")
    ten = settled(writer, 10)
    assert ten["metadata"]["generation"] == first["metadata"]["generation"] + 1
    again = operations.release(writer, domain, targets[2], percent=10, **given)
    assert again["spec"] == ten["spec"] and again["metadata"]["generation"] == ten["metadata"]["generation"], (
        "the command finds nothing left to do"
    )

    pasted(settings, writer, lambda plan: operations.promote(plan, domain, **given))
    whole = settled(writer, 100)
    assert "canaryTrafficPercent" not in whole["spec"]["predictor"]
    assert releases.read(NAME, settings) == Release(), "nothing was written"


def test_the_command_prints_a_plan_and_changes_nothing(
    settings: Settings,
    writer: InferenceServiceWriter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    before = writer.all()
    releases.write(
        "pricing", Release(stable=Target(version=1, storageUri="s3://b/1", digest="sha256:" + "1" * 64)), settings
    )
    assert main(["apply", "pricing", "--mode", "Standard", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "serving.kserve.io/deploymentMode: Standard" in told.out and "nothing was changed" in told.err
    assert writer.all() == before
