"""The model of sizes: boosted trees that say how likely each class is."""

from __future__ import annotations

from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting
from hallmark.learners.model import ModelSpec

LABELS = ("large", "medium", "small")
OUTPUTS = (Output(name="probabilities", datatype="FP32", shape=(len(LABELS),), minimum=0, maximum=1),)

FOREST = Boosting(
    output=OUTPUTS[0],
    options={
        "objective": "multiclass",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "lambda_l2": 1.0,
    },
    rounds=300,
    patience=30,
)
SPEC = ModelSpec(task="multiclass", outputs=OUTPUTS, fit=FOREST.fit, restore=FOREST.restore, labels=LABELS)
