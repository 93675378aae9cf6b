"""A watch on the real API server and KServe that is killed -9 at random moments: one stable, the same in record, traffic and followers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.rollout.writer import live_target
from tests.conformance import installed, services
from tests.conformance.stack import Stack
from tests.hallmark.rollout.test_operator import prepared
from tests.hallmark.rollout.tiny import CONFIG, NAME
from tests.hallmark.rollout.victim import Rollouts


def target(version: int) -> Target:
    uri = f"s3://hallmark-dev-artifacts/{NAME}/models/{version}/"
    return Target(version=version, storageUri=uri, digest=f"sha256:{version:064}", config=CONFIG)


@pytest.fixture
def rollouts(cluster: Stack, watch_kubeconfig: Path, tmp_path: Path) -> Iterator[Rollouts]:
    """fraud at rest on version 1, with KServe and what Knative would do of its own accord."""
    argo_cd, wanted = installed.argo_cd(cluster.api), services.service(NAME, "Knative")
    argo_cd.apply(wanted)
    made = services.made_of(wanted)
    installed.until(lambda: bool(cluster.api.live(made)), what="what KServe makes")
    settings = prepared(tmp_path)
    with services.Revisions(cluster.api.as_("knative", "system:masters"), wanted) as knative:

        def whole() -> bool:
            return knative.asked() == {"newest": 100}

        found = Rollouts(tmp_path, watch_kubeconfig, cluster.log("victims"), target=target, whole=whole)
        live = found.world.cluster.live(NAME)
        assert live is not None
        releases.write(NAME, Release(stable=live_target(live)), settings)
        installed.until(whole, what="the first revision")
        yield found
    argo_cd.delete(wanted)
    installed.until(lambda: installed.gone(cluster.api, made), what=f"{NAME} gone")


@pytest.mark.timeout(900)
def test_whenever_a_watch_is_killed_the_next_one_ends_with_one_stable(rollouts: Rollouts) -> None:
    rollouts.run(kills=50)
