"""A watch on the local cluster that is killed -9 at random moments; tests/conformance/test_kills.py does it on a real API server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.render import inferenceservice
from hallmark.rollout.writer import InferenceServiceWriter, gets
from local_cluster import cluster
from tests.hallmark.rollout.test_operator import prepared
from tests.hallmark.rollout.tiny import CONFIG, NAME
from tests.hallmark.rollout.victim import Rollouts, command, operator
from tests.local_cluster.fake_runtime import runtime
from tests.seeds import seeds


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", seeds([command, operator]))
def test_whenever_a_watch_is_killed_the_next_one_ends_with_one_stable(
    tmp_path: Path, victim: Callable[[str, str, str, str, str, str], None]
) -> None:
    settings = prepared(tmp_path)

    def target(version: int) -> Target:
        (settings.models / NAME / str(version)).mkdir(parents=True)
        uri = f"pvc://models/{NAME}/{version}"
        return Target(version=version, storageUri=uri, digest=f"sha256:{version:064}", config=CONFIG)

    cluster.up(settings, port=0)
    try:
        writer = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig)
        release = Release(stable=target(1))
        config = {"name": inferenceservice.VOLUME, "mountPath": "/etc/hallmark", "readOnly": True}
        fake = runtime(container={"volumeMounts": [config]})
        fake["metadata"]["name"] = inferenceservice.RUNTIME
        domain = domains.load(NAME, settings)
        for each in (fake, *inferenceservice.objects(domain, release)):
            writer.apply(each)

        def whole() -> bool:
            live = writer.live(NAME)
            return live is not None and gets(100)(live)

        releases.write(NAME, release, settings)
        writer.wait(NAME, gets(100), generation=1, seconds=60, what="version 1 ready")
        log = tmp_path / "victims.log"
        Rollouts(tmp_path, settings.kubeconfig, log, name=NAME, target=target, whole=whole, victim=victim).run(kills=10)
    finally:
        cluster.down(settings)
