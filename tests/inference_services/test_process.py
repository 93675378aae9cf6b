"""How the processes of services end: one exit code for each way, whichever service it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["runtime", "--model-name", "toy", "--model-dir", "nowhere"], 3, "ModelRefused: there is no model folder"),
        (["drift_monitor", "--model-dir", "nowhere"], 3, "ModelRefused: "),
        (["decision", "--unit", "nowhere", "--records", "."], 3, "nowhere"),
        (["decision", "--replay", "nowhere"], 1, "nowhere: No such file or directory"),
        (["runtime"], 2, "--model-name"),
        (["drift_monitor"], 2, "--model-dir"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_service_that_cannot_begin_says_why_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    service, *flags = arguments
    done = subprocess.run(
        [sys.executable, "-m", f"inference_services.{service}", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert said in last and "Traceback" not in done.stderr
