"""Processes: kept running, stopped in order, and never left behind; containers as the processes of a pod."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hallmark import leash
from hallmark.errors import HallmarkError
from local_cluster import containers, processes, supervisor
from local_cluster.processes import ChildProcess, Leash
from local_cluster.supervisor import Pod

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
FAMILY = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(c.pid, flush=True); time.sleep(60)",
]


def gone(pid: int, *, seconds: float = 6) -> bool:
    deadline = time.monotonic() + seconds
    while leash.identity(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return leash.identity(pid) is None


def start(command: list[str], folder: Path, on: Leash, name: str = "x") -> ChildProcess:
    return ChildProcess.start(command, environment={}, folder=folder, log=folder / f"{name}.log", on=on)


def test_a_child_is_stopped_by_term_and_a_deaf_one_by_kill(tmp_path: Path) -> None:
    async def scenario() -> None:
        on = Leash(tmp_path)
        polite, deaf = start(SLEEP, tmp_path, on, "polite"), start(DEAF, tmp_path, on, "deaf")
        while deaf.last_line() != "deaf":
            await asyncio.sleep(0.02)
        assert {each.pid for each in on.running()} == {polite.pid, deaf.pid}
        await polite.stop(5)
        assert polite.code == 128 + signal.SIGTERM
        await deaf.stop(0.3)
        assert deaf.code == 128 + signal.SIGKILL
        assert on.running() == []
        on.end()

    asyncio.run(scenario())


def test_what_a_child_started_goes_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        on = Leash(tmp_path)
        child = start(FAMILY, tmp_path, on)
        while not child.last_line():
            await asyncio.sleep(0.02)
        grandchild = int(child.last_line())
        await child.stop(2)
        assert gone(grandchild)
        on.end()

    asyncio.run(scenario())


def test_a_log_stays_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 1000)

    async def scenario() -> None:
        on = Leash(tmp_path)
        child = start([sys.executable, "-c", "print('x' * 5000, flush=True); input()"], tmp_path, on)
        await child.wait()
        child.trim()
        assert child.log.stat().st_size == 0
        assert (tmp_path / "x.log.1").stat().st_size == 500
        on.end()

    asyncio.run(scenario())


def pod(
    tmp_path: Path, on: Leash, command: list[str], changes: list[str], *, plan: containers.ContainerPlan | None = None
) -> Pod:
    container = {"name": "kserve-container", "image": "i", "command": command}
    planned = plan or containers.plan(container, ports={}, mounts={}, environment={}, root=tmp_path)

    def changed() -> None:
        changes.append("changed")

    return Pod(
        "p",
        [container],
        main="kserve-container",
        plan=lambda _: planned,
        folder=tmp_path / "pod",
        grace=1,
        on=on,
        changed=changed,
    )


def test_a_container_that_ends_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    async def scenario() -> None:
        on = Leash(tmp_path)
        changes: list[str] = []
        made = pod(tmp_path, on, ["python", "-S", "-c", "import sys; sys.exit('no model')"], changes)
        begun = time.monotonic()
        made.start()
        while made.restarts < 3:
            await asyncio.sleep(0.01)
        assert time.monotonic() - begun >= supervisor.FIRST_PAUSE * (1 + 2 + 4)
        while made.failure is None:  # it runs, for as long as it takes to end again
            await asyncio.sleep(0.01)
        assert (made.failure.code, made.failure.message) == (1, "no model")
        assert changes
        await made.stop()
        on.end()

    asyncio.run(scenario())


def test_a_command_that_is_not_there_is_a_failure_with_its_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        on = Leash(tmp_path)
        made = pod(tmp_path, on, ["/no/such/server"], [])
        made.start()
        while made.failure is None:
            await asyncio.sleep(0.01)
        assert made.failure.code == 127
        assert "/no/such/server" in made.failure.message
        await made.stop()
        on.end()

    asyncio.run(scenario())


CONTAINER: dict[str, Any] = {
    "name": "kserve-container",
    "command": ["python", "-m", "server"],
    "args": [
        "--http-port=8080",
        "--grpc-port",
        "8081",
        "--capture-url=http://127.0.0.1:9090/",
        "--model-dir=/mnt/models",
        "--other=/mnt/models-of-mine",
        "--config=/etc/drift/drift.json",
        "--version=8080",
        "--host=0.0.0.0",
        "--also=http://127.0.0.1:7777/",
    ],
    "env": [
        {"name": "METRICS_PORT", "value": "8080"},
        {"name": "PEER", "value": "localhost:9090"},
        {"name": "MODEL", "value": "/mnt/models/model.onnx"},
        {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ],
    "ports": [{"containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 2},
    "resources": {"limits": {"cpu": "1500m"}},
}
SIDECAR = {"name": "monitor", "command": ["python"], "args": ["--port=9090"]}


def test_ports_paths_and_the_interpreter_are_this_machines(tmp_path: Path) -> None:
    assert containers.ports([CONTAINER, SIDECAR]) == (8080, 8081, 9090)
    ports = {8080: 41000, 8081: 41001, 9090: 41002}
    mounts = {"/mnt/models": tmp_path / "m", "/etc/drift": tmp_path / "v"}
    plan = containers.plan(CONTAINER, ports=ports, mounts=mounts, environment={"POD_NAMESPACE": "fraud"}, root=tmp_path)
    assert plan.command == (
        sys.executable,
        "-m",
        "server",
        "--http-port=41000",
        "--grpc-port",
        "41001",
        "--capture-url=http://127.0.0.1:41002/",
        f"--model-dir={tmp_path / 'm'}",
        "--other=/mnt/models-of-mine",
        f"--config={tmp_path / 'v'}/drift.json",
        "--version=8080",
        "--host=127.0.0.1",
        "--also=http://127.0.0.1:7777/",
    )
    env = plan.environment
    assert env["METRICS_PORT"] == "41000"
    assert env["PEER"] == "127.0.0.1:41002"
    assert env["MODEL"] == f"{tmp_path / 'm'}/model.onnx"
    assert env["NS"] == "fraud"
    assert env["OMP_NUM_THREADS"] == "2"
    assert plan.readiness == containers.ContainerProbe(port=41000, path="/ready", period=2)


def test_a_main_container_without_a_probe_is_ready_once_its_port_answers(tmp_path: Path) -> None:
    """As Knative's queue-proxy has it: KServe's own runtimes declare no probe."""
    bare = {key: value for key, value in CONTAINER.items() if key != "readinessProbe"} | {"name": "kserve-container"}
    plan = containers.plan(bare, ports={8080: 41000}, mounts={}, environment={}, root=tmp_path)
    assert plan.readiness == containers.ContainerProbe(port=41000, path=None, period=1, timeout=1)
    sidecar = containers.plan({**bare, "name": "x"}, ports={8080: 41000}, mounts={}, environment={}, root=tmp_path)
    assert sidecar.readiness is None

    async def scenario() -> None:
        on = Leash(tmp_path)
        port = containers.free_ports([8080])[8080]
        late = f"import socket, time; time.sleep(1); s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
        changes: list[str] = []
        probed = plan.model_copy(
            update={
                "command": (sys.executable, "-c", late),
                "readiness": containers.ContainerProbe(port=port, path=None, period=1, timeout=1),
            }
        )
        made = pod(tmp_path, on, list(probed.command), changes, plan=probed)
        made.start()
        began = time.monotonic()
        while not made.ready:
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.02)
        assert time.monotonic() - began >= 1
        await made.stop()
        on.end()

    asyncio.run(scenario())


def test_an_environment_from_a_secret_is_refused_by_name(tmp_path: Path) -> None:
    container = {"name": "c", "command": ["x"], "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}
    with pytest.raises(HallmarkError, match=r"'KEY'.*secretKeyRef"):
        containers.plan(container, ports={}, mounts={}, environment={}, root=tmp_path)


@pytest.mark.parametrize("kind", ["configMapKeyRef", "secretKeyRef"])
def test_what_a_domain_may_be_told_on_a_cluster_is_this_machines_here(tmp_path: Path, kind: str) -> None:
    reference = {"name": "feature-store", "key": "address", "optional": True}
    container = {"name": "c", "command": ["x"], "env": [{"name": "STORE", "valueFrom": {kind: reference}}]}

    def given(**environment: str) -> str | None:
        plan = containers.plan(container, ports={}, mounts={}, environment=environment, root=tmp_path)
        return plan.environment.get("STORE")

    assert given() is None
    assert given(STORE="sqlite:///here") == "sqlite:///here"


def test_the_platforms_own_environment_stays_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for pods")
    plan = containers.plan(SIDECAR, ports={}, mounts={}, environment={}, root=tmp_path)
    assert "AWS_SECRET_ACCESS_KEY" not in plan.environment


def test_free_ports_are_free_and_different() -> None:
    found = containers.free_ports([8080, 8081, 9090])
    assert len(set(found.values())) == 3
    for port in found.values():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
