"""The main job on the real parts: model server, drift monitor, Envoy, Kubernetes API, kubectl and the KServe SDK."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.domain import Domain
from hallmark.errors import Conflict, ModelRefused, Refused
from hallmark.registry.store import Registry
from hallmark.rollout import operations
from hallmark.rollout import writer as writers
from hallmark.rollout.followers import follow
from hallmark.rollout.writer import InferenceServiceWriter, predictor_status, share
from hallmark.settings import Settings
from local_cluster import cluster
from tests.hallmark.rollout import candidates
from tools.traffic import Traffic

ROOT = Path(__file__).parents[3]
NAME = "fraud"
PATIENCE = 300.0
"""Seconds in which answers come on a machine that has other things to do; how many are waited for is said each time."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # of a busy machine; what may last how long is said below


@dataclass
class Running:
    """A local cluster with two registered versions of fraud, and requests to send."""

    settings: Settings
    writer: InferenceServiceWriter
    domain: Domain
    url: str
    bodies: list[bytes]
    shifted: list[bytes]
    targets: dict[int, Target]

    def traffic(self, *, rate: float = 200) -> Traffic:
        return Traffic(self.url, self.bodies, rate=rate)

    def release(self, version: int, percent: int) -> dict[str, Any]:
        live = operations.release(self.writer, self.domain, self.targets[version], percent=percent, note=quiet)
        follow(self.writer, NAME, self.settings)
        return live

    def promote(self) -> Target:
        target = operations.promote(self.writer, self.domain, note=quiet)
        follow(self.writer, NAME, self.settings)
        return target

    def rollback(self) -> Target | None:
        target = operations.rollback(self.writer, self.domain, note=quiet)
        follow(self.writer, NAME, self.settings)
        return target

    def live(self) -> dict[str, Any]:
        live = self.writer.live(NAME)
        assert live is not None
        return live

    def kubectl(self, *arguments: str) -> str:
        if not shutil.which("kubectl"):
            pytest.skip("kubectl is not installed")
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.settings.kubeconfig), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def quiet(_: str) -> None:
    return


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("job")
    return Settings.load(
        {
            "HALLMARK_ROOT": str(ROOT),
            "HALLMARK_STATE": str(folder / "state"),
            "HALLMARK_RELEASES": str(folder / "releases"),
        }
    )


@pytest.fixture(scope="module")
def running(settings: Settings, trained_fraud: candidates.Trained) -> Iterator[Running]:
    from hallmark.cli.serve import apply_all
    from tools.traffic import synthetic

    assert trained_fraud.register(settings) == 1
    targets = {
        1: Target.of(Registry(settings).resolve(NAME, 1), serving_config.of(domains.load(NAME, settings)).reference),
        2: candidates.register("good", settings),
    }
    asked = [
        synthetic(NAME, count=2000, seed=7, shift=shift, settings=settings) for shift in (None, "new_fraud_pattern")
    ]
    for each in asked:
        each.prepare()
    clean, shifted = (each.bodies for each in asked)
    state = cluster.up(settings, port=0)
    try:
        writer = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig)
        apply_all(writer, settings)
        url = f"{state.gateway}/serving/{NAME}/{NAME}/v2/models/{NAME}/infer"
        yield Running(settings, writer, domains.load(NAME, settings), url, clean, shifted, targets)
    finally:
        cluster.down(settings)


@pytest.fixture
def at_rest(running: Running) -> Running:
    """Version 1 is stable and serves everything; whatever the test before left is gone."""
    live = running.writer.live(NAME)
    if live is not None:
        running.kubectl("delete", "isvc", NAME, "-n", NAME)
    releases.write(NAME, Release(), running.settings)
    running.release(1, 100)
    return running


