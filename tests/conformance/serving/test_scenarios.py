"""The table of rollouts on real KServe in Standard mode: what comes of each step is what comes of it on the local cluster."""

from __future__ import annotations

import time

import pytest

from tests.conformance.serving.serving import Serving
from tests.hallmark.rollout.scenarios import BAD, SCENARIO, play
from tests.local_cluster.real_model import answering


@pytest.mark.timeout(600)
def test_the_table_of_rollouts_holds_on_a_real_cluster(served: Serving) -> None:
    targets = {version: served.model(version) for version in (1, 2, 3, BAD)}
    targets[BAD] = targets[BAD].model_copy(update={"digest": f"sha256:{BAD:064}"})

    def versions() -> frozenset[int]:
        time.sleep(1)  # what KServe wrote is on its way to the gateway
        return answering(served.url)

    with served.emptied() as writer:
        went = play(writer, served.world.domain, targets, mode="Standard", answering=versions)
    assert went == list(SCENARIO)
