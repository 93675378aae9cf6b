"""`hallmark watch` on the real API server and KServe that is killed -9 at random moments: one stable, the same in record, traffic and followers.

Three domains roll out side by side, each with a watch of its own: a killed watch's lease has to run out before the next one goes on.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import serving_config
from hallmark.rollout.writer import live_target
from tests.conformance import installed, services
from tests.conformance.stack import Stack
from tests.hallmark.rollout.test_operator import prepared
from tests.hallmark.rollout.victim import Rollouts, command
from tests.manifests.builds import declared

KILLS = 50
ROLLED_OUT = ("authentication", "fraud", "search")


@contextlib.contextmanager
def at_rest(cluster: Stack, kubeconfig: Path, folder: Path, name: str) -> Iterator[Rollouts]:
    """A domain at rest on version 1, with KServe and what Knative would do of its own accord."""
    config = serving_config.of(declared(name)).reference

    def target(version: int) -> Target:
        uri = f"s3://hallmark-dev-artifacts/{name}/models/{version}/"
        return Target(version=version, storageUri=uri, digest=f"sha256:{version:064}", config=config)

    argo_cd, wanted = installed.argo_cd(cluster.api), services.service(name, "Knative")
    argo_cd.apply(wanted)
    made = services.made_of(wanted)
    installed.until(lambda: bool(cluster.api.live(made)), what="what KServe makes")
    folder.mkdir()
    settings = prepared(folder)
    with services.Revisions(cluster.api.as_("knative", "system:masters"), wanted) as knative:

        def whole() -> bool:
            return knative.asked() == {"newest": 100}

        log = cluster.log(f"victims-{name}")
        found = Rollouts(folder, kubeconfig, log, name=name, target=target, whole=whole, victim=command)
        live = found.world.cluster.live(name)
        assert live is not None
        releases.write(name, Release(stable=live_target(live)), settings)
        installed.until(whole, what="the first revision")
        yield found
    argo_cd.delete(wanted)
    installed.until(
        lambda: installed.gone(cluster.api, wanted) and installed.gone(cluster.api, made), what=f"{name} gone"
    )


@pytest.mark.timeout(900)
def test_whenever_a_watch_is_killed_the_next_one_ends_with_one_stable(
    cluster: Stack, watch_kubeconfig: Path, tmp_path: Path
) -> None:
    def killed(name: str) -> None:
        with at_rest(cluster, watch_kubeconfig, tmp_path / name, name) as rollouts:
            rollouts.run(kills=math.ceil(KILLS / len(ROLLED_OUT)))

    with ThreadPoolExecutor(len(ROLLED_OUT)) as lanes:
        for lane in [lanes.submit(killed, name) for name in ROLLED_OUT]:
            lane.result()
