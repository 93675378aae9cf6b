"""Declarations that cannot work: one mistake planted in a working one is refused by its reason, with the fix, wherever it is read."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hallmark.cli import main
from hallmark.declaration import contradictions
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
GONE = object()

RETRIEVAL = {"corpus": "orders@1", "filters": ["category"], "words": ["category"]}


class Planted(NamedTuple):
    """In which domain, which keys are changed, which key is named, and what is said: the reason, and the fix."""

    domain: str
    changes: dict[str, Any]
    key: str
    reason: str
    fix: str


PLANTED = {
    "a promise that nothing answers": Planted(
        "fraud",
        {"drift.labels.promise": 0.8},
        "drift.labels.promise",
        "a binary task without task.quantiles answers none",
        "take it away",
    ),
    "a promise beyond the quantiles": Planted(
        "pricing",
        {"drift.labels.promise": 0.9},
        "drift.labels.promise",
        "task.quantiles hold 0.8 at their best",
        "write less, or quantiles further apart",
    ),
    "a metric of another task": Planted(
        "pricing",
        {"gate.metric": "roc_auc"},
        "gate.metric",
        "regression task has no metric 'roc_auc'",
        "choose one of mean_",
    ),
    "a floor of a metric that is counted at other places": Planted(
        "search",
        {"gate.floors": {"recall@5": 0.1}},
        "gate.floors.recall@5",
        "no metric 'recall@5'",
        "choose one of ndcg@10",
    ),
    "scores in shadow without a threshold": Planted(
        "fraud",
        {"rollout.shadow.threshold": GONE},
        "rollout.shadow",
        "two scores would have to be equal to the last bit",
        "declare the threshold",
    ),
    "a threshold for classes": Planted(
        "listing",
        {"rollout.shadow.threshold": 0.5},
        "rollout.shadow",
        "threshold says nothing about a multiclass answer",
        "take it away",
    ),
    "a tolerance for scores": Planted(
        "fraud",
        {"rollout.shadow.tolerance": 0.1},
        "rollout.shadow",
        "tolerance says nothing about a binary answer",
        "take it away and declare threshold instead",
    ),
    "an overlap of prices": Planted(
        "pricing",
        {"rollout.shadow.overlap": 0.8, "rollout.shadow.tolerance": GONE},
        "rollout.shadow",
        "overlap says nothing about a regression answer",
        "declare tolerance instead",
    ),
    "a ranking without queries": Planted(
        "search", {"data.query": GONE}, "data.query", "ranking task cannot be learnt without it", "name the column"
    ),
    "a retrieval without items": Planted(
        "recommendations",
        {"data.item": GONE},
        "data.item",
        "retrieval task cannot be learnt without it",
        "name the column",
    ),
    "an uplift without treatments": Planted(
        "marketing",
        {"data.treatment": GONE},
        "data.treatment",
        "uplift task cannot be learnt without it",
        "name the column",
    ),
    "an uplift without propensities": Planted(
        "marketing",
        {"data.propensity": GONE},
        "data.propensity",
        "whom somebody chose is taken for what the treatment did",
        "or where all were drawn by one lot",
    ),
    "a lot for more treatments than there are": Planted(
        "marketing",
        {"data.propensity": [0.3, 0.3]},
        "data.propensity",
        "one for each of task.treatments",
        "write those",
    ),
    "a policy without costs": Planted(
        "marketing",
        {"task.cost": []},
        "task.cost",
        "policy.budget counts what treatments cost",
        "write a cost for each treatment",
    ),
    "a policy of another task": Planted(
        "fraud",
        {"policy": {"budget": 1}},
        "policy",
        "a binary task has none",
        "take it away",
    ),
    "a cap by month that nobody counts": Planted(
        "marketing",
        {"policy.messages": GONE},
        "policy.caps.month",
        "policy.messages names no column",
        "name one",
    ),
    "a bound that nobody reads": Planted(
        "fraud",
        {"data.censored": "pending"},
        "data.censored",
        "a binary task never reads",
        "take it away, or declare another task",
    ),
    "quantiles that fall": Planted(
        "pricing",
        {"task.quantiles": [0.9, 0.5, 0.1]},
        "task.regression.quantiles",
        "rising quantiles",
        r"such as \[0.1, 0.5, 0.9\]",
    ),
    "a floor that nothing reaches": Planted(
        "fraud", {"gate.floor": 1.5}, "gate.floor", "average_precision never reaches 1.5", "write a number up to 1"
    ),
    "an error below nothing": Planted(
        "pricing", {"gate.floor": -1}, "gate.floor", "pinball_loss is never below 0", "write a number above 0"
    ),
    "the coverage of a band that is not there": Planted(
        "pricing",
        {"task.quantiles": GONE, "gate.metric": "mean_absolute_error"},
        "gate.floors.interval_coverage",
        "no metric 'interval_coverage'",
        "choose one of mean_absolute_error",
    ),
    "a range the wrong way round": Planted(
        "pricing",
        {"gate.floors.interval_coverage": [0.83, 0.77]},
        "gate.floors.interval_coverage",
        "no number is from 0.83 to 0.77",
        "write the smaller one first",
    ),
    "a floor of what is better neither high nor low": Planted(
        "pricing",
        {"gate.floors.interval_coverage": 0.8},
        "gate.floors.interval_coverage",
        "neither better high nor low",
        r"write a range such as \[0.77, 0.83\]",
    ),
    "a gate on what is better neither high nor low": Planted(
        "fraud",
        {"gate.metric": "positive_share"},
        "gate.metric",
        "neither better high nor low",
        "put a range of it into gate.floors",
    ),
    "a deadline before the last stage": Planted(
        "fraud",
        {"rollout.deadline": "15m"},
        "rollout.deadline",
        "no candidate would ever be promoted",
        "lengthen the deadline or shorten the dwell",
    ),
    "labels that come after the deadline": Planted(
        "fraud",
        {"rollout.labels.required": True},
        "rollout.labels.required",
        "every candidate would be rolled back",
        "lengthen the deadline, or do not require them",
    ),
    "the label as a slice": Planted(
        "fraud",
        {"gate.slices.columns": ["payment", "fraud"]},
        "gate.slices.columns",
        "in a slice with one answer average_precision cannot be told",
        "slice by what is known before the answer",
    ),
    "a query that is the label": Planted(
        "search",
        {"data.query": "clicked"},
        "data.query",
        "data.query and data.label are both clicked",
        "name another column",
    ),
    "yes and no of a ranking": Planted(
        "search",
        {"rollout.labels": {"costs": {"false_negative": 1.0, "false_positive": 0.1}}},
        "rollout.labels.costs",
        "prices yes and no apart, and a ranking answer is neither",
        "give both the same",
    ),
    "retrieval of a task that answers with no items": Planted(
        "fraud",
        {"retrieval": RETRIEVAL},
        "retrieval",
        "retrieval answers with items, and a binary task with something else",
        "take it away, or declare task",
    ),
    "fewer items in an answer than are judged": Planted(
        "search",
        {"retrieval": {**RETRIEVAL, "k": 5}},
        "retrieval.k",
        "retrieval.k is 5, and task.k judges 10 items",
        "make it at least 10",
    ),
    "an encoder of the domain itself by version": Planted(
        "search",
        {"retrieval": {**RETRIEVAL, "encoder": "search@3"}},
        "retrieval.encoder",
        "a version of this domain itself",
        "write own",
    ),
    "an encoder that is trained and never asked": Planted(
        "recommendations",
        {"retrieval": {**RETRIEVAL, "encoder": "search@3"}},
        "retrieval.encoder",
        "a retrieval task trains an encoder, which nothing would ask",
        "write own",
    ),
    "more items answered than retrieved": Planted(
        "search",
        {"retrieval": {**RETRIEVAL, "candidates": 5}},
        "retrieval",
        "candidates are 5 and k is 10",
        "retrieve at least what is answered",
    ),
    "a floor at a selectivity that nothing makes": Planted(
        "search",
        {"retrieval": {"corpus": "orders@1", "floors": {"1%": 0.9}}},
        "retrieval",
        "floors has 1% and nothing filters",
        "name columns in filters",
    ),
    "changes of an index that others keep": Planted(
        "search",
        {"retrieval": {"corpus": "orders@1", "fresh": "1s", "backend": "qdrant"}},
        "retrieval",
        "not followed into qdrant",
        "take fresh away",
    ),
}


def declared(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "domains" / name / "domain.yaml").read_text(encoding="utf-8")))


def changed(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(raw)
    for key, value in changes.items():
        *parents, last = key.split(".")
        inner = made
        for parent in parents:
            inner = inner.setdefault(parent, {})
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    return made


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one's own, which the environment names."""
    (tmp_path / "domains").mkdir()
    for key, value in {"HALLMARK_ROOT": tmp_path, "HALLMARK_STATE": tmp_path / "state", "COLUMNS": "400"}.items():
        monkeypatch.setenv(key, str(value))
    return tmp_path


