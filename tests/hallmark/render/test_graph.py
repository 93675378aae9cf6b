"""KServe's InferenceGraph of a decision: what its router can carry, and that what it cannot is said."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.cli import main
from hallmark.declaration import domain as domains
from hallmark.declaration.decision import Decision
from hallmark.errors import DeclarationError
from hallmark.render import graph
from hallmark.settings import Settings
from tests import strict
from tests.inference_services.decision.deciding import GRAPH

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
DOMAIN = domains.load("authentication", SETTINGS)


def made(raw: dict[str, Any]) -> graph.Graph:
    return graph.of(DOMAIN.model_copy(update={"decision": Decision.model_validate(raw)}))


def steps(found: graph.Graph, node: str = "root") -> list[dict[str, Any]]:
    return list(found.object["spec"]["nodes"][node]["steps"])


def test_it_keeps_kserves_strict_schema() -> None:
    for found in (graph.of(DOMAIN), made(GRAPH)):
        strict.validator("serving.kserve.io", "InferenceGraph", "v1alpha1").validate(found.object)


def test_a_step_of_several_nodes_is_an_ensemble_and_the_way_on_a_condition_on_its_answers() -> None:
    found = made(GRAPH)
    first, second = steps(found)
    assert (first["nodeName"], first["dependency"]) == ("look", "Hard")
    assert [each["name"] for each in steps(found, "look")] == ["view", "near"]
    assert second["condition"] == 'near.outputs.#(name=="distance").data.#(>=0.5)', "not accepted at under 0.5"
    assert second["data"] == "$request" and second["serviceUrl"].endswith("/v2/models/bags-reviewer/infer")


CONDITIONS: dict[str, tuple[list[dict[str, str]], str | None]] = {
    "always": ([{"to": "review"}], ""),
    "itself": ([{"when": "near.distance > 0.5", "to": "review"}, {"to": "expert"}], '(name=="distance").data.#(>0.5)'),
    "turned": ([{"when": "0.5 > near.distance", "to": "review"}, {"to": "expert"}], '(name=="distance").data.#(<0.5)'),
    "two": ([{"when": "near.distance < 0.5 and view.risk < 0.1", "to": "accept"}, {"to": "review"}], None),
    "an item": ([{"when": "price > 900", "to": "accept"}, {"to": "review"}], None),
    "after two": ([{"when": "near.distance < 0.1", "to": "accept"}, {"when": "view.risk > 0.9", "to": "reject"}, {"to": "review"}], None),
}  # fmt: skip


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_way_on_that_no_path_can_say_is_always_taken_and_told(case: str) -> None:
    routes, wanted = CONDITIONS[case]
    raw = deepcopy(GRAPH)
    if case == "an item":
        routes = [{**routes[0], "when": "item.price > 900"}, routes[1]]
    raw["steps"]["look"]["routes"] = routes
    found = made(raw)
    condition = steps(found)[1].get("condition", "")
    told = any("when it goes on to review" in each for each in found.lost)
    assert (wanted is None) == told
    assert condition.endswith(wanted) if wanted else condition == ""


def test_what_is_lost_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["render", "--graph", "authentication"]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["kind"] == "InferenceGraph"
    for word in ("view.items", "verdicts", "guarantee", "persons", "deadline", "record"):
        assert f"{word}" in err and err.count("lost: ") >= 6
    with pytest.raises(DeclarationError, match="decides nothing"):
        graph.of(domains.load("fraud", SETTINGS))
