"""Texts that a declaration may hold stay texts in what is rendered, whatever is in them: nothing breaks, nothing is injected."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.domain import Domain
from hallmark.declaration.drift import Freshness
from hallmark.render import inferenceservice, monitoring, reviewer, tenant
from hallmark.render.manifest import text
from hallmark.settings import Settings
from hallmark.templates import ROOT
from hallmark.training.distributed_job import train_job

SETTINGS = Settings.load()
DECLARED = [domains.load(name, SETTINGS) for name in domains.names(SETTINGS)]
REVIEWED = next(domain for domain in DECLARED if domain.reviewer and domain.training.nodes > 1)
MARK = "zz9mark"


def holding(words: str) -> Domain:
    """A domain with all that there is, whose free texts are these words."""
    assert REVIEWED.reviewer is not None
    freshness = Freshness.model_validate({"column": words, "limit": "5m"})
    return REVIEWED.model_copy(
        update={
            "owner": REVIEWED.owner.model_copy(update={"team": words, "contact": words, "members": (words,)}),
            "reviewer": REVIEWED.reviewer.model_copy(update={"model": words, "served_name": words}),
            "drift": REVIEWED.drift.model_copy(update={"freshness": freshness}),
        }
    )


def rendered(domain: Domain, words: str) -> list[Any]:
    return [
        *tenant.objects(domain, DECLARED),
        *monitoring.objects(domain),
        *reviewer.objects(domain),
        *inferenceservice.disruption(domain),
        train_job(domain, words, image=f"r/{words}", arguments={"--domain": words}),
    ]


EXPECTED = json.dumps(rendered(holding(MARK), MARK))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example("a: b # \"c\" 'd'\n- e\n---\nkind: ClusterRole\n{{ f }} <{ g }> <% h %> }> \\ %")
@example("x\n  annotations: {injected: yes}")
@example("\x85\u2028\u2029\ufeff\x7f\t")
@example("yes")
@example("1e5")
@settings(max_examples=25, deadline=None)
def test_an_odd_text_of_a_declaration_stays_a_text(words: str) -> None:
    assert rendered(holding(words), words) == json.loads(EXPECTED.replace(MARK, json.dumps(words)[1:-1]))


def test_what_a_server_and_its_monitor_are_told_is_its_declaration_word_for_word() -> None:
    odd = holding('a: "b"\n#c')
    config = inferenceservice.config_map(odd)
    assert config["data"]["serving.json"] == serving_config.of(odd).text
    assert text([config])


def test_templates_name_their_own_files_and_every_one_is_used() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/templates/**/*.yaml")}
    code = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py"))
    loose = {name for name in found if name.rpartition("/")[2].removesuffix(".yaml") not in re.findall(r"[\w-]+", code)}
    assert len(found) > 10 and not loose
