"""What verdicts become elsewhere: labels that meet their answers in a drift monitor, rows for training, tasks of Label Studio."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hallmark.reviews import label_studio
from hallmark.reviews.case import Evidence, Given, Photo, Reason, Reference, Seen, Verdict, Word
from hallmark.reviews.label_events import examples, label_events
from hallmark.tasks.binary import Binary
from inference_services.drift_monitor import responses
from tests.hallmark.reviews.cases import BEGAN, case

FAKE = Verdict(word=Word.counterfeit, reason=Reason.stitching, note="two stitches too many", seconds=12.0)
REAL = Verdict(word=Word.authentic)
UNSURE = Verdict(word=Word.cannot_tell, reason=Reason.photos)


def given(name: str, verdict: Verdict = FAKE, *, first: Word | None = None, final: bool = True, **more: Any) -> Given:
    return Given(
        number=1,
        case=case(name, **more),
        round=1 if first is None else 2,
        who="ana" if first is None else "ben",
        verdict=verdict,
        at=BEGAN + timedelta(hours=1),
        final=final,
        sent=False,
        first=first,
    )


def test_labels_meet_their_answers_in_a_drift_monitor() -> None:
    ring = responses.CapturedResponses()
    for request in ("r-1", "r-2", "c"):
        hashed = hashlib.sha256(request.encode()).hexdigest()[:32]
        scores = {"score": np.array([0.1, 0.9])[: 2 if request == "r-2" else 1]}
        ring.add(
            "v1", columns={}, outputs=scores, records=len(scores["score"]), at=1.0, request=hashed, exchange=request
        )
    verdicts = [
        given("a", request="r-1"),
        given("b", REAL, request="r-2", row=1),
        given("c"),
        given("d", request="gone"),
    ]
    events = [event for _, event in label_events(verdicts)]
    found, wrong = responses.known(json.loads(json.dumps(events)), Binary())
    assert not wrong and ring.label(found) == (3, 1)
    rows = ring.after(0, limit=10, variant="v1")[0]
    assert {(each.exchange, each.row): each.label for each in rows if each.label is not None} == {
        ("r-1", 0): 1,
        ("r-2", 1): 0,
        ("c", 0): 1,
    }
    assert {each.label_at for each in rows if each.label is not None} == {(BEGAN + timedelta(hours=1)).timestamp()}


def test_a_case_has_one_label_the_first_that_can_tell() -> None:
    verdicts = [
        given("a"),
        given("a", REAL, first=Word.counterfeit),
        given("b", UNSURE),
        given("b", REAL, first=Word.cannot_tell),
        given("c", UNSURE),
        given("d", final=False),
    ]
    assert [(event["request"], event["label"]) for _, event in label_events(verdicts)] == [("a", 1), ("b", 0)]


def test_training_gets_the_inverse_of_an_audits_probability_as_weight() -> None:
    plain, audit = examples([given("a"), given("b", source="audit", inclusion=0.02)])
    assert (plain["source"], plain["weight"], audit["source"], audit["inclusion"]) == ("decision", 1.0, "audit", 0.02)
    assert audit["weight"] == 50.0 and audit.keys() >= {"request", "label", "at", "item", "price"}


def test_tasks_are_what_label_studio_imports() -> None:
    """By its labelling config: every name, tag and choice of a result is there, and every $variable is in the data."""
    shown = Evidence(
        photos=(Photo(path="a/front.jpg"), Photo(path="a/logo.jpg")),
        references=(Reference(id="r-1", photo=Photo(path="r/1.jpg")),),
        seen=Seen(scores={"score": 0.63}, digests={"unit": "sha256:1"}),
    )
    verdicts = [
        given("a", evidence=shown),
        given("a", REAL, first=Word.counterfeit, evidence=shown),
        given("b", UNSURE),
        given("c", final=False),
    ]
    tasks = label_studio.tasks(verdicts, photos=lambda photo: f"/data/{photo.path}")
    assert json.loads(json.dumps(tasks)) == tasks and len(tasks) == 2
    config = ElementTree.fromstring(label_studio.CONFIG)  # noqa: S314 - ours
    tags = {tag.attrib["name"]: tag for tag in config}
    variables = {value[1:] for tag in config for value in tag.attrib.values() if value.startswith("$")}
    kinds = {"choices": "Choices", "textarea": "TextArea"}
    for task in tasks:
        assert variables <= task["data"].keys() and isinstance(task["data"]["photos"], list)
        for annotation in task["annotations"]:
            assert annotation.keys() >= {"result", "was_cancelled", "ground_truth", "lead_time", "unique_id"}
            for result in annotation["result"]:
                assert result.keys() == {"id", "from_name", "to_name", "type", "value"}
                tag = tags[result["from_name"]]
                assert (tag.tag, tag.attrib["toName"]) == (kinds[result["type"]], result["to_name"])
                assert result["to_name"] in tags
                if result["type"] == "choices":
                    assert set(result["value"]["choices"]) <= {each.attrib["value"] for each in tag}
                else:
                    assert result["value"] == {"text": ["two stitches too many"]}
        for prediction in task["predictions"]:
            assert prediction.keys() >= {"model_version", "result"}
    (first, _) = tasks
    assert first["data"]["photos"] == ["/data/a/front.jpg", "/data/a/logo.jpg"]
    assert first["predictions"] == [{"model_version": "unit sha256:1", "result": [], "score": 0.63}]
    told = [[each["value"] for each in annotation["result"]] for annotation in first["annotations"]]
    assert told[0][0] == {"choices": ["counterfeit"]} and told[1] == [{"choices": ["authentic"]}]
    ids = [annotation["unique_id"] for task in tasks for annotation in task["annotations"]]
    assert len(set(ids)) == 3
