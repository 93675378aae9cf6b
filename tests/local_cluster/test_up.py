"""`hallmark up` that is interrupted: nothing half-started is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hallmark.settings import Settings
from local_cluster import cluster

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("later", [0.0, 0.2, 0.4])
def test_b30_ctrl_c_ends_what_up_began_or_comes_too_late_for_a_whole_one(tmp_path: Path, later: float) -> None:
    """later: seconds after the cluster serves, which is before the runtime and the services are applied."""
    given = {"HALLMARK_ROOT": ROOT, "HALLMARK_STATE": tmp_path / "s", "HALLMARK_RELEASES": tmp_path / "releases"}
    settings = Settings.load({name: str(path) for name, path in given.items()}).prepared()
    command = [sys.executable, "-m", "hallmark.cli", "up", "--port", "0"]
    child = subprocess.Popen(
        command, env={"PATH": "/usr/bin:/bin", **settings.environment()}, stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 60
        while not settings.cluster_state.is_file():
            assert time.monotonic() < until and child.poll() is None
            time.sleep(0.01)
        time.sleep(later)
        child.send_signal(signal.SIGINT)
        told = child.communicate(timeout=60)[1]
        if child.returncode == 130:
            assert cluster.state(settings) is None, told
        else:
            assert child.returncode == 0 and "ClusterServingRuntime hallmark-runtime: created" in told
            assert cluster.state(settings) is not None
    finally:
        child.kill()
        cluster.down(settings)
