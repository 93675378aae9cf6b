"""The view model: one encoder for every photo of an item, and attention over what they show (docs/decisions/0062 says why)."""

from __future__ import annotations

from domains.authentication.data import SHEET
from domains.authentication.features import BRANDS, CATEGORIES, SIDE
from hallmark.artifacts.references import References
from hallmark.features.fields import Output
from hallmark.learners.model import ModelSpec
from hallmark.learners.photo_set import PhotoSetLearner, Recipe

OUTPUTS: tuple[Output, ...] = (
    Output(name="score", datatype="FP32", minimum=0.0, maximum=1.0),
    Output(name="embedding", datatype="FP32", shape=(32,), minimum=-1.0001, maximum=1.0001),
)

QUICK = Recipe(widths=(32, 32), dim=32, epochs=2, batch=16, average=0.9)
"""Seconds for a few hundred items: tests and first looks."""

LEARNER = PhotoSetLearner(
    score=OUTPUTS[0],
    embedding=OUTPUTS[1],
    side=SIDE,
    traits=SHEET,
    brands=len(BRANDS),
    categories=len(CATEGORIES),
    recipe=Recipe(),
    quick=QUICK,
)
fit, restore = LEARNER.fit, LEARNER.restore
SPEC = ModelSpec(
    task="binary",
    outputs=OUTPUTS,
    inputs=LEARNER.inputs,
    fit=fit,
    restore=restore,
    references=References(id="item_id", photos="photos", vector="embedding", same=("brand", "category")),
)
"""Its references are the authentic items that it learnt from: they show a reviewer and an expert what to compare with (docs/decisions/0072)."""
