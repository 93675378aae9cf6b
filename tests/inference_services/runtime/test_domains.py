"""The domains' own feature and answer code behind the real server, and its capture through the drift monitor's eyes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, Server, jpeg, linear, write_folder

from hallmark.declaration import domain
from hallmark.features.fields import Output
from hallmark.settings import Settings

LABELS = tuple(f"label {at:02d}" for at in range(17))


def fields(name: str) -> Any:
    """The domain's declared request fields."""
    return domain.module(name, "features", Settings.load({"HALLMARK_ROOT": str(ROOT)})).FIELDS


def code(name: str, part: str) -> str:
    """The domain's source, as export puts it into a model folder."""
    return (ROOT / "domains" / name / f"{part}.py").read_text(encoding="utf-8")


def order() -> dict[str, Any]:
    """A fraud request's values, one a field, all within their bounds."""
    values: dict[str, Any] = {}
    for field in fields("fraud"):
        kinds = {"BOOL": True, "BYTES": (field.categories or ("",))[0], "FP64": 0.5}
        values[field.name] = kinds.get(field.datatype, 1)
    return values


def test_fraud_is_served_by_v2_and_v1(tmp_path: Path, start: Callable[..., Server]) -> None:
    module = domain.module("fraud", "features", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    digest = write_folder(
        tmp_path / "model",
        model=linear(len(module.NAMES), 1),
        fields=module.FIELDS,
        outputs=(Output(name="score", datatype="FP32", minimum=0, maximum=1),),
        features=code("fraud", "features"),
        domain="fraud",
    )
    server = start(tmp_path / "model", "fraud", env={"HALLMARK_MODEL_DIGEST": digest})
    server.wait_ready()
    values = order()
    inputs = [
        {"name": field.name, "shape": [1], "datatype": field.datatype, "data": [values[field.name]]}
        for field in module.FIELDS
    ]
    (score,) = server.infer({"inputs": inputs}).json()["outputs"][0]["data"]
    assert 0 <= score <= 1
    answer = server.client.post("/v1/models/fraud:predict", json={"instances": [values]}).json()
    assert answer["predictions"] == pytest.approx([score])


def test_a_listing_is_answered_with_its_label(tmp_path: Path, start: Callable[..., Server]) -> None:
    side = domain.module("listing", "features", Settings.load({"HALLMARK_ROOT": str(ROOT)})).SIDE
    model = linear(3 * side * side, 17, softmax=True, flatten=True, side=side)
    digest = write_folder(
        tmp_path / "model",
        model=model,
        fields=fields("listing"),
        outputs=(Output(name="probabilities", datatype="FP32", shape=(17,), minimum=0, maximum=1),),
        features=code("listing", "features"),
        serving=code("listing", "serving"),
        labels=LABELS,
        domain="listing",
    )
    server = start(tmp_path / "model", "listing", env={"HALLMARK_MODEL_DIGEST": digest})
    server.wait_ready()
    photo = base64.b64encode(jpeg(640, 480)).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [photo]}
    outputs = {output["name"]: output for output in server.infer({"inputs": [tensor]}).json()["outputs"]}
    probabilities = outputs["probabilities"]["data"]
    best = max(range(17), key=probabilities.__getitem__)
    assert outputs["label"]["data"] == [LABELS[best]]
    assert outputs["confidence"]["data"] == pytest.approx([probabilities[best]])
    assert json.dumps(outputs["label"]["shape"]) == "[1]"
