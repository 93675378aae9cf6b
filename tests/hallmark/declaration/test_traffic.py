"""A policy that asks for what a cluster's traffic cannot do is refused by lint and at the watch's start, and nowhere else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.declaration.rollout import Rollout
from hallmark.declaration.traffic import ADAPTERS, KNATIVE, LOCAL, STANDARD, TrafficAdapter, beyond
from hallmark.errors import Refused
from hallmark.lint import judge
from hallmark.lint.objects import ClusterOptions
from hallmark.rollout.watch import allowed_of
from hallmark.settings import Settings
from tests.hallmark.rollout.test_operator import World, target, world

__all__ = ["world"]
ROOT = Path(__file__).parents[3]
ASKS = {"mirrors": ("shadow", "shadow={output: score, threshold: 0.5}"), "stands_by": ("warm", "warm=30m")}
"""Each capability that a policy can ask for: the key, and how it asks."""
NEVER_ASKED = {"fails_over"}
NOTHING = ("rollout.shadow=null", "rollout.warm=0s", "rollout.optional=[]")
CAPABILITIES = [each for each, field in TrafficAdapter.model_fields.items() if field.annotation is bool]


def asking(capability: str, *, optional: bool = False) -> Domain:
    key, change = ASKS[capability]
    changes = [*NOTHING, f"rollout.{change}", f"rollout.optional=[{key if optional else ''}]"]
    return domains.overridden(domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)})), changes)


def test_every_capability_is_asked_for_by_a_key_or_by_none() -> None:
    assert set(CAPABILITIES) == set(ASKS) | NEVER_ASKED
    promised = {key for key in Rollout.model_fields if re.search(r"retry|retries|fail_?over", key)}
    assert not promised, "no cluster does it, so no policy asks for it"


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
@pytest.mark.parametrize("capability", ASKS)
def test_what_an_adapter_cannot_do_is_refused_and_nothing_else(
    world: World, capability: str, adapter: TrafficAdapter
) -> None:
    able, key = getattr(adapter, capability), ASKS[capability][0]
    domain = asking(capability)
    assert [found for found, _ in beyond(domain.rollout, adapter)] == ([] if able else [key])
    assert not list(beyond(asking(capability, optional=True).rollout, adapter)), "it does without"
    world.cluster.traffic = adapter
    said: list[str] = []
    if able:
        assert allowed_of({"fraud": domain}, world.cluster, note=said.append) == ["fraud"] and not said  # type: ignore[arg-type]
        return
    with pytest.raises(Refused, match=f"rollout.{key} asks for .*{adapter.name}"):
        allowed_of({"fraud": domain}, world.cluster, note=said.append)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        world.operator(*NOTHING, f"rollout.{ASKS[capability][1]}").begin(target(2))
    assert world.cluster.percent is None, "nothing of it began"


def test_one_domain_that_is_refused_leaves_the_others_watched(world: World) -> None:
    world.cluster.traffic = KNATIVE
    said: list[str] = []
    policies = {"fraud": asking("stands_by", optional=True), "other": asking("mirrors")}
    world.cluster.live = lambda name, live=world.cluster.live: live("fraud")  # type: ignore[method-assign]
    assert allowed_of(policies, world.cluster, note=said.append) == ["fraud"]  # type: ignore[arg-type]
    assert len(said) == 1 and "not watched" in said[0]


@pytest.mark.parametrize("mode", ["Knative", "Standard"])
@pytest.mark.parametrize("capability", ASKS)
def test_lint_refuses_it_for_each_mode(tmp_path: Path, capability: str, mode: str) -> None:
    adapter = next(each for each in ADAPTERS if mode in each.name)
    key = ASKS[capability][0]
    for optional in (False, True):
        found = linted(tmp_path, capability, optional=optional, options=ClusterOptions.model_validate({"mode": mode}))
        refused = [] if optional or getattr(adapter, capability) else [f"rollout.{key}"]
        assert [each.split()[0] for each in found] == refused


def linted(folder: Path, capability: str, *, optional: bool = False, options: ClusterOptions) -> list[str]:
    """What HM708 finds in fraud's declaration with a policy that asks for this."""
    key, change = ASKS[capability]
    data = yaml.safe_load((ROOT / "domains" / "fraud" / "domain.yaml").read_text(encoding="utf-8"))
    data["rollout"] = {"warm": "0s", **yaml.safe_load(change.replace("=", ": ", 1)), "optional": [key] * optional}
    path = folder / "domains" / "fraud" / "domain.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return [each.message for each in judge.lint([path], root=folder, options=options).findings if each.code == "HM708"]


def test_lint_knows_the_mode_of_each_environment_from_its_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests" / "clusters", tmp_path / "manifests" / "clusters")
    told = linted(tmp_path, "stands_by", options=ClusterOptions())
    assert told == [f"rollout.warm asks for a standby of 30m, and {STANDARD.name} keeps none (staging)"]
    told = linted(tmp_path, "mirrors", options=ClusterOptions())
    assert len(told) == 1 and all(f"({name})" in told[0] for name in ("dev", "production"))


def test_the_declared_policies_fit_every_environment_and_the_local_cluster() -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    for each in [domains.load(name, settings) for name in domains.names(settings)]:
        for adapter in ADAPTERS:
            assert not list(beyond(each.rollout, adapter)), each.name
        assert each.rollout.shadow is not None and LOCAL.mirrors