@contextlib.contextmanager
def moments(running: Running) -> Iterator[list[tuple[dict[str, int], dict[str, int]]]]:
    """Each revision's percent and its ready pods, read again and again until the end of the block."""
    seen: list[tuple[dict[str, int], dict[str, int]]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            traffic = predictor_status(running.live()).get("traffic") or []
            shares = {each["revisionName"]: int(each["percent"]) for each in traffic}
            seen.append((shares, {name: running.writer.count_ready(NAME, name) for name in shares}))

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield seen
        finally:
            over.set()
            looking.result()


def test_a_candidate_takes_over_step_by_step_and_no_request_fails(at_rest: Running) -> None:
    with at_rest.traffic() as traffic, moments(at_rest) as seen:
        traffic.next(100, seconds=PATIENCE)
        at_rest.release(2, 10)
        ten = traffic.next(1500, seconds=PATIENCE)
        at_rest.release(2, 50)
        fifty = traffic.next(3000, seconds=PATIENCE)
        at_rest.promote()
        everything = traffic.next(200, seconds=PATIENCE)
        assert sum(answer.status != 200 for answer in traffic.since(0)) == 0
    assert [each for each in seen if any(part and not each[1][name] for name, part in each[0].items())] == []
    assert {max(shares.values()) for shares, _ in seen} == {50, 90, 100}
    assert ten.shares["canary"] == pytest.approx(10, abs=3)
    assert fifty.shares["canary"] == pytest.approx(50, abs=3)
    assert everything.shares == {"stable": 100}
    rest = releases.read(NAME, at_rest.settings)
    assert rest == Release(stable=at_rest.targets[2], previous=at_rest.targets[1])
    assert share(at_rest.live()) is None


def test_a_rollback_loses_no_request_and_rests_on_the_good_version(at_rest: Running) -> None:
    at_rest.release(2, 50)
    with at_rest.traffic() as traffic:
        traffic.next(200, seconds=PATIENCE)
        assert at_rest.rollback() == at_rest.targets[1]
        after = traffic.next(200, seconds=PATIENCE)
        assert sum(answer.status != 200 for answer in traffic.since(0)) == 0
    assert after.shares == {"stable": 100}
    assert releases.read(NAME, at_rest.settings) == Release(stable=at_rest.targets[1])
    assert writers.live_target(at_rest.live()) == at_rest.targets[1]


def test_a_promoted_version_can_be_rolled_back_too(at_rest: Running) -> None:
    at_rest.release(2, 50)
    at_rest.promote()
    with at_rest.traffic() as traffic:
        assert at_rest.rollback() == at_rest.targets[1]
        traffic.next(100, seconds=PATIENCE)
        assert sum(answer.status != 200 for answer in traffic.since(0)) == 0
    assert writers.live_target(at_rest.live()) == at_rest.targets[1]


def test_fault_11_a_changed_model_gets_no_traffic_and_stable_goes_on(at_rest: Running) -> None:
    folder = Registry(at_rest.settings).resolve(NAME, 2).path
    assert folder is not None
    copy = at_rest.settings.models / "changed"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    weights = bytearray((copy / "model.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.onnx").write_bytes(bytes(weights))
    changed = Target(version=2, storageUri="pvc://models/changed", digest=at_rest.targets[2].digest)
    with at_rest.traffic(rate=50) as traffic:
        with pytest.raises(ModelRefused, match="gets no traffic") as caught:
            operations.release(at_rest.writer, at_rest.domain, changed, percent=50, note=quiet)
        tally = traffic.next(100, seconds=PATIENCE)
        assert sum(answer.status != 200 for answer in traffic.since(0)) == 0
    assert "model.onnx" in caught.value.got
    assert tally.shares == {"stable": 100}
    assert at_rest.rollback() == at_rest.targets[1]


def test_one_rollout_at_a_time(at_rest: Running) -> None:
    at_rest.release(2, 10)
    other = Target(version=3, storageUri="pvc://models/other", digest="sha256:" + "3" * 64)
    with pytest.raises(Refused, match="rollout of version 2 is running"):
        operations.release(at_rest.writer, at_rest.domain, other, percent=10, note=quiet)
    at_rest.rollback()
    with pytest.raises(Refused, match="no rollout"):
        at_rest.promote()
    with pytest.raises(Refused, match="stable already"):
        at_rest.release(1, 10)


def test_a_write_on_what_was_read_before_is_a_conflict(at_rest: Running) -> None:
    before = at_rest.live()
    at_rest.release(2, 10)
    with pytest.raises(Conflict):
        at_rest.writer.shift(before, percent=100)
    assert share(at_rest.live()) == 10


def test_apply_leaves_a_running_rollout_its_model_and_its_share(at_rest: Running) -> None:
    from hallmark.render import inferenceservice

    rendered = inferenceservice.inferenceservice(at_rest.domain, releases.read(NAME, at_rest.settings))
    assert at_rest.writer.apply(rendered) == "unchanged"
    at_rest.release(2, 10)
    assert at_rest.writer.apply(rendered) == "kept"
    assert (share(at_rest.live()), writers.live_target(at_rest.live())) == (10, at_rest.targets[2])
    at_rest.rollback()
    assert at_rest.writer.apply(rendered) == "unchanged"


def test_kubectl_and_the_kserve_sdk_drive_the_same_rollout(at_rest: Running, tmp_path: Path) -> None:
    from kserve import KServeClient

    from hallmark.render import files, inferenceservice

    at_rest.release(2, 10)
    shown = at_rest.kubectl("get", "isvc", "-A")
    assert all(column in shown for column in ("URL", "READY", "PREV", "LATEST", "fraud-predictor-00002"))
    patch = json.dumps({"spec": {"predictor": {"canaryTrafficPercent": 25}}})
    at_rest.kubectl("patch", "inferenceservice", NAME, "-n", NAME, "--type", "merge", "-p", patch)
    at_rest.kubectl("wait", "--for=condition=Ready", f"isvc/{NAME}", "-n", NAME, "--timeout=30s")
    eventually(lambda: at_rest.live()["status"]["components"]["predictor"]["traffic"][0]["percent"] == 25)
    KServeClient(config_file=str(at_rest.settings.kubeconfig)).wait_isvc_ready(
        NAME, namespace=NAME, timeout_seconds=30, polling_interval=1
    )
    with at_rest.traffic() as traffic:
        tally = traffic.next(2500, seconds=PATIENCE)
    assert tally.failed == 0 and tally.shares["canary"] == pytest.approx(25, abs=3)
    at_rest.rollback()
    assert files.check(at_rest.settings) == [], "what is rendered followed the roll-back"
    at_rest.kubectl("apply", "-f", str(at_rest.settings.releases / NAME / inferenceservice.FILE))
    assert "fraud-predictor" in at_rest.kubectl("describe", "isvc", NAME, "-n", NAME)


def test_the_drift_monitor_tells_shifted_orders_from_clean_ones(at_rest: Running, tmp_path: Path) -> None:
    from hallmark.cli import verdict

    def state() -> str:
        return verdict.collect(at_rest.writer, NAME)[0].state

    with at_rest.traffic() as traffic:
        traffic.next(600, seconds=PATIENCE)
        eventually(lambda: state() != "INSUFFICIENT")
        assert state() == "OK"
        traffic.use(at_rest.shifted)
        traffic.next(2000, seconds=PATIENCE)
        eventually(lambda: state() == "DRIFT")
    found = verdict.collect(at_rest.writer, NAME)
    assert any(column["drifted"] for column in found[0].verdict["columns"])
    verdict.report(
        at_rest.writer, found, variant="stable", name=NAME, path=tmp_path / "report.html", settings=at_rest.settings
    )
    assert "password_age_hours" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_state_of_the_cluster_survives_a_restart(at_rest: Running) -> None:
    at_rest.release(2, 25)
    port = int(at_rest.url.split(":")[2].split("/")[0])
    cluster.down(at_rest.settings)
    cluster.up(at_rest.settings, port=port)
    eventually(lambda: writers.gets(25)(at_rest.live()))
    with at_rest.traffic() as traffic:
        tally = traffic.next(1500, seconds=PATIENCE)
    assert tally.failed == 0 and tally.shares["canary"] == pytest.approx(25, abs=4)


def eventually(true: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds:g} s"
        time.sleep(0.2)
