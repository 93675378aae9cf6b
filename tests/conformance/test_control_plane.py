"""The control plane itself: it is the version that we say, and nothing of it outlives a test that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from hallmark import leash
from tests.conformance.stack import Stack

ROOT = Path(__file__).parents[2]


def test_the_api_server_is_of_the_pinned_version(control_plane: Stack) -> None:
    told = control_plane.api.get("/version")
    pinned = (ROOT / "tests/conformance/programs/kubernetes/go.mod").read_text(encoding="utf-8")
    assert re.search(r"k8s\.io/kubernetes (v\S+)", pinned)[1] == told["gitVersion"]  # type: ignore[index]


def test_a_namespace_has_an_account_and_the_certificate_of_the_cluster(control_plane: Stack) -> None:
    """Controllers work: they made both."""
    api, space = control_plane.api, "/api/v1/namespaces/kube-public"
    authority = control_plane.credentials.authority.read_text(encoding="utf-8")

    def made() -> bool:
        held = api.get(f"{space}/configmaps/kube-root-ca.crt")["data"]["ca.crt"]
        return bool(api.get(f"{space}/serviceaccounts/default")) and held == authority

    control_plane.until("kube-controller-manager", made)


def test_nothing_outlives_a_test_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.conformance import namespace; from tests.conformance.stack import *\n"
        "with namespace.private():\n"
        "    leash = Leash(Path(sys.argv[1]))\n"
        "    made = Stack(Path(sys.argv[1]), leash); made._etcd()\n"
        "    print(made._running['etcd'].pid, flush=True); time.sleep(600)\n"
    )
    test = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert test.stdout is not None
    child = int(test.stdout.readline())
    assert leash.identity(child) is not None
    os.kill(test.pid, signal.SIGKILL)
    test.wait()
    test.stdout.close()
    deadline = time.monotonic() + leash.GRACE_SECONDS + 10
    while leash.identity(child) is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert leash.identity(child) is None
