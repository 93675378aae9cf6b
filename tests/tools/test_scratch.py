"""State folders of demos and drills: one run at a time, emptied first, and nothing left running but what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hallmark import leash
from hallmark.errors import Conflict
from hallmark.leash import Leash
from hallmark.settings import Settings
from tools.scratch import scratch

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(99)"]
KEPT = """
import os, sys
from pathlib import Path
from tests.tools.test_scratch import BASE, SLEEP, start
from tools.scratch import scratch
with scratch(Path(sys.argv[1]), base=BASE, keep=True) as on:
    start(on, Path(sys.argv[1]), stays=True).returncode = 0
"""
BASE = Settings.load({"HALLMARK_ROOT": str(ROOT)})


def start(on: Leash, state: Path, *, stays: bool = False) -> subprocess.Popen[bytes]:
    state.mkdir(exist_ok=True)
    with (state / "log").open("wb") as log:
        return on.start(SLEEP, environment=os.environ, folder=state, output=log, stays=stays)


def running(state: Path) -> int:
    return sum(each.place == state for each in leash.marked())


def test_b13_a_run_after_one_that_was_kept_ends_it_and_empties_its_folder(tmp_path: Path) -> None:
    state = tmp_path / "demo"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", KEPT, str(state)], env=environment, check=True)
    assert running(state) == 1 and (state / "log").exists()
    with scratch(state, base=BASE, keep=False) as on:
        assert running(state) == 0 and not state.exists()
        child = start(on, state)
        assert running(state) == 1
    assert running(state) == 0 and child.wait(5) == -15


def test_two_at_once_would_take_each_others_folder(tmp_path: Path) -> None:
    state = tmp_path / "drill"
    with scratch(state, base=BASE, keep=False) as on:
        child = start(on, state)
        with pytest.raises(Conflict, match="another run is at work"), scratch(state, base=BASE, keep=False):
            pass
        assert running(state) == 1
    assert child.wait(5) == -15


@pytest.mark.slow
def test_a_run_that_is_cut_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    state = tmp_path / "demo"
    with pytest.raises(KeyboardInterrupt) as caught, scratch(state, base=BASE, keep=True) as on:
        child = start(on, state, stays=True)
        raise KeyboardInterrupt
    assert running(state) == 0 and child.wait(5) == -15
    assert caught.value.__notes__ == ["nothing of it is left running"]
