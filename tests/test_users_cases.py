"""Each case that users met is a test by its id: the name of the test, its docstring or its module's begins with or names it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CASES = (
    *("B01", "B02", "B03", "B10", "B11", "B12", "B13", "B15", "B17", "B19", "B22", "B24", "B25", "B26", "B29", "B30"),
    *("B33", "B35", "B36", "B37", "B38", "B39", "B40"),
    *("P6", "P7", "P8", "P9", "P14", "P15", "P16", "P17"),
    *("N5", "N10", "N12", "N13", "N14"),
)


@cache
def told() -> dict[str, list[str]]:
    """The tests that name a case, by its id."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        module = ast.get_docstring(tree) or ""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                named = re.findall(r"(?<=_)[bpn]\d+(?=_)", node.name)
                named += re.findall(r"\b[BPN]\d+\b", f"{module} {ast.get_docstring(node) or ''}")
                for each in named:
                    found.setdefault(each.upper().replace("N05", "N5"), []).append(f"{file.name}::{node.name}")
    return found


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_a_test_by_its_id(case: str) -> None:
    assert told().get(case), f"no test names {case}"
