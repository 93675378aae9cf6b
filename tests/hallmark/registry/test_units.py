"""From a registered version to a service that decides: sealed by `hallmark decision seal`, rendered, loaded, answering; and refused where a part is another."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from domains.authentication.features import FIELDS
from hallmark.artifacts import release
from hallmark.artifacts.folder import seal as seal_folder
from hallmark.artifacts.references import References
from hallmark.artifacts.release import Release, Target
from hallmark.artifacts.signature import Signature
from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.cli import main
from hallmark.cli.decision import remind
from hallmark.decision import record, unit
from hallmark.decision import share as shares
from hallmark.decision.candidate import CandidateVerdict, CostComparison
from hallmark.decision.share import Stop
from hallmark.decision.unit import Unit
from hallmark.declaration import domain as domains
from hallmark.declaration.decision import Decision
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError, ModelRefused, NotFound, Refused, TimedOut
from hallmark.features.fields import Output
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.registry import unit_prompts, units
from hallmark.registry.prompts import PromptRegistry, registered
from hallmark.registry.store import CHAMPION, Registry
from hallmark.render import decision as rendered
from hallmark.render import reviewer as reviewers
from hallmark.rollout import decision_units
from hallmark.rollout.history import History
from hallmark.rollout.timeline import Timeline
from hallmark.settings import Settings
from hallmark.tasks.binary import Binary
from inference_services.decision import server
from inference_services.decision.__main__ import main as serve
from inference_services.decision.rest import DecisionRest
from inference_services.transport.http1 import Http1Connection, HttpResponse
from tests.hallmark.registry.conftest import model_card
from tests.inference_services.decision.deciding import ToyNode, answer, outputs
from tests.inference_services.transport.toys import Toy

ROOT = Path(__file__).parents[3]
DOMAIN, PROMPT = "authentication", "authentication-review"
HELD = SliceThreshold(values=("Aurelle", "handbag"), threshold=0.2, examples=4000, accepted=900, counterfeits=3)
THRESHOLDS = Thresholds(
    score="view.score",
    at_most=0.01,
    confidence=0.95,
    fields=("brand", "category"),
    slices=(HELD,),
    scores=(0.0, 0.5, 1.0),
    chances=(0.001, 0.3, 0.99),
)
NOWHERE = THRESHOLDS.model_copy(update={"slices": (HELD.model_copy(update={"threshold": None}),)})
WITH, WITHOUT, NONE_HOLDS = 1, 2, 3
"""Versions: whose thresholds accept something, from before there were any, and where no score keeps the risk."""
Capsys = pytest.CaptureFixture[str]


def register(registry: Registry, folder: Path, thresholds: Thresholds | None) -> None:
    folder.mkdir()
    (folder / "model.onnx").write_text(folder.name)
    (folder / "features.py").write_text("FIELDS = ()\n")
    score = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    found = References(id="item_id", photos="photos", vector="embedding", same=("brand", "category"))
    signature = Signature(domain=DOMAIN, task=Binary(), fields=FIELDS, outputs=(score,), references=found)
    (folder / "signature.json").write_text(signature.model_dump_json())
    card = model_card(seal_folder(folder), DOMAIN).model_copy(update={"thresholds": thresholds})
    registry.register(folder, card)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Path:
    """A registry with three versions, the first one champion, and the prompt; for reading only."""
    place = tmp_path_factory.mktemp("units")
    found = place / "state"
    found.mkdir()
    shutil.copyfile(empty_registry, found / "mlflow.db")
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(found)})
    registry = Registry(settings)
    for number, thresholds in enumerate((THRESHOLDS, None, NOWHERE), 1):
        register(registry, place / f"version-{number}", thresholds)
    registry.alias(DOMAIN, CHAMPION, WITH)
    sealed.seal(place / "prompt", prompts.load(ROOT / "prompts", PROMPT))
    PromptRegistry(settings).register(place / "prompt")
    registry.alias(registered(PROMPT), CHAMPION, 1)
    return found


@pytest.fixture
def settings(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A checkout whose releases are this test's own."""
    (tmp_path / "domains").symlink_to(ROOT / "domains")
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (tmp_path / "inference_services").mkdir()
    found = Settings.load({"HALLMARK_ROOT": str(tmp_path), "HALLMARK_STATE": str(state)})
    for key, value in {**found.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(key, value)
    return found


@pytest.fixture
def domain(settings: Settings) -> Domain:
    return domains.load(DOMAIN, settings)


def changed(domain: Domain, **more: Any) -> Domain:
    """The domain with other keys of its decision."""
    assert domain.decision is not None
    raw = domain.decision.model_dump(mode="json")
    return domain.model_copy(update={"decision": Decision.model_validate({**raw, **more})})


def retrieving(domain: Domain, *, service: str) -> Domain:
    """The domain with a node that another service answers."""
    assert domain.decision is not None
    raw = domain.decision.model_dump(mode="json")
    near = {
        "kind": "retrieve",
        "service": service,
        "reads": ["photos"],
        "outputs": {"ids": "texts"},
        "fallback": "expert",
    }
    look = {**raw["steps"]["look"], "ask": ["view", "near"]}
    return changed(domain, nodes={**raw["nodes"], "near": near}, steps={**raw["steps"], "look": look})


class Serving(Toy):
    """The service of the unit in a folder, made as its process makes it, with a view model that answers as `version` with `score`."""

    def __init__(self, place: Path, records: Path) -> None:
        self.view = ToyNode({})
        nobody = "http://127.0.0.1:1"
        nodes = {"view": [f"http://{self.view.address}"], "reviewer": [nobody]}
        options = server.DecisionOptions(name=DOMAIN, nodes=nodes, records=records, cases=records / "cases.jsonl")
        made = server.served(options, unit.read(place, expected=None))
        self.service, self._clients = made.service, made.clients
        super().__init__()

    def protocol(self) -> asyncio.Protocol:
        """The protocol object of one client."""
        return Http1Connection(self.endpoint, DecisionRest(self.service, name=DOMAIN, limit=self.limits.body))

    def ask(self, *, score: float = 0.01, version: str = "1") -> dict[str, Any]:
        """The verdict on one bag."""
        self.view.behave = lambda _: HttpResponse(200, answer({"score": [score], "items": ["i7"]}, version=version))
        facts = {"price": 30.0, "brand": "Aurelle", "category": "handbag"}
        inputs: list[dict[str, Any]] = [
            {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
            for name, value in facts.items()
        ]
        inputs.append({"name": "photos", "shape": [1, 1], "datatype": "BYTES", "data": ["aGk="]})
        url = f"http://{self.address}/v2/models/{DOMAIN}/infer"
        return outputs(httpx.post(url, json={"inputs": inputs}, trust_env=False, timeout=20))

    def stop(self) -> None:
        """End it and its node."""
        for client in self._clients:
            self.loop.call_soon_threadsafe(client.close)
        super().stop()
        self.view.stop()


@pytest.fixture
def serving(settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """Makes the service of a folder; all end with the test."""
    made: list[Serving] = []

    def started(place: Path) -> Serving:
        made.append(Serving(place, tmp_path / f"records-{len(made)}"))
        return made[-1]

    yield started
    for each in made:
        each.stop()


def test_a_version_is_sealed_where_it_is_looked_for_and_the_service_decides_by_it(
    settings: Settings, domain: Domain, serving: Any, capsys: Capsys
) -> None:
    assert main(["decision", "seal", DOMAIN, "-o", "json"]) == 0
    told = capsys.readouterr()
    (row,) = json.loads(told.out)
    assert (row["slices"], row["with_threshold"]) == (1, 1)
    assert "no domain here" not in told.err, "every node is served beside the decision"
    place = unit.place(DOMAIN, settings)
    found = unit.read(place, expected=row["unit"])
    assert (found.decision, found.thresholds) == (domain.decision, THRESHOLDS)
    registry = Registry(settings)
    prompt = PromptRegistry(settings).fetch(PROMPT, 1)
    assert {name: (part.version, part.digest) for name, part in found.parts.items()} == {
        "view": ("1", registry.resolve(DOMAIN, 1).digest),
        "reviewer": (prompt.version, prompt.digest),
    }
    config, *_ = rendered.decision_service(domain, settings)
    assert set(config["data"]) == set(unit.FILES)

    service = serving(place)
    accepted = service.ask()
    assert (accepted["action"], accepted["threshold"]) == ("accept", 0.2)
    assert service.ask(version="2")["action"] == "person", "a threshold holds of the version that it was made for"
    assert service.ask(score=0.9)["action"] == "person", "nobody reviews it, and an expert looks"


def test_a_flipped_byte_is_refused_and_sealing_again_mends_it(settings: Settings, capsys: Capsys) -> None:
    assert main(["decision", "seal", DOMAIN]) == 0
    place = unit.place(DOMAIN, settings)
    good = {path.name: path.read_bytes() for path in place.iterdir()}
    path = place / "thresholds.json"
    flipped = bytearray(path.read_bytes())
    flipped[flipped.index(b"0.2")] ^= 1
    path.write_bytes(flipped)
    capsys.readouterr()
    assert serve([f"--unit={place}", f"--records={settings.releases / 'records'}"], {}) == 3
    assert main(["decision", "show", DOMAIN]) == 3
    assert capsys.readouterr().err.count("thresholds.json of the model was changed") == 2
    assert main(["decision", "seal", DOMAIN]) == 0
    assert {path.name: path.read_bytes() for path in place.iterdir()} == good
    assert {path.name for path in place.parent.iterdir()} == {unit.FOLDER, unit_prompts.FOLDERS}, "no draft is left"


def test_where_no_score_keeps_the_risk_it_says_so_and_people_decide(
    tmp_path: Path, settings: Settings, serving: Any, capsys: Capsys
) -> None:
    out = tmp_path / "out"
    assert main(["decision", "seal", DOMAIN, "--version", str(NONE_HOLDS), "--out", str(out)]) == 0
    assert "NO_THRESHOLD in all of 1 slices: each item goes to a person" in capsys.readouterr().err
    assert not unit.place(DOMAIN, settings).exists()
    assert serving(out).ask(version=str(NONE_HOLDS))["action"] == "person"
    assert main(["decision", "show", str(out), "--thresholds", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["brand"], row["threshold"], row["examples"]) == ("Aurelle", "NO_THRESHOLD", 4000)


def test_a_pin_holds_a_node_of_no_registry_to_one_version(tmp_path: Path, settings: Settings, domain: Domain) -> None:
    elsewhere = retrieving(domain, service="others-references")
    pinned = units.seal(elsewhere, settings, tmp_path / "out", pins={"near": "7"})
    assert pinned.parts["near"].version == "7"
    assert "version 7 alone counts" in units.elsewhere(pinned)[0]
    with pytest.raises(DeclarationError, match="are looked up"):
        units.seal(elsewhere, settings, tmp_path / "out", pins={"view": "7"})


def test_what_is_not_registered_or_does_not_belong_together_is_refused(
    tmp_path: Path, settings: Settings, domain: Domain
) -> None:
    def refused(kind: type[HallmarkError], *said: str, of: Domain = domain, **more: Any) -> None:
        with pytest.raises(kind) as found:
            units.seal(of, settings, tmp_path / "out", **more)
        assert found.value.expected and found.value.got and found.value.fix
        for each in said:
            assert each in str(found.value)

    refused(ModelRefused, "version 2 of authentication has no thresholds", "hallmark train", version=WITHOUT)
    refused(NotFound, "has no version 9", version=9)
    refused(NotFound, PROMPT, "has no version 2", "hallmark prompts register", prompt=2)
    assert domain.decision is not None
    raw = domain.decision.model_dump(mode="json")
    risk = {"false_authentic": {**raw["risk"]["false_authentic"], "at_most": 0.001}}
    refused(ModelRefused, "not those of the declared risk", "train again", of=changed(domain, risk=risk))
    view = {**raw["nodes"]["view"], "reads": ["photos", "brand"]}
    nodes = {**raw["nodes"], "view": view}
    refused(ModelRefused, "nodes.view.reads", "category, price", of=changed(domain, nodes=nodes))
    refused(NotFound, "search has no version champion", of=retrieving(domain, service="search"))
    refused(DeclarationError, "decides nothing", of=domains.load("fraud", settings))
    reviewer = {**raw["nodes"]["reviewer"], "outputs": {"verdict": "text", "doubt": "number"}}
    nodes = {**raw["nodes"], "reviewer": reviewer}
    refused(ModelRefused, "does not answer it", "--prompt", of=changed(domain, nodes=nodes))
    assert not (tmp_path / "out").exists(), "whole or not at all"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, settings: Settings, capsys: Capsys) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert main(["decision", "seal", DOMAIN, "--out", str(tmp_path / "out")]) == 2
    assert "notes.txt" in capsys.readouterr().err
    for blocked in ("out/notes.txt", "out/notes.txt/unit"):
        assert main(["decision", "seal", DOMAIN, "--out", str(tmp_path / blocked)]) == 2
        assert "out/notes.txt" in capsys.readouterr().err
    assert [each.read_text() for each in (tmp_path / "out").iterdir()] == ["mine"]
    assert main(["decision", "seal", DOMAIN, "--pin", "near"]) == 2
    assert "--pin is not NODE=VERSION" in capsys.readouterr().err
    assert main(["decision", "show", DOMAIN]) == 2
    assert "hallmark decision seal authentication" in capsys.readouterr().err


def test_what_the_checkout_says_otherwise_by_now_is_told(settings: Settings, domain: Domain, capsys: Capsys) -> None:
    assert main(["decision", "seal", DOMAIN]) == 0
    capsys.readouterr()
    found = unit.read(unit.place(DOMAIN, settings), expected=None)
    assert units.behind(found, domain, settings) == []
    moved = Target(version=2, storageUri="pvc://models/x", digest="sha256:" + "0" * 64)
    release.write(DOMAIN, Release(stable=moved), settings)
    path = settings.prompts / PROMPT / "prompt.yaml"
    path.write_text(path.read_text().replace("Say what you see", "Say only what you see"))
    assert main(["decision", "show", DOMAIN]) == 0
    told = capsys.readouterr().err
    assert "version 2 of authentication is stable, and the unit is of version 1" in told
    assert f"--crops takes: {Registry(settings).resolve(DOMAIN, 1).path}" in told
    assert "authentication-review is another prompt by now" in told
    remind(domain, settings)
    assert "next: hallmark decision seal authentication" in capsys.readouterr().err
    other = changed(domain, deadline="60s")
    assert units.behind(found, other, settings)[0].startswith("decision: of authentication is another one")
    as_sealed = rendered.decision_service(domain, settings)
    assert rendered.decision_service(other, settings) == as_sealed, "what is sealed is rendered"


def test_a_released_version_is_a_candidate_of_the_whole_and_the_unit_before_comes_back_with_its_model(
    settings: Settings, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        decision_units, "_rendered", lambda *_: []
    )  # tests/hallmark/render/test_decision.py renders both
    assert decision_units.follow(DOMAIN, settings, WITH, stable=True) == [], "nothing decides yet, so nothing follows"
    place = unit.place(DOMAIN, settings)
    first = units.seal(domain, settings, place, version=WITH)
    assert decision_units.follow(DOMAIN, settings, WITH, stable=True) == []
    said, _ = decision_units.follow(DOMAIN, settings, NONE_HOLDS, stable=False)
    assert "view 1 to 3, the thresholds" in said
    assert decision_units.follow(DOMAIN, settings, NONE_HOLDS, stable=True) == [], "it is a candidate already"
    dearer, unknown = (CandidateVerdict(outcome, "as told") for outcome in ("refuse", "wait"))
    with pytest.raises(Refused):
        decision_units.promote(DOMAIN, settings, dearer)
    with pytest.raises(TimedOut):
        decision_units.promote(DOMAIN, settings, unknown)
    assert unit.read(place, expected=None).digest == first.digest, "nobody was told to decide otherwise"
    decision_units.promote(DOMAIN, settings, CandidateVerdict("promote", "it costs no more"))
    assert decision_units.version_of(unit.read(place, expected=None)) == NONE_HOLDS
    (said,) = decision_units.follow(DOMAIN, settings, WITH, stable=True, rolled_back=True)
    assert "decides again" in said and unit.read(place, expected=None).digest == first.digest
    with pytest.raises(NotFound, match="neither a candidate nor a unit before"):
        decision_units.rollback(DOMAIN, settings)
    kinds = [each.kind for each in History(settings, DOMAIN).into(Timeline()).entries]
    assert kinds.count("decision") == 3, "sealed, promoted, brought back"


def test_a_candidate_gets_a_share_of_items_once_it_decided_on_enough_and_whatever_ends_it_takes_that_away(
    settings: Settings, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_units, "_rendered", lambda *_: [])
    file = shares.path(DOMAIN, settings)
    with pytest.raises(NotFound, match="has no candidate"):
        decision_units.share(DOMAIN, settings, 10)
    units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH)

    def candidate() -> Unit:
        return decision_units.seal(domain, settings, version=NONE_HOLDS)[0]

    made = candidate()
    seen = CostComparison(
        items=400,
        left_out=0,
        differ=9,
        labelled=0,
        unknown=9,
        stable=1.0,
        candidate=None,
        low=-1.0,
        high=1.0,
        confidence=0.95,
    )
    few, wait = seen.model_copy(update={"items": 20}), CandidateVerdict("wait", "labels are missing")
    with pytest.raises(TimedOut, match="20 of 300 items were decided by both"):
        decision_units.share(DOMAIN, settings, 10, few, wait)
    with pytest.raises(Refused, match="it is dearer"):
        decision_units.share(DOMAIN, settings, 10, seen, CandidateVerdict("refuse", "it is dearer"))
    with pytest.raises(DeclarationError, match="no candidate decides 60% of items"):
        decision_units.share(DOMAIN, settings, 60, seen, wait)
    assert not file.exists()
    (said,) = decision_units.share(DOMAIN, settings, 10, seen, wait, why="two days in shadow")
    told = shares.read(file)
    assert said == f"unit {decision_units.short(made)} decides 10% of items"
    assert told is not None and (told.candidate, told.percent) == (made.digest, 10)
    entry = History(settings, DOMAIN).into(Timeline()).entries[-1]
    assert (entry.kind, "10% of items" in entry.text) == ("decision", True)
    decision_units.share(DOMAIN, settings, 0)
    assert not file.exists() and decision_units.share(DOMAIN, settings, 0)[0].endswith("no share of items")

    for ends in (
        lambda: decision_units.rollback(DOMAIN, settings),
        candidate,
        lambda: decision_units.promote(DOMAIN, settings, None),
    ):
        if unit.there(DOMAIN, settings, unit.CANDIDATE) is None:
            candidate()
        decision_units.share(DOMAIN, settings, 5)
        assert file.exists()
        ends()
        assert not file.exists()


def test_the_watch_takes_an_ended_share_away_and_says_so_once(
    settings: Settings, domain: Domain, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setattr(decision_units, "_rendered", lambda *_: [])
    units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH)
    made, _ = decision_units.seal(domain, settings, version=NONE_HOLDS)
    ended = decision_units.EndedShare(DOMAIN, settings)
    assert ended() == "", "nobody has said a share"
    decision_units.share(DOMAIN, settings, 10)
    assert ended() == "", "it goes on"
    told = shares.read(shares.path(DOMAIN, settings))
    assert told is not None
    records = decision_units.records_of(DOMAIN, settings) / record.CANDIDATE
    shares.stop(
        records, Stop(share=told, at=datetime(2026, 12, 2, tzinfo=UTC), why="it failed on 10 of its last 12 items")
    )
    assert main(["decision", "show", DOMAIN]) == 0
    assert "and none since 2026-12-02 00:00 UTC: it failed on 10 of its last 12 items" in capsys.readouterr().err
    short = decision_units.short(made)
    assert ended() == f"the candidate {short} decides 10% of items no more: it failed on 10 of its last 12 items"
    assert not shares.path(DOMAIN, settings).exists() and ended() == ""
    assert main(["decision", "show", DOMAIN]) == 0
    assert "it failed on 10 of its last 12 items" in capsys.readouterr().err, "why is told after it too"


@pytest.fixture
def second_prompt(settings: Settings) -> int:
    """Another version of the prompt, registered from the checkout as it was edited, and no champion."""
    path = settings.prompts / PROMPT / "prompt.yaml"
    path.write_text(path.read_text().replace("Say what you see", "Say only what you see"))
    sealed.seal(settings.root / "second", prompts.load(settings.prompts, PROMPT))
    return PromptRegistry(settings).register(settings.root / "second")


def test_a_candidate_with_another_prompt_is_served_beside_stables_by_the_same_pods_before_and_after_it_decides(
    settings: Settings, domain: Domain, second_prompt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hallmark.render.files.write", lambda _: [])

    def served() -> list[str]:
        (workload,) = [each for each in rendered.reviewer_service(domain, settings) if each["kind"] == "Deployment"]
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        env = {each["name"]: each["value"] for each in container["env"]}
        return str(env["HALLMARK_PROMPT_DIGEST"]).split(",")

    def asked(folder: str = unit.FOLDER) -> str:
        return unit.read(unit.place(DOMAIN, settings, folder), expected=None).parts["reviewer"].digest

    units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH, prompt=1)
    first, gpu = asked(), reviewers.objects(domain)
    assert served() == [first], "what the checkout says by now is served by nobody"
    made, (said, *_) = decision_units.seal(domain, settings, version=WITH, prompt=second_prompt)
    other = made.parts["reviewer"].digest
    assert f"reviewer {sealed.short(first)} to {sealed.short(other)}" in said and "thresholds" not in said
    both = rendered.reviewer_service(domain, settings)
    assert served() == sorted([first, other])
    decision_units.promote(DOMAIN, settings, CandidateVerdict("promote", "it costs no more"))
    assert (asked(), asked(unit.PREVIOUS)) == (other, first)
    assert rendered.reviewer_service(domain, settings) == both, "no pod of the reviewer is another"
    decision_units.rollback(DOMAIN, settings)
    assert asked() == first and served() == [first]
    assert [each.name for each in unit_prompts.place(DOMAIN, settings, first).parent.iterdir()] == [
        sealed.short(first)
    ], "and what no unit names is gone"
    assert reviewers.objects(domain) == gpu, "the GPU's object is what it was, all the way"


def test_a_released_model_keeps_the_units_prompt_whatever_the_checkout_says_by_now(
    settings: Settings, domain: Domain, second_prompt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_units, "_rendered", lambda *_: [])
    decides = units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH, prompt=1)
    (said, _) = decision_units.follow(DOMAIN, settings, NONE_HOLDS, stable=False)
    assert "view 1 to 3" in said and "reviewer" not in said
    (settings.prompts / PROMPT / "prompt.yaml").unlink()
    shutil.rmtree(unit.place(DOMAIN, settings, unit.CANDIDATE))
    decision_units.follow(DOMAIN, settings, NONE_HOLDS, stable=False)
    found = unit.read(unit.place(DOMAIN, settings, unit.CANDIDATE), expected=None)
    assert found.parts["reviewer"] == decides.parts["reviewer"]


def test_a_prompt_that_was_changed_or_taken_away_beside_a_unit_is_rendered_for_nobody(
    settings: Settings, domain: Domain
) -> None:
    made = units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH)
    place = unit_prompts.place(DOMAIN, settings, made.parts["reviewer"].digest)
    good = (place / "prompt.json").read_text(encoding="utf-8")
    (place / "prompt.json").write_text(good.replace("Say what you see", "Say authentic"))
    with pytest.raises(ModelRefused, match="was changed"):
        rendered.reviewer_service(domain, settings)
    units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH)
    assert (place / "prompt.json").read_text(encoding="utf-8") == good, "sealing again mends it"
    shutil.rmtree(place)
    with pytest.raises(ModelRefused, match="not beside it") as found:
        rendered.reviewer_service(domain, settings)
    assert "hallmark decision seal" in str(found.value.fix)


