"""The section `decision:`: what it refuses when it is read, and the ways through its graph."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import create_model

from hallmark.declaration import decision_paths
from hallmark.declaration.decision import Decision, available
from hallmark.errors import DeclarationError
from hallmark.section import validated

ROOT = Path(__file__).parents[3]
GOOD = ROOT / "tests/hallmark/lint/fixtures/HM757-endless-decision/good/domain.yaml"
RAW = yaml.safe_load(GOOD.read_text(encoding="utf-8"))["decision"]


def changed(change: Callable[[Any], object]) -> Any:
    raw = copy.deepcopy(RAW)
    change(raw)
    return raw


def setting(value: object, *path: str | int) -> Callable[[Any], object]:
    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        raw[path[-1]] = value

    return change


def test_it_is_read_and_written_alike() -> None:
    found = Decision.model_validate(RAW)
    assert Decision.model_validate(found.model_dump(mode="json", exclude_unset=True)) == found
    assert found.persons == ("expert",)
    assert found.fallback_of("view") == "expert" and found.fallback_of("expert") == "refuse"
    assert decision_paths.faults(found) == []
    assert available(found) == {"look": frozenset(), "ask": {"view"}}


@pytest.mark.parametrize(
    ("change", "key", "said", "fix"),
    [
        (setting("accept", "nodes", "view", "fallback"), "nodes.view", "vouches for nothing", "write a person"),
        (setting("nobody", "nodes", "view", "fallback"), "nodes.view.fallback", "nobody", "name another step"),
        (setting("ask", "fallback", "to"), "fallback.to", "is ask", "name a node of kind person"),
        (setting("view", "steps", "look", "routes", 2, "to"), "steps.look.routes.2.to", "no such thing", "name one of"),
        (setting("view.counterfiet > 1", "steps", "look", "routes", 1, "when"), "routes.1.when", "view.counterfiet", "mend"),
        (setting("price > 10", "steps", "look", "routes", 1, "when"), "routes.1.when", "got price (write item.price)", "mend"),
        (setting("10 < counterfeit", "steps", "look", "routes", 1, "when"), "routes.1.when", "(write view.counterfeit)", "mend"),
        (setting("prize > 10", "steps", "look", "routes", 1, "when"), "routes.1.when", "got prize", "mend"),
        (setting('reviewer.verdict == "x"', "steps", "look", "routes", 1, "when"), "routes.1.when", "reviewer.verdict", "mend"),
        (setting(["view", "expert"], "steps", "look", "ask"), "steps.look.ask", "expert is no service", "name some of view"),
        (setting(["view", "view"], "steps", "look", "ask"), "steps.look.ask", "asked twice", "once"),
        (setting("nowhere", "start"), "start", "no step", "name one of look, ask"),
        (setting(["colour"], "risk", "false_authentic", "slices"), "slices", "colour is no text", "name some"),
        (setting("view.sure", "risk", "false_authentic", "score"), "score", "no number", "node.output"),
        (setting(0.9, "risk", "false_authentic", "at_most"), "at_most", "less than 0.5", ""),
        (setting({"brand": "text"}, "item"), "costs.price", "no number of item", "name one"),
        (setting(6, "nodes", "view", "minutes"), "nodes.view", "minutes is no key of a node of kind model", "take it away"),
        (setting("bags", "nodes", "expert", "service"), "nodes.expert", "service is no key of a node of kind person", "take"),
        (setting(["photos", "reviewer.verdict"], "nodes", "view", "reads"), "nodes.view.reads", "nobody has answered", "read what"),
        (setting("0s", "nodes", "view", "timeout"), "nodes.view", "no answer comes in time", "write more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_key_and_the_fix(
    change: Callable[[Any], object], key: str, said: str, fix: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        validated(Decision, changed(change), "domain.yaml")
    text = str(caught.value)
    assert key in text and said in text and fix in text and "got:" in text and "expected:" in text


def test_a_key_is_told_once() -> None:
    raw = {"decision": changed(setting(["photos", "reviewer.verdict"], "nodes", "view", "reads"))}
    with pytest.raises(DeclarationError) as caught:
        validated(create_model("Deciding", decision=(Decision, ...)), raw, "domain.yaml")
    assert caught.value.message == "domain.yaml: decision.nodes.view.reads"
    assert caught.value.got == "nobody has answered reviewer.verdict whenever step look comes"


def test_a_graph_that_comes_back_to_itself_is_told_and_not_followed() -> None:
    found = Decision.model_validate(changed(setting("look", "steps", "ask", "routes", 1, "to")))
    assert {each.fault for each in decision_paths.faults(found)} == {"endless"}


def test_a_step_behind_a_failed_node_cannot_read_its_answer() -> None:
    raw = changed(setting("ask", "nodes", "view", "fallback"))
    raw["nodes"]["reviewer"]["reads"] = ["photos"]
    found = Decision.model_validate(raw)
    assert available(found)["ask"] == frozenset()
    raw["steps"]["ask"]["routes"][0]["when"] = "view.counterfeit > 0.5"
    with pytest.raises(ValueError, match=r"expected one of item.brand, item.price, reviewer.verdict"):
        Decision.model_validate(raw)


@pytest.mark.parametrize(
    ("when", "taken", "left"),
    [
        ("view.counterfeit < 0.5", None, None),
        ("not view.counterfeit >= 0.5 or view.counterfeit <= 0.7", None, None),
        ('view.counterfeit < 0.5 and (item.price < 100 or item.brand in ["Alma", "Brio"])', None, None),
        ("view.counterfeit > 0.005", "0.4775", "0"),
        ("view.counterfeit >= 0 and view.counterfeit < 0.5", None, None),
        ("view.counterfeit < 0.3 and view.counterfeit != 0", "0.15", "0"),
        ("0.2 <= view.counterfeit and view.counterfeit < 0.3", "0.2", "0"),
        ("not (view.counterfeit < 0.1 and item.price > 900)", "0.1", "0"),
        ("view.counterfeit >= item.price", "0.95", "0"),
    ],
)
def test_a_score_is_accepted_only_with_all_that_are_lower(when: str, taken: str | None, left: str | None) -> None:
    raw = changed(setting(when, "steps", "look", "routes", 0, "when"))
    found = decision_paths.faults(Decision.model_validate(raw))
    assert [(each.fault, each.path) for each in found] == (
        [("unproven", ("steps", "look", "routes", 0))] if taken else []
    )
    assert taken is None or f"of {taken} and not one of {left}," in found[0].text


def test_a_later_step_may_accept_what_an_earlier_one_did_not() -> None:
    raw = changed(setting("view.counterfeit < 0.1", "steps", "look", "routes", 0, "when"))
    raw["steps"]["ask"]["routes"].insert(0, {"when": 'reviewer.verdict == "authentic"', "to": "accept"})
    assert decision_paths.faults(Decision.model_validate(raw)) == []
    raw["steps"]["look"]["routes"][0]["to"] = "expert"
    (found,) = decision_paths.faults(Decision.model_validate(raw))
    assert (found.fault, found.path) == ("unproven", ("steps", "ask", "routes", 0)), "low ones are left to people"


def test_who_is_offered_to_a_person_may_be_accepted_too() -> None:
    """What is not worth the person's minutes is decided without one."""
    raw = changed(
        setting([{"when": "view.counterfeit < 0.02", "to": "reject"}, {"to": "expert"}], "steps", "look", "routes")
    )
    raw["explore"] = 0.0
    del raw["steps"]["ask"], raw["nodes"]["reviewer"]
    found = decision_paths.faults(Decision.model_validate(raw))
    assert [(each.fault, each.path) for each in found] == [
        ("unwatched", ("explore",)),
        ("unproven", ("steps", "look", "routes", 1)),
    ]
    raw["steps"]["look"]["routes"] = [{"to": "expert"}]
    assert [each.fault for each in decision_paths.faults(Decision.model_validate(raw))] == ["unwatched"]


