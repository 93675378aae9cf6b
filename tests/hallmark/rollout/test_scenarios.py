"""The table of rollouts on the local cluster in each of its modes, under load; tests/conformance/serving holds a real one to it too."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from hallmark.artifacts.release import Target
from hallmark.declaration import serving_config
from hallmark.declaration.traffic import ADAPTERS, TrafficAdapter
from hallmark.rollout.writer import mode_of
from hallmark.settings import Settings
from tests.hallmark.rollout.scenarios import BAD, SCENARIO, play
from tests.local_cluster.real_model import NAME, answering, real_model, request
from tools.rehearsal import World
from tools.traffic import Traffic, near

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.option)
def test_the_table_of_rollouts_holds_on_the_local_cluster_in_each_mode(tmp_path: Path, adapter: TrafficAdapter) -> None:
    world = World.make(
        NAME, tmp_path / "state", base=Settings.load({"HALLMARK_ROOT": str(ROOT)}), changes=["rollout.shadow=null"]
    )
    load: list[Traffic] = []
    targets, config = {}, serving_config.of(world.domain).reference
    for version in (1, 2, 3, BAD):
        digest = real_model(world.settings.models / NAME / str(version))
        digest = digest if version != BAD else f"sha256:{version:064}"
        uri = f"pvc://models/{NAME}/{version}"
        targets[version] = Target(version=version, storageUri=uri, digest=digest, config=config)
    try:
        writer = world.up(adapter)

        def versions() -> frozenset[int]:
            live = writer.live(NAME)
            assert live is not None
            url = f"{near(live)}/v2/models/{NAME}/infer"
            if not load:  # from the first version on
                load.append(stack.enter_context(Traffic(url, [request(each) for each in range(100)], rate=30)))
            return answering(url)

        with contextlib.ExitStack() as stack:
            assert play(writer, world.domain, targets, mode=None, answering=versions) == list(SCENARIO)
        lost = [each for each in load[0].answers if each.status != 200]
        assert not lost, f"{len(lost)} of {len(load[0].answers)}: {lost[:5]}"
        assert {"1", "2", "3"} == {each.version for each in load[0].answers}
        live = writer.live(NAME)
        assert live is not None and mode_of(live) == adapter.mode, "nobody named a mode: it is the cluster's"
    finally:
        world.down()
