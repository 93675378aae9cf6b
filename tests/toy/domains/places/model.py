"""The model of places: boosted trees whose scores put the rows of a query in order."""

from __future__ import annotations

from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting
from hallmark.learners.model import ModelSpec

OUTPUTS = (Output(name="score", datatype="FP32"),)

FOREST = Boosting(
    output=OUTPUTS[0],
    options={
        "objective": "lambdarank",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "lambda_l2": 1.0,
        "eval_at": 10,
    },
    rounds=300,
    patience=30,
)
SPEC = ModelSpec(task="ranking", outputs=OUTPUTS, fit=FOREST.fit, restore=FOREST.restore)
