"""Who may import whom (docs: README, "The map of the rooms"), and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"hallmark", "domains", "components", "pipelines", "inference_services"}
MAY_IMPORT = {
    "hallmark": {"hallmark"},
    "domains": {"domains", "hallmark"},
    "components": {"components", "hallmark"},
    "pipelines": {"pipelines", "components", "hallmark"},
    "inference_services": {"inference_services", "hallmark"},
}
HEAVY = {
    "torch",
    "mlflow",
    "evidently",
    "kubernetes",
    "kfp",
    "kserve",
    "pandas",
    "pandera",
    "sklearn",
    "onnxruntime",
    "scipy",
}


def modules(room: str) -> list[Path]:
    return [path for path in sorted((ROOT / room).rglob("*.py")) if "__pycache__" not in path.parts]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    assert modules(room), f"{room} is empty: this test would hold for nothing"
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in modules(room)
        for name in imported(path)
        if name.split(".")[0] in ROOMS - MAY_IMPORT[room]
    }
    assert not wrong


def test_hallmark_names_no_domain() -> None:
    names = [path.parent.name for path in (ROOT / "domains").glob("*/domain.yaml")]
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for room in ("hallmark", "components", "pipelines", "inference_services")
        for path in modules(room)
        for name in imported(path)
        if name.startswith("domains")
    }
    assert names and not wrong


def test_what_serves_never_imports_the_pipeline() -> None:
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in modules("inference_services")
        for name in imported(path)
        if name.split(".")[0] in {"kfp", "components", "pipelines", "mlflow"} or name.startswith("hallmark.training")
    }
    assert not wrong


def test_feature_code_travels_so_it_imports_little() -> None:
    allowed = {"numpy", "PIL", "__future__", "collections", "typing", "math", "io"}
    paths = [path for part in ("features", "serving") for path in (ROOT / "domains").glob(f"*/{part}.py")]
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in paths
        for name in imported(path)
        if name.split(".")[0] not in allowed
        and not name.startswith("hallmark.features")
        and name not in {"hallmark.artifacts.folder", "hallmark.artifacts.folder.Output"}
    }
    assert paths and not wrong


@pytest.mark.parametrize(
    "module",
    [
        "hallmark",
        "hallmark.cli",
        "hallmark.declaration.domain",
        "hallmark.rollout.operations",
        "hallmark.render.files",
        "hallmark.artifacts.folder",
    ],
)
def test_importing_is_light(module: str) -> None:
    heavy = loaded_by(module) & HEAVY
    assert not heavy


def test_the_drift_monitor_loads_without_the_training_libraries() -> None:
    assert not loaded_by("inference_services.drift_monitor.app") & (HEAVY - {"scipy"})


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())
