"""The uplift model: forests of LightGBM, doubly robust and cross-fitted; docs/decisions/0050 says why."""

from __future__ import annotations

from hallmark.features.fields import Output
from hallmark.learners.model import ModelSpec
from hallmark.learners.uplift_forest import UpliftForest

OUTPUTS: tuple[Output, Output] = (
    Output(name="uplift", datatype="FP32"),
    Output(name="expected", datatype="FP32"),
)

FOREST = UpliftForest(outputs=OUTPUTS)
fit, restore = FOREST.fit, FOREST.restore
SPEC = ModelSpec(task="uplift", outputs=OUTPUTS, fit=fit, restore=restore)
