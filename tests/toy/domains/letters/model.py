"""The model of letters: a forest of the transformed outcome, whose mean is the uplift (Athey and Imbens, 2015)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting, Forest
from hallmark.learners.model import Examples, ModelSpec

OUTPUTS = (Output(name="uplift", datatype="FP32"),)

FOREST = Boosting(
    output=OUTPUTS[0],
    options={
        "objective": "regression",
        "learning_rate": 0.03,
        "num_leaves": 7,
        "min_data_in_leaf": 100,
        "lambda_l2": 10.0,
    },
    rounds=300,
    patience=40,
)


def fit(train: Examples, validation: Examples, *, seed: int, progress: Any = None, **options: Any) -> Forest:
    """A forest of what the treatment changed; `options` are those of `Boosting`."""
    usual = float(np.mean(train.labels))
    effects = (_effects(part, usual=usual) for part in (train, validation))
    return FOREST.fit(*effects, seed=seed, progress=progress, **options)


def _effects(examples: Examples, *, usual: float) -> Examples:
    """The same examples, labelled with outcomes that are weighed by how unlikely the treatment was; less `usual`, for less noise."""
    if examples.treatment is None or examples.propensity is None:
        raise ValueError("expected examples with treatment and propensity, as an uplift task gives them")
    sign = np.where(examples.treatment > 0, 1.0, -1.0)
    return replace(examples, labels=sign * (examples.labels - usual) / examples.propensity)


SPEC = ModelSpec(task="uplift", outputs=OUTPUTS, fit=fit, restore=FOREST.restore)
