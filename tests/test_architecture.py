"""Import rules between packages (README, "The map of the code"), and the cost of an import."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "hallmark",
    "domains",
    "synthetic",
    "components",
    "pipelines",
    "inference_services",
    "local_cluster",
    "tools",
}
MAY_IMPORT = {
    "hallmark": {"hallmark"},
    "synthetic": {"synthetic", "hallmark"},
    "domains": {"domains", "synthetic", "hallmark"},
    "components": {"components", "hallmark"},
    "pipelines": {"pipelines", "components", "hallmark"},
    "inference_services": {"inference_services", "hallmark"},
    "local_cluster": {"local_cluster", "hallmark"},
    "tools": {"tools", "local_cluster", "hallmark"},
}
LAYERS: tuple[dict[str, set[str]], ...] = (
    {
        name: {"*"}
        for name in (
            *("errors", "files", "settings", "names", "metrics", "cron", "section", "remote", "leash", "interrupts"),
            *(
                "object_labels",
                "libraries",
                "extras",
                "templates",
                "page",
                "key_value",
                "metrics_port",
                "people",
                "cores",
            ),
        )
    },
    {"tasks": set(), "features": set(), "data": {"features"}},
    {"declaration": set()},
    {
        "artifacts": {"policy"},
        "retrieval": {"artifacts"},
        "learners": {"artifacts", "retrieval"},
        "decision": {"artifacts", "policy"},
        "policy": set(),
        "prompts": {"artifacts"},
        "reviews": set(),
    },
    {
        "registry": set(),
        "drift": {"registry"},
        "training": {"registry", "drift", "feature_store"},
        "feature_store": {"registry"},
        "batch": {"registry", "training"},
    },
    {"render": set(), "lint": set(), "tco": set()},
    {"rollout": set()},
    {"ui": set()},
    {"cli": set(), "api": {"cli"}},
)
"""The layers of `hallmark`, lowest first: each package with those of its own layer that it may import besides all lower ones."""
HEAVY = {
    "jinja2",
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
    "duckdb",
    "redis",
    "sqlglot",
    "faiss",
    "bm25s",
}


@functools.cache
def modules(package: str) -> list[Path]:
    return [path for path in sorted((ROOT / package).rglob("*.py")) if "__pycache__" not in path.parts]


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_layer_of_hallmark_imports_only_lower_ones() -> None:
    """docs/decisions/0017: what each layer is, and why training may import drift."""
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert {
        path.stem if path.parent.name == "hallmark" else path.relative_to(ROOT / "hallmark").parts[0]
        for path in modules("hallmark")
    } - {"__init__"} <= set(level), "a package or module that no layer names"
    wrong = set()
    for path in modules("hallmark"):
        own = path.relative_to(ROOT / "hallmark").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imported(path):
            other = name.split(".")[1] if name.startswith("hallmark.") else ""
            beside = LAYERS[level[own]].get(own, set())
            if other in level and other != own and not (level[other] < level[own] or other in beside or "*" in beside):
                wrong.add((str(path.relative_to(ROOT)), name))
            if other in level and level[other] > level[own]:
                wrong.add((str(path.relative_to(ROOT)), name))
    assert not wrong


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_those_it_may(package: str) -> None:
    assert modules(package), f"{package} is empty: this test would hold for nothing"
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in modules(package)
        for name in imported(path)
        if name.split(".")[0] in PACKAGES - MAY_IMPORT[package]
    }
    assert not wrong


def test_hallmark_names_no_domain() -> None:
    names = [path.parent.name for path in (ROOT / "domains").glob("*/domain.yaml")]
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for package in ("hallmark", "components", "pipelines", "inference_services")
        for path in modules(package)
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
    allowed = {"numpy", "PIL", "__future__", "collections", "functools", "typing", "math", "io"}
    paths = [path for part in ("features", "serving") for path in (ROOT / "domains").glob(f"*/{part}.py")]
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in paths
        for name in imported(path)
        if name.split(".")[0] not in allowed and not name.startswith("hallmark.features")
    }
    assert paths and not wrong


@pytest.mark.parametrize(
    "module",
    [
        "hallmark",
        "hallmark.cli",
        "hallmark.declaration.domain",
        "hallmark.learners.boosting",
        "hallmark.rollout.operations",
        "hallmark.render.files",
        "hallmark.artifacts.folder",
        "hallmark.artifacts.signature",
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
