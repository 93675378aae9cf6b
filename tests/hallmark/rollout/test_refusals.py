"""Reason of a revision that does not come up, read from a status as KServe and Knative write it.

tests/cases/kserve-steps.json has the statuses of one InferenceService at each step of its rollouts on real KServe (2026-08) and Knative,
none of which failed; the failures here are added to them in the words of Knative's configuration_lifecycle.go and KServe's
inference_service_status.go.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hallmark import object_labels
from hallmark.rollout import standard
from hallmark.rollout.writer import refusal

Json = dict[str, Any]
STEPS: list[Json] = json.loads((Path(__file__).parents[2] / "cases/kserve-steps.json").read_text(encoding="utf-8"))[
    "steps"
]
NO_IMAGE = (
    'Unable to fetch image "registry.example/hallmark/serving:1": failed to resolve image to digest: 401 Unauthorized'
)


def live(step: Json) -> Json:
    """The InferenceService of a step, its revisions under their whole names."""
    status = json.loads(json.dumps(step["status"]).replace('"0000', '"fraud-predictor-0000'))
    return {
        "metadata": {"name": "fraud", "namespace": "fraud", "annotations": {object_labels.MODE: "Knative"}},
        "spec": {"predictor": {}},
        "status": {
            "conditions": [{"type": kind, "status": value} for kind, value in step["conditions"].items()],
            "components": {"predictor": status},
            "modelStatus": copy.deepcopy(step["modelStatus"]),
        },
    }


def failed(
    named: str, *, told: str = NO_IMAGE, transition: str = "BlockedByFailedLoad", info: Json | None = None
) -> Json:
    """The step in which version 2 is on its way, of which `named` failed, as Knative says it."""
    found = live(next(each for each in STEPS if each["step"] == "m-2 at 10"))
    message = f'Revision "fraud-predictor-{named}" failed with message: {told}.'
    found["status"]["conditions"] += [
        {"type": "PredictorConfigurationReady", "status": "False", "reason": "RevisionFailed", "message": message}
    ]
    found["status"]["modelStatus"]["transitionStatus"] = transition
    if info:
        found["status"]["modelStatus"]["lastFailureInfo"] = info
    found["status"]["components"]["predictor"]["latestCreatedRevision"] = "fraud-predictor-00002"
    return found


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["step"])
def test_no_step_that_goes_well_is_taken_for_a_failure(step: Json) -> None:
    assert refusal(live(step)) == ""


def test_the_reason_comes_from_the_conditions_where_no_pod_has_one() -> None:
    told = refusal(failed("00002"))
    assert told.startswith("RevisionFailed: ")
    assert NO_IMAGE in told


def test_a_failure_that_only_the_conditions_know_is_one() -> None:
    assert NO_IMAGE in refusal(failed("00002", transition="UpToDate"))


def test_a_condition_about_the_revision_before_is_no_failure_of_the_newest() -> None:
    assert refusal(failed("00001", transition="InProgress")) == ""


def test_what_is_left_of_an_earlier_failure_does_not_hide_the_reason() -> None:
    """KServe names no revision in lastFailureInfo, and keeps it when the next model loads."""
    left = {"reason": "ModelLoadFailed", "message": "of version 1, long mended"}
    assert NO_IMAGE in refusal(failed("00002", info=left))


def test_a_pods_own_words_come_first_where_they_name_the_revision() -> None:
    info = {
        "modelRevisionName": "fraud-predictor-00002",
        "reason": "ModelLoadFailed",
        "message": "model.onnx of the model was changed",
    }
    assert refusal(failed("00002", info=info)) == "ModelLoadFailed: model.onnx of the model was changed"


def test_a_failure_of_another_revision_is_not_the_newest_ones() -> None:
    info = {"modelRevisionName": "fraud-predictor-00001", "reason": "ModelLoadFailed", "message": "old"}
    found = failed("00002", transition="InProgress", info=info)
    found["status"]["conditions"].pop()
    assert refusal(found) == ""


def test_without_any_reason_it_says_where_to_look() -> None:
    found = failed("00002")
    found["status"]["conditions"].pop()
    assert refusal(found) == "BlockedByFailedLoad: its status says no more; `kubectl describe` its pods"


def test_a_candidate_in_standard_mode_is_told_as_well() -> None:
    found = live(STEPS[0])
    found["metadata"]["annotations"][object_labels.MODE] = "Standard"
    found["spec"]["canary"] = [{"trafficPercent": 10, "predictor": {"name": "v2"}}]
    found["status"]["canaryStatuses"] = [{"name": "v2", "modelStatus": {"transitionStatus": "BlockedByFailedLoad"}}]
    assert refusal(found) == standard.reason({"transitionStatus": "BlockedByFailedLoad"})
    assert "None" not in refusal(found)
