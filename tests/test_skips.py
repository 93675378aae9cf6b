"""Skips where CI is set: named and fatal unless they are allowed; nothing of it elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import skips

ROOT = Path(__file__).parents[1]
CONFTEST = """
from tests import skips

def pytest_configure(config):
    skips.configure(config, {"test_some.py::test_dear[real]": "a reason"})
"""
SOME = """
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("kind", ["real"])
def test_dear(kind):
    pytest.skip("no photos")

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    raise RuntimeError
"""
BARE = """

@pytest.mark.skipif(True, reason="no tool")
def test_bare():
    pass

@pytest.fixture
def tool():
    pytest.skip("no tool either")

def test_of_a_fixture(tool):
    pass
"""


def ran(folder: Path, *options: str, ci: str | None = "true") -> tuple[int, str]:
    """Exit status and output of pytest on the folder."""
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"CI": ci} if ci is not None else {})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:schemathesis",
        "-p",
        "no:faker",
        "--rootdir",
        str(folder),
        *options,
        str(folder),
    ]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(SOME)
    return tmp_path


def test_an_allowed_skip_and_an_expected_failure_pass(folder: Path) -> None:
    status, said = ran(folder)
    assert status == 0 and "1 passed, 1 skipped, 1 xfailed" in said and "does not allow" not in said


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_other_skips_fail_the_run_and_are_named_with_their_reasons(folder: Path, options: tuple[str, ...]) -> None:
    (folder / "test_some.py").write_text(SOME + BARE)
    (folder / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    status, said = ran(folder, *options)
    assert status == 1 and "1 passed, 4 skipped, 1 xfailed" in said
    told = said.partition("tests/skips.py does not allow")[2]
    assert "test_some.py::test_bare: no tool\n" in told
    assert "test_some.py::test_of_a_fixture: no tool either\n" in told
    assert "test_whole.py: could not import 'no_such_module'" in told
    assert "3 skipped where CI is set" in told and "test_dear" not in told


@pytest.mark.parametrize("ci", [None, ""])
def test_without_ci_skips_are_only_skips(folder: Path, ci: str | None) -> None:
    (folder / "test_some.py").write_text(SOME + BARE)
    status, said = ran(folder, ci=ci)
    assert status == 0 and "3 skipped" in said and "does not allow" not in said


def test_the_list_names_tests_that_exist_and_says_why() -> None:
    for name, reason in skips.ALLOWED.items():
        path, _, test = name.partition("::")
        there = f"def {test.partition('[')[0]}(" if test else "allow_module_level=True"
        assert there in (ROOT / path).read_text(encoding="utf-8"), name
        assert len(reason.split()) > 3, name
