"""A rollout as real KServe and Knative moved it, replayed on the local cluster's rules: the same revisions and shares at each step.

tests/cases/kserve-steps.json was written down beside KServe's and Knative's controllers of 2026-08, in Knative mode.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hallmark import object_labels
from hallmark.render.inferenceservice import model_of
from local_cluster import predictor
from local_cluster.rollout import RevisionTraffic, decide
from tests.hallmark.rollout.tiny import target

STEPS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "cases" / "kserve-steps.json").read_text())[
    "steps"
]
BY_NAME = {each["step"]: each for each in STEPS}
# By step: canaryTrafficPercent, and which revisions are ready by then. Revision 5 comes up before 6, as the recording has it.
ASKED: dict[str, tuple[int | None, set[int]]] = {
    "first": (None, {1}),
    "m-2 at 10, immediately": (10, {1}),
    "25": (25, {1, 2}),
    "m-3 while m-2 at 25": (25, {1, 2}),
    "promoted (percent removed)": (None, {1, 2, 3}),
    "m-4 at 0": (0, {1, 2, 3}),
    "disallowed annotations": (0, {1, 2, 3}),
    "other annotation": (0, {1, 2, 3, 4, 5}),
    "label": (0, {1, 2, 3, 4, 5}),
    "back to m-3 by hand, percent removed": (None, {1, 2, 3, 4, 5, 6}),
    "later": (None, {1, 2, 3, 4, 5, 6}),
}
BEFORE: dict[str, tuple[int | None, set[int]]] = {
    # The share was removed while m-3 was still starting, so that m-2 was rolled out first.
    "promoted (percent removed)": (None, {1, 2}),
}


def name(number: int) -> str:
    return f"{number:05d}"


def test_every_step_of_the_recording_is_replayed() -> None:
    # The status of "m-2 at 10" is one step behind what its own traffic says: KServe had not looked again.
    assert set(ASKED) == set(BY_NAME) - {"m-2 at 10"}


def test_revisions_and_shares_are_those_of_the_real_thing_at_each_step() -> None:
    now = RevisionTraffic()
    for step, (percent, ready) in ASKED.items():
        status = BY_NAME[step]["status"]
        order = [name(number) for number in range(1, int(status["latestCreatedRevision"]) + 1)]
        for share, up in [*([BEFORE[step]] if step in BEFORE else []), (percent, ready)]:
            now = decide(now, percent=share, order=order, ready={name(number) for number in up})
        shown = now.status()
        for key in (
            "latestCreatedRevision",
            "latestReadyRevision",
            "latestRolledoutRevision",
            "previousRolledoutRevision",
        ):
            assert shown.get(key) == status[key], (step, key)
        assert shown["traffic"] == status["traffic"], step


def test_a_share_that_is_removed_together_with_the_model_gives_a_rejected_candidate_everything() -> None:
    """The order that a revert must not have: the local cluster loses here what a real one loses."""
    step = BY_NAME["back to m-3 by hand, percent removed"]["status"]
    assert step["traffic"] == [{"latestRevision": True, "percent": 100, "revisionName": "00006"}]
    before = RevisionTraffic(created="00006", ready="00006", rolled_out="00003", previous="00002")
    now = decide(before, percent=None, order=[name(n) for n in range(3, 8)], ready={"00003", "00006"})
    assert now.shares == {"00006": 100} and now.created == "00007"


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("disallowed annotations", {"annotations": {object_labels.ROLLOUT: "{}", object_labels.SHADOW: "50"}}),
        ("other annotation", {"annotations": {"team": "x"}}),
        ("label", {"labels": {"team": "x"}}),
    ],
)
def test_the_same_changes_make_a_revision(step: str, change: dict[str, dict[str, str]]) -> None:
    before = STEPS[STEPS.index(BY_NAME[step]) - 1]["revisions"]
    makes_one = BY_NAME[step]["revisions"] != before
    service = {
        "metadata": {"name": "fraud", "namespace": "fraud"},
        "spec": {"predictor": model_of(target(1))},
    }
    service["spec"]["predictor"]["model"]["modelFormat"] = {"name": "onnx"}
    runtime = {
        "metadata": {"name": "hallmark-runtime"},
        "spec": {
            "supportedModelFormats": [{"name": "onnx", "version": "1", "autoSelect": True}],
            "containers": [{"name": "kserve-container", "image": "runtime:1", "command": ["true"]}],
        },
    }
    changed = {**service, "metadata": {**service["metadata"], **change}}
    assert (predictor.template(changed, [runtime]) != predictor.template(service, [runtime])) is makes_one
