"""ONNX answers as LightGBM does: every objective, on thresholds, with values missing, with categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import ModelRefused
from hallmark.features.fields import Output
from hallmark.learners import trees
from hallmark.learners.boosting import Boosting, Forest
from hallmark.learners.options import CLASSES, OBJECTIVES
from tests.hallmark.learners.forests import CODES, answers, apart, drawn, on_the_edge, rows

SMALL = {"min_data_in_leaf": 10, "num_leaves": 15}
KINDS = {
    "plain": {},
    "missing": {"missing": True},
    "categories": {"categories": True},
    "both": {"missing": True, "categories": True},
}


def grown(objective: str, kind: str = "plain", **options: object) -> Forest:
    shape = (3,) if objective in CLASSES else ()
    recipe = Boosting(
        output=Output(name="y", datatype="FP32", shape=shape),
        options={"objective": objective, **SMALL, **options},
        rounds=15,
        categories=(CODES,) if KINDS[kind].get("categories") else (),
    )
    return recipe.fit(drawn(objective, **KINDS[kind]), drawn(objective, 400, seed=1, **KINDS[kind]), seed=7)


def exported(forest: Forest, folder: Path) -> bytes:
    forest.export(folder / "model.onnx")
    return (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_onnx_answers_as_the_forest_does(objective: str, kind: str, tmp_path: Path) -> None:
    forest = grown(objective, kind)
    model = exported(forest, tmp_path)
    fresh = rows(1000, seed=4, **KINDS[kind])
    if "missing" in KINDS[kind]:
        fresh[:3] = np.array([[np.nan], [np.inf], [-np.inf]], dtype=np.float32)
    for inputs in (fresh, on_the_edge(forest, fresh)):
        wanted = forest.predict(inputs)
        assert apart(answers(model, inputs), wanted) < 3e-6
        assert apart(answers(model, inputs[:1]), wanted[:1]) < 3e-6
    assert len(np.unique(wanted)) > 20


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("binary", {"sigmoid": 2.0}),
        ("binary", {"use_missing": False}),
        ("binary", {"zero_as_missing": True}),
        ("regression", {"reg_sqrt": True}),
        ("regression", {"zero_as_missing": True}),
        ("regression", {"boosting": "dart"}),
        ("regression", {"extra_trees": True}),
        ("binary", {"data_sample_strategy": "goss"}),
        ("binary", {"boost_from_average": False}),
    ],
)
def test_options_that_change_how_a_forest_is_read_are_exported_too(
    objective: str, options: dict[str, object], tmp_path: Path
) -> None:
    forest = grown(objective, "both", **options)
    model = exported(forest, tmp_path)
    fresh = rows(1000, seed=4, missing=True, categories=True)
    for inputs in (fresh, on_the_edge(forest, fresh), np.zeros((1, fresh.shape[1]), np.float32)):
        assert apart(answers(model, inputs), forest.predict(inputs)) < 3e-6


def test_a_code_with_a_fraction_is_the_category_that_lightgbm_reads(tmp_path: Path) -> None:
    forest = grown("regression", "categories")
    inputs = rows(1000, seed=4, categories=True)
    inputs[:, CODES] += np.random.default_rng(1).choice([-0.5, 0.25, 0.75, -3], 1000).astype(np.float32)
    assert apart(answers(exported(forest, tmp_path), inputs), forest.predict(inputs)) < 3e-6


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("objective", ["binary", "multiclass"])
def test_any_number_of_rows_is_answered(objective: str, count: int, tmp_path: Path) -> None:
    forest, inputs = grown(objective), rows(8, seed=3)[:count]
    shape = (count, 3) if objective == "multiclass" else (count,)
    assert answers(exported(forest, tmp_path), inputs).shape == forest.predict(inputs).shape == shape


def test_a_forest_that_learnt_nothing_answers_its_one_number(tmp_path: Path) -> None:
    forest = grown("regression", min_data_in_leaf=5000)
    inputs = rows(3, seed=1)
    assert apart(answers(exported(forest, tmp_path), inputs), forest.predict(inputs)) < 1e-6


@pytest.mark.parametrize("threshold", [0.1, 1.0, -0.3, 1e-40, 123456789.123, 1.0000000180025095e-35, 1e39, -1e39])
def test_a_rounded_threshold_decides_every_float32_as_the_double_does(threshold: float) -> None:
    kept = np.float32(trees.not_above(threshold))
    with np.errstate(over="ignore"):
        assert float(kept) <= threshold < float(np.nextafter(kept, np.float32(np.inf)))


def test_a_forest_that_onnx_would_read_otherwise_is_refused() -> None:
    dump = grown("binary").dumps()[0]
    with pytest.raises(ModelRefused, match="does not become"):
        trees.forest_onnx([{**dump, "average_output": True}], output="y")
    with pytest.raises(ModelRefused, match="does not become"):
        trees.forest_onnx([{**dump, "objective": "custom"}], output="y")
    with pytest.raises(ModelRefused, match="does not give"):
        trees.forest_onnx([dump], output="y", shape=(2,))
    leaf = dump["tree_info"][0]["tree_structure"]["left_child"] = {"leaf_value": 1.0, "leaf_coeff": [1.0]}
    with pytest.raises(ModelRefused, match="linear trees"):
        trees.forest_onnx([dump], output="y")
    leaf.pop("leaf_coeff")
    column = dump["tree_info"][0]["tree_structure"]["split_feature"]
    again = {"split_index": 1, "split_feature": column, "decision_type": "==", "threshold": "1", "missing_type": "None"}
    dump["tree_info"][0]["tree_structure"]["left_child"] = {**again, "left_child": leaf, "right_child": leaf}
    with pytest.raises(ModelRefused, match="read in two ways"):
        trees.forest_onnx([dump], output="y")