def write(checkout: Path, name: str, raw: dict[str, Any]) -> Path:
    path = checkout / "domains" / name / "domain.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


planted = pytest.mark.parametrize("mistake", PLANTED.values(), ids=list(PLANTED))


def test_there_is_a_working_declaration_of_every_task() -> None:
    kinds = {name: Domain.model_validate(declared(name)).task.kind for name in domains.names(Settings.load())}
    assert set(kinds.values()) == {"binary", "multiclass", "regression", "ranking", "retrieval", "uplift"}
    assert {each.domain for each in PLANTED.values()} < set(kinds)


@planted
def test_a_planted_mistake_is_refused_with_its_reason_and_the_fix(mistake: Planted) -> None:
    with pytest.raises(ValueError, match=re.escape(mistake.reason)) as refused:
        Domain.model_validate(changed(declared(mistake.domain), mistake.changes))
    assert re.search(mistake.fix, str(refused.value))


@planted
def test_the_command_line_refuses_it_and_names_the_key(
    mistake: Planted, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout, mistake.domain, changed(declared(mistake.domain), mistake.changes))
    assert main(["domains", mistake.domain]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"domains/{mistake.domain}/domain.yaml: {mistake.key}" in said
    assert mistake.reason in said and re.search(mistake.fix, said)


@planted
def test_lint_finds_it_at_the_line_of_its_key(
    mistake: Planted, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(checkout, mistake.domain, changed(declared(mistake.domain), mistake.changes))
    assert main(["lint", str(path)]) == 3
    out = capsys.readouterr().out
    found = re.search(rf"domain\.yaml:(\d+):\d+: error HM701 {re.escape(mistake.key)}: (.*)", out)
    assert found is not None, out
    assert mistake.reason in found[2] and re.search(mistake.fix, found[2])
    line = path.read_text(encoding="utf-8").splitlines()[int(found[1]) - 1]
    assert line.strip().partition(":")[0] in mistake.key  # the key itself, or what it is missing from


def test_every_contradiction_is_told_at_once(tmp_path: Path) -> None:
    raw = changed(
        declared("search"), {"data.query": GONE, "data.item": "item_id", "gate.floor": 2, "gate.metric": "mrr"}
    )
    with pytest.raises(DeclarationError) as refused:
        domains.parse(write(tmp_path, "search", raw), shown="domains/search/domain.yaml")
    said = str(refused.value)
    for key in ("data.query", "data.item", "gate.floor"):
        assert f"domains/search/domain.yaml: {key}" in said
    assert refused.value.exit_code == 2 and said.count("expected") == 3


@pytest.mark.parametrize("name", ["listing"])
def test_a_reviewer_that_nobody_asks_is_a_warning(
    name: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(checkout, name, declared(name))
    assert main(["domains", name, "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["name"] == name
    assert f"warning: domains/{name}/domain.yaml: reviewer: {name}-reviewer is deployed and no decision" in err
    assert "take it away until one does" in err
    assert main(["domains"]) == 0 and "warning: " in capsys.readouterr().err
    assert main(["lint", str(path)]) == 0
    assert re.search(r"domain\.yaml:\d+:1: warning HM707 reviewer: ", capsys.readouterr().out)
    assert main(["lint", "--strict", str(path)]) == 3


def test_a_declaration_without_a_reviewer_warns_of_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(checkout, "fraud", declared("fraud"))
    assert main(["domains", "fraud"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert list(contradictions.warnings(Domain.model_validate(declared("fraud")))) == []