def test_of_many_conditions_some_items_are_tried() -> None:
    fields = {f"f{at}": "number" for at in range(12)}
    raw = changed(lambda raw: raw["item"].update(fields))
    raw["steps"]["look"]["routes"][0]["when"] = " or ".join(f"item.{name} > {at}" for at, name in enumerate(fields))
    began = time.perf_counter()
    assert decision_paths.faults(Decision.model_validate(raw)) == []
    raw["steps"]["look"]["routes"][0]["when"] += " and view.counterfeit > 0.1"
    assert {each.fault for each in decision_paths.faults(Decision.model_validate(raw))} == {"unproven"}
    assert time.perf_counter() - began < 10


def test_who_accepts_has_a_person_who_looks() -> None:
    raw = changed(setting(0.0, "explore"))
    (found,) = decision_paths.faults(Decision.model_validate(raw))
    assert (found.fault, found.path) == ("unwatched", ("explore",))
    text = json.dumps(RAW).replace("expert", "refuse")
    raw = json.loads(text)
    del raw["nodes"]["refuse"]
    (found,) = decision_paths.faults(Decision.model_validate(raw))
    assert (found.fault, found.path) == ("unwatched", ("nodes",))
    raw["steps"]["look"]["routes"][0] = {"when": "view.counterfeit < 0.5", "to": "refuse"}
    assert decision_paths.faults(Decision.model_validate(raw)) == [], "who accepts nothing needs nobody"


@pytest.mark.parametrize(("key", "value"), [("capacity", 0), ("sla", "0s")])
def test_a_person_without_minutes_or_time_is_told_and_what_has_one_can_be_read(key: str, value: object) -> None:
    found = Decision.model_validate(changed(setting(value, "nodes", "expert", key)))
    assert [(each.fault, each.path) for each in decision_paths.faults(found)] == [("idle", ("nodes", "expert", key))]


def test_persons_that_stand_in_for_each_other_are_an_endless_way() -> None:
    raw = changed(setting("second", "nodes", "expert", "fallback"))
    raw["nodes"]["second"] = {"kind": "person", "capacity": 60, "fallback": "expert"}
    assert {each.fault for each in decision_paths.faults(Decision.model_validate(raw))} == {"endless"}


def test_the_example_of_the_page_is_a_declaration_that_nothing_is_wrong_with() -> None:
    page = (ROOT / "docs/decision.md").read_text(encoding="utf-8")
    raw = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    found = Decision.model_validate(raw["decision"])
    assert decision_paths.faults(found) == []
    assert len(found.steps) == 2 and found.persons == ("expert",)
