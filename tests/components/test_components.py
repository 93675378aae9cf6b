"""Components are thin: a typed signature, one call into hallmark.training.steps, outputs."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from components.image import TRAINING_IMAGE
from hallmark.training import steps

FOLDER = Path(__file__).parents[2] / "components"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "image"))


def test_there_is_one_file_a_step() -> None:
    assert NAMES == [
        "compare",
        "evaluate",
        "export",
        "gate",
        "load",
        "quantize",
        "register",
        "split",
        "train",
        "validate",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_component_calls_the_step_of_its_name_once(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    calls = [ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)]
    assert calls.count(f"steps.{name}") == 1
    assert len(ast.unparse(function).splitlines()) < 35


@pytest.mark.parametrize("name", NAMES)
def test_a_component_passes_every_keyword_that_its_step_needs(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    (call,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == f"steps.{name}"
    ]
    wanted = inspect.signature(getattr(steps, name)).parameters
    given = {keyword.arg for keyword in call.keywords}
    needed = {key for key, item in wanted.items() if item.default is inspect.Parameter.empty} - {"domain"}
    assert needed <= given <= set(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_a_component_runs_in_the_training_image_and_installs_nothing(name: str) -> None:
    component = getattr(importlib.import_module(f"components.{name}"), name)
    container = component.component_spec.implementation.container
    assert container.image == TRAINING_IMAGE
    assert "pip install" not in " ".join([*container.command, *container.args])
