"""A forest a quantile."""

from __future__ import annotations

from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting
from hallmark.learners.model import ModelSpec

QUANTILES = (0.1, 0.5, 0.9)
OUTPUTS = (Output(name="quantiles", datatype="FP32", shape=(len(QUANTILES),)),)
FOREST = Boosting(
    output=OUTPUTS[0], quantiles=QUANTILES, options={"learning_rate": 0.1, "num_leaves": 15}, rounds=60, patience=20
)
SPEC = ModelSpec(task="regression", outputs=OUTPUTS, fit=FOREST.fit, restore=FOREST.restore)
