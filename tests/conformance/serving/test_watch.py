"""`hallmark watch`, the real process as its pod runs it, on real KServe under load: it promotes one candidate, rolls one back, loses nothing."""

from __future__ import annotations

import pytest

from hallmark.artifacts import release as releases
from hallmark.registry.store import Registry
from tests.conformance import installed
from tests.conformance.serving.serving import Serving
from tests.hallmark.rollout.scenarios import at_rest
from tests.local_cluster.real_model import NAME


@pytest.mark.timeout(600)
def test_the_watch_promotes_a_good_candidate_and_rolls_a_bad_one_back_without_losing_a_request(served: Serving) -> None:
    first, good, bad = served.model(1), served.model(2), served.model(3, backwards=True)
    served.register(first, good, bad)
    with served.at_rest(first) as writer, served.load(rate=40) as load, served.watch():
        served.command("release", NAME, "--candidate", "2", "--percent", "50")
        installed.until(lambda: at_rest(writer, NAME) is not None, what="a promotion", seconds=150)
        promoted = at_rest(writer, NAME)
        assert promoted is not None and (promoted.stable, promoted.previous) == (good, first), served.log()
        served.command("release", NAME, "--candidate", "3", "--percent", "50")
        installed.until(lambda: at_rest(writer, NAME) is not None, what="a roll-back", seconds=150)
        kept = at_rest(writer, NAME)
        assert kept is not None and (kept.stable, kept.previous) == (good, None), served.log()
        assert any("score" in each for each in kept.reasons)
        # The alias followed by itself; release.yaml, which lies in no image, where somebody settles it in a checkout.
        registry = Registry(served.world.settings)
        installed.until(lambda: "champion" in registry.versions(NAME)[1].aliases, what="the alias")
        assert releases.read(NAME, served.world.settings).stable is None
        served.command("settle", NAME)
        assert releases.read(NAME, served.world.settings) == kept.release
    lost = [each for each in load.answers if each.status != 200]
    assert not lost, f"{len(lost)} of {len(load.answers)}: {lost[:5]}"
    assert {each.version for each in load.answers} == {"1", "2", "3"}