def test_other_thresholds_of_the_same_version_are_a_candidate_of_the_whole(
    tmp_path: Path, settings: Settings, domain: Domain, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    """A stricter risk is declared, and the training comes to the same model: its version has the thresholds of that risk."""
    monkeypatch.setattr(decision_units, "_rendered", lambda *_: [])
    shutil.copytree(settings.state, tmp_path / "state")
    settings = Settings.load({"HALLMARK_ROOT": str(tmp_path), "HALLMARK_STATE": str(tmp_path / "state")})
    units.seal(domain, settings, unit.place(DOMAIN, settings), version=WITH)
    assert domain.decision is not None
    risk = domain.decision.risk.false_authentic.model_dump(mode="json")
    strict = changed(domain, risk={"false_authentic": {**risk, "at_most": 0.005}})
    with pytest.raises(ModelRefused, match="not those of the declared risk"):
        decision_units.seal(strict, settings, version=WITH)
    stricter = THRESHOLDS.model_copy(
        update={"at_most": 0.005, "slices": (HELD.model_copy(update={"threshold": 0.1, "accepted": 700}),)}
    )
    registry = Registry(settings)
    before = registry.model_card(DOMAIN, WITH)
    folder = registry.resolve(DOMAIN, WITH).fetch()
    again = before.model_copy(update={"thresholds": stricter, "created": before.created + timedelta(days=1)})
    assert registry.register(folder, again, challenger=False) == WITH, "one that was pulled changes nothing"
    assert registry.model_card(DOMAIN, WITH) == before
    assert registry.register(folder, again) == WITH
    assert registry.model_card(DOMAIN, WITH) == before.model_copy(update={"thresholds": stricter})
    made, (said, *_) = decision_units.seal(strict, settings, version=WITH)
    assert said.endswith(": the graph, the thresholds") and made.thresholds == stricter
    assert unit.read(unit.place(DOMAIN, settings), expected=None).thresholds == THRESHOLDS, "which decides as before"
