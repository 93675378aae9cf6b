"""Recipes of forests: what is refused before training, when growing stops, and what is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from hallmark.errors import DeclarationError, ModelRefused
from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting, Rows
from hallmark.learners.model import Examples
from hallmark.learners.options import METRICS, OBJECTIVES, TYPES, checked
from hallmark.training.steps import whole
from tests.hallmark.learners.forests import Richer, answers, apart, drawn, on_the_edge, rows

ONE = Output(name="y", datatype="FP32")
BINARY = Boosting(output=ONE, options={"objective": "binary", "min_data_in_leaf": 10}, rounds=10)
QUANTILES = (0.1, 0.5, 0.9)


def fitted(recipe: Boosting = BINARY, **options: Any) -> Any:
    objective = str(options.get("objective", recipe.options.get("objective", "regression")))
    objective = objective if objective in OBJECTIVES else "binary"
    return recipe.fit(drawn(objective), drawn(objective, 400, seed=1), seed=7, **options)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"boosting": "rf"}, "mean over trees"),
        ({"boosting": "goss"}, "boosting=goss cannot"),
        ({"linear_tree": True}, "linear_tree cannot be trained for serving: a leaf holds a line"),
        ({"objective": "my_own"}, "objective=my_own cannot"),
        ({"objective": "multiclass"}, "does not give what the output y declares"),
        ({"metric": "accuracy"}, "metric=accuracy cannot"),
        ({"metric": None}, "option metric has the wrong type"),
        ({"rounds": None}, "option rounds has the wrong type"),
        ({"num_leaves": None}, "option num_leaves has the wrong type"),
        ({"num_leaves": 2.5}, "option num_leaves has the wrong type"),
        ({"num_leaves": 2**32 + 31}, "option num_leaves has the wrong type"),
        ({"num_leaves": True}, "option num_leaves has the wrong type"),
        ({"use_missing": 1}, "option use_missing has the wrong type"),
        ({"learning_rate": "fast"}, "option learning_rate has the wrong type"),
        ({"learning_rate": float("nan")}, "option learning_rate has the wrong type"),
        ({"rounds": 0}, "option rounds"),
        ({"patience": 1.5}, "option patience"),
        ({"eta": 0.1}, "eta is not an option of a boosted forest"),
        ({"boosting_type": "rf"}, "boosting_type is not an option"),
        ({"linear_trees": True}, "linear_trees is not an option"),
        ({"bagging_fraction": 1.5}, "LightGBM refuses these options"),
    ],
)
def test_what_cannot_be_served_or_is_no_option_is_refused_by_name(option: dict[str, Any], reason: str) -> None:
    told: list[int] = []
    with pytest.raises(DeclarationError, match=reason):
        fitted(progress=lambda *step: told.append(1), **option)
    assert not told


@pytest.mark.parametrize("given", [1, 1.0])
def test_p14_a_whole_number_is_taken_where_an_option_is_a_number(given: float) -> None:
    handed_on = whole(json.loads(json.dumps({"bagging_fraction": float(given)})))
    for value in (given, *handed_on.values()):
        assert repr(checked({"bagging_fraction": value})) == "{'bagging_fraction': 1.0}"
    assert whole({"widths": [8.0, 16.0], "share": 0.5, "far": 1e300}) == {"widths": [8, 16], "share": 0.5, "far": 1e300}
    assert [type(each) for each in whole({"widths": [8.0]})["widths"]] == [int]


def test_a_synonym_is_told_by_its_one_name() -> None:
    with pytest.raises(DeclarationError) as refused:
        fitted(n_estimators=5)
    assert refused.value.fix == "write rounds"


@pytest.mark.parametrize("options", [{"boosting": "rf"}, {"linear_tree": True}, {"num_leaves": "many"}, {"strange": 1}])
def test_a_recipe_that_cannot_be_served_is_refused_where_it_is_declared(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Boosting(output=ONE, options=options)


@pytest.mark.parametrize(
    ("shape", "recipe"),
    [
        ((3,), {"quantiles": (0.5, 0.1, 0.9)}),
        ((3,), {"quantiles": (0.1, 0.5, 1.0)}),
        ((2,), {"quantiles": QUANTILES}),
        ((3,), {"quantiles": QUANTILES, "options": {"objective": "regression"}}),
        ((3,), {"options": {"objective": "binary"}}),
        ((1,), {"options": {"objective": "multiclass"}}),
        ((2, 2), {"options": {"objective": "multiclass"}}),
    ],
)
def test_a_recipe_that_does_not_give_its_output_is_refused(shape: tuple[int, ...], recipe: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Boosting(output=Output(name="y", datatype="FP32", shape=shape), **recipe)


def test_every_option_is_one_of_lightgbm() -> None:
    text = fitted().boosters[""].model_to_string()
    known = set(re.findall(r"^\[(\w+):", text, re.MULTILINE))
    assert set(TYPES) - known <= {"metric", "eval_at"}


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_is_one_that_lightgbm_measures(metric: str) -> None:
    objective = {"multi": "multiclass", "auc_m": "multiclass", "ndcg": "lambdarank", "map": "lambdarank"}
    chosen = next((name for part, name in objective.items() if metric.startswith(part)), "regression")
    chosen = "regression" if metric == "mape" else chosen
    labels = np.arange(60) % 3 if chosen != "regression" else 0.5 + 0.5 * (np.arange(60) % 2)
    options = {"objective": chosen, "metric": metric, "verbosity": -1, "num_threads": 1}
    options |= {"num_class": 3} if chosen == "multiclass" else {}
    data = lightgbm.Dataset(rows(60, seed=0), labels, group=[30, 30] if chosen == "lambdarank" else None)
    found: dict[str, Any] = {}
    lightgbm.train(options, data, 1, valid_sets=[data], callbacks=[lightgbm.record_evaluation(found)])
    assert found["training"]


def test_a_whole_number_is_a_float_where_a_float_is_asked_for_and_the_other_way_round() -> None:
    inputs = rows(50, seed=3)
    exact = fitted(bagging_fraction=1.0, lambda_l2=2.0, num_leaves=7, rounds=5)
    loose = fitted(bagging_fraction=1, lambda_l2=2, num_leaves=7.0, rounds=5.0)
    assert (exact.predict(inputs) == loose.predict(inputs)).all()


def test_growing_stops_by_the_objectives_own_metric() -> None:
    told: list[tuple[int, int, str]] = []
    forest = fitted(rounds=300, patience=5, progress=lambda *step: told.append(step), learning_rate=0.3)
    kept = forest.boosters[""].current_iteration()
    assert kept < 300 and told[-1][0] == kept + 5 and told[-1][1] == 300
    assert told[-1][2].startswith("binary logloss 0.")


def test_ranking_stops_by_one_cut_of_the_gain() -> None:
    told: list[str] = []
    recipe = Boosting(output=ONE, options={"objective": "lambdarank", "min_data_in_leaf": 10}, rounds=3)
    fitted(recipe, progress=lambda *step: told.append(step[2]), eval_at=5)
    assert told[0].startswith("ndcg@5 0.")


def test_ranking_without_queries_is_refused() -> None:
    given = drawn("binary")
    with pytest.raises(DeclarationError, match="ranks within a query"):
        BINARY.fit(Examples(given.inputs, given.labels), given, seed=7, objective="lambdarank")


def test_ranking_does_not_hang_on_the_order_of_rows() -> None:
    recipe = Boosting(output=ONE, options={"objective": "lambdarank", "min_data_in_leaf": 10}, rounds=5)
    given, held = drawn("lambdarank"), drawn("lambdarank", 400, seed=1)
    assert isinstance(given, Richer) and given.groups is not None
    order = np.argsort(given.groups, kind="stable")
    sorted_ = Richer(given.inputs[order], given.labels[order], groups=given.groups[order])
    one, other = (recipe.fit(each, held, seed=7) for each in (given, sorted_))
    inputs = rows(100, seed=3)
    assert (one.predict(inputs) == other.predict(inputs)).all()


def test_weights_of_examples_are_heard() -> None:
    given, held = drawn("binary"), drawn("binary", 400, seed=1)
    heavy = Richer(given.inputs, given.labels, weights=np.where(given.labels == 1, 50.0, 1.0))
    inputs = rows(200, seed=3)
    light = BINARY.fit(given, held, seed=7).predict(inputs).mean()
    assert BINARY.fit(heavy, held, seed=7).predict(inputs).mean() > light + 0.1


def test_without_validation_examples_every_round_is_grown() -> None:
    given = drawn("binary")
    forest = BINARY.fit(given, Examples(given.inputs[:0], given.labels[:0]), seed=7, patience=1)
    assert forest.boosters[""].current_iteration() == 10


def test_photos_are_not_rows() -> None:
    photos = Examples(np.zeros((4, 3, 8, 8), np.float32), np.zeros(4, np.int64))
    with pytest.raises(DeclarationError, match="does not read these inputs"):
        BINARY.fit(photos, photos, seed=1)


def test_quantiles_are_a_booster_each_and_never_cross(tmp_path: Path) -> None:
    recipe = Boosting(
        output=Output(name="price", datatype="FP32", shape=(3,)),
        options={"min_data_in_leaf": 10, "learning_rate": 0.3},
        rounds=30,
        quantiles=QUANTILES,
    )
    told: list[tuple[int, int, str]] = []
    forest = recipe.fit(
        drawn("quantile"), drawn("quantile", 400, seed=1), seed=7, progress=lambda *step: told.append(step)
    )
    assert {total for _, total, _ in told} == {90} and [done for done, _, _ in told] == sorted(
        done for done, *_ in told
    )
    forest.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"booster-q{level}.txt" for level in (10, 50, 90)]
    later = drawn("quantile", 1000, seed=2)
    found = recipe.restore(tmp_path).predict(later.inputs)
    raw = np.stack([booster.predict(later.inputs) for booster in forest.boosters.values()], axis=1)
    assert (np.diff(raw, axis=1) < 0).any() and (np.diff(found, axis=1) >= 0).all()
    below = (later.labels[:, None] < found).mean(axis=0)
    assert np.abs(below - QUANTILES).max() < 0.12
    forest.export(tmp_path / "model.onnx")
    for inputs in (later.inputs, on_the_edge(forest, later.inputs), later.inputs[:1]):
        assert apart(answers((tmp_path / "model.onnx").read_bytes(), inputs), forest.predict(inputs)) < 3e-6


def test_a_text_that_is_no_forest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"booster.txt is not a forest"):
        BINARY.restore(tmp_path)
    (tmp_path / "booster.txt").write_text("tree\nversion=v4\n")
    with pytest.raises(ModelRefused):
        BINARY.restore(tmp_path)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_has_a_metric_that_it_may_be_told_to_watch(objective: str) -> None:
    assert OBJECTIVES[objective].metric in METRICS


def test_a_log_in_which_what_was_clicked_stands_first_does_not_stop_a_ranking_early() -> None:
    random = np.random.default_rng(5)
    groups = np.repeat(np.arange(400), 10)
    inputs = random.integers(0, 2, size=(4000, 6)).astype(np.float32)
    labels = (inputs.sum(axis=1) + random.normal(0, 3, 4000) > 5).astype(np.float64)
    order = np.lexsort((-labels, groups))  # as in a log: LightGBM takes equal scores in the order of rows
    given, held = (Richer(inputs[rows], labels[rows], groups=groups[rows]) for rows in (order[:3000], order[3000:]))
    options = {"objective": "lambdarank", "min_data_in_leaf": 10, "num_leaves": 3}
    recipe = Boosting(output=ONE, options=options, rounds=60, patience=15)
    assert recipe.fit(given, held, seed=7).boosters[""].num_trees() > 5  # 1 where ties stand as they came


def test_a_weak_column_is_learnt_whole_beside_a_strong_one_where_columns_come_singly_first() -> None:
    """Growth stops once the strong columns are learnt: without it, rows of the rare value stay off by what it takes away."""
    rng = np.random.default_rng(3)
    rank, strong = rng.choice(4, 6000, p=[0.05, 0.35, 0.4, 0.2]), rng.normal(size=(6000, 6))
    worth = np.array([-0.7, -0.2, 0.0, 0.25])[rank]
    labels = worth + strong[:, 0] + np.sin(3 * strong[:, 1]) + 0.4 * rng.normal(size=6000)
    examples = Rows(np.column_stack((rank, strong)).astype(np.float32), labels)
    parts = np.arange(6000) < 4500
    rare = rank == 0

    def off(singly: bool) -> float:
        options = {"objective": "regression", "num_leaves": 47, "learning_rate": 0.08, "feature_fraction": 0.8}
        recipe = Boosting(output=Output(name="y", datatype="FP32"), options=options, rising=(0,), singly=singly)
        found = recipe.fit(examples.take(parts), examples.take(~parts), seed=1, rounds=200, patience=15)
        told = found.predict(examples.inputs)
        assert (found.predict(examples.inputs + np.eye(7, dtype=np.float32)[0]) >= told - 1e-6).all()
        return float((told - labels)[rare].mean())

    assert abs(off(True)) < 0.03 < off(False)
