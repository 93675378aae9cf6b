"""The table of rollouts on the local cluster; tests/conformance/serving holds a real one to it too."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.artifacts.release import Target
from hallmark.declaration import serving_config
from hallmark.settings import Settings
from tests.hallmark.rollout.scenarios import BAD, SCENARIO, play
from tests.local_cluster.real_model import NAME, answering, real_model
from tools.rehearsal import World

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_table_of_rollouts_holds_on_the_local_cluster(tmp_path: Path) -> None:
    world = World.make(
        NAME, tmp_path / "state", base=Settings.load({"HALLMARK_ROOT": str(ROOT)}), changes=["rollout.shadow=null"]
    )
    targets, config = {}, serving_config.of(world.domain).reference
    for version in (1, 2, 3, BAD):
        digest = real_model(world.settings.models / NAME / str(version))
        digest = digest if version != BAD else f"sha256:{version:064}"
        uri = f"pvc://models/{NAME}/{version}"
        targets[version] = Target(version=version, storageUri=uri, digest=digest, config=config)
    try:
        writer = world.up()

        def versions() -> frozenset[int]:
            live = writer.live(NAME)
            assert live is not None
            return answering(f"{live['status']['url']}/v2/models/{NAME}/infer")

        assert play(writer, world.domain, targets, mode="Knative", answering=versions) == list(SCENARIO)
    finally:
        world.down()
