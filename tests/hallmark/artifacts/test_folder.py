"""The signature of a model folder: it says what the first output is, also of a folder from before there were tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts import folder as folders
from hallmark.artifacts.signature import Signature
from hallmark.errors import ModelRefused
from hallmark.features.fields import Field, Output
from hallmark.tasks import BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval, Uplift

FIELDS = (Field(name="amount", datatype="FP64"),)


def sealed(folder: Path, signature: str) -> None:
    """A model folder that holds this signature alone."""
    (folder / "signature.json").write_text(signature, encoding="utf-8")
    folders.seal(folder)


@pytest.mark.parametrize(
    "task",
    [
        Binary(),
        Multiclass(labels=("coat", "hat")),
        Regression(quantiles=(0.1, 0.5, 0.9), unit="EUR", bound="upper", nonnegative=True),
        Ranking(k=7),
        Retrieval(k=20),
        Uplift(treatments=2, worth=0.01),
    ],
    ids=lambda task: task.kind,
)
def test_the_signature_carries_its_task(task: Any, tmp_path: Path) -> None:
    output = Output(name="answer", datatype="FP32", shape=task.shape)
    made = Signature(domain="shop", task=task, fields=FIELDS, outputs=(output,))
    sealed(tmp_path, made.model_dump_json())
    assert folders.signature(tmp_path) == made
    assert folders.signature(tmp_path).task == task


@pytest.mark.parametrize(
    ("labels", "task"),
    [([], Binary()), (None, Binary()), (["coat", "hat"], Multiclass(labels=("coat", "hat")))],
)
def test_a_signature_from_before_there_were_tasks_is_one_of_the_two_that_there_were(
    tmp_path: Path, labels: list[str] | None, task: BaseTask
) -> None:
    output = {"name": "score", "datatype": "FP32", "shape": [2] if labels else [], "minimum": 0, "maximum": 1}
    old = {
        "domain": "shop",
        "fields": [{"name": "amount", "datatype": "FP64"}],
        "outputs": [output],
        "onnx_input": "input",
    }
    if labels is not None:
        old["labels"] = labels
    sealed(tmp_path, json.dumps(old))
    found = folders.signature(tmp_path)
    assert found.task == task and found.labels == tuple(labels or ())
    assert [each.name for each in found.inputs] == ["input"]


@pytest.mark.parametrize("task", [{"kind": "forecast"}, {"kind": "binary", "k": 3}, None])
def test_a_task_that_is_none_is_refused(tmp_path: Path, task: object) -> None:
    whole = {"domain": "shop", "task": task, "fields": [], "outputs": []}
    sealed(tmp_path, json.dumps(whole))
    with pytest.raises(ModelRefused, match=r"signature\.json cannot be read"):
        folders.signature(tmp_path)
