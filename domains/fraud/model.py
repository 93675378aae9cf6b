"""The fraud model: gradient-boosted trees; docs/decisions/0001-fraud-model.md says why not a network."""

from __future__ import annotations

from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting
from hallmark.learners.model import ModelSpec

OUTPUTS: tuple[Output, ...] = (Output(name="score", datatype="FP32", minimum=0, maximum=1),)

FOREST = Boosting(
    output=OUTPUTS[0],
    options={
        "objective": "binary",
        "metric": "average_precision",
        "learning_rate": 0.06,
        "num_leaves": 31,
        "min_data_in_leaf": 60,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "use_missing": False,
    },
    rounds=400,
    patience=40,
)
fit, restore = FOREST.fit, FOREST.restore
SPEC = ModelSpec(task="binary", outputs=OUTPUTS, fit=fit, restore=restore)
