"""The cluster as a process: up, down, killed, up again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hallmark import leash
from hallmark.declaration.traffic import KNATIVE, LOCAL, STANDARD
from hallmark.errors import Conflict, DeclarationError
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from local_cluster import cluster

Runtime = Callable[..., dict[str, Any]]
SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/fraud/inferenceservices"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    (tmp_path / "domains").mkdir()
    (tmp_path / "inference_services").mkdir()
    made = Settings.load({"HALLMARK_ROOT": str(tmp_path)})
    yield made
    with contextlib.suppress(Exception):
        cluster.down(made, timeout=20)


@pytest.fixture
def port() -> int:
    return free_port()


def client(settings: Settings) -> httpx.Client:
    """The API as its kubeconfig says."""
    config = yaml.safe_load(settings.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    token = config["users"][0]["user"]["token"]
    context = ssl.create_default_context(cafile=str(settings.cluster / "access" / "api.crt"))
    return httpx.Client(base_url=server, headers={"authorization": f"Bearer {token}"}, verify=context, trust_env=False)


def apply(api: httpx.Client, settings: Settings, version: int, percent: int | None, runtime: dict[str, Any]) -> None:
    folder = settings.models / "fraud" / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    model = {"modelFormat": {"name": "onnx"}, "runtime": "fake", "storageUri": f"pvc://models/fraud/{version}"}
    predictor: dict[str, Any] = {"model": model, "canaryTrafficPercent": percent}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "fraud", "namespace": "fraud"},
        "spec": {"predictor": {k: v for k, v in predictor.items() if v is not None}},
    }
    if api.get(f"{SERVICES}/fraud").status_code == 404:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fraud"}}
        api.post("/api/v1/namespaces", json=namespace).raise_for_status()
        api.post("/apis/serving.kserve.io/v1alpha1/clusterservingruntimes", json=runtime).raise_for_status()
        api.post(SERVICES, json=service).raise_for_status()
        return
    headers = {"content-type": "application/merge-patch+json"}
    patch = {"spec": {"predictor": predictor}}
    api.patch(f"{SERVICES}/fraud", json=patch, headers=headers).raise_for_status()


def wait_ready(api: httpx.Client, shares: list[int], *, seconds: float = 30) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        status = api.get(f"{SERVICES}/fraud").json().get("status") or {}
        ready = next((c["status"] for c in status.get("conditions") or [] if c["type"] == "Ready"), "")
        traffic = ((status.get("components") or {}).get("predictor") or {}).get("traffic") or []
        if ready == "True" and [t["percent"] for t in traffic] == shares:
            return dict(status)
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def running(settings: Settings) -> list[leash.Marked]:
    """The cluster and its children."""
    return [each for each in leash.marked() if each.place == settings.cluster]


def test_a_cluster_serves_survives_a_kill_and_leaves_nothing_behind(
    settings: Settings, port: int, fake_runtime: Runtime
) -> None:
    assert cluster.state(settings) is None
    assert cluster.down(settings) == (False, [])
    began = time.monotonic()
    up = cluster.up(settings, port=port)
    assert time.monotonic() - began < 20
    assert cluster.state(settings) == up
    with pytest.raises(Conflict, match="up already") as caught:
        cluster.up(settings, port=free_port())
    assert "--mode full" in caught.value.got
    with pytest.raises(Conflict, match="in another mode") as caught:
        cluster.up(settings, port=free_port(), adapter=KNATIVE)
    assert "--mode full" in caught.value.got and "--mode knative" in caught.value.got
    assert "`hallmark down`, then `hallmark up --mode knative`" in caught.value.fix and "delete" not in caught.value.fix
    with pytest.raises(Conflict, match="in another mode") as caught:
        cluster.up(settings, port=free_port(), adapter=STANDARD)
    assert "kubectl delete inferenceservice --all -A" in caught.value.fix
    with client(settings) as api:
        apply(api, settings, 1, None, fake_runtime())
        wait_ready(api, [100])
        apply(api, settings, 2, 30, fake_runtime())
        before = wait_ready(api, [30, 70])
        answer = httpx.post(f"{before['url']}/v2/models/fraud/infer", json={}, trust_env=False)
        assert answer.status_code == 200
        pod = api.get("/api/v1/namespaces/fraud/pods").json()["items"][0]["metadata"]["name"]
        proxied = api.get(f"/api/v1/namespaces/fraud/pods/{pod}:8080/proxy/env")
        assert proxied.json()["env"]["POD_NAME"] == pod
        assert "ready" in api.get(f"/api/v1/namespaces/fraud/pods/{pod}/log").text

    assert len(running(settings)) == 4
    os.kill(up.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while running(settings) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(settings) == []
    assert cluster.state(settings) is None

    again = cluster.up(settings, port=port)
    assert again.api_port == up.api_port, "an old kubeconfig stays true"
    with client(settings) as api:
        after = wait_ready(api, [30, 70])
    component, was = (s["components"]["predictor"] for s in (after, before))
    assert component == was

    assert cluster.down(settings) == (True, [])
    assert running(settings) == []
    assert cluster.state(settings) is None


@pytest.mark.slow
def test_down_ends_a_cluster_whose_state_folder_was_deleted_and_names_what_it_ended(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    given = {"ROOT": root, "STATE": tmp_path / "state", "RELEASES": tmp_path / "releases"}
    settings = Settings.load({f"HALLMARK_{name}": str(path) for name, path in given.items()})
    command = [sys.executable, "-m", "hallmark.cli", "up", "--port", "0"]
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(root)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert len(running(settings)) == 3, "the cluster, Envoy and the streams of views"
    shutil.rmtree(settings.state)
    stopped = cluster.down(settings)
    assert not stopped.cluster
    assert any("local_cluster.cluster" in each for each in stopped.left), stopped.left
    assert running(settings) == []


def test_a_port_that_is_taken_is_named_with_the_option(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(DeclarationError, match=str(number)) as caught:
            cluster.up(settings, port=number)
        assert "--port" in caught.value.fix
        with pytest.raises(DeclarationError, match=str(number)) as caught:
            cluster.up(settings, port=free_port(), api_port=number)
        assert "--api-port" in caught.value.fix
    with pytest.raises(DeclarationError, match="not a port"):
        cluster.up(settings, port=70_000)


def test_port_0_is_any_free_one(settings: Settings) -> None:
    up = cluster.up(settings, port=0)
    assert httpx.get(f"{up.gateway}/serving/x/y", trust_env=False).status_code == 404
    assert cluster.down(settings) == (True, [])


def test_why_a_cluster_does_not_come_up_is_told(settings: Settings) -> None:
    settings.cluster.mkdir(parents=True)
    (settings.cluster / "objects.db").write_text("this is no database, and long enough to be looked at" * 40)
    with pytest.raises(Exception, match=r"objects cannot be opened") as caught:
        cluster.up(settings, port=free_port())
    assert "Traceback" not in str(caught.value)
    assert cluster.state(settings) is None
    assert running(settings) == []


def test_a_cluster_that_can_do_no_more_than_knative_mode_says_so_and_mirrors_nothing(
    settings: Settings, port: int, fake_runtime: Runtime
) -> None:
    state = cluster.up(settings, port=port, adapter=KNATIVE)
    with client(settings) as api:
        assert api.get("/version").json()["gitVersion"] == "v1.32.0+hallmark.knative"
        apply(api, settings, 1, None, fake_runtime())
        writer = InferenceServiceWriter.connect(settings)
        live = writer.live("fraud")
        assert live is not None and writer.adapter(live) == KNATIVE
        wait_ready(api, [100])
        apply(api, settings, 2, 0, fake_runtime())
        headers = {"content-type": "application/merge-patch+json"}
        note = {"metadata": {"annotations": {"hallmark.dev/shadow-percent": "100"}}}
        api.patch(f"{SERVICES}/fraud", json=note, headers=headers).raise_for_status()
        wait_ready(api, [0, 100])
        routes = httpx.get(f"http://{state.admin}/config_dump", timeout=10, trust_env=False).text
    assert "request_mirror_policies" not in routes
    assert "fraud-predictor-00002" in routes


@pytest.mark.slow
def test_a_cluster_keeps_its_mode_and_takes_no_other_while_it_has_services_of_that(
    settings: Settings, fake_runtime: Runtime
) -> None:
    assert cluster.up(settings, port=0, adapter=STANDARD).adapter == STANDARD
    writer = InferenceServiceWriter.connect(settings)
    assert writer.adapter(None) == STANDARD
    with client(settings) as api:
        apply(api, settings, 1, None, fake_runtime())
    cluster.down(settings)
    with pytest.raises(Conflict, match="Standard mode, which a live one cannot change") as caught:
        cluster.up(settings, port=0, adapter=KNATIVE)
    assert "--mode standard" in caught.value.fix and "fraud" in caught.value.got
    assert cluster.state(settings) is None
    assert cluster.up(settings, port=0).adapter == STANDARD, "what it had last"
    with client(settings) as api:
        api.delete(f"{SERVICES}/fraud").raise_for_status()
    cluster.down(settings)
    assert cluster.up(settings, port=0, adapter=LOCAL).adapter == LOCAL, "there is nothing left of the other mode"
