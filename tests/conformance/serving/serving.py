"""A real cluster that serves models, and what a test asks of it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hallmark.artifacts.release import Target
from hallmark.declaration import serving_config
from hallmark.rollout import operations
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from local_cluster import node
from tests.conformance import build, installed
from tests.conformance.control_plane import stack
from tests.conformance.platform import install
from tests.conformance.services import STANDARD
from tests.conformance.stack import Stack
from tests.local_cluster.real_model import NAME, real_model, request
from tools.rehearsal import World
from tools.traffic import Traffic

PORT = 8000
CHANGES = (
    "rollout.shadow=null",
    "drift.minimum=100",
    "drift.threshold=0.5",
    "drift.match=null",
    "rollout.limits.slow=0.9",
    "rollout.deadline=5m",
)
"""Of the declaration, besides the short times of `World`: a window of a hundred rows and a busy machine are judged coarsely."""
_READ_ONLY = 'mount --bind "$HALLMARK_STATE" "$HALLMARK_STATE" && mount -o remount,bind,ro / && exec "$@"'


class Serving:
    """The cluster, the domain that is served on it, and a checkout and registry of that."""

    def __init__(self, made: Stack) -> None:
        self.stack = made
        self.buckets = made.folder / "buckets"
        base = Settings.load({"HALLMARK_ROOT": str(build.ROOT)})
        self.world = World.make(NAME, made.folder / "state", base=base, changes=CHANGES)
        self.url = f"http://127.0.0.1:{PORT}/serving/{NAME}/{NAME}/v2/models/{NAME}/infer"

    def begin(self) -> None:
        """Start the node and the gateway."""
        folders = (f"--folder={self.stack.folder / 'node'}", f"--buckets={self.buckets}")
        self.buckets.mkdir()
        self.stack.run("local_cluster.node", *folders, name="node", user="node-agent")
        ready = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.NAME}}
        # The taint of a node that is not ready goes once the controllers have seen that it is.
        self.stack.until("node", lambda: not self.stack.api.live(ready)["spec"].get("taints"))
        settings = self.world.settings
        asked = (f"--folder={settings.cluster}", f"--port={PORT}")
        self.stack.run("tests.conformance.gateway", *asked, name="gateway", user="gateway")
        self.stack.until("gateway", settings.cluster_state.is_file)

    @property
    def administrator(self) -> Path:
        """A kubeconfig of one who may do everything."""
        return self.stack.credentials.kubeconfig("admin")

    def model(self, version: int, *, backwards: bool = False) -> Target:
        """A version of a small real model in the bucket."""
        bucket = f"hallmark-{STANDARD}-artifacts"
        folder = self.buckets / bucket / NAME / "models" / str(version)
        if folder.is_dir():
            shutil.rmtree(folder)
        digest = real_model(folder, backwards=backwards)
        uri = f"s3://{bucket}/{NAME}/models/{version}/"
        config = serving_config.of(self.world.domain).reference
        return Target(version=version, storageUri=uri, digest=digest, config=config)

    def register(self, *targets: Target) -> None:
        """Register versions, which lie in the bucket already."""
        from mlflow.tracking import MlflowClient

        uri = self.world.settings.tracking
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.create_registered_model(NAME)
        told = dict.fromkeys(("data", "commit", "metric"), "none") | {"value": "0"}
        for each in targets:
            client.create_model_version(NAME, source=each.storage_uri, tags={**told, "digest": each.digest})

    @contextlib.contextmanager
    def at_rest(self, target: Target) -> Iterator[InferenceServiceWriter]:
        """The domain with a first version that serves; deleted at the end."""
        with self.emptied() as writer:
            operations.release(writer, self.world.domain, target, percent=100, note=quiet, mode="Standard")
            yield writer

    @contextlib.contextmanager
    def emptied(self) -> Iterator[InferenceServiceWriter]:
        """A writer; what it makes of the domain is deleted at the end, its pods too."""
        writer, api = InferenceServiceWriter.connect(self.world.settings, kubeconfig=self.administrator), self.stack.api
        try:
            yield writer
        finally:
            if (live := writer.live(NAME)) is not None:
                api.delete(live)
            pods = f"/api/v1/namespaces/{NAME}/pods"
            installed.until(lambda: not api.get(pods)["items"], what=f"the pods of {NAME} gone", seconds=90)

    def load(self, *, rate: float) -> Traffic:
        """Requests like those that the model was trained on, through the gateway."""
        amounts = np.random.default_rng(1).permutation(np.linspace(0.0, 100.0, 500))
        return Traffic(self.url, [request(each) for each in amounts.tolist()], rate=rate)

    def command(self, *arguments: str) -> str:
        """Run `hallmark` as a person with the checkout would; gives what it says."""
        command = [sys.executable, "-m", "hallmark.cli", *arguments, "--kubeconfig", str(self.administrator)]
        environment = self.world.settings.child_environment()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """`hallmark watch` as its pod runs it: its own account's token, a read-only root, and in it no checkout that rests anywhere."""
        image = self.stack.folder / "image"
        settings = self.world.settings
        shutil.copytree(settings.domains, image / "domains")
        shutil.copytree(build.ROOT / "inference_services", image / "inference_services")
        given = (NAME, "--every=0.5", f"--kubeconfig={installed.watch_kubeconfig(self.stack)}")
        environment = {
            "HALLMARK_ROOT": str(image),
            "HALLMARK_STATE": str(settings.state),
            "TMPDIR": str(settings.state),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": str(build.ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        command = ("--mount", "sh", "-c", _READ_ONLY, "sh", sys.executable, "-m", "hallmark.cli", "watch", *given)
        self.stack.start("watch", *command, environment=environment, binary="unshare")
        try:
            self.stack.until("watch", lambda: "watched from here" in self.log())
            yield
        finally:
            assert self.stack.stop("watch") == 128 + signal.SIGTERM
            shutil.rmtree(image)

    def log(self) -> str:
        """What the watch said."""
        return self.stack.log("watch").read_text(encoding="utf-8")


def quiet(_: str) -> None:
    """Nobody reads the progress."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """The control plane with staging's platform, a node and a gateway."""
    with stack(folder) as made:
        install(made, STANDARD)
        found = Serving(made)
        found.begin()
        yield found
