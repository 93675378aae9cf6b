"""Why forests are exported by hallmark.learners.trees: what onnxmltools, on the same forests, answers otherwise and does not say.

The day one of these fails, the converter has learnt it: once all do, ours can go.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from hallmark.learners.boosting import Forest
from tests.hallmark.learners.forests import CODES, answers, on_the_edge, rows
from tests.hallmark.learners.test_trees import grown

WRONG = 1e-5


def converted(forest: Forest) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        (booster,) = forest.boosters.values()
        kinds = [("input", FloatTensorType([None, booster.num_feature()]))]
        made: bytes = convert_lightgbm(booster, initial_types=kinds, zipmap=False).SerializeToString()
    return made


def share_wrong(forest: Forest, inputs: NDArray[np.float32]) -> float:
    """The share of rows that the converter's model answers otherwise than the forest."""
    found, wanted = answers(converted(forest), inputs), forest.predict(inputs)
    if found.ndim == 2 and wanted.ndim == 1:
        found = found[:, -1]
    away = np.abs(found - wanted) / np.maximum(1, np.abs(wanted))
    return float((away.reshape(len(inputs), -1).max(axis=1) > WRONG).mean())


def test_the_converter_agrees_away_from_thresholds() -> None:
    assert share_wrong(grown("regression", "both"), rows(1000, seed=4, missing=True, categories=True)) == 0


@pytest.mark.parametrize("objective", ["regression", "quantile", "poisson", "lambdarank"])
def test_the_converter_moves_rows_on_a_threshold_to_another_leaf(objective: str) -> None:
    forest = grown(objective)
    assert share_wrong(forest, on_the_edge(forest, rows(1000, seed=4))) > 0.05


def test_the_converter_reads_missing_zeros_as_numbers() -> None:
    forest = grown("regression_l1", "missing", zero_as_missing=True)
    assert share_wrong(forest, rows(1000, seed=4, missing=True)) > 0.05


def test_the_converter_loses_square_roots_and_fractions_of_codes() -> None:
    assert share_wrong(grown("regression", reg_sqrt=True), rows(100, seed=4)) == 1
    inputs = rows(1000, seed=4, categories=True)
    inputs[:, CODES] += 0.5
    assert share_wrong(grown("regression", "categories"), inputs) > 0.5


def test_the_converter_loses_classes_one_against_the_others() -> None:
    assert share_wrong(grown("multiclassova"), rows(100, seed=4)) == 1
