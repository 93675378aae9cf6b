"""Publication of the model to the monitor beside the server: whole or not at all, checked, waited for, and followed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sidecar import ROOT, Sidecar, draw, events, exchange, free_port

from hallmark.artifacts import bundle, publication
from hallmark.artifacts import folder as folders
from hallmark.drift import profile
from hallmark.errors import ModelRefused
from inference_services.drift_monitor import reference
from inference_services.runtime.__main__ import workload


def verified(folder: Path) -> bundle.Bundle:
    return bundle.read(folder, expected=None, keep=bundle.SERVED | bundle.WATCHED)


def other(sealed: Path, at: Path) -> Path:
    """Another model than `sealed`: the same code, dearer traffic behind its profile."""
    shutil.copytree(sealed, at)
    columns, scores = draw(3000, seed=5, factor=3.0)
    (at / "profile.json").write_text(profile.build(columns, scores=scores).model_dump_json(), encoding="utf-8")
    folders.seal(at)
    return at


def test_a_monitor_reads_from_a_publication_what_it_reads_from_the_folder(sealed: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    folder = publication.publish(verified(sealed), shared)
    digest = folders.verify(sealed)
    assert publication.current(shared) == digest
    published, read = reference.of(publication.read(shared, digest)), reference.read(sealed)
    assert (published.digest, published.profile, published.signature) == (read.digest, read.profile, read.signature)
    assert "model.onnx" not in {path.name for path in folder.iterdir()}, "the weights stay where they are"
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o444 for path in (*folder.iterdir(), shared / publication.POINTER)}
    assert modes == {0o444}, "the monitor may run as another user"


def test_nothing_published_is_none_and_not_an_error(tmp_path: Path) -> None:
    assert publication.current(tmp_path) is None and publication.current(tmp_path / "not there") is None


def test_another_model_takes_the_place_of_the_first_and_leaves_nothing_of_it(sealed: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    publication.publish(verified(sealed), shared)
    (shared / ".half").mkdir()
    (shared / ".half" / "profile.json").write_text("{", encoding="utf-8")
    second = other(sealed, tmp_path / "second")
    folder = publication.publish(verified(second), shared)
    assert publication.current(shared) == folders.verify(second)
    assert {path.name for path in shared.iterdir()} == {folder.name, publication.POINTER}


def test_publishing_again_after_a_restart_leaves_what_is_read_where_it_is(sealed: Path, tmp_path: Path) -> None:
    before = publication.publish(verified(sealed), tmp_path).stat()
    after = publication.publish(verified(sealed), tmp_path).stat()
    assert before.st_ino == after.st_ino


@pytest.mark.parametrize("name", ["features.py", "profile.json", "manifest.json"])
def test_a_publication_that_was_changed_is_refused_and_mended(sealed: Path, tmp_path: Path, name: str) -> None:
    digest = folders.verify(sealed)
    path = publication.publish(verified(sealed), tmp_path) / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelRefused):
        publication.read(tmp_path, digest)
    publication.publish(verified(sealed), tmp_path)
    assert publication.read(tmp_path, digest).digest == digest


def test_a_half_written_publication_is_not_seen(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def full(self: Path, data: bytes) -> int:
        written.append(self.name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        publication.publish(verified(sealed), tmp_path)
    assert written and publication.current(tmp_path) is None
    monkeypatch.undo()
    publication.publish(verified(sealed), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "what was half written is gone"


@pytest.mark.parametrize("where", ["pointer", "folder", "file", "root"])
def test_a_planted_link_is_not_followed(sealed: Path, tmp_path: Path, where: str) -> None:
    digest, shared, secret = folders.verify(sealed), tmp_path / "shared", tmp_path / "secret"
    secret.mkdir()
    (secret / "token").write_text("s3cret", encoding="utf-8")
    folder = publication.publish(verified(sealed), shared)
    if where == "pointer":
        (shared / publication.POINTER).rename(secret / "elsewhere.json")
        (shared / publication.POINTER).symlink_to(secret / "elsewhere.json")
        with pytest.raises(ModelRefused, match=r"current\.json"):
            publication.current(shared)
    elif where == "folder":
        shutil.move(folder, secret / "moved")
        folder.symlink_to(secret / "moved")
        with pytest.raises(ModelRefused, match="link"):
            publication.read(shared, digest)
    elif where == "file":
        (folder / "profile.json").unlink()
        (folder / "profile.json").symlink_to(secret / "token")
        with pytest.raises(ModelRefused, match="missing"):
            publication.read(shared, digest)
    else:
        shutil.rmtree(shared)
        shared.symlink_to(secret)
    publication.publish(verified(sealed), shared)
    assert publication.read(shared, digest).digest == digest and not shared.is_symlink()
    assert (secret / "token").read_text() == "s3cret", "nothing is written or removed behind a link"


def test_a_pointer_may_hold_anything_and_names_no_path(tmp_path: Path) -> None:
    for text in ('{"digest": "../../etc"}', '{"digest": null}', "[" * 3000, "", '{"digest": "sha256:00"}'):
        (tmp_path / publication.POINTER).write_text(text, encoding="utf-8")
        with pytest.raises(ModelRefused):
            publication.current(tmp_path)


@pytest.mark.parametrize(
    ("pod", "named"),
    [
        ("fraud-v2-predictor-7d9f8b6c5d-x2x9z", "fraud-v2-predictor"),
        ("fraud-predictor-7d9f8b6c5d-x2x9z", "fraud-predictor"),
        ("a-laptop", ""),
        ("", ""),
    ],
)
def test_in_standard_mode_the_deployment_is_the_revision(pod: str, named: str) -> None:
    assert workload(pod) == named


# As two processes, the way a pod has them.


class Pod:
    """The server's container and the monitor's, with a folder that both see."""

    def __init__(self, shared: Path, log: Path) -> None:
        self.shared, self.log = shared, log
        self.http, self.port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.sidecar: Sidecar
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http}", timeout=30, trust_env=False)

    def monitor(self, **environment: str) -> None:
        command = ["inference_services.drift_monitor", f"--published={self.shared}", f"--port={self.port}"]
        self.sidecar = Sidecar(
            self._start([*command, f"--runtime-metrics-url={self.client.base_url}metrics"], **environment), self.port
        )
        self.until(lambda: self.sidecar.client.get("/healthz").status_code == 200)

    def server(self, model: Path) -> subprocess.Popen[bytes]:
        command = ["inference_services.runtime", "--model-name=shop", f"--model-dir={model}"]
        command += ["--host=127.0.0.1", f"--http-port={self.http}", f"--publish={self.shared}"]
        process = self._start(
            [*command, f"--capture-url=http://127.0.0.1:{self.port}/"], HOSTNAME="shop-v2-predictor-7d9f8b6c5d-x2x9z"
        )
        self.until(lambda: self.client.get("/v2/health/ready").status_code == 200)
        return process

    def _start(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if name != "K_REVISION"}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env={**kept, **environment}, stderr=log
            )
        self.processes.append(process)
        return process

    def told(self) -> dict[str, Any]:
        return dict(self.sidecar.client.get("/verdict").json())

    def until(self, true: Callable[[], object], *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError, KeyError):
                if true():
                    return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    made = Pod(tmp_path / "shared", tmp_path / "log")
    yield made
    made.client.close()
    if hasattr(made, "sidecar"):
        made.sidecar.client.close()
    for process in made.processes:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.slow
def test_a_monitor_waits_and_follows_what_the_server_publishes(pod: Pod, sealed: Path, tmp_path: Path) -> None:
    pod.monitor()
    waiting = pod.told()
    assert waiting["variants"] == {} and "nothing is published" in waiting["waiting"]
    assert pod.sidecar.batch(events(1, seed=3)).status_code == 503
    assert pod.sidecar.client.get("/metrics").status_code == 200
    assert "no verdicts yet: nothing is published" in pod.log.read_text()

    first = pod.server(sealed)
    pod.until(lambda: pod.told()["digest"] == folders.verify(sealed))
    request, _ = exchange(*draw(40, seed=4), slice(0, 40))
    assert pod.client.post("/v2/models/shop/infer", json=request).status_code == 200
    pod.until(lambda: pod.told()["variants"]["shop-v2-predictor"]["rows"] == 40)

    first.kill()
    first.wait()
    (pod.shared / folders.verify(sealed).removeprefix("sha256:") / "profile.json").write_text("{}", encoding="utf-8")
    assert pod.told()["variants"]["shop-v2-predictor"]["rows"] == 40, "a server that is down takes nothing away"
    pod.server(other(sealed, tmp_path / "second"))
    pod.until(lambda: pod.told()["digest"] == folders.verify(tmp_path / "second"))
    assert pod.told()["variants"] == {}, "the windows of another model begin anew"


@pytest.mark.slow
def test_a_monitor_refuses_what_is_wrong_says_so_and_takes_it_once_it_is_mended(pod: Pod, sealed: Path) -> None:
    ran = pod.shared.with_name("ran")
    folder = publication.publish(verified(sealed), pod.shared)
    good = (folder / "features.py").read_bytes()
    (folder / "features.py").write_text(f"open({str(ran)!r}, 'w')", encoding="utf-8")
    pod.monitor()
    pod.until(lambda: "features.py of the model was changed" in pod.told()["waiting"])
    assert not ran.exists(), "nothing runs before it is checked"
    (folder / "features.py").write_bytes(good)
    pod.until(lambda: pod.told()["digest"] == folders.verify(sealed))


def test_a_monitor_that_knows_its_digest_takes_no_other(pod: Pod, sealed: Path) -> None:
    publication.publish(verified(sealed), pod.shared)
    pod.monitor(HALLMARK_MODEL_DIGEST="sha256:" + "0" * 64)
    pod.until(lambda: "another model is published" in pod.told()["waiting"])


def test_a_server_that_cannot_publish_serves_all_the_same(pod: Pod, sealed: Path) -> None:
    pod.shared = Path("/proc/hallmark")
    pod.server(sealed)
    request, _ = exchange(*draw(1, seed=4), slice(0, 1))
    assert pod.client.post("/v2/models/shop/infer", json=request).status_code == 200
    assert "drift is not watched" in pod.log.read_text()
