"""`make conformance` where its programs are not: it says what is missing and how to get it, and CI goes on without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_what_the_real_controllers_take_is_named_with_its_fix(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.needs"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    first, expected, got, fix = done.stderr.splitlines()
    assert first == "the real controllers cannot be run here"
    assert expected.startswith("  expected: ")
    assert {"etcd", "ip"} <= set(expected.removeprefix("  expected: ").split(", "))
    assert got == "  got: not here"
    assert ".ci/packages" in fix
